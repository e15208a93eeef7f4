"""What a judge makes of a label on texts: by the words of the label, or by asking a language model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from rmviz.configs.labels import Direction
from rmviz.features.texts import ScannedTexts
from rmviz.labels.score import LabelScore, Score, balanced_accuracy, sign_agreement
from rmviz.labels.texts import Sample
from rmviz.labels.words import holds, label_words


@runtime_checkable
class Asked(Protocol):
    """A language model that says of each text whether a feature with this label fires on it; None where it does not say."""

    def says_yes(self, label: str, texts: Sequence[str]) -> Sequence[bool | None]:
        """In the order of the texts."""
        ...


def judged(texts: ScannedTexts, sample: Sample, label: str, asked: Asked | None = None) -> pd.DataFrame:
    """Each text of a sample beside what the judge says of it.

    Args:
        texts: All texts.
        sample: Texts on which it is known whether the feature fires.
        label: The label.
        asked: The language model that judges; without one the judge is the words of the label, see `words.label_words`.

    Returns:
        text_id, fires, activation, effect and said (missing where the judge does not say).
    """
    numbers = sample.text.tolist()
    written = texts.written(numbers)
    if asked is None:
        words = label_words(label)
        tokens = ([t for t, own in zip(texts.tokens_of(i), texts.defined_in(i), strict=True) if own] for i in numbers)
        said: Sequence[bool | None] = [holds(words, some, text) for some, text in zip(tokens, written, strict=True)]
    else:
        said = asked.says_yes(label, written)
    return pd.DataFrame(
        {
            "text_id": [one["text_id"] for one in texts.facts(numbers)], "fires": sample.fires,
            "activation": sample.activation, "effect": sample.effect, "said": pd.array(said, dtype="boolean"),
        }
    )  # fmt: skip


def scored(table: pd.DataFrame, direction: Direction) -> LabelScore:
    """What a label is worth by `judged`; texts of which the judge does not say anything do not count.

    The sign of the reward change is that of the exact effect, on the texts in which the feature fires.
    """
    told = table[table["said"].notna()]
    fires = told["fires"].to_numpy(bool)
    return LabelScore(
        balanced_accuracy=balanced_accuracy(fires, told["said"].to_numpy(bool)),
        sign_agreement=sign_agreement(table.loc[table["fires"], "effect"].to_numpy(float), direction),
        num_firing=int(fires.sum()),
        num_silent=int((~fires).sum()),
    )


def score_columns(score: LabelScore) -> dict[str, float | int]:
    """A score as columns of a table."""
    parts = {"balanced_accuracy": score.balanced_accuracy, "sign_agreement": score.sign_agreement}
    values = {
        f"{name}{end}": getattr(part, field)
        for name, part in parts.items()
        for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    return values | {
        "num_firing": score.num_firing,
        "num_silent": score.num_silent,
        "num_signs": score.sign_agreement.n,
    }


def score_of_columns(row: Mapping[str, Any]) -> LabelScore:
    """A score from its columns: the inverse of `score_columns`."""
    both = int(row["num_firing"] + row["num_silent"])
    parts = {
        name: Score(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]), n)
        for name, n in (("balanced_accuracy", both), ("sign_agreement", int(row["num_signs"])))
    }
    return LabelScore(num_firing=int(row["num_firing"]), num_silent=int(row["num_silent"]), **parts)
