import json

import numpy as np
import pandas as pd
import pytest

from rmviz.features.read import ranked
from rmviz.plots import captions
from rmviz.plots.features import (
    activation_histogram,
    effect_bars,
    effect_distribution,
    effect_histogram,
    feature_map,
    feature_volcano,
    robust_limit,
)
from rmviz.plots.prefixes import Curve, prefix_panels
from rmviz.plots.rewards import before_after_bars, margin_histogram, reward_scatter
from rmviz.plots.style import NEGATIVE, POSITIVE, SIGN, label

HISTOGRAM = {"edges": [-1.0, 0.0, 1.0, 2.0], "counts": [3, 2, 1]}
HOSTILE = '<a href="http://evil.test">x</a>\n&'


@pytest.fixture(params=[0, 1, 40, 4000])
def table(request):
    n = request.param
    rng = np.random.default_rng(0)
    columns = {
        f"{by}_effect{end}": rng.normal(size=n) for by in ("mean", "firing", "margin") for end in ("", "_low", "_high")
    }
    columns |= {f"{by}_effect_q": rng.random(n) for by in ("mean", "firing", "margin")}
    table = pd.DataFrame(
        {"feature": np.arange(n) * 2, "top_tokens": [HOSTILE] * n, **columns, "num_texts": 5, "num_pairs": 3}
    )
    table["template"], table["ever_firing"] = rng.random(n) < 0.2, rng.random(n) < 0.2
    table["density"], table["umap_x"], table["umap_y"] = rng.random(n), rng.normal(size=n), rng.normal(size=n)
    if n > 2:
        table.loc[1, "margin_effect"] = np.nan
    return table


def _all(table):
    return [
        feature_volcano(table),
        feature_volcano(table, by="margin", against="density"),
        feature_map(table, by="margin"),
        effect_bars(ranked(table, "firing"), by="firing"),
        effect_distribution(table),
        activation_histogram(HISTOGRAM, feature=3),
        effect_histogram(HISTOGRAM),
    ]


def _rewards():
    pairs = pd.DataFrame({"pair_id": [HOSTILE, "b"], "chosen_reward": [1.0, -1.0], "rejected_reward": [0.0, 2.0]})
    curves = [
        Curve(HOSTILE, HOSTILE, [1, 9], ["a", HOSTILE], [float("nan"), 0.5]),
        Curve(HOSTILE, "after", [], [], []),
        Curve("other", HOSTILE, [-2, 9], ["a", HOSTILE], [1.0, 0.5]),
    ]
    return [
        prefix_panels(curves, shared_until=1),
        prefix_panels(curves, shared_until=1, standardised=True),
        prefix_panels([]),
        before_after_bars([HOSTILE], [1.0], [0.5]),
        margin_histogram([1.0, -0.5, float("nan")]),
        margin_histogram([]),
        reward_scatter(pairs),
        reward_scatter(pairs.head(0)),
    ]


def _text(figure):
    return figure.layout.title.text + " " + figure.layout.title.subtitle.text


def test_every_figure_says_units_n_and_sign(table):
    for figure in _all(table) + _rewards():
        json.loads(figure.to_json())
        assert figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert "n = " in _text(figure)
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    for figure in [figure for i, figure in enumerate(_all(table)) if i != 5]:
        assert SIGN in _text(figure)


def test_no_text_from_data_becomes_markup(table):
    for figure in _all(table) + _rewards():
        for trace in figure.data:
            trace.customdata = None  # ids for code, never drawn
        assert "<a" not in figure.to_json().replace("\\u003c", "<")


def test_dots_carry_their_feature_as_lists(table):
    for figure in (feature_volcano(table), feature_map(table)):
        shown = [point for trace in figure.data for point in trace.customdata]
        assert sorted(feature for (feature,) in shown) == table["feature"].tolist()


def test_colours_are_symmetric_about_zero(table):
    marker = feature_map(table).data[0].marker
    assert marker.cmin == -marker.cmax and marker.cmax > 0 and marker.cmid == 0
    assert robust_limit([0.0]) == 1.0 and robust_limit([]) == 1.0 and robust_limit([np.nan, -2.0]) == 2.0


def test_bars_run_from_the_first_row_on_top():
    table = pd.DataFrame(
        {
            "feature": [1, 2],
            "top_tokens": ["a", "b"],
            "mean_effect": [0.5, -1.0],
            "mean_effect_low": [0.4, -1.5],
            "mean_effect_high": [0.7, -0.9],
            "num_texts": [3, 900],
            "num_pairs": [2, 400],
        }
    )
    figure = effect_bars(table)
    bars = figure.data[0]
    assert bars.customdata[-1] == [1] or bars.customdata[-1] == (1,)
    assert list(bars.marker.color) == [NEGATIVE, POSITIVE]
    assert np.allclose(bars.error_x.array, [0.1, 0.2]) and np.allclose(bars.error_x.arrayminus, [0.5, 0.1])
    assert "n = 3–900" in _text(figure)


def test_margins_are_counted_once_each():
    figure = margin_histogram([1.0, 0.0, -0.5, 2.0])
    assert [sum(trace.y) for trace in figure.data] == [2, 2]
    assert "50.0% of pairs right" in _text(figure)


def test_effect_distribution_counts_every_feature(table):
    assert sum(effect_distribution(table).data[0].y) == len(table)


@pytest.mark.parametrize("kind", captions.KINDS)
def test_captions_are_one_meaning_with_their_facts(kind):
    text = captions.caption(kind, n_pairs=200, n_texts=1, n_features=12_000, seed=3, source="effects-1")
    assert (
        "n = 200 pairs" in text
        and "n = 1 text," in text
        and "12,000" in text
        and "seed 3" in text
        and text.endswith(".")
    )
    assert ("Effect = reward with" in text) == (kind in captions._WITH_SIGN)


def test_labels_are_one_short_line():
    assert label("a\nb") == "a↵b"
    assert len(label("x" * 500)) == 60
    assert label("<b>&") == "&lt;b&gt;&amp;"
