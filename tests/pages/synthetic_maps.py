"""Maps and comparisons for tests of pages: a search that only rolls dice, kept by the job's own code; no model runs.

By hand: `python tests/pages/synthetic_maps.py FOLDER [--attempts 400]`.
"""

import argparse
import runpy
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from rmviz.configs.axes import Grid, parse_grid
from rmviz.configs.base import to_dict
from rmviz.configs.map import MapConfig
from rmviz.qdaif.archive import Archive
from rmviz.qdaif.attempts import Attempt, Journal
from rmviz.qdaif.differences import ablated_cells, difference_cells
from rmviz.qdaif.job import runs_of, written_tables
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace

BASE = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))
STEP = 50
ARABIC = "يا ليل الصب متى غده\nأقيام الساعة موعده"
JAPANESE = "古池や\n蛙飛び込む\n水の音"
LONG = "\n".join(f"line {i} of a poem that does not end" for i in range(600))
SPECIAL = [*BASE["HOSTILE"], ARABIC, JAPANESE, LONG]
"""Texts that the first attempts of a map hold, each followed by words of its own."""


def build(root: Path, *, num_attempts: int = 400, only: str = "") -> dict[str, Artifact]:
    """The workspace of `synthetic.py` with maps of it, by name; `only` the first one, of one run, where that is said."""
    made = BASE["build"](root)
    workspace = Workspace(root)
    model = made["reward_model"]
    several = not only
    config = MapConfig(model=model.id, policy="lm", num_attempts=num_attempts, num_resamples=20, baselines=several,
                       num_repeats=1 + several)  # fmt: skip
    made["map"] = kept_map(workspace, model, "toy map", config)
    if only:
        return made
    hostile = BASE["HOSTILE"][0]
    made["line"] = kept_map(workspace, model, f"binned {hostile}", MapConfig(
        model=model.id, policy="lm", num_attempts=60, num_resamples=20, min_draws=6, rows="words: 0 < 10 < 20 < 60",
        columns="", judge="measure"))  # fmt: skip
    made["hostile"] = kept_map(workspace, model, "hostile axes", MapConfig(
        model=model.id, policy="lm", num_attempts=60, num_resamples=20, min_draws=2,
        rows="<b>gen</b>re: <script>alert(1)</script>, ![x](http://evil.test/p.png)",
        columns="tone: <img src=x onerror=alert(2)>, مظلم"))  # fmt: skip
    made["difference"] = kept_difference(workspace, made["map"], model, made["map"])
    made["one-sided"] = kept_difference(workspace, made["map"], model, None)
    made["ablation"] = kept_ablation(workspace, made["map"], made["sae"])
    return made


def kept_map(workspace: Workspace, model: Artifact, name: str, config: MapConfig) -> Artifact:
    """A map artifact, written by the job's own code from attempts that were rolled."""
    grid = parse_grid(config.rows, config.columns)
    steps: list[list[Attempt]] = []
    for run in runs_of(config):
        rolled(steps, grid, run.number, run.method, config.num_attempts, np.random.default_rng([run.seed, run.number]))
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), {})
    journal.steps = steps
    journal.seconds = [{"all": 1.0, "generator": 0.7, "judge": 0.1, "reward": 0.1} for _ in steps]
    with workspace.create("map", name=name, config=to_dict(config), parents=(model.id,)) as draft:
        draft.metrics |= written_tables(draft.folder, config, grid, journal)
    return draft.kept


