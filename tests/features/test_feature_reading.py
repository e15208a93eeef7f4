import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from rmviz.features import read
from rmviz.features.pages import fitted, write_pages
from rmviz.store.workspace import Workspace

TABLE = pd.DataFrame(
    {
        "feature": [2, 5, 12, 25],
        "top_tokens": ["rain · sea", "human · :", "baby · rain", "the"],
        "mean_effect": [0.1, -0.5, 0.3, np.nan],
        "margin_effect": [np.nan] * 4,
        "template": [False, True, False, False],
        "ever_firing": [False, False, False, True],
    }
)


def test_ranking_by_size_and_by_sign():
    assert read.ranked(TABLE)["feature"].tolist() == [5, 12, 2]
    assert read.ranked(TABLE, order="most positive")["feature"].tolist() == [12, 2, 5]
    assert read.ranked(TABLE, order="most negative")["feature"].tolist() == [5, 2, 12]
    assert read.ranked(TABLE, "margin").empty
    assert read.ranked(TABLE, hide_template=True, hide_ever_firing=True)["feature"].tolist() == [12, 2]
    assert set(read.ranked(TABLE).columns) == set(TABLE.columns)


@pytest.mark.parametrize(
    ("query", "found"),
    [("rain", [12, 2]), ("RAIN baby", [12]), ("2", [2]), ("#12", [12]), (".*", []), ("", [5, 12, 2]), ("human :", [5])],
)
def test_search_in_words_and_numbers(query, found):
    assert read.ranked(TABLE, query=query)["feature"].tolist() == found


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """16,384 features with pages as full as the default settings make them."""
    rng = np.random.default_rng(0)
    tokens = [f" {w}" for w in rng.choice(["politics", "rain", "the", "garden", "quietly", "\n"], 20_000)]

    def page(feature: int) -> str:
        starts = rng.integers(0, 19_000, 20).tolist()
        acts = np.where(rng.random((20, 49)) < 0.1, rng.exponential(2, (20, 49)).round(2), 0).tolist()
        examples = [
            {
                "bin": i // 2,
                "activation": 2.5,
                "effect": 0.12,
                "tokens": tokens[s : s + 49],
                "acts": acts[i],
                "start": 3,
                "num_tokens": 90,
                "text_id": f"pair-{s}/chosen",
                "pair_id": f"pair-{s}",
                "side": "chosen",
                "reward": 1.2345,
                "num_cut": 0,
            }
            for i, s in enumerate(starts)
        ]
        histogram = {"edges": [i / 7 for i in range(31)], "counts": list(range(30))}
        tokens_of = [{"token": "politics", "count": 10, "mean_activation": 1.5, "share": 0.2}] * 20
        near = [{"feature": i, "cosine": 0.5} for i in range(10)]
        return fitted(
            {
                "feature": feature,
                "examples": examples,
                "histogram": histogram,
                "effect_histogram": histogram,
                "tokens": tokens_of,
                "neighbours": {"decoder": near, "cofiring": near},
            }
        )

    made = [page(feature) for feature in range(64)]
    with Workspace(tmp_path_factory.mktemp("large")).create("features", name="large") as draft:
        pages = ((3 * i, made[i % 64]) for i in range(16_384))
        assert list(write_pages(draft.folder / "pages.parquet", pages))[-1] == 16_384
    return draft.kept


def test_a_page_of_16384_is_fetched_quickly(large):
    read.feature_page(large, 0)  # the first one checks the file's hash
    seconds = []
    for feature in np.random.default_rng(1).choice(16_384, 200) * 3:
        start = time.perf_counter()
        read.feature_page(large, int(feature))
        seconds.append(time.perf_counter() - start)
    assert np.percentile(seconds, 95) < 0.1, f"median {np.median(seconds):.4f} s"


def test_reading_and_plotting_load_no_torch():
    ours = [f"rmviz.features.{name}" for name in ("read", "export")]
    ours += [f"rmviz.plots.{name}" for name in ("features", "rewards", "tokens", "captions")]
    heavy = ("torch", "umap", "transformers", "streamlit", "sae_lens")
    code = f"import sys, {', '.join(ours)}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
