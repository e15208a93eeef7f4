"""The spec check: things that should not matter to the reward, and whether they do."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from rmviz.configs.base import to_dict
from rmviz.configs.probes import BiasConfig, SpecConfig
from rmviz.probes.results import Results, keep, results
from rmviz.probes.scan import ProbeScan, scanned
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report

SURE = 0.05
"""False discovery rate at which a gap counts as real."""


def run(config: SpecConfig, workspace: Workspace, report: Report) -> Artifact:
    """Check each topic and word list that should not matter; the report ranks them by what they cost for certain.

    Raises:
        ConfigError: A topic does not exist.
        DataError: No text holds any of the words, or none can be compared.
        ModelError: SAE and model do not fit.
    """
    return ranked(config, workspace, report, "spec", "spec check of {model}", verdicts)


def ranked(
    config: SpecConfig | BiasConfig, workspace: Workspace, report: Report, what: str, title: str,
    table_of: Callable[[Results, float], pd.DataFrame],
) -> Artifact:  # fmt: skip
    """Scan, judge each item, and keep the verdicts beside what all probes keep."""
    scan = ProbeScan(workspace.root, config, report.folder)
    scanned(scan, report)
    found = results(scan)
    table = table_of(found, config.tolerance)
    name = config.name or title.format(model=scan.model.name)
    parents = (scan.sae.id, scan.dataset.id, scan.model.id)
    with workspace.create("probe", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        keep(draft.folder, found, scan, {"what": what, "tolerance": config.tolerance})
        save_table(table, draft.folder / "verdicts.parquet")
        draft.metrics |= {
            "what": what, "num_items": len(table), "num_matter": int((table["verdict"] == "matters").sum()),
            "worst": str(table["item"].iloc[0]), "num_texts": int(table["num_texts"].sum()),
        }  # fmt: skip
    return draft.kept


def verdicts(found: Results, tolerance: float) -> pd.DataFrame:
    """One row per item, the gravest first.

    An item `matters` when its gap differs from 0 at a false discovery rate of 5 % and is at least `tolerance` standard
    deviations of the rewards; it `does not matter` when the whole interval is smaller than that; else it is `open`, and
    `no texts` where nothing could be compared. Rank is by the least |gap| that the interval allows, then by |gap|.

    Returns:
        rank, item, verdict, gap and its interval, gap_in_std, q, share of its own features and its interval, remaining,
        num_texts, num_units, features (those of its own, comma-separated, strongest first), and the counts of what was left out.
    """
    own = found.items[found.items["features"] == found.items["item"]]
    bare = found.items[found.items["features"] == ""]
    table = bare[["item", "num_texts", "num_units", "gap", "gap_low", "gap_high", "q"]].merge(
        own[["item", "remaining", "share", "share_low", "share_high"]], on="item", how="left"
    )
    low, high, gap = (table[name].to_numpy(float) for name in ("gap_low", "gap_high", "gap"))
    least = np.where(low > 0, low, np.where(high < 0, -high, 0.0))
    bound = tolerance * found.reward_std
    matters = (table["q"].to_numpy(float) <= SURE) & (np.abs(gap) >= bound)
    small = (np.maximum(np.abs(low), np.abs(high)) < bound) & np.isfinite(gap)
    verdict = np.select([~np.isfinite(gap), matters, small], ["no texts", "matters", "does not matter"], "open")
    names = found.features.groupby("item")["feature"].agg(lambda values: ",".join(map(str, values[:10])))
    table = table.assign(
        verdict=verdict, gap_in_std=gap / found.reward_std if found.reward_std else np.nan,
        features=table["item"].map(names).fillna(""), least=least, size=np.nan_to_num(np.abs(gap)),
    )  # fmt: skip
    table = table.join(pd.DataFrame([found.counts[item] for item in table["item"]]))
    table = table.sort_values(["least", "size", "item"], ascending=[False, False, True], ignore_index=True)
    return table.drop(columns=["least", "size"]).assign(rank=np.arange(1, len(table) + 1))
