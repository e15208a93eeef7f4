"""What the cases of a probe say: gaps, the features that carry them, and what is left without those. Pure tables in and out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rmviz.ablation.groups import LEAST_SHARE
from rmviz.ablation.statistics import bootstrap_weights, q_values, ratio_estimate

LISTED = 50
"""Features listed of each item, those with the largest carried gap."""


def halves(units: pd.Series, seed: int) -> np.ndarray:
    """0 or 1 for each row: units are dealt into two random halves; what is chosen on one is measured on the other."""
    number, names = pd.factorize(units, sort=True)
    return (np.random.default_rng(seed).permutation(len(names)) % 2)[number]


def own_features(rows: pd.DataFrame, num_features: int) -> list[int]:
    """The features that fire on the words and not on what stands in their place, largest |carried gap| first.

    Args:
        rows: feature, carried, energy_with and energy_without (squared largest activations) of some cases.
        num_features: How many at most.
    """
    if rows.empty:
        return []
    table = rows.groupby("feature")[["carried", "energy_with", "energy_without"]].sum()
    energy = table["energy_with"] + table["energy_without"]
    owned = table[(table["energy_with"] >= LEAST_SHARE * energy) & (energy > 0)]
    order = owned["carried"].abs().sort_values(ascending=False, kind="stable").index
    return [int(feature) for feature in order[:num_features]]


def directed_features(rows: pd.DataFrame, gap: float, num_features: int) -> list[int]:
    """The features that carry a gap in its own direction, largest carried gap first.

    Args:
        rows: feature and carried of some cases.
        gap: Their summed gap; only its sign counts.
        num_features: How many at most.
    """
    if rows.empty:
        return []
    carried = np.sign(gap) * rows.groupby("feature")["carried"].sum()
    order = carried[carried > 0].sort_values(ascending=False, kind="stable").index
    return [int(feature) for feature in order[:num_features]]


def paired_size(gap: np.ndarray, units: pd.Series, *, num_resamples: int, seed: int) -> dict[str, float]:
    """Cohen's d of paired differences, d_z = mean / standard deviation of the gaps, with a bootstrap interval over units.

    Args:
        gap: Gap of each case, finite.
        units: The unit of each case, which is drawn with all its cases.
        num_resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        d_z, d_z_low, d_z_high; NaN for fewer than two cases, or where all gaps are equal.

    Source: Cohen 1988, §2.3.5; Lakens 2013, eq. 6.
    """
    unit, names = pd.factorize(units, sort=True)
    if len(gap) < 2:
        return dict.fromkeys(("d_z", "d_z_low", "d_z_high"), float("nan"))
    moments = np.stack([np.bincount(unit, weights=gap**power, minlength=len(names)) for power in range(3)], axis=1)
    drawn = bootstrap_weights(len(names), num_resamples, seed).astype(float) @ moments
    with np.errstate(divide="ignore", invalid="ignore"):
        n, one, two = np.vstack([moments.sum(axis=0), drawn]).T
        spread = np.sqrt(np.maximum(two - one**2 / n, 0) / (n - 1))
        sizes = np.where(spread > 1e-9 * np.abs(gap).max(initial=0), one / n / spread, np.nan)
    known = sizes[1:][np.isfinite(sizes[1:])]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan, np.nan)
    return {"d_z": float(sizes[0]), "d_z_low": float(low), "d_z_high": float(high)}


def item_table(
    cases: pd.DataFrame,
    items: Sequence[str],
    ablated: Mapping[tuple[str, str], np.ndarray],
    *,
    num_resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Gap of each item, and of each set of features the gap that remains without it and the share that it carries.

    Args:
        cases: item, unit and gap (reward with − without the words) of each case; gaps that are NaN do not count.
        items: The items, in order; one without cases has NaN figures.
        ablated: By item and name of a set of features: the gap of each case of `cases` with the set off (NaN elsewhere).
        num_resamples: Bootstrap resamples; a unit is drawn with all its cases.
        seed: Seed of the bootstrap.

    Returns:
        item, features (name of the set, empty for the gap itself), num_texts, num_units, gap, remaining, share, each with
        _low and _high, and p of the gap. Shares are NaN where the gap's interval holds 0: there is nothing to share out.
    """
    kept = cases[np.isfinite(cases["gap"])]
    unit, names = pd.factorize(kept["unit"], sort=True)
    weights = bootstrap_weights(max(len(names), 1), num_resamples, seed)

    def estimates(mask: np.ndarray, values: np.ndarray, size: np.ndarray) -> Any:
        shape = (max(len(names), 1), 1)
        column = np.zeros(int(mask.sum()), int)
        sums, sizes = (csr_array((one[mask], (unit[mask], column)), shape=shape) for one in (values, size))
        return ratio_estimate(sums, sizes, weights)

    lines = []
    gap, ones = kept["gap"].to_numpy(float), np.ones(len(kept))
    for item in items:
        mask = (kept["item"] == item).to_numpy()
        found = estimates(mask, gap, ones)
        figures = {"num_texts": int(mask.sum()), "num_units": len(np.unique(unit[mask])), "p": float(found.p[0])}
        figures |= _ends("gap", found)
        lines.append({"item": item, "features": "", **figures})
        sure = figures["gap_low"] > 0 or figures["gap_high"] < 0
        for (of, name), values in ablated.items():
            if of != item:
                continue
            remaining = values[kept.index.to_numpy()]
            line = {"item": item, "features": name, **figures, **_ends("remaining", estimates(mask, remaining, ones))}
            if sure:
                sign = np.sign(figures["gap"])
                line |= _ends("share", estimates(mask, sign * (gap - remaining), sign * gap))
            lines.append(line)
    ends = [f"{part}{end}" for part in ("gap", "remaining", "share") for end in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["item", "features", "num_texts", "num_units", *ends, "p"])


