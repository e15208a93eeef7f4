"""What the proxies of successive rounds want: their features and their maps on one time line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rmviz.configs.axes import Grid, parse_grid
from rmviz.configs.compare import CompareConfig
from rmviz.configs.effects import EffectsConfig
from rmviz.configs.iterated import IteratedConfig
from rmviz.configs.map import MapConfig, MapRescoreConfig
from rmviz.configs.sae import SAEConfig
from rmviz.models.load import from_artifact
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace

_TOP = 8
"""Features of the first proxy that the time line follows."""


@dataclass(frozen=True)
class Insights:
    """What was seen in the proxies, round by round."""

    effects: list[dict[str, Any]]
    """`arm` (a feature of the first round's proxy), `seed`, `x` (round), `y` (effect, sd) of the features that count most."""

    cells: list[dict[str, Any]]
    """`arm` (a tone or genre), `seed`, `x` (round), `y`: mean reward of its poems, in sd of that round's rewards of poems."""


def num_looks(config: IteratedConfig) -> int:
    """Jobs that `looked_into` does."""
    return 2 * config.num_rounds + (1 if config.num_rounds > 1 else 0) + config.num_rounds


def looked_into(
    config: IteratedConfig, space: Workspace, execute: Callable[[str, Any], Artifact], proxies: Sequence[Artifact]
) -> Insights:
    """An SAE, exact effects and a map of each proxy; features matched to those of the first, poems scored by all."""
    effects = [_effects(config, execute, proxy, number) for number, proxy in enumerate(proxies, start=1)]
    rows: list[dict[str, Any]] = []
    if len(proxies) > 1:
        comparison = execute(
            "compare",
            CompareConfig(
                models=", ".join(one.id for one in proxies), dataset=config.dataset, split="all", num_pairs=300,
                effects=", ".join(one.id for one in effects), name=f"{config.name or 'iterated'} proxies",
            ),
        )  # fmt: skip
        matches = comparison.read_json("comparison.json")["matches"]
        rows = _time_line(load_table(comparison.path("features.parquet")), matches, effects, config.seed)
    return Insights(rows, _maps(config, execute, proxies))


def _effects(config: IteratedConfig, execute: Callable[[str, Any], Artifact], proxy: Artifact, number: int) -> Artifact:
    name = f"{config.name or 'iterated'} r{number}"
    width = from_artifact(proxy).d_in
    sae = execute(
        "sae.train",
        SAEConfig(
            model=proxy.id, dataset=config.dataset, name=f"{name} sae", hookpoint="layers.0", d_sae=6 * width, k=4,
            num_tokens=400_000, batch_size=1024, dead_after=50_000, seed=config.seed,
        ),
    )  # fmt: skip
    return execute(
        "effects",
        EffectsConfig(
            sae=sae.id, dataset=config.dataset, split="all", num_pairs=100, name=f"{name} effects", seed=config.seed
        ),
    )


def _time_line(
    table: pd.DataFrame, matches: Sequence[dict[str, Any]], effects: Sequence[Artifact], seed: int
) -> list[dict[str, Any]]:
    """The effects of the first proxy's strongest features that have a match in every later one."""
    places = {one.id: number for number, one in enumerate(effects, start=1)}
    later = {which: places[one["second"]] for which, one in enumerate(matches) if places[one["first"]] == 1}
    own = table[(table["status"] == "matched") & table["match"].isin(later)]
    found = own.groupby("feature_first")["match"].nunique()
    whole = own[own["feature_first"].isin(found[found == len(later)].index)]
    strength = whole.groupby("feature_first")["effect_first"].first().abs().nlargest(_TOP)
    rows = []
    for feature in strength.index:
        some = whole[whole["feature_first"] == feature]
        points = {1: some["effect_first"].iloc[0]}
        points |= {
            later[int(which)]: effect for which, effect in zip(some["match"], some["effect_second"], strict=True)
        }
        rows += [
            {"arm": f"feature {int(feature)}", "seed": seed, "x": x, "y": float(y)} for x, y in sorted(points.items())
        ]
    return rows


def _maps(
    config: IteratedConfig, execute: Callable[[str, Any], Artifact], proxies: Sequence[Artifact]
) -> list[dict[str, Any]]:
    """The first proxy's map, its poems scored by each later one: the mean of each tone and genre."""
    name = config.name or "iterated"
    first = execute(
        "map",
        MapConfig(
            model=proxies[0].id, policy=config.policy, name=f"{name} map r1", num_attempts=600, num_initial=150, batch_size=50,
            seed=config.seed,
        ),
    )  # fmt: skip
    grid = parse_grid(first.config["rows"], first.config["columns"])
    rows = list[dict[str, Any]]()
    for number, proxy in enumerate(proxies[1:], start=2):
        again = MapRescoreConfig(map=first.id, model=proxy.id, name=f"{name} map r{number}")
        artifact = execute("map_rescore", again)
        poems = load_table(artifact.path("poems.parquet"))
        rows += _by_label(poems, grid, "reward_a", 1, config.seed) if number == 2 else []
        rows += _by_label(poems, grid, "reward_b", number, config.seed)
    return rows


def _by_label(poems: pd.DataFrame, grid: Grid, column: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Mean reward of the poems of each tone and genre, in standard deviations of all of them."""
    rewards = poems[column].to_numpy(float)
    standard = (rewards - rewards.mean()) / max(rewards.std(), 1e-9)
    labels = [grid.labels(int(cell)) for cell in poems["cell"]]
    names = sorted({label for some in labels for label in some})
    return [
        {"arm": name, "seed": seed, "x": number, "y": float(standard[[name in some for some in labels]].mean())}
        for name in names
    ]
