"""One pair of a dataset taken apart: what the command line shows of it."""

from typing import Any

from rmviz.ablation.opened import opened_engine
from rmviz.ablation.waterfall import PairGame, taken_apart
from rmviz.configs.base import require
from rmviz.data.load import dataset_pairs
from rmviz.errors import NotFoundError
from rmviz.store.workspace import Workspace


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
    parts = taken_apart(engine, pair)
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
        shared = PairGame(engine, pair, num_features=num_features).shapley(num_permutations=num_permutations, seed=seed)
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
