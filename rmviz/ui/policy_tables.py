"""Tables of watched runs, read once, and what their settings name."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.configs.policies import JUDGE, TRUTH
from rmviz.features.unit_effects import drift_worth, unit_effects
from rmviz.ranks import standardised
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.training import looks as read
from rmviz.training.looks import FIRINGS, PER_REPLY, drift_table, is_watched


def watched(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The policies whose training was watched, newest first."""
    return [artifact for artifact in artifacts if is_watched(artifact)]


def looks(artifact: Artifact) -> pd.DataFrame:
    """The figures by step."""
    return _looks(artifact, artifact.id)


def samples(artifact: Artifact) -> pd.DataFrame:
    """The replies by step."""
    return _samples(artifact, artifact.id)


def steps(artifact: Artifact) -> list[int]:
    """After how many steps the run was looked at."""
    return [int(step) for step in looks(artifact)["step"]]


def measured(artifact: Artifact) -> list[str]:
    """Which of `PER_REPLY` the run measured."""
    table = samples(artifact)
    return [name for name in PER_REPLY if name in table and table[name].notna().any()]


def changes(artifact: Artifact) -> pd.DataFrame:
    """Per prompt, last look − first look: `text`, `prompt`, `reward`, `gold`, `gap`, `kl`, `length`; what was measured.

    The gap is the proxy less the gold reward at the last look, each in standard deviations over all replies of the run.
    """
    return _changes(artifact, artifact.id)


def drift(artifact: Artifact, first: int, last: int, effects: Artifact | None) -> pd.DataFrame:
    """Which features drifted between two looks; with what they are worth, where there are effects of their SAE."""
    return _drift(artifact, artifact.id, first, last, effects, effects.id if effects else "")


def scorer_name(ref: str, artifacts: Sequence[Artifact]) -> str:
    """What to call a reward that a config names."""
    if ref.startswith(TRUTH):
        return f"exact reward of {ref.removeprefix(TRUTH)}"
    named = {one.id: one.name for one in artifacts}
    if ref.startswith(JUDGE):
        model, at, server = ref.removeprefix(JUDGE).partition("@")
        return f"judge {named.get(model, model)}" + (f" at {server}" if at else "")
    return named.get(ref, ref)


@st.cache_data(max_entries=32, show_spinner=False)
def _looks(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return read.looks_of(_artifact)


@st.cache_data(max_entries=16, show_spinner="Reading the replies")
def _samples(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return read.samples_of(_artifact)


@st.cache_data(max_entries=16, show_spinner=False)
def _changes(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    table, at = samples(_artifact), steps(_artifact)
    before, after = (table[table["step"] == step].set_index("text") for step in (at[0], at[-1]))
    found = pd.DataFrame({"text": after.index, "prompt": after["prompt"].to_numpy()})
    for name in measured(_artifact):
        if name != "ended":
            found[name] = (after[name] - before[name]).to_numpy(float)
    if {"reward", "gold"} <= set(found):
        last = (table["step"] == at[-1]).to_numpy()
        proxy, gold = (standardised(table[name].to_numpy(float))[last] for name in ("reward", "gold"))
        found["gap"] = np.asarray(proxy - gold)
    return found


@st.cache_data(max_entries=32, show_spinner="Comparing what fires")
def _drift(
    _artifact: Artifact, artifact_id: str, first: int, last: int, _effects: Artifact | None, effects_id: str
) -> pd.DataFrame:
    number = int((samples(_artifact)["step"] == first).sum())
    table = drift_table(load_table(_artifact.path(FIRINGS)), first, last, number)
    return drift_worth(table, _units(_effects, effects_id)) if _effects else table


@st.cache_data(max_entries=4, show_spinner="Reading the effects")
def _units(_effects: Artifact, effects_id: str) -> pd.DataFrame:
    return unit_effects(_effects)
