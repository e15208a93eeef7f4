"""A crosscoder as its job keeps it, with hostile words; no model is run."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.crosscoder.norms import KIND, bound, classes
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace

HOSTILE = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["HOSTILE"]


def build_crosscoder(
    root: Path, models: tuple[str, str] = ("reward-model-0", "reward-model-2"), noise: float = 0.05
) -> Artifact:
    """Sixty features, two of them the first model's alone and one the second's (none where the noise is large)."""
    rng = np.random.default_rng(0)
    relative = np.clip(rng.normal(0.5, 0.02, 60), 0.4, 0.6)
    relative[[3, 7, 11]] = (0.9, 0.8, 0.1)
    table = pd.DataFrame(
        {"feature": np.arange(60), "words": [HOSTILE[i % len(HOSTILE)] for i in range(60)], "density": 0.01}
    )
    table = table.assign(relative=relative, norm_first=relative, norm_second=1 - relative, cosine=rng.random(60))
    table["class"] = classes(relative, noise)
    for side in ("first", "second"):
        effect = rng.normal(size=60) / 10
        for name, value in (("", effect), ("_low", effect - 0.1), ("_high", effect + 0.1), ("_q", rng.random(60))):
            table[f"effect_{side}{name}"] = value
    table["num_texts"] = 12
    examples = [
        {"feature": i, "text_id": f"t{i}", "activation": 1.0, "start": 0, "tokens": ["a ", HOSTILE[0]], "acts": [0.0, 1.0],
         "num_tokens": 9, "num_cut": 0, "effect": 0.1, "pair_id": "", "side": "text", "reward": 1.0}
        for i in range(60)
    ]  # fmt: skip
    info: dict[str, Any] = {
        "kind": KIND, "hookpoint": "layers.1", "dataset": "dataset-x", "seed": 0, "noise": noise, "bound": bound(noise),
        "models": [{"id": ref, "name": f"rm {HOSTILE[0]} {n}"} for n, ref in enumerate(models)],
        "null_num_features": 50, "null": rng.normal(0.5, noise / 3, 50).tolist(), "reward_std": [1.0, 2.0], "num_texts": 80,
    }  # fmt: skip
    with Workspace(root).create("comparison", name="crosscoder", parents=(*models, "dataset-x")) as draft:
        save_table(table, draft.folder / "features.parquet")
        save_table(pd.DataFrame(examples), draft.folder / "examples.parquet")
        write_json(draft.folder / "crosscoder.json", info)
        draft.metrics["what"] = KIND
    return draft.kept
