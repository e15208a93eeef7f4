"""`rmviz recipe map`: search the planted world's reward model beside the baselines, and hold the map against the truth."""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from rmviz.configs.axes import Grid, parse_grid
from rmviz.configs.map import MapConfig
from rmviz.jobs.elapsed import elapsed
from rmviz.models.load import from_artifact
from rmviz.qdaif.statistics import expected_best, summary_of
from rmviz.ranks import spearman
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Curves, Experiment, Figure, keep_experiment
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text
from rmviz.world.grammar import poem
from rmviz.world.recipe import demo_configs
from rmviz.world.truth import TRUTH

Execute = Callable[[str, Any], Artifact]
_STEPS = ("world", "world-lm", "world-rm")
_NAMES = ("world-rm", "world-lm")
_ATTEMPTS = 2_500


def run(
    space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int, num_attempts: int = 0
) -> Artifact:
    """The recipe `map`: an experiment of what `map_recipe` reports, its `seconds` as `seconds_a_run`.

    `num_attempts` poems a run, 2,500 when 0.
    """
    start, num_attempts = time.monotonic(), num_attempts or _ATTEMPTS
    facts = map_recipe(space, execute, num_seeds, num_attempts, seed, report)
    artifact = space.resolve(facts["map"], "map")
    curves = load_table(artifact.path("curves.parquet"))
    names = dict(zip(curves["run"].tolist(), curves["method"].tolist(), strict=True))
    rows = [
        {"arm": str(names[int(run)]), "seed": int(run), "x": int(attempt), "y": float(score)}
        for run, attempt, score in zip(curves["run"], curves["attempts"], curves["qd_score"], strict=True)
    ]
    experiment = Experiment(
        title="A map of the planted world",
        found=_found(facts),
        figures=[
            Figure(name="coverage", meaning="Share of cells with a poem in them.", unit="share", **facts["coverage"]),
            Figure(
                name="truth_spearman",
                meaning="Rank correlation of the cells' expected best with what is true; a perfect search of this reward "
                f"model reaches {_told(facts['truth_ceiling'])}.",
                unit="Spearman",
                **facts["truth_spearman"],
            ),
            *(
                Figure(name=f"qd_score_{method}", meaning="Sum of the elites' rewards.", unit="QD score", **one)
                for method, one in facts["qd_score"].items()
            ),
        ],
        arms=[{"name": method} for method in facts["qd_score"]],
        curves=[Curves(title="QD score", meaning="Sum of the elites' rewards.", x="attempts", y="QD score", rows=rows)],
        tables={"lowest rows and columns": [{"label": one} for one in facts["lowest"]]},
        facts={name: one for name, one in facts.items() if name not in ("coverage", "truth_spearman", "seconds")}
        | {"seconds_a_run": facts["seconds"]},
        links=[*artifact.parents, artifact.id],
        seeds=num_seeds,
        seconds=elapsed(report, start),
        command=f"rmviz recipe map --seeds {num_seeds} --attempts {num_attempts} --seed {seed}",
    )
    config = {"name": "map", "num_seeds": num_seeds, "num_attempts": num_attempts, "seed": seed}
    return keep_experiment(space, experiment, name="map", key=report.key, config=config)


def _found(facts: dict[str, Any]) -> list[str]:
    scores = {method: one["mean"] for method, one in facts["qd_score"].items() if one["mean"] is not None}
    best = max((method for method in scores if method != "qdaif"), key=lambda method: scores[method], default="")
    sentences = [
        f"The search fills {100 * facts['coverage']['mean']:.0f} % of the cells.",
        f"Its map ranks the cells as the truth does with Spearman {_told(facts['truth_spearman']['mean'])}; for as many "
        f"draws of the grammar itself, scored by the same model, that is {_told(facts['truth_ceiling'])}.",
    ]
    if best and "qdaif" in scores:
        more = scores["qdaif"] - scores[best]
        sentences.append(
            f"Its QD score is {abs(more):.3g} {'above' if more > 0 else 'below'} that of the best baseline ({best})."
        )
    for label in ("sonnet", "reflective"):
        low = "is the lowest" if label in facts["lowest"] else "is not the lowest"
        sentences.append(f"The label {label}, which the truth punishes, {low} (p = {facts[f'{label}_p']:.2g}).")
    return sentences


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def map_recipe(
    space: Workspace, execute: Execute, num_seeds: int, num_attempts: int, seed: int = 0, report: Report | None = None
) -> dict[str, Any]:
    """Build what is not there of the planted world, run the search and its baselines, and report.

    Args:
        space: Where all is kept; a second call with the same numbers finds the map that is there.
        execute: Does a job, or finds that it is done.
        num_seeds: Runs of each method.
        num_attempts: Poems of each run.
        seed: Of the searches.
        report: Told how many of the steps are done.

    Returns:
        `coverage`, `truth_spearman` and `seconds` (of one QDAIF run), each with mean, low and high over seeds; `sonnet_p` and
        `reflective_p`, each one-sided, adjusted for its axis; `loop_share`; `qd_score` by method; `best` by method; `map`;
        `truth_ceiling`, the Spearman that a perfect search of this reward model could reach.
    """
    steps = [(kind, config) for name, kind, config in demo_configs() if name in _STEPS]
    for number, (kind, config) in enumerate(steps):
        if report:
            report(number, len(steps) + 1)
        execute(kind, config)
    if report:
        report(len(steps), len(steps) + 1)
    config = MapConfig(
        model=space.resolve(_NAMES[0], "reward_model").id, policy=space.resolve(_NAMES[1], "policy").id,
        name="world-map", baselines=True, num_repeats=num_seeds, num_attempts=num_attempts,
        num_initial=min(250, num_attempts), seed=seed,
    )  # fmt: skip
    artifact = execute("map", config)
    n = int(artifact.read_json("map.json")["n"])
    return report_of(artifact) | {
        "truth_ceiling": _truth_ceiling(space.resolve(_NAMES[0], "reward_model"), artifact, n)
    }


