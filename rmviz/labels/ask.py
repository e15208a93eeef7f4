"""Language models that are asked about features, and their answers, each kept as it comes: none is asked for twice."""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path

from rmviz.configs.axes import Axis
from rmviz.configs.labels import LabelConfig
from rmviz.qdaif.generators import LanguageModel, LocalModel, load_language_model
from rmviz.qdaif.model_judges import Llm
from rmviz.qdaif.remote import RemoteModel
from rmviz.store.artifact import Artifact

_YES_NO = Axis(name="answer", labels=("yes", "no"))
_LONGEST = 8000
"""Characters of a text that a server is sent."""


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

        The seed of a question follows from what it says, so that a run that was interrupted asks as an unbroken one; equal
        questions are asked once.

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
        distinct = dict(zip(keys, questions, strict=True))
        wanted = self._wanted(list(distinct))

        def told(place: int, answer: str) -> None:
            key = wanted[place]
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                if key not in self._known:
                    self._known[key] = answer
                    file.write(json.dumps([key, answer]) + "\n")

        seeds = [int(key[:15], 16) for key in wanted]
        self.model.answers([distinct[key] for key in wanted], seed=seeds, told=told)
        return [opening + self._known[key] for key in keys]

    def _wanted(self, keys: Sequence[str]) -> list[str]:
        """What is asked: questions without an answer; of a model on this machine whole batches, since they are drawn at once."""
        size = self.model.batch_size if isinstance(self.model, LocalModel) else 1
        batches = [keys[start : start + size] for start in range(0, len(keys), size)]
        return [key for batch in batches if not self._known.keys() >= set(batch) for key in batch]

    def says_yes(self, label: str, texts: Sequence[str]) -> list[bool | None]:
        """Whether a feature with this label fires on each text, as the model judges; None where it does not say.

        A model on this machine is asked by the log-probabilities of yes and no, a server by its answer's first word.
        """
        wish = f"A feature of a model is described so: {label}. Does it fire on the text above? Answer yes or no."
        if isinstance(self.model, LocalModel):
            judge = Llm(_YES_NO, *self.model.loaded, question=wish)
            return [answer == "yes" for answer in judge.labels(texts, [""] * len(texts))]
        found = self.answers([f"{text[:_LONGEST]}\n\n{wish}" for text in texts])
        words = [answer.strip(" \n*\"'`").casefold() for answer in found]
        return [True if word.startswith("yes") else False if word.startswith("no") else None for word in words]


def opened_model(config: LabelConfig, policy: Artifact | None, counted: Path | None = None) -> LanguageModel:
    """The language model that the config asks; requests to a server are counted in a file, where one is given.

    Raises:
        ModelError: It cannot be loaded.
    """
    if config.asked == "openai":
        return RemoteModel(
            config.server, config.policy, temperature=config.temperature, max_tokens=config.max_new_tokens,
            max_requests=config.max_requests, counted=counted,
        )  # fmt: skip
    loaded = load_language_model(policy or config.policy)
    return LocalModel(*loaded, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
