"""Reading a features artifact: the table of all features, and one feature's page. Nothing here loads torch."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.errors import ArtifactError, NotFoundError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

By = Literal["mean", "margin", "firing"]
Order = Literal["strongest", "most positive", "most negative"]

FEATURES = "features.parquet"
PAGES = "pages.parquet"


def feature_table(artifact: Artifact) -> pd.DataFrame:
    """One row per alive feature, in order of feature; `rmviz.features.export.COLUMNS` says what each column means."""
    return load_table(artifact.path(FEATURES))


def feature_page(artifact: Artifact, feature: int) -> dict[str, Any]:
    """One feature's examples, histograms, tokens and neighbours.

    Raises:
        NotFoundError: The feature fires in none of the texts, or the SAE has no such feature.
        ArtifactError: The pages cannot be read.
    """
    path = artifact.path(PAGES)
    try:
        metadata, firsts = _row_groups(path, artifact.id)
        group = int(np.searchsorted(firsts, feature, side="right")) - 1
        if group >= 0:
            with pq.ParquetFile(path, metadata=metadata) as file:
                rows = file.read_row_group(group)
            position = np.flatnonzero(rows["feature"].to_numpy() == feature)
            if len(position):
                return json.loads(rows["page"][int(position[0])].as_py())
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); make the features again") from error
    raise NotFoundError(
        f"feature {feature} has no page: it fires in none of the texts of {artifact.name}; choose one from the list"
    )


def ranked(
    table: pd.DataFrame,
    by: By = "mean",
    *,
    order: Order = "strongest",
    hide_template: bool = False,
    hide_ever_firing: bool = False,
    query: str = "",
) -> pd.DataFrame:
    """The features that match, by size or sign of an effect; those without that effect are left out.

    Args:
        table: What `feature_table` gives.
        by: Mean effect on the reward, on the margin of pairs, or on the reward where the feature fires.
        order: By |effect|, or from one end of the signed scale.
        hide_template: Leave out features that fire mostly on role tags, punctuation and white space.
        hide_ever_firing: Leave out features that fire in nearly every text.
        query: Words that must all stand in `top_tokens` or in `label`, where the table has it, or the number of a feature.

    Returns:
        The rows in order, with a fresh index.
    """
    effect = table[f"{by}_effect"].astype(float)
    keep = np.isfinite(effect) & matches(table, query)
    if hide_template:
        keep &= ~table["template"]
    if hide_ever_firing:
        keep &= ~table["ever_firing"]
    keys = {"strongest": -effect.abs(), "most positive": -effect, "most negative": effect}[order]
    chosen = table[keep].assign(_key=keys[keep]).sort_values(["_key", "feature"], kind="stable")
    return chosen.drop(columns="_key").reset_index(drop=True)


def matches(table: pd.DataFrame, query: str) -> pd.Series:
    """Which features a search finds: each word is part of `top_tokens` or of `label`, or is the number (`12`, `#12`)."""
    found = pd.Series(True, index=table.index)
    tokens, ids = table["top_tokens"].astype(str).str.casefold(), table["feature"].astype(str)
    if "label" in table:
        tokens = tokens + "\n" + table["label"].astype(str).str.casefold()
    for word in query.casefold().split():
        found &= tokens.str.contains(word, regex=False) | (ids == word.removeprefix("#"))
    return found


@lru_cache(maxsize=16)
def _row_groups(path: Path, _artifact_id: str) -> tuple[pq.FileMetaData, np.ndarray]:
    metadata = pq.read_metadata(path)
    firsts = [metadata.row_group(group).column(0).statistics.min for group in range(metadata.num_row_groups)]
    return metadata, np.asarray(firsts, dtype=np.int64)
