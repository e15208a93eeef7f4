"""One pair of a dataset taken apart, and all margins of a dataset: what the command line shows of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.margins import Margins, explained, wrong_pairs
from rmviz.ablation.opened import opened_engine
from rmviz.ablation.waterfall import shapley, waterfalls
from rmviz.configs.base import require
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError, NotFoundError
from rmviz.probes.results import plain
from rmviz.store.workspace import Workspace
from rmviz.types import Pair

Progress = Callable[[int, int], None]


def pair_parts(
    workspace: Workspace, sae: str, dataset: str, pair_id: str, *, num_features: int, num_permutations: int, seed: int
) -> dict[str, Any]:
    """A pair's margin as plain values: its parts, which sum to it, and Shapley values with their errors when asked for.

    Raises:
        ConfigError: No feature, or fewer than 4 permutations are asked for.
        NotFoundError: SAE, dataset or pair do not exist.
        DataError: The pair has no finite rewards.
    """
    require(num_features >= 1, f"top must be at least 1, got {num_features}")
    require(num_permutations == 0 or num_permutations >= 4, f"shapley must be 0 or at least 4, got {num_permutations}")
    data = workspace.resolve(dataset, "dataset")
    pair = next((one for one in dataset_pairs(data) if one.pair_id == pair_id), None)
    if pair is None:
        raise NotFoundError(f"dataset {data.name} has no pair {pair_id[:80]!r}; see its pair_id column")
    engine = opened_engine(workspace, workspace.resolve(sae, "sae"))
    found = waterfalls(engine, [pair])
    if not found:
        raise DataError(f"pair {pair_id!r} has a reward that is no finite number; choose another pair")
    parts = found[0]
    top = parts.features[:num_features]
    lines = {f"feature {feature}": effect for feature, effect in zip(top, parts.effects, strict=False)}
    lines |= {"other features": parts.effects[num_features:].sum(), "SAE error": parts.error}
    lines |= {"base": parts.base, "interaction": parts.interaction}
    result: dict[str, Any] = {
        "pair_id": pair_id, "margin": parts.margin, "rewards": list(parts.rewards),
        "parts": [{"part": name, "value": float(value)} for name, value in lines.items()], "total": parts.total,
        "interaction": parts.interaction, "interaction_share": parts.interaction_share,
        "interactions": list(parts.interactions), "num_features": len(parts.features), "method": engine.method,
    }  # fmt: skip
    if num_permutations:
        shared = shapley(engine, pair, num_features=num_features, num_permutations=num_permutations, seed=seed)
        estimate = shared.estimate
        names = [*(f"feature {feature}" for feature in shared.features), "other features", "SAE error"]
        values = zip(names, estimate.value, estimate.error, estimate.low, estimate.high, strict=True)
        result["shapley"] = {
            "base": estimate.empty, "margin": estimate.full, "num_permutations": estimate.num_permutations, "seed": seed,
            "parts": [
                {"part": name, "value": float(value), "error": float(error), "low": float(low), "high": float(high)}
                for name, value, error, low, high in values
            ],
        }  # fmt: skip
    return result


def margin_parts(
    workspace: Workspace, sae: str, dataset: str, *, split: str, num_pairs: int, seed: int
) -> dict[str, Any]:
    """What k features explain of the margins of a dataset, and its wrong pairs by the feature that would right them.

    Raises:
        ConfigError: There is no such split.
        NotFoundError: SAE or dataset do not exist.
        DataError: There is no pair, or none with finite rewards.
    """
    require(split in ("heldout", "train", "all"), f"split must be heldout, train or all, got {split[:80]!r}")
    require(num_pairs >= 0, f"num_pairs must be at least 0, got {num_pairs}")
    data = workspace.resolve(dataset, "dataset")
    pairs = dataset_pairs(data, split, num_pairs, seed)  # pyright: ignore[reportArgumentType]
    if not pairs:
        raise DataError(f"dataset {data.name} has no pairs in its {split} part; choose another with --split")
    engine = opened_engine(workspace, workspace.resolve(sae, "sae"))
    margins, kept = margins_of(engine, pairs)

    def without(chosen: np.ndarray, sets: list[list[int]]) -> np.ndarray:
        encoded = engine.rm.encode([text for i in chosen for text in kept[i].texts])
        lost = engine.group_effects(encoded, sets).astype(float)
        return margins.margin[chosen][:, None] - (lost[0::2] - lost[1::2])

    table = explained(margins, without, seed=seed)
    wrong, groups = wrong_pairs(margins)
    return {
        "num_pairs": len(kept), "num_left_out": len(pairs) - len(kept), "num_wrong": len(wrong),
        "num_ties": int((margins.margin == 0).sum()), "explained": _records(table), "groups": _records(groups),
        "wrong_pairs": _records(wrong), "method": engine.method, "seed": seed,
    }  # fmt: skip


def margins_of(engine: EffectEngine, pairs: Sequence[Pair]) -> tuple[Margins, list[Pair]]:
    """Margins and single effects of pairs, and the pairs that have finite rewards.

    Raises:
        DataError: None has.
    """
    rows, rewards = engine.scan(engine.rm.encode([text for pair in pairs for text in pair.texts]), first_order=False)
    margin = (rewards[0::2] - rewards[1::2]).astype(float)
    known = np.isfinite(margin)
    if not known.any():
        raise DataError("no pair could be scored: the rewards or the activations are not finite numbers on any of them")
    signed = np.where(rows.text % 2 == 0, 1.0, -1.0) * rows.effect
    effects = csr_array((signed, (rows.text // 2, rows.feature)), shape=(len(pairs), engine.sae.d_sae))
    effects.sum_duplicates()
    kept = [pair for pair, good in zip(pairs, known, strict=True) if good]
    return Margins([pair.pair_id for pair in kept], margin[known], csr_array(effects[np.flatnonzero(known)])), kept


def _records(table: Any) -> list[dict[str, Any]]:
    return [plain(row) for row in table.to_dict("records")]
