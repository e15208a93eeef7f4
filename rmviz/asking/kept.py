"""Answers of a language model, each kept as it comes."""

import fcntl
import hashlib
import json
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rmviz.asking.local import LocalModel
from rmviz.asking.models import LanguageModel


class Kept:
    """A language model whose answers go to a file, line by line; a question that stands there is not asked again.

    Several processes may share the file: each takes up what the others wrote before it asks, and the first answer to a
    question holds for all. Only a question that two of them ask at the same moment is asked twice.
    """

    def __init__(self, model: LanguageModel, path: Path, seed: int) -> None:
        """Take up the answers of an earlier try, if the file has any; a line that was cut off counts as none."""
        self.model, self._path, self._lock = model, path, threading.Lock()
        self._seed = seed
        self._known: dict[str, str] = {}
        self._taken_up = 0
        with self._lock, self._opened():
            pass

    @property
    def known(self) -> Collection[str]:
        """All answers that are there, without the opening that was put into the model's mouth."""
        return self._known.values()

    def answers(self, questions: Sequence[str], *, again: int = 0, opening: str = "") -> list[str]:
        """The answers, in order; `again` asks anew for other answers to the same questions.

        The seed of a question follows from what it says, so that a run that was interrupted asks as an unbroken one; equal
        questions are asked once.

        A model that only writes on gets the opening put into its mouth; its answers begin with it.

        Raises:
            BackendError: The server is gone, or the ceiling is reached; answers that came are kept.
            ConfigError: The server does not take such questions.
        """
        seed, opening = self._seed + again, self._put(opening)
        questions = [f"{text}\n\n{opening}" if opening else text for text in questions]
        keys = [hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest() for text in questions]
        distinct = dict(zip(keys, questions, strict=True))
        with self._lock, self._opened():
            wanted = self._wanted(list(distinct))

        def told(place: int, answer: str) -> None:
            key = wanted[place]
            with self._lock, self._opened() as file:
                if key not in self._known:
                    self._known[key] = answer
                    self._taken_up += file.write((json.dumps([key, answer]) + "\n").encode())

        seeds = [int(key[:15], 16) for key in wanted]
        self.model.answers([distinct[key] for key in wanted], seed=seeds, told=told)
        return [opening + self._known[key] for key in keys]

    def fits(self, question: str, *, opening: str = "") -> bool:
        """Whether a model on this machine reads all of the question; a server is not asked."""
        opening = self._put(opening)
        asked = f"{question}\n\n{opening}" if opening else question
        return not isinstance(self.model, LocalModel) or self.model.fits(asked)

    def _put(self, opening: str) -> str:
        """The opening where the model only writes on."""
        return opening if isinstance(self.model, LocalModel) and not self.model.chats else ""

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """The file, held alone and taken up to its end; a line that was cut off is ended, and nothing is ever taken away."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(self._taken_up)
            text = file.read()
            for line in text.splitlines():
                try:
                    key, answer = json.loads(line)
                except (ValueError, TypeError):
                    continue
                self._known.setdefault(key, answer)
            if text and not text.endswith(b"\n"):
                text += b"\n"
                file.write(b"\n")
            self._taken_up += len(text)
            yield file

    def _wanted(self, keys: Sequence[str]) -> list[str]:
        """What is asked: questions without an answer; of a model on this machine whole batches, since they are drawn at once."""
        size = self.model.batch_size if isinstance(self.model, LocalModel) else 1
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        return [key for batch in batches if not self._known.keys() >= set(batch) for key in batch]