def measured_on(chosen: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """By half: the features that are measured on it, each on one half, which did not choose it.

    What both halves chose is measured on the second: a mean over both would be picked by its own luck, twice.

    Args:
        chosen: By half (0, 1): the features that the other half chose.
    """
    return {0: [feature for feature in chosen[0] if feature not in chosen[1]], 1: list(chosen[1])}


def feature_table(
    cases: pd.DataFrame,
    rows: pd.DataFrame,
    item: str,
    *,
    num_resamples: int,
    seed: int,
    sets: Mapping[int, Sequence[int]] | None = None,
) -> pd.DataFrame:
    """The features that carry an item's gap: mean effect with the words − effect without them, largest |mean| first.

    Args:
        cases: item, unit, gap of each case, and half where there are sets.
        rows: case, feature, carried, token of each feature that fires on either text of a case.
        item: Which item.
        num_resamples: Bootstrap resamples of units.
        seed: Seed of the bootstrap.
        sets: By half: the features measured on its cases alone, each in one of the halves, as `measured_on` deals them.
            Without sets every feature is measured on all cases.

    Returns:
        item, feature, carried, carried_low, carried_high, q, num_texts (cases in which it fires), token (where it mostly fires
        first). q is over the item's features that are measured: of the features chosen, where there are sets.
    """
    own = cases[(cases["item"] == item) & np.isfinite(cases["gap"])]
    if sets is None:
        found = [_carried(own, rows, num_resamples, seed)]
    else:
        found = [
            _carried(own[own["half"] == half], rows[rows["feature"].isin(features)], num_resamples, seed)
            for half, features in sets.items()
        ]
    columns = ["item", "feature", "carried", "carried_low", "carried_high", "q", "num_texts", "token"]
    found = [table for table in found if len(table)]
    if not found:
        return pd.DataFrame(columns=columns)
    table = pd.concat(found, ignore_index=True)
    table = table.assign(item=item, q=q_values(table["p"].to_numpy(float)))
    order = table.assign(size=-table["carried"].abs()).sort_values(["size", "feature"], kind="stable").index
    return table.loc[order[:LISTED], columns].reset_index(drop=True)


def _carried(own: pd.DataFrame, rows: pd.DataFrame, num_resamples: int, seed: int) -> pd.DataFrame:
    """Mean over some cases of what each feature carries, with its interval and p."""
    unit, names = pd.factorize(own["unit"], sort=True)
    some = rows[rows["case"].isin(own.index)]
    if some.empty:
        return pd.DataFrame()
    of_case = pd.Series(unit, index=own.index)
    features, column = np.unique(some["feature"].to_numpy(), return_inverse=True)
    place = (of_case.loc[some["case"]].to_numpy(), column)
    sums = csr_array((some["carried"].to_numpy(float), place), shape=(len(names), len(features)))
    counts = np.bincount(unit, minlength=len(names)).astype(np.float32)
    found = ratio_estimate(sums, counts, bootstrap_weights(len(names), num_resamples, seed))
    tokens = some[some["token"] != ""].groupby("feature")["token"].agg(lambda values: values.value_counts().index[0])
    return pd.DataFrame(
        {
            "feature": features, **_ends("carried", found, whole=True), "p": found.p,
            "num_texts": np.bincount(column, minlength=len(features)),
            "token": tokens.reindex(features).fillna("").to_numpy(),
        }
    )  # fmt: skip


def _ends(name: str, found: Any, *, whole: bool = False) -> dict[str, Any]:
    parts = {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return parts if whole else {key: float(value[0]) for key, value in parts.items()}
