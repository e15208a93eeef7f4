"""What features are called on every page: by hand, else by the newest label job, else by the words they fire on."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from rmviz.configs.labels import Direction
from rmviz.features.read import feature_table
from rmviz.labels.live import label_score
from rmviz.labels.read import HAND, Label, labels_of
from rmviz.labels.score import LabelScore
from rmviz.store.artifact import Artifact
from rmviz.store.hand_labels import file_of
from rmviz.ui import router


def labels(sae: str) -> dict[int, Label]:
    """The labels of an SAE's features, by hand before those of jobs; one without any is not in it."""
    workspace = router.workspace()
    made = [artifact for artifact in workspace.list("labels") if sae in artifact.parents]
    path = file_of(workspace.root, sae)
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _labels(sae, tuple(artifact.id for artifact in made), str(path), stamp, made)


def sae_of(features: Artifact) -> str:
    """Id of the SAE that a features artifact is about."""
    return next((parent for parent in features.parents if parent.startswith("sae-")), "")


def names_of_features(features: Artifact | None) -> dict[int, str]:
    """What to call each feature in lists; nothing where there is no features artifact."""
    if features is None:
        return {}
    return _words(features, features.id) | {feature: one.label for feature, one in labels(sae_of(features)).items()}


def feature_name(feature: int, names: Mapping[int, str]) -> str:
    """`12 · births and babies`; the number alone where it has no name."""
    return f"{feature} · {names[feature]}" if names.get(feature) else str(feature)


def score_of(effects: Artifact, feature: int, label: Label) -> LabelScore | None:
    """The score of a label given by hand, by its words; None for others, which bring their own."""
    return _score(effects, effects.id, feature, label.label, label.direction) if label.source == HAND else None


@st.cache_data(max_entries=32, show_spinner=False)
def _labels(sae: str, ids: tuple[str, ...], path: str, stamp: int, _made: list[Artifact]) -> dict[int, Label]:
    return labels_of(router.workspace(), sae, _made)


@st.cache_data(max_entries=128, show_spinner="Scoring the label")
def _score(_effects: Artifact, effects: str, feature: int, label: str, direction: Direction) -> LabelScore:
    return label_score(_effects, feature, label, direction)


@st.cache_data(max_entries=4, show_spinner=False)
def _words(_features: Artifact, features: str) -> dict[int, str]:
    table: pd.DataFrame = feature_table(_features)
    return dict(zip(table["feature"].tolist(), table["top_tokens"].fillna("").tolist(), strict=True))
