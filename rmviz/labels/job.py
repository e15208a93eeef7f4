"""The label job: a label for each feature, and how well it predicts firing and the sign of the effect on texts kept aside."""

from typing import Any

import numpy as np
import pandas as pd

from rmviz.configs.base import to_dict
from rmviz.configs.labels import LabelConfig, direction_named
from rmviz.features.texts import ScannedTexts
from rmviz.labels.judge import judged, score_columns, scored
from rmviz.labels.read import LABELS, TEXTS
from rmviz.labels.scan import LabelScan, scanned
from rmviz.labels.texts import Sample
from rmviz.labels.words import NEAR, WORDS
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(config: LabelConfig, workspace: Workspace, report: Report) -> Artifact:
    """Propose and score labels, and keep them as an artifact.

    Scanned pairs are dealt into two halves: labels are made from one and scored on the other. A label is scored by how well
    its judge tells firing from silent texts (balanced accuracy; 0.5 is chance), as many of each, the firing ones from the
    whole range of activation; and by the share of firing texts whose exact effect has the sign that the label claims. The
    judge of a word list asks whether a text holds one of the words; that of a phrase does so with its content words, or is a
    language model. Where a language model gives no label, the word list is taken, and `problem` says why.

    Raises:
        ConfigError: A named feature fires in none of the texts.
        DataError: No feature fires.
        BackendError: The server of the language model is gone, or the ceiling is reached; what it answered is kept.
    """
    scan = LabelScan(workspace.root, config, report.folder)
    labels, texts = scanned(scan, report)
    lines = [_scored(row, texts[texts["feature"] == row["feature"]]) for row in labels.to_dict("records")]
    table = pd.DataFrame(lines)
    name = config.name or f"{scan.effects.name} labels"
    parents = (scan.effects.id, scan.parent("sae").id, scan.parent("reward_model").id)
    with workspace.create("labels", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        save_table(table, draft.folder / LABELS)
        save_table(texts, draft.folder / TEXTS)
        draft.metrics |= _figures(table) | {"shuffled_balanced_accuracy": _shuffled(table, texts, scan.texts)}
    return draft.kept


def _scored(row: dict[Any, Any], texts: pd.DataFrame) -> dict[str, Any]:
    unsaid = int(texts["said"].isna().sum())
    return {**row, **score_columns(scored(texts, direction_named(row["direction"]))), "num_unanswered": unsaid}


def _figures(table: pd.DataFrame) -> dict[str, Any]:
    means = {name: float(table[name].mean()) for name in ("balanced_accuracy", "sign_agreement")}
    return {
        "num_features": len(table),
        "num_proposed": int((~table["source"].isin([WORDS, NEAR])).sum()),
        "num_problems": int((table["problem"] != "").sum()),
        **{name: value if np.isfinite(value) else None for name, value in means.items()},
    }


def _shuffled(table: pd.DataFrame, held: pd.DataFrame, texts: ScannedTexts) -> float | None:
    """The control: mean balanced accuracy of each label on the texts of the next feature, by the words of the labels."""
    if len(table) < 2:
        return None
    places = {text_id: place for place, text_id in enumerate(texts.text_ids.to_pylist())}
    found = []
    for feature, label in zip(table["feature"], np.roll(table["label"].to_numpy(), 1), strict=True):
        own = held[held["feature"] == feature]
        numbers = np.array([places[text_id] for text_id in own["text_id"]], np.int64)
        fires, activation, effect = (own[name].to_numpy() for name in ("fires", "activation", "effect"))
        sample = Sample(numbers, fires.astype(bool), activation, effect)
        found.append(scored(judged(texts, sample, str(label)), "").balanced_accuracy.value)
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else None