def rolled(
    steps: list[list[Attempt]], grid: Grid, run: int, method: str, number: int, rng: np.random.Generator
) -> None:
    """Add the steps of one run: rewards depend on the cell, parents are elites, one poem in nine misses its label."""
    archive = Archive(grid)
    first = sum(map(len, steps))
    for begin in range(0, number, STEP):
        some = []
        for i in range(begin, min(begin + STEP, number)):
            asked = -1 if method == "quality_only" else int(rng.integers(grid.num_cells))
            judged = int(rng.integers(-1, grid.num_cells)) if asked < 0 or rng.random() < 0.11 else asked
            elites = [one.attempt_id for one in archive.elites.values()]
            parents = (
                tuple(int(p) for p in rng.choice(elites, min(len(elites), int(rng.integers(1, 3))), replace=False))
                if elites
                else ()
            )
            text = " ".join(rng.choice(BASE["WORDS"], 9)) + f"\nnumber {run} {i}"
            text = f"{SPECIAL[i]}\n{text}" if run == 0 and i < len(SPECIAL) else text
            reward = float(np.float32(rng.normal() + judged / grid.num_cells))
            some.append(Attempt(
                attempt_id=first + i, run=run, method=method, step=begin // STEP, text=text, parents=parents, asked=asked,
                move=("seed", "mutate", "cross")[len(parents)], judged=judged, seconds=0.01, generator="dice",
                reward=float("nan") if i % 41 == 40 else reward, problem="refusal" if i % 37 == 36 else ""))  # fmt: skip
        steps.append(archive.add(some))


def kept_difference(workspace: Workspace, one: Artifact, model: Artifact, other: Artifact | None) -> Artifact:
    """A comparison of two reward models on the poems of a map."""
    rng = np.random.default_rng(3)
    poems = best(one)
    elite = poems["elite"].to_numpy(bool)
    poems = poems.assign(in_a=True, in_b=other is not None, elite_a=elite, elite_b=np.roll(elite, 1) & (other is not None),
                         reward_a=poems["reward"], reward_b=poems["reward"] + rng.normal(size=len(poems)))  # fmt: skip
    poems = poems.drop(columns=["reward", "elite", "attempt_id"])
    axes = one.read_json("map.json")["axes"]
    with workspace.create("comparison", name="difference", parents=(one.id, model.id)) as draft:
        save_table(poems, draft.folder / "poems.parquet")
        save_table(difference_cells(poems, axes), draft.folder / "cells.parquet")
        info = {"kind": "map", "what": "difference", "axes": axes, "map": one.id, "other_map": other.id if other else "",
                "model_a": model.id, "model_b": model.id}  # fmt: skip
        write_json(draft.folder / "comparison.json", info)
        draft.metrics |= {"num_poems": len(poems), "what": "difference"}
    return draft.kept


def kept_ablation(workspace: Workspace, one: Artifact, sae: Artifact) -> Artifact:
    """A map with features off."""
    poems = best(one)
    effect = np.where(poems.index % 3 == 0, 0.25, 0.0)
    poems = poems.assign(effect=effect, ablated=poems["reward"] - effect)
    axes = one.read_json("map.json")["axes"]
    with workspace.create("comparison", name="ablation", parents=(one.id, sae.id)) as draft:
        save_table(poems, draft.folder / "poems.parquet")
        save_table(ablated_cells(poems, axes), draft.folder / "cells.parquet")
        info = {"kind": "map", "what": "ablation", "axes": axes, "map": one.id, "sae": sae.id, "features": [3, 17]}
        write_json(draft.folder / "comparison.json", info)
        draft.metrics |= {"num_poems": len(poems), "num_fired": int((effect != 0).sum()), "what": "ablation"}
    return draft.kept


def best(one: Artifact) -> pd.DataFrame:
    """The seven best poems of each cell: attempt_id, text, cell, reward, elite."""
    table = load_table(one.path("attempts.parquet"), filters=[("run", "==", 0), ("judged", ">=", 0)])
    table = table[np.isfinite(table["reward"])].rename(columns={"judged": "cell", "accepted": "elite"})
    some = table.sort_values("reward", ascending=False).groupby("cell").head(7).reset_index(drop=True)
    return some[["attempt_id", "text", "cell", "reward", "elite"]]


def main() -> None:
    """Build one from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attempts", type=int, default=400)
    given = parser.parse_args()
    build(given.folder, num_attempts=given.attempts)


if __name__ == "__main__":
    main()
