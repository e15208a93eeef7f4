"""The tables of a comparison, made from rewards alone: what the job keeps and what pages make anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from rmviz.compare.calibration import calibration_bins, calibration_error, calibration_noise, calibration_slope
from rmviz.compare.statistics import accuracy_difference, flipped, ranks
from rmviz.estimates import Estimate, accuracy, correlation, mean
from rmviz.ranks import standardised
from rmviz.types import Pair

Rewards = Float[np.ndarray, "model pair side"]
"""Chosen first, then rejected; NaN where a model gave no finite number."""


def pair_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per pair: pair_id, prompt, chosen, rejected and the data's own columns, as parquet can hold them."""
    table = pd.DataFrame([[p.pair_id, p.prompt, p.chosen, p.rejected] for p in pairs],
                         columns=["pair_id", "prompt", "chosen", "rejected"])  # fmt: skip
    names = sorted({name for pair in pairs for name in pair.extra})
    taken = {name: f"{name} (data)" if name in table else name for name in names}
    extra = {taken[name]: _column([pair.extra.get(name) for pair in pairs]) for name in names}
    return table.assign(**extra)


def reward_table(pairs: pd.DataFrame, rewards: Rewards, num_cut: np.ndarray) -> pd.DataFrame:
    """One row per model and text, model by model, the chosen text of each pair before the rejected one.

    Returns:
        `model`, `text_id`, `pair_id`, `side`, `reward`, `rank` (share of texts with a lower reward of this model), `z`
        (reward less its mean, in standard deviations) and `num_cut` (tokens that did not fit).
    """
    ids = np.repeat(pairs["pair_id"].to_numpy(object), 2)
    sides = np.tile(np.array(["chosen", "rejected"], object), len(pairs))
    parts = []
    for model, own in enumerate(rewards):
        flat = own.reshape(-1).astype(float)
        parts.append(
            pd.DataFrame(
                {"model": model, "text_id": ids + "/" + sides, "pair_id": ids, "side": sides, "reward": flat,
                 "rank": ranks(flat), "z": standardised(flat), "num_cut": num_cut[model].reshape(-1)}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def arranged(values: "pd.Series", num_models: int) -> Rewards:
    """A column of `reward_table` as (model, pair, side)."""
    return values.to_numpy(float).reshape(num_models, -1, 2)


def margins_of(rewards: Rewards) -> Float[np.ndarray, "model pair"]:
    """Reward of chosen − reward of rejected."""
    return rewards[:, :, 0] - rewards[:, :, 1]


def model_table(
    models: Sequence[Mapping[str, Any]],
    pairs: pd.DataFrame,
    rewards: Rewards,
    num_bins: int,
    first: int = 0,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per model: how well it ranks, against the first model, how sure it is, and what length does to it.

    Args:
        models: `id`, `name` and `step` (None where unknown) of each.
        pairs: What `pair_table` gives.
        rewards: Of their texts.
        num_bins: Bins of the calibration.
        first: The model that the others are held against.
        seed: Seed of the resamples.

    Returns:
        Of each figure its value, `…_low` and `…_high`: `accuracy`, `difference` (to the first), `margin` (mean, in
        standard deviations of the model's rewards), `length` (rank correlation of margin with how much longer the
        chosen reply is, in characters) and `reward_length` (of reward with length, over texts). Counts: `n`,
        `num_common`, `num_gained`, `num_lost`, `num_ties`, `num_missing` (texts without a finite reward). Calibration:
        `ece`, `ece_noise`, `slope`.
    """
    margins = margins_of(rewards)
    sizes = np.stack([pairs[side].str.len().to_numpy(float) for side in ("chosen", "rejected")], axis=1)
    longer = sizes[:, 0] - sizes[:, 1]
    rows = []
    for index, (model, own) in enumerate(zip(models, margins, strict=True)):
        flips = flipped(margins[first], own)
        moved = accuracy_difference(margins[first], own, seed)
        flat = rewards[index].reshape(-1).astype(float)
        spread = float(np.nanstd(flat)) if np.isfinite(flat).any() else 0.0
        bins = calibration_bins(own, num_bins)
        share = accuracy(own)
        rows.append(
            {
                "model": index, **model, "n": share.n, "num_common": moved.n,
                "num_gained": int((flips > 0).sum()), "num_lost": int((flips < 0).sum()),
                "num_ties": int((own == 0).sum()), "num_missing": int((~np.isfinite(flat)).sum()),
                **_spread("accuracy", share), **_spread("difference", moved),
                **_spread("margin", mean(own / spread if spread > 0 else own * 0)),
                **_spread("length", correlation(own, longer)),
                **_spread("reward_length", correlation(flat, sizes.reshape(-1), num_units=share.n)),
                "ece": calibration_error(bins), "ece_noise": calibration_noise(own, num_bins, seed),
                "slope": calibration_slope(own),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def calibration_table(margins: Float[np.ndarray, "model pair"], num_bins: int) -> pd.DataFrame:
    """The calibration bins of every model, under `model`."""
    parts = [calibration_bins(own, num_bins).assign(model=index) for index, own in enumerate(margins)]
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def flip_table(pairs: pd.DataFrame, rewards: Rewards, first: int, second: int) -> pd.DataFrame:
    """The pairs that changed side from one model to another, those that moved furthest first.

    Returns:
        `pair_id`, `change` (`gained`: the second model is right or ties where the first was less so; `lost`: the other
        way), `moved` (second − first margin, each in standard deviations of its model's rewards), `margin_first` and
        `margin_second` in these units, and the texts.
    """
    margins = margins_of(rewards)
    sides = flipped(margins[first], margins[second])
    in_units = [margins_of(_in_units(rewards[index])[None])[0] for index in (first, second)]
    table = pairs[["pair_id", "prompt", "chosen", "rejected"]].assign(
        change=np.select([sides > 0, sides < 0], ["gained", "lost"], ""),
        margin_first=in_units[0], margin_second=in_units[1], moved=in_units[1] - in_units[0],
    )  # fmt: skip
    found = table[sides != 0]
    return found.iloc[np.argsort(-found["moved"].abs().to_numpy(), kind="stable")].reset_index(drop=True)


def _in_units(rewards: np.ndarray) -> np.ndarray:
    return standardised(rewards.reshape(-1)).reshape(rewards.shape)


def _spread(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _column(values: list[Any]) -> list[Any]:
    """Numbers as they are where all are numbers, else everything as text; None stays."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return [None if value is None else float(value) for value in values]
    return [value if value is None or isinstance(value, str) else str(value) for value in values]
