"""Watched policies and an experiment, their tables true to their schema; hostile words; no torch."""

from pathlib import Path

import numpy as np
import pandas as pd

from rmviz.store.artifact import Artifact, write_json
from rmviz.store.experiments import Curves, Experiment, figure_of, keep_experiment
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace

STEPS = (0, 10, 20)
NUM_PROMPTS = 30
HOSTILE = "<img src=x onerror=alert(1)> ![x](http://evil.test/p.png) [a](javascript:alert(4)) $x$ **b**"


def samples(rng: np.random.Generator, gold_falls: bool) -> pd.DataFrame:
    """Proxy rises by exactly 1 at each look; gold by 1, then, where it falls, down by 2."""
    base, rows = rng.normal(0, 1, NUM_PROMPTS), []
    for place, step in enumerate(STEPS):
        gold = base + (1, 0)[gold_falls] * place + gold_falls * (0, 1, -1)[place]
        for text in range(NUM_PROMPTS):
            reply = f"{HOSTILE if text == 0 else 'Well'} {'lovely ' * place}reply {text}"
            rows.append(
                {
                    "step": step, "prompt": f"Say {text} {HOSTILE if text == 1 else ''}", "reply": reply,
                    "reward": base[text] + place, "gold": gold[text] + 0.01 * rng.normal(), "kl": 4.0 * place,
                    "length": 5 + place, "ended": text != 2,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def looks(table: pd.DataFrame) -> pd.DataFrame:
    """Figures of `samples`."""
    by = table.groupby("step")
    found = by[["reward", "gold", "length"]].mean().reset_index()
    return found.assign(
        kl_reply=by["kl"].mean().to_numpy(), kl=by["kl"].mean().to_numpy() / 6, ended=by["ended"].mean().to_numpy(),
        entropy=[1.0, 0.5, 0.2], distinct_1=[0.5, 0.4, 0.3], distinct_2=[0.8, 0.6, 0.4], self_bleu=[0.1, 0.3, 0.6],
    )  # fmt: skip


def firings(rng: np.random.Generator) -> pd.DataFrame:
    """Feature 3 rises by 2 in every text, feature 5 stays, feature 7 goes away, feature 999 is known to no scan."""
    rows = []
    for place, step in enumerate(STEPS):
        for text in range(NUM_PROMPTS):
            noise = 0.1 * rng.random()
            rows += [
                (step, text, 3, 1 + place + noise),
                (step, text, 5, 1 + noise),
                (step, text, 999, 1 + place + noise),
            ]
            rows += [(step, text, 7, 1 + noise)] if place == 0 else []
    return pd.DataFrame(rows, columns=["step", "text", "feature", "activation"])


def build_policies(root: Path, planted: dict[str, Artifact]) -> dict[str, Artifact]:
    """A pretrained policy, runs with and without KL, one without reward or SAE, and an experiment, by name."""
    space, found = Workspace(root), {}
    with space.create("policy", name="lm", config={"name": "lm"}) as draft:
        (draft.folder / "x").write_bytes(b"x")
        draft.metrics.update({"loss": 1.5, "num_steps": 100})
    found["lm"] = draft.kept
    config = {
        "policy": found["lm"].id, "dataset": planted["dataset"].id, "reward": planted["reward_model"].id,
        "gold": "truth:world", "sae": planted["sae"].id, "seed": 0,
    }  # fmt: skip
    for name, falls in (("without KL", True), ("with KL", False)):
        rng = np.random.default_rng(0)
        table = samples(rng, falls)
        with space.create(
            "policy", name=name, key=f"train.rest-{name[:7]}", config=config, parents=(found["lm"].id,)
        ) as draft:
            save_table(looks(table), draft.folder / "looks.parquet")
            save_table(table, draft.folder / "samples.parquet")
            save_table(firings(rng), draft.folder / "firings.parquet")
            draft.metrics.update({"reward": 2.0, "reward_before": 0.0})
        found[name] = draft.kept
    table = samples(np.random.default_rng(0), False).drop(columns=["reward", "gold"])
    alone = {**config, "reward": "", "gold": "", "sae": "", "policy": "policy-00000000", "dataset": "dataset-00000000"}
    with space.create("policy", name="sft", config=alone) as draft:
        save_table(
            looks(samples(np.random.default_rng(0), False)).drop(columns=["reward", "gold"]),
            draft.folder / "looks.parquet",
        )
        save_table(table, draft.folder / "samples.parquet")
    found["sft"] = draft.kept
    found["effects"] = _effects(space, planted)
    rows = [
        {"arm": arm, "seed": seed, "x": x, "y": x * slope + seed}
        for arm, slope in (("mcts", 2.0), (HOSTILE, 1.0)) for seed in range(3) for x in (0, 1, 2)
    ]  # fmt: skip
    experiment = Experiment(
        title=f"Knapsack {HOSTILE}", found=["Tree search trains the better packer.", HOSTILE],
        figures=[
            figure_of("fill_before", "Share of the optimum, untrained.", [0.3, 0.32, 0.34], unit="share"),
            figure_of("fill_after", "Share of the optimum, trained.", [0.5, 0.6, 0.7], unit="share", target="at least +0.15"),
            figure_of("kl", HOSTILE, [float("nan")], unit="nats"), figure_of("once", "One seed.", [2.0]),
        ],
        arms=[{"name": "mcts", "calls": 100}], tables={"runs": [{"seed": 0, "fill": 0.5, "list": [1, 2]}]},
        curves=[Curves(title="Fill", meaning="By step.", x="step", y="fill", rows=rows)],
        links=[found["with KL"].id, planted["reward_model"].id], seeds=3, seconds=61.0, command="rmviz recipe knapsack --seeds 3",
    )  # fmt: skip
    found["experiment"] = keep_experiment(
        space, experiment, name="knapsack", key="recipe-1", config={"name": "knapsack"}
    )
    with space.create("experiment", name="broken") as draft:
        write_json(draft.folder / "report.json", {"title": "no figures"})
    found["broken"] = draft.kept
    return found


def _effects(space: Workspace, planted: dict[str, Artifact]) -> Artifact:
    """Effects with rows by hand: feature 3 is worth 0.5 per unit, 5 −0.1, 7 0.2; in two shards."""
    with space.create(
        "effects", name="by hand", parents=(planted["sae"].id, planted["dataset"].id, planted["reward_model"].id)
    ) as draft:
        (draft.folder / "rows").mkdir()
        for shard in range(2):
            rows = [
                {"text_id": f"{shard}-{text}", "feature": feature, "max_activation": 1.0 + text, "effect": unit * (1.0 + text)}
                for feature, unit in ((3, 0.5), (5, -0.1), (7, 0.2)) for text in range(4)
            ]  # fmt: skip
            save_table(pd.DataFrame(rows), draft.folder / "rows" / f"{shard:05d}.parquet")
    return draft.kept
