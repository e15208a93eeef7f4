"""Language models that judge labels."""

from collections.abc import Sequence

from rmviz.asking.kept import Kept
from rmviz.asking.local import LocalModel
from rmviz.configs.axes import Axis
from rmviz.qdaif.model_judges import Llm

_YES_NO = Axis(name="answer", labels=("yes", "no"))
_LONGEST = 8000
"""Characters of a text that a server is sent."""


class Labeller(Kept):
    """A language model that is asked about features."""

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
