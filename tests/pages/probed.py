"""Probes of every kind with hostile texts, their tables made by the jobs' own code where that needs no model."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.probes.bias import with_sizes
from rmviz.probes.figures import feature_table, item_table
from rmviz.probes.results import Results, line_of
from rmviz.probes.spec import verdicts
from rmviz.probes.tokens import strongest, token_table
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace

HOSTILE = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["HOSTILE"]


def build_probes(root: Path, sae: str, *, num_texts: int = 80) -> dict[str, Artifact]:
    """By kind: a euphemism test, a spec check with a hostile item, a bias battery with an unseen edit, and tokens."""
    workspace, rng = Workspace(root), np.random.default_rng(0)
    places = {"model": "reward-model-x", "sae": sae, "dataset": "dataset-x", "hookpoint": "layers.1", "method": "naive"}
    kept = {}
    for what, items in (
        ("euphemism", ["pregnancy"]), ("spec", ["slang", HOSTILE[0]]), ("bias", ["padding", "typos", "spaces"]),
    ):  # fmt: skip
        found = _results(rng, items, num_texts)
        with workspace.create("probe", name=f"{what} {HOSTILE[0]}", config={"seed": 0, "sae": sae}) as draft:
            info: dict[str, Any] = {
                "what": what,
                "tolerance": 0.1,
                "counts": found.counts,
                "reward_std": found.reward_std,
            }
            info["sets"] = {item: [[3, 5], [3, 7]] for item in items}
            if what == "euphemism":
                line = line_of(found.items, "pregnancy", "pregnancy")
                info |= {**line, "topic": "pregnancy", "control": "money", "control_share": 0.02, "gap_in_std": 1.0}
                info |= {"similarity_mean": 0.9, "similarity_min": 0.5}
            else:
                table = verdicts(found, 0.1)
                table = with_sizes(table, found, num_resamples=20, seed=0) if what == "bias" else table
                save_table(table, draft.folder / "verdicts.parquet")
            for name in ("cases", "items", "features"):
                save_table(getattr(found, name), draft.folder / f"{name}.parquet")
            write_json(draft.folder / "probe.json", info | places)
            draft.metrics |= {"what": what}
        kept[what] = draft.kept
    kept["tokens"] = _tokens(workspace, rng, places, sae)
    return kept


def _results(rng: np.random.Generator, items: list[str], num_texts: int) -> Results:
    n = num_texts * len(items)
    cases = pd.DataFrame(
        {
            "item": np.repeat(items, num_texts), "text_id": [f"t{i}" for i in range(n)], "unit": [f"p{i // 2}" for i in range(n)],
            "prompt": f"Say {HOSTILE[1]}", "with_words": [f"the womb {HOSTILE[i % 8]}" for i in range(n)],
            "without_words": [f"the belly {HOSTILE[i % 8]}" for i in range(n)], "similarity": rng.random(n), "cut_away": False,
            "reward_without": rng.normal(size=n),
        }
    )  # fmt: skip
    cases["gap"] = rng.normal(np.repeat(np.linspace(0.8, 0, len(items)), num_texts), 0.3)
    cases.loc[cases["item"] == "spaces", ["gap", "cut_away"]] = [np.nan, True]
    cases["reward_with"] = cases["reward_without"] + cases["gap"].fillna(0)
    ablated = {(item, item): np.where(cases["item"] == item, 0.4 * cases["gap"], np.nan) for item in items}
    table = item_table(cases, items, ablated, num_resamples=50, seed=0)
    table = table.drop(columns="p").assign(q=table["p"])
    rows = pd.DataFrame(
        {
            "case": np.repeat(cases.index, 2),
            "feature": np.tile([3, 5], n),
            "carried": rng.normal(0.2, 0.1, 2 * n),
            "token": HOSTILE[2],
        }
    )
    features = [feature_table(cases, rows, item, num_resamples=50, seed=0) for item in items]
    counts = dict.fromkeys(("num_unchanged", "num_too_different", "num_without_reward"), 0) | {"num_holding": num_texts}
    unseen = {
        item: counts | {"num_cut_away": int((cases.loc[cases["item"] == item, "cut_away"]).sum())} for item in items
    }
    return Results(cases, table, pd.concat(features, ignore_index=True), unseen, 1.0)


def _tokens(workspace: Workspace, rng: np.random.Generator, places: dict[str, str], sae: str) -> Artifact:
    count = 300
    rewards = pd.DataFrame({"token_id": range(count), "prompt": 0, "reward": rng.normal(size=count)})
    rewards.loc[7, "reward"] = np.nan
    effects = pd.DataFrame({"token_id": np.arange(60), "feature": np.arange(60) % 12, "effect": rng.normal(size=60)})
    table = token_table(rewards, effects)
    table["token"] = [f" {HOSTILE[i % 8]}" if i % 9 == 0 else f" word{i}" for i in table["token_id"]]
    table["special"] = table["token_id"] < 3
    with workspace.create("probe", name="tokens", config={"seed": 0, "sae": sae, "prompts": HOSTILE[0]}) as draft:
        save_table(table, draft.folder / "tokens.parquet")
        save_table(strongest(effects), draft.folder / "token_features.parquet")
        info = {"what": "tokens", "num_tokens": count, "num_special": 3, "num_prompts": 1, "num_too_long": 2, "num_explained": 60,
                "num_without_reward": 1, "reward_mean": 0.0, "reward_std": 1.0, "prompts": [HOSTILE[0]]}  # fmt: skip
        write_json(draft.folder / "probe.json", {**places, **info})
        draft.metrics |= {"what": "tokens", "best": HOSTILE[0], "worst": " word5"}
    return draft.kept
