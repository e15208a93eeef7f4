"""What features are called: by hand, else by the newest label job, and labels as CSV files. Nothing here loads torch."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from rmviz.configs.labels import Direction, direction_named
from rmviz.errors import ConfigError, DataError
from rmviz.store.artifact import Artifact
from rmviz.store.hand_labels import HandLabel, hand_labels, new_label
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace

LABELS, TEXTS = "labels.parquet", "texts.parquet"
HAND = "hand"
"""The source of a label that a person gave."""

COLUMNS = ("feature", "label", "direction", "note")
_FORMULA = re.compile(r"^[=+\-@\t\r]")


@dataclass(frozen=True)
class Label:
    """What one feature is called, and who says so."""

    label: str
    direction: Direction
    source: str
    """`hand`, `given` or `words`, or the name of the language model."""
    score: dict[str, Any] = field(default_factory=dict)
    """The line of the label job; empty for a label given by hand."""
    artifact: str = ""


def job_labels(artifacts: Iterable[Artifact], sae: str) -> dict[int, Label]:
    """The labels of all label jobs on an SAE, by feature; of several the newest.

    Args:
        artifacts: What the workspace holds, newest first.
        sae: Id of the SAE.
    """
    found: dict[int, Label] = {}
    for artifact in artifacts:
        if artifact.kind != "labels" or sae not in artifact.parents:
            continue
        for row in load_table(artifact.path(LABELS)).to_dict("records"):
            direction = direction_named(str(row["direction"]))
            values = {str(name): value for name, value in row.items()}
            found.setdefault(
                int(row["feature"]), Label(str(row["label"]), direction, str(row["source"]), values, artifact.id)
            )
    return found


def labels_of(workspace: Workspace, sae: str, artifacts: Iterable[Artifact]) -> dict[int, Label]:
    """What the features of an SAE are called; a label given by hand goes before all others."""
    by_hand = {f: Label(one.label, one.direction, HAND) for f, one in hand_labels(workspace.root, sae).items()}
    return job_labels(artifacts, sae) | by_hand


def checked_feature(sae: Artifact, feature: int) -> int:
    """A feature that the SAE has.

    Raises:
        ConfigError: It has fewer.
    """
    d_sae = sae.config.get("d_sae") or (sae.read_json("sae/cfg.json") if "sae/cfg.json" in sae.files else {}).get(
        "d_sae"
    )
    if feature < 0 or (d_sae and feature >= int(d_sae)):
        raise ConfigError(f"feature {feature} does not exist: {sae.name} has features 0 to {int(d_sae or 1) - 1}")
    return feature


def labels_csv(labels: dict[int, HandLabel]) -> str:
    """Labels given by hand as CSV; what a spreadsheet would run as a formula gets a leading apostrophe."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(COLUMNS)
    for feature, one in sorted(labels.items()):
        lines.writerow([feature, _safe(one.label), one.direction, _safe(one.note)])
    return file.getvalue()


def labels_from_csv(text: str, sae: Artifact) -> dict[int, HandLabel]:
    """Labels in a CSV file with the columns feature and label, and direction and note where there are any.

    Raises:
        DataError: It is no such file, or a line of it cannot be used; nothing is taken from it then.
    """
    try:
        table = pd.read_csv(io.StringIO(text.removeprefix("\ufeff")), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"labels come as CSV with the columns {', '.join(COLUMNS)}; this is none: {error}") from error
    missing = [name for name in ("feature", "label") if name not in table]
    if missing:
        raise DataError(f"the CSV has no column {missing[0]}; wanted are {', '.join(COLUMNS)}")
    found: dict[int, HandLabel] = {}
    for number, row in enumerate(table.to_dict("records"), start=2):
        values = {name: _unsafe(str(row.get(name, ""))) for name in COLUMNS}
        try:
            if not values["feature"].strip().isdecimal():
                raise ConfigError(f"feature must be a number, got {values['feature'][:40]!r}")
            feature = checked_feature(sae, int(values["feature"]))
            found[feature] = new_label(values["label"], values["direction"], values["note"])
        except ConfigError as error:
            raise DataError(f"line {number}: {error}; nothing was imported") from error
    return found


def _safe(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _unsafe(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text
