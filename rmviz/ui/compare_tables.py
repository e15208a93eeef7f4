"""The tables of a comparison of models, read once; what depends on the choice of the two models is made anew."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.compare.slices import slice_table
from rmviz.compare.tables import arranged, flip_table, margins_of, model_table
from rmviz.data.slices import slicings
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui.words import interval, number


@dataclass(frozen=True)
class Compared:
    """One comparison, and which two of its models are held against each other."""

    artifact: Artifact
    info: dict[str, Any]
    names: tuple[str, ...]
    """What to call each model; with its id where names repeat."""

    first: int
    second: int

    @property
    def first_name(self) -> str:
        """Name of the model that the other is held against."""
        return self.names[self.first]

    @property
    def second_name(self) -> str:
        """Name of the other."""
        return self.names[self.second]

    @property
    def seed(self) -> int:
        """Seed of the sample and of the resamples."""
        return int(self.info["seed"])

    @property
    def num_models(self) -> int:
        """How many models were scored."""
        return len(self.names)


def points(difference: float) -> str:
    """A difference of two shares in percentage points."""
    return f"{number(100 * difference, signed=True)} pp" if np.isfinite(difference) else "–"


def points_interval(low: float, high: float) -> str:
    """Its 95 % interval."""
    return interval(100 * low, 100 * high)


def information(artifact: Artifact) -> dict[str, Any]:
    """What comparison.json says."""
    return _information(artifact, artifact.id)


def names_of(info: dict[str, Any]) -> tuple[str, ...]:
    """What to call each model; with the end of its id where names repeat."""
    names = [str(model["name"]) for model in info["models"]]
    return tuple(
        name if names.count(name) == 1 else f"{name} · {model['id'][-8:]}"
        for name, model in zip(names, info["models"], strict=True)
    )


def pairs(artifact: Artifact) -> pd.DataFrame:
    """The pairs with the data's own columns."""
    return _pairs(artifact, artifact.id)


def values(artifact: Artifact, column: str) -> np.ndarray:
    """`reward`, `rank`, `z` or `num_cut` of all texts: (model, pair, side)."""
    return _values(artifact, artifact.id, column)


def models(compared: Compared) -> pd.DataFrame:
    """One row per model, held against the first."""
    artifact, info = compared.artifact, compared.info
    return _models(artifact, artifact.id, info, compared.first).assign(name=list(compared.names))


def slices(compared: Compared) -> pd.DataFrame:
    """One row per slice and model, held against the first."""
    return _slices(compared.artifact, compared.artifact.id, compared.first, compared.seed)


def calibration(compared: Compared) -> pd.DataFrame:
    """The calibration bins of all models."""
    return _calibration(compared.artifact, compared.artifact.id)


def flips(compared: Compared) -> pd.DataFrame:
    """The pairs that changed side from the first model to the second."""
    return _flips(compared.artifact, compared.artifact.id, compared.first, compared.second)


def matched(artifact: Artifact, which: int) -> pd.DataFrame:
    """The features of one match of two SAEs."""
    return _matched(artifact, artifact.id, which)


@st.cache_data(max_entries=16, show_spinner=False)
def _information(_artifact: Artifact, artifact_id: str) -> dict[str, Any]:
    return _artifact.read_json("comparison.json")


@st.cache_data(max_entries=4, show_spinner="Reading the comparison")
def _pairs(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return load_table(_artifact.path("pairs.parquet"))


@st.cache_data(max_entries=8, show_spinner=False)
def _values(_artifact: Artifact, artifact_id: str, column: str) -> np.ndarray:
    table = load_table(_artifact.path("rewards.parquet"), columns=["model", column])
    return arranged(table[column], int(table["model"].max()) + 1)


@st.cache_data(max_entries=16, show_spinner=False)
def _models(_artifact: Artifact, artifact_id: str, _info: dict[str, Any], first: int) -> pd.DataFrame:
    if first == 0:
        return load_table(_artifact.path("models.parquet"))
    rewards = _values(_artifact, artifact_id, "reward")
    some = _pairs(_artifact, artifact_id)
    return model_table(_info["models"], some, rewards, int(_info["num_bins"]), first, int(_info["seed"]))


@st.cache_data(max_entries=16, show_spinner="Cutting the data into parts")
def _slices(_artifact: Artifact, artifact_id: str, first: int, seed: int) -> pd.DataFrame:
    if first == 0:
        return load_table(_artifact.path("slices.parquet"))
    margins = margins_of(_values(_artifact, artifact_id, "reward"))
    return slice_table(slicings(_pairs(_artifact, artifact_id)), margins, first, seed)


@st.cache_data(max_entries=4, show_spinner=False)
def _calibration(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return load_table(_artifact.path("calibration.parquet"))


@st.cache_data(max_entries=16, show_spinner=False)
def _flips(_artifact: Artifact, artifact_id: str, first: int, second: int) -> pd.DataFrame:
    return flip_table(_pairs(_artifact, artifact_id), _values(_artifact, artifact_id, "reward"), first, second)


@st.cache_data(max_entries=4, show_spinner=False)
def _matched(_artifact: Artifact, artifact_id: str, which: int) -> pd.DataFrame:
    table = load_table(_artifact.path("features.parquet"))
    return table[table["match"] == which].drop(columns="match").reset_index(drop=True)
