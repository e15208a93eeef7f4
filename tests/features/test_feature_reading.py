import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from rmviz.bench.pages import run_bench
from rmviz.features import read

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


def test_a_page_of_16384_is_fetched_quickly():
    found = run_bench(num_reads=200)
    assert found["num_features"] == 16_384 and found["largest_bytes"] <= 30_000
    assert 0 < found["seconds_median"] <= found["seconds_p95"] < 0.1


def test_reading_and_plotting_load_no_torch():
    ours = [f"rmviz.features.{name}" for name in ("read", "export")]
    ours += [f"rmviz.plots.{name}" for name in ("features", "rewards", "tokens", "captions")]
    heavy = ("torch", "umap", "transformers", "streamlit", "sae_lens")
    code = f"import sys, {', '.join(ours)}; sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or None)"
    subprocess.run([sys.executable, "-c", code], check=True)
