"""Tables of the workspace, read once: every loader is keyed by artifact id, which never changes its content."""

from typing import Any

import pandas as pd
import streamlit as st

from rmviz.data.load import dataset_frame, dataset_ratings
from rmviz.features import read
from rmviz.features.read import By, Order
from rmviz.qdaif.read import MapTables, map_tables
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui import names


def feature_table(artifact: Artifact) -> pd.DataFrame:
    """One row per alive feature of a features artifact."""
    return _feature_table(artifact, artifact.id)


def ranked_features(
    artifact: Artifact, by: By, order: Order, hide_template: bool, hide_ever_firing: bool, query: str
) -> pd.DataFrame:
    """The rows of `feature_table` that match, in order, with the `label` of each; see `rmviz.features.read.ranked`."""
    labels = tuple((feature, one.label) for feature, one in names.labels(names.sae_of(artifact)).items())
    return _ranked(artifact, artifact.id, by, order, hide_template, hide_ever_firing, query, labels)


def feature_page(artifact: Artifact, feature: int) -> dict[str, Any]:
    """What one feature's page shows."""
    return _feature_page(artifact, artifact.id, feature)


def rewards(artifact: Artifact) -> pd.DataFrame:
    """Rewards of the texts of an effects artifact: text_id, pair_id, side, reward."""
    return _rewards(artifact, artifact.id)


def texts(artifact: Artifact) -> pd.DataFrame:
    """Texts of an effects artifact, the first 2,000: text_id, pair_id, side, prompt, reply."""
    return _texts(artifact, artifact.id)


def text_by_id(artifact: Artifact, text_id: str) -> tuple[str, str] | None:
    """Prompt and reply of one text of an effects artifact."""
    columns = ["prompt", "reply"]
    found = load_table(artifact.path("texts.parquet"), columns=columns, filters=[("text_id", "==", text_id)])
    return (str(found["prompt"].iloc[0]), str(found["reply"].iloc[0])) if len(found) else None


def dataset(artifact: Artifact) -> pd.DataFrame:
    """All rows of a dataset."""
    return _dataset(artifact, artifact.id)


def ratings(artifact: Artifact) -> pd.DataFrame | None:
    """What the pairs of a dataset were made from, where they were made by ratings."""
    return _ratings(artifact, artifact.id)


def words_of_features(artifact: Artifact | None) -> dict[int, str]:
    """What each feature is called: its label, else what it fires on in a few words; nothing without a features artifact."""
    return names.names_of_features(artifact)


def map_of(artifact: Artifact) -> MapTables:
    """The tables of a map, shared by all sessions: they are read, never changed."""
    return _map(artifact, artifact.id)


def comparison(artifact: Artifact) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """What a comparison of maps is of, its cells and its poems; shared by all sessions, never changed."""
    return _comparison(artifact, artifact.id)


# a copy of 25,000 poems for every click would take longer than all else that a click does
@st.cache_resource(max_entries=6, show_spinner="Reading the map")
def _map(_artifact: Artifact, artifact_id: str) -> MapTables:
    return map_tables(_artifact)


@st.cache_resource(max_entries=6, show_spinner="Reading the comparison")
def _comparison(_artifact: Artifact, artifact_id: str) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    cells, poems = (load_table(_artifact.path(f"{name}.parquet")) for name in ("cells", "poems"))
    return _artifact.read_json("comparison.json"), cells, poems


@st.cache_data(max_entries=4, show_spinner="Reading the features")
def _feature_table(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    _artifact.path(read.PAGES)  # checks its content once, so that the first feature opens as fast as the others
    return read.feature_table(_artifact)


@st.cache_data(max_entries=16, show_spinner=False)
def _ranked(
    _artifact: Artifact,
    artifact_id: str,
    by: By,
    order: Order,
    hide_template: bool,
    hide_ever_firing: bool,
    query: str,
    labels: tuple[tuple[int, str], ...],
) -> pd.DataFrame:
    table = _feature_table(_artifact, artifact_id)
    called = dict(labels)
    table = table.assign(label=[called.get(feature, "") for feature in table["feature"].tolist()])
    return read.ranked(
        table, by, order=order, hide_template=hide_template, hide_ever_firing=hide_ever_firing, query=query
    )


@st.cache_data(max_entries=256, show_spinner=False)
def _feature_page(_artifact: Artifact, artifact_id: str, feature: int) -> dict[str, Any]:
    return read.feature_page(_artifact, feature)


@st.cache_data(max_entries=4, show_spinner="Reading the rewards")
def _rewards(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return load_table(_artifact.path("texts.parquet"), columns=["text_id", "pair_id", "side", "reward"])


@st.cache_data(max_entries=4, show_spinner=False)
def _texts(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return load_table(_artifact.path("texts.parquet"), columns=["text_id", "pair_id", "side", "prompt", "reply"]).head(
        2000
    )


@st.cache_data(max_entries=4, show_spinner=False)
def _ratings(_artifact: Artifact, artifact_id: str) -> pd.DataFrame | None:
    return dataset_ratings(_artifact)


@st.cache_data(max_entries=3, show_spinner="Reading the data")
def _dataset(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return dataset_frame(_artifact)
