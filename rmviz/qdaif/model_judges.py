"""Judges that are models: text classifiers, zero-shot entailment, and language models that choose among the labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rmviz.configs.axes import Axis
from rmviz.errors import ConfigError, ModelError
from rmviz.models.checkpoint import find_checkpoint
from rmviz.models.load import quieten
from rmviz.models.placement import choose_device
from rmviz.models.policy_files import load_language_model
from rmviz.qdaif.judges import AxisJudge

_BATCH = 32
_LONGEST = 2000
"""Characters of a text that a judge reads: its cell does not hang on what comes later."""


def opened_model_judge(name: str, axis: Axis, source: str) -> AxisJudge:
    """The judge `classifier` or `llm` for an axis.

    Raises:
        ConfigError: The axis is binned, or the classifier knows none of its labels.
        ModelError: The model cannot be loaded.
    """
    if axis.edges:
        raise ConfigError(f"judge {name} chooses among labels, and axis {axis.name} has bins; use judge measure")
    if name == "llm":
        return Llm(axis, *load_language_model(source))
    quieten()
    checkpoint = find_checkpoint(source)
    options: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForSequenceClassification.from_pretrained(checkpoint.folder, use_safetensors=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"{source} cannot be loaded as a classifier: {str(error)[:300]}") from error
    return Classifier(axis, model.to(choose_device("auto")).eval().requires_grad_(False), tokenizer)


class Classifier:
    """A text classifier whose classes are labels of the axis, or an entailment model that is asked about each label."""

    def __init__(self, axis: Axis, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Match the model's classes with the axis.

        Raises:
            ConfigError: It has no class named like a label, and no class called entailment.
        """
        self.axis, self._model, self._tokenizer = axis, model, tokenizer
        classes = {str(name).casefold(): int(i) for i, name in (model.config.id2label or {}).items()}
        labels = {label.casefold(): label for label in axis.labels}
        self._names = {i: labels.get(name, "") for name, i in classes.items()}
        self._entails = next((i for name, i in classes.items() if name.startswith("entail")), -1)
        if not any(self._names.values()) and self._entails < 0:
            raise ConfigError(
                f"the classifier knows {', '.join(list(classes)[:8])}; none is a label of {axis.name}, and none is entailment"
            )

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """The most likely class of each text; empty where it is no label."""
        if any(self._names.values()):
            return [self._names.get(int(row.argmax()), "") for row in self._logits([(text, None) for text in texts])]
        pairs = [
            (text, f"This is a text whose {self.axis.name} is {label}.") for text in texts for label in self.axis.labels
        ]
        scores = self._logits(pairs)[:, self._entails].reshape(len(texts), len(self.axis.labels))
        return [self.axis.labels[int(row.argmax())] for row in scores]

    @torch.no_grad()
    def _logits(self, pairs: Sequence[tuple[str, str | None]]) -> np.ndarray:
        found = []
        for start in range(0, len(pairs), _BATCH):
            some = pairs[start : start + _BATCH]
            second = [b for _, b in some if b is not None] or None
            inputs = self._tokenizer(
                [a[:_LONGEST] for a, _ in some], second, return_tensors="pt", padding=True,
                truncation="only_first", max_length=self._max_length,
            ).to(self._model.device)  # fmt: skip
            found.append(torch.log_softmax(self._model(**inputs).logits.float(), -1).cpu().numpy())
        return np.concatenate(found)

    @property
    def _max_length(self) -> int:
        positions = int(getattr(self._model.config, "max_position_embeddings", 512))
        return min(512, positions - 2 if positions > 4 else positions, int(self._tokenizer.model_max_length))


class Llm:
    """A language model: the label that it finds most likely as the answer, per token of the label."""

    def __init__(
        self, axis: Axis, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str = ""
    ) -> None:
        """Judge an axis by the log-probabilities of its labels as the answer to a question (the axis's own when empty)."""
        self.axis, self._model, self._tokenizer = axis, model, tokenizer
        asked = question or f"Which of these is the {axis.name} of the text above: {', '.join(axis.labels)}?"
        self._question = f"\n\n{asked}\nAnswer:"
        self._answers = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"] for label in axis.labels]
        self._longest = int(getattr(model.config, "max_position_embeddings", 2048) or 2048)

    def labels(self, texts: Sequence[str], asked: Sequence[str]) -> list[str]:
        """The likeliest label of each text."""
        scores = np.array([self._scores(text) for text in texts])
        return [self.axis.labels[int(row.argmax())] for row in scores]

    @torch.no_grad()
    def _scores(self, text: str) -> list[float]:
        """Mean log-probability per token of each label after the question, in nats."""
        after = self._tokenizer(self._question, add_special_tokens=False)["input_ids"]
        room = max(1, self._longest - len(after) - max(map(len, self._answers)) - 1)
        before = self._tokenizer(text[:_LONGEST])["input_ids"][:room]
        rows = [[*before, *after, *answer] for answer in self._answers]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=self._model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self._model.device)
        logs = torch.log_softmax(self._model(input_ids=ids, attention_mask=mask).logits.float(), -1)
        start = len(before) + len(after)
        return [
            float(np.mean([logs[i, start + k - 1, token].item() for k, token in enumerate(answer)]))
            for i, answer in enumerate(self._answers)
        ]
