"""A comparison of three steps of one training, kept by the job's own code; the texts are hostile, no model is run."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.compare.keep import KIND, save_comparison
from rmviz.compare.tables import pair_table
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair

HOSTILE = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["HOSTILE"]


def build_comparison(root: Path, *, num_pairs: int = 200, name: str = "steps", effects: bool = True) -> Artifact:
    """Three models that get better; of the third, a few rewards are no numbers."""
    rng = np.random.default_rng(0)
    words = ["rain", "sea", "garden", "sailor", *HOSTILE]
    pairs = [
        Pair(pair_id=f"pair-{i:04d}", prompt=f"Human: {words[i % len(words)]}?", chosen=" ".join(rng.choice(words, 9)),
             rejected=" ".join(rng.choice(words, 7)),
             extra={"topic": str(rng.choice(["rain", "sea", HOSTILE[0]])), HOSTILE[1]: i % 3})
        for i in range(num_pairs)
    ]  # fmt: skip
    truth = rng.normal(size=num_pairs)
    rewards = np.stack([_rewards(rng, truth, noise) for noise in (2.0, 1.0, 0.7)])
    rewards[2, :3, 0] = np.nan
    models = [
        {"id": f"reward-model-{n}", "name": f"rm {HOSTILE[0]}" if n else "rm", "step": 100 * (n + 1)} for n in range(3)
    ]
    matches = [{"first": "effects-0", "second": "effects-2", "by": "token", "num_texts": 40, "num_units": 900,
                "noise": 0.2, "frame_fit": 0.9, "no_cosine": ""}] if effects else []  # fmt: skip
    info: dict[str, Any] = {
        "models": models, "num_bins": 10, "seed": 0, "dataset": "dataset-x", "split": "heldout", "matches": matches,
        "effects": {"reward-model-0": "effects-0", "reward-model-2": "effects-2"} if effects else {},
    }  # fmt: skip
    with Workspace(root).create("comparison", name=name) as draft:
        figures = save_comparison(draft.folder, info, pair_table(pairs), rewards, np.zeros(rewards.shape, int))
        draft.metrics |= figures
        if effects:
            save_table(_features(rng), draft.folder / "features.parquet")
    assert draft.kept.metrics["what"] == KIND
    return draft.kept


def _rewards(rng: np.random.Generator, truth: np.ndarray, noise: float) -> np.ndarray:
    margins = 1 + truth + noise * rng.normal(size=len(truth))
    return np.stack([truth + margins / 2, truth - margins / 2], axis=1)


def _features(rng: np.random.Generator) -> pd.DataFrame:
    effect = rng.normal(size=(12, 2))
    table = pd.DataFrame({"feature_first": np.arange(12), "feature_second": np.arange(12)[::-1], "match": 0})
    table["correlation"], table["cosine"] = rng.random(12), rng.random(12)
    table["status"] = ["matched"] * 6 + ["shared"] * 2 + ["only first"] * 3 + ["only second"]
    for column, side in enumerate(("first", "second")):
        for end in ("", "_low", "_high"):
            table[f"effect_{side}{end}"] = effect[:, column]
    return table.assign(moved=(effect[:, 1] - effect[:, 0]))
