"""The tables of a probe, read once; what is known of the features that carry its gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.configs.probes import GIVEN
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui import cached


@dataclass(frozen=True)
class Probed:
    """One probe, and the features artifact of its SAE if there is one."""

    artifact: Artifact
    info: dict[str, Any]
    features: Artifact | None

    @property
    def what(self) -> str:
        """euphemism, spec, bias or tokens."""
        return str(self.info["what"])

    @property
    def seed(self) -> int:
        """Seed of all that was drawn."""
        return int(self.artifact.config.get("seed", 0))

    @property
    def std(self) -> float:
        """Standard deviation of the rewards of the unedited texts; 0 where they are all alike."""
        return float(self.info["reward_std"])

    @property
    def words(self) -> dict[int, str]:
        """What each feature fires on."""
        return cached.words_of_features(self.features)


def probed(artifact: Artifact, artifacts: Sequence[Artifact]) -> Probed:
    """A probe with what its page needs beside it."""
    info = _info(artifact, artifact.id)
    features = next((a for a in artifacts if a.kind == "features" and info["sae"] in a.parents), None)
    return Probed(artifact, info, features)


def table(artifact: Artifact, name: str) -> pd.DataFrame:
    """One of its tables: cases, items, features or verdicts; tokens or token_features."""
    return _table(artifact, artifact.id, name)


def line(probe: Probed, item: str, features: str) -> dict[str, Any]:
    """One line of the items table; empty where there is none."""
    items = table(probe.artifact, "items")
    found = items[(items["item"] == item) & (items["features"] == features)]
    return {str(name): value for name, value in found.iloc[0].to_dict().items()} if len(found) else {}


def own_line(probe: Probed, item: str) -> dict[str, Any]:
    """An item's gap, and what is left of it without the features that are held to carry it."""
    return line(probe, item, GIVEN) or line(probe, item, item) or line(probe, item, "")


def carriers(probe: Probed, item: str) -> list[int]:
    """The features that were switched off together, of both halves, strongest first."""
    sets = probe.info["sets"]
    halves = sets.get(GIVEN) or sets.get(item) or []
    return list(dict.fromkeys(int(feature) for half in halves for feature in half))


@st.cache_data(max_entries=16, show_spinner=False)
def _info(_artifact: Artifact, artifact_id: str) -> dict[str, Any]:
    return _artifact.read_json("probe.json")


@st.cache_data(max_entries=24, show_spinner="Reading the probe")
def _table(_artifact: Artifact, artifact_id: str, name: str) -> pd.DataFrame:
    return load_table(_artifact.path(f"{name}.parquet"))
