"""Reading one feature's page out of 16,384: seconds and bytes, as the Features page reads it."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from rmviz.features.pages import fitted, write_pages
from rmviz.features.read import feature_page
from rmviz.store.workspace import Workspace

NUM_FEATURES = 16_384
_NUM_KINDS, _NUM_EXAMPLES, _WIDTH = 64, 20, 49
_WORDS = ("politics", "rain", "the", "garden", "quietly", "\n")


def run_bench(*, num_reads: int = 1000) -> dict[str, Any]:
    """Seconds (median, 95 % quantile, worst) and bytes of random pages, as full as the default settings make them.

    Args:
        num_reads: Pages to read.
    """
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="rmviz-bench-") as folder:
        kinds = [fitted(_page(feature, rng)) for feature in range(_NUM_KINDS)]
        with Workspace(Path(folder)).create("features", name="bench") as draft:
            for _ in write_pages(
                draft.folder / "pages.parquet", ((i, kinds[i % _NUM_KINDS]) for i in range(NUM_FEATURES))
            ):
                pass
        feature_page(draft.kept, 0)  # the first read checks the file's hash
        seconds = [_timed(draft.kept, int(i)) for i in rng.choice(NUM_FEATURES, num_reads)]
    return {
        "num_features": NUM_FEATURES,
        "num_reads": num_reads,
        "seconds_median": float(np.median(seconds)),
        "seconds_p95": float(np.percentile(seconds, 95)),
        "seconds_worst": max(seconds),
        "largest_bytes": max(len(page.encode()) for page in kinds),
    }


def _timed(artifact: Any, feature: int) -> float:
    start = time.perf_counter()
    feature_page(artifact, feature)
    return time.perf_counter() - start


def _page(feature: int, rng: np.random.Generator) -> dict[str, Any]:
    """A page with random words and activations."""
    words = rng.choice(_WORDS, (_NUM_EXAMPLES, _WIDTH))
    acts = np.where(rng.random(words.shape) < 0.1, rng.exponential(2, words.shape).round(2), 0)
    examples = [
        {
            "bin": i // 2, "activation": 2.5, "effect": 0.12, "tokens": [f" {w}" for w in words[i]], "acts": acts[i].tolist(),
            "start": 3, "num_tokens": 90, "text_id": f"pair-{i}/chosen", "pair_id": f"pair-{i}", "side": "chosen",
            "reward": 1.2345, "num_cut": 0,
        }
        for i in range(_NUM_EXAMPLES)
    ]  # fmt: skip
    histogram = {"edges": [i / 7 for i in range(31)], "counts": list(range(30))}
    near = [{"feature": i, "cosine": 0.5} for i in range(10)]
    return {
        "feature": feature, "examples": examples, "histogram": histogram, "effect_histogram": histogram,
        "tokens": [{"token": "politics", "count": 10, "mean_activation": 1.5, "share": 0.2}] * 20,
        "neighbours": {"decoder": near, "cofiring": near},
    }  # fmt: skip
