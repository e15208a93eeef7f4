"""Answers of a language model, each kept as it comes: none is asked for twice."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path

from rmviz.asking.local import LocalModel
from rmviz.asking.models import LanguageModel


class Kept:
    """A language model whose answers go to a file, line by line; a question that stands there is not asked again."""

    def __init__(self, model: LanguageModel, path: Path, seed: int) -> None:
        """Take up the answers of an earlier try, if the file has any; a line that was cut off counts as none."""
        self.model, self._path, self._lock = model, path, threading.Lock()
        self._seed = seed
        self._known: dict[str, str] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            try:
                key, answer = json.loads(line)
            except (ValueError, TypeError):
                continue
            self._known[key] = answer
        if text and not text.endswith("\n"):
            path.write_text(f"{text}\n", encoding="utf-8")

    def answers(self, questions: Sequence[str], *, again: int = 0, opening: str = "") -> list[str]:
        """The answers, in order; `again` asks anew for other answers to the same questions.

        A model that only writes on gets the opening put into its mouth; its answers begin with it.

        Raises:
            BackendError: The server is gone, or the ceiling is reached; answers that came are kept.
            ConfigError: The server does not take such questions.
        """
        seed = self._seed + again
        if not (isinstance(self.model, LocalModel) and not self.model.chats):
            opening = ""
        questions = [f"{text}\n\n{opening}" if opening else text for text in questions]
        keys = [hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest() for text in questions]
        missing = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())

        def told(place: int, answer: str) -> None:
            key = keys[missing[place]]
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                self._known[key] = answer
                file.write(json.dumps([key, answer]) + "\n")

        self.model.answers([questions[i] for i in missing], seed=seed, told=told)
        return [opening + self._known[key] for key in keys]
