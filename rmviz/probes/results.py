"""What the probes of edited texts keep: the tables of a finished scan, and its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ablation.statistics import q_values
from rmviz.errors import DataError
from rmviz.probes.figures import feature_table, item_table
from rmviz.probes.scan import ProbeScan
from rmviz.store.artifact import write_json
from rmviz.store.tables import save_table

WORD_SHARE = "1 − word edit distance / words: the share of the words that stays"
"""How texts are compared where no encoder is given."""


@dataclass(frozen=True)
class Results:
    """The tables of a probe."""

    cases: pd.DataFrame
    """item, text_id, unit, prompt, with_words, without_words, similarity, half, reward_with, reward_without, gap, cut_away."""
    items: pd.DataFrame
    """As `figures.item_table` has them, with q of the gap over the items."""
    features: pd.DataFrame
    """As `figures.feature_table` has them, of all items."""
    counts: dict[str, dict[str, int]]
    """By item: replies that hold the words, and those left out: unchanged, too different, cut away, without a reward."""
    reward_std: float
    """Standard deviation of the rewards of the unedited texts."""


def results(scan: ProbeScan) -> Results:
    """The tables of a scan whose shards are all there.

    Raises:
        DataError: No case has two finite rewards and two different texts.
    """
    config = scan.config
    cases = scan.cases.join(scan.stage("rewards").set_index("case"))
    gap = (cases["reward_with"] - cases["reward_without"]).astype(float).where(~cases["cut_away"])
    cases["gap"] = gap.where(np.isfinite(gap))
    if not cases["gap"].notna().any():
        raise DataError(
            f"none of {len(cases)} edited texts could be compared: the rewards are no finite numbers, or the edits stand in "
            "what was cut from texts longer than the model reads"
        )
    ablated = scan.stage("ablated")
    by_set = {}
    for name, part in ablated.groupby("features"):
        for item in cases.loc[part["case"].unique(), "item"].unique():
            values = np.full(len(cases), np.nan)
            own = part[cases.loc[part["case"], "item"].to_numpy() == item]
            values[own["case"].to_numpy()] = own["remaining"].to_numpy()
            by_set[str(item), str(name)] = values
    counts = {
        item: known
        | {
            "num_cut_away": int(cases.loc[cases["item"] == item, "cut_away"].sum()),
            "num_without_reward": int((cases["gap"].isna() & ~cases["cut_away"] & (cases["item"] == item)).sum()),
        }
        for item, known in scan.probed[1].items()
    }
    options: Any = {"num_resamples": config.num_resamples, "seed": config.seed}
    items = item_table(cases, list(counts), by_set, **options)
    own = items["features"] == ""
    q = pd.Series(q_values(items.loc[own, "p"].to_numpy(float)), index=items.loc[own, "item"])
    items = items.drop(columns="p").assign(q=items["item"].map(q))
    rows = scan.stage("measured" if scan.estimated else "rows")
    features = [
        table
        for item in counts
        if len(table := feature_table(cases, rows, item, sets=scan.measured_on(item), **options))
    ]
    unedited = scan.unedited_rewards(cases)
    std = float(np.nanstd(unedited[np.isfinite(unedited)]))
    empty = feature_table(cases.iloc[:0], rows.iloc[:0], "", **options)
    return Results(cases, items, pd.concat(features, ignore_index=True) if features else empty, counts, std)


def line_of(items: pd.DataFrame, item: str, features: str) -> dict[str, Any]:
    """One line of the item table as plain values; NaN becomes None, a line that is not there is empty."""
    found = items[(items["item"] == item) & (items["features"] == features)]
    return plain(found.iloc[0].to_dict()) if len(found) else {}


def plain(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Values that JSON has: NaN and infinity become None, numpy's numbers become Python's."""
    table = {str(name): value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in table.items()
    }


def keep(folder: Path, found: Results, scan: ProbeScan, info: dict[str, Any]) -> None:
    """Write the files of a probe: cases, items and features as tables, and probe.json."""
    save_table(found.cases.drop(columns="half"), folder / "cases.parquet")
    save_table(found.items, folder / "items.parquet")
    save_table(found.features, folder / "features.parquet")
    sets = sorted({name for name, _ in scan.sets})
    chosen = {name: [scan.sets[name, half] for half in (0, 1)] for name in sets}
    encoder = getattr(scan.config, "similarity_model", "")
    measure = f"cosine of mean token vectors by {encoder}" if encoder else WORD_SHARE
    facts = {
        "similarity": measure,
        "counts": found.counts,
        "sets": chosen,
        "reward_std": found.reward_std,
        "method": scan.engine.method,
    }
    places = {
        "model": scan.model.id,
        "sae": scan.sae.id,
        "dataset": scan.dataset.id,
        "hookpoint": scan.engine.sae.hookpoint,
    }
    write_json(folder / "probe.json", info | facts | places)