def _truth_ceiling(model: Artifact, artifact: Artifact, n: int) -> float | None:
    """Spearman of the truth with the expected best of n that the reward model gives poems of the grammar itself.

    It is below 1 because the reward model's rewards differ from the truth, most of all among the best.
    """
    grid, rng = parse_grid(artifact.config["rows"], artifact.config["columns"]), random.Random(artifact.config["seed"])
    texts = []
    for cell in range(grid.num_cells):
        kind = {("tone" if label in TRUTH.tones else "genre"): label for label in grid.labels(cell)}
        texts += [poem(rng, **kind) for _ in range(2 * n)]
    rewards = from_artifact(model).score([Text(text_id="", prompt=one.prompt, reply=one.reply) for one in texts])
    bests = [expected_best(some, n) for some in np.split(rewards.astype(float), grid.num_cells)]
    return spearman(true_bests(grid), np.array(bests))


def report_of(artifact: Artifact) -> dict[str, Any]:
    """The figures of a map of the planted world that was searched beside its baselines."""
    curves = load_table(artifact.path("curves.parquet"))
    last = curves.groupby("run").tail(1)
    means = load_table(artifact.path("means.parquet"))
    expected = load_table(artifact.path("run_cells.parquet"))
    grid = parse_grid(artifact.config["rows"], artifact.config["columns"])
    truth = true_bests(grid)
    ranks = [
        spearman(truth, some.sort_values("cell")["expected_best"].to_numpy(float))
        for _, some in expected.groupby("run")
    ]
    own = last[last["run"].isin(expected["run"])]
    times = artifact.read_json("map.json")["seconds"]
    summary = summary_of({
        "coverage": own["coverage"].to_numpy(float),
        "truth_spearman": np.array([np.nan if rank is None else rank for rank in ranks]),
        "seconds": np.array([times[int(run)] for run in own["run"]]),
    })  # fmt: skip
    return {
        **summary,
        "sonnet_p": _p(means, "sonnet"),
        "reflective_p": _p(means, "reflective"),
        "lowest": [
            str(some.sort_values("mean")["label"].to_numpy()[0]) for _, some in means.groupby("side", sort=False)
        ],
        "loop_share": artifact.metrics["loop_share"],
        "qd_score": _by_method(last, "qd_score"),
        "best": _by_method(last, "best"),
        "num_attempts": artifact.config["num_attempts"],
        "num_seeds": artifact.config["num_repeats"],
        "map": artifact.id,
    }


def true_bests(grid: Grid) -> np.ndarray:
    """What the best poem of each cell is worth in truth: its tone, its genre, and the two best topics (in every cell)."""
    topics = sum(sorted(TRUTH.topics.values())[-2:])
    weights = {**TRUTH.tones, **TRUTH.genres}
    return np.array([sum(weights[label] for label in grid.labels(cell)) + topics for cell in range(grid.num_cells)])


def _p(means: pd.DataFrame, label: str) -> float:
    return float(means.loc[means["label"] == label, "p_adjusted"].to_numpy()[0])


def _by_method(last: pd.DataFrame, measure: str) -> dict[str, dict[str, float | int | None]]:
    groups = last.groupby("method", sort=False)[measure]
    return summary_of({str(method): values.to_numpy(float) for method, values in groups})
