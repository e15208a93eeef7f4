import json

import numpy as np
import pandas as pd
import pytest

from rmviz.plots.compare import (
    accuracy_dots,
    calibration_curves,
    compared_scatter,
    effect_moves,
    length_dots,
    slice_dots,
    step_lines,
)
from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE

HOSTILE = '<a href="http://evil.test">x</a>\n&'
FIELDS = ("accuracy", "difference", "length", "reward_length", "margin")


def models(count):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"name": [HOSTILE] * count, "n": 40, "step": np.arange(count) * 10, "ece": rng.random(count)})
    for field in FIELDS:
        value = rng.random(count)
        table = table.assign(**{field: value, f"{field}_low": value - 0.1, f"{field}_high": value + 0.1})
    return table


def slices(low, high):
    columns = {"value": HOSTILE, "difference": (low + high) / 2, "difference_low": low, "difference_high": high}
    return pd.DataFrame([{**columns, "num_common": 12, "num_flips": 3}])


def clean(figure):
    text = json.dumps(json.loads(figure.to_json()))
    assert "<a href" not in text and "NaN" not in text
    return text


@pytest.mark.parametrize("count", [1, 2, 9])
def test_figures_of_models_say_n_and_escape_names(count):
    for figure in (
        accuracy_dots(models(count)),
        length_dots(models(count)),
        step_lines(models(count), "margin", "t", "y", 0),
    ):
        assert "n = 40 pairs" in clean(figure)
    assert accuracy_dots(models(count)).data[0].y == tuple(range(count))


@pytest.mark.parametrize(
    ("low", "high", "colour"), [(0.1, 0.2, POSITIVE), (-0.2, -0.1, NEGATIVE), (-0.1, 0.2, NEUTRAL)]
)
def test_a_part_is_coloured_only_beyond_its_interval(low, high, colour):
    figure = slice_dots(slices(low, high), HOSTILE, HOSTILE)
    assert figure.data[0].marker.color == (colour,) and "12 pairs, 3 changed side" in clean(figure)


def test_parts_without_pairs_are_left_out():
    figure = slice_dots(slices(0.1, 0.2).assign(num_common=0), "a", "b")
    assert not figure.data[0].x


def test_the_whiskers_are_the_interval():
    bars = slice_dots(slices(-0.1, 0.3), "a", "b").data[0].error_x
    assert bars.array == pytest.approx((0.2,)) and bars.arrayminus == pytest.approx((0.2,))


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_the_scatter_leaves_out_what_has_no_number_and_knows_its_pairs(count):
    texts = pd.DataFrame(
        {"pair_id": [HOSTILE] * 2 * count, "side": ["chosen", "rejected"] * count, "first": 0.5, "second": 0.2}
    ).astype({"first": float, "second": float})
    if count > 1:
        texts.loc[0, "first"] = np.nan
    figure = compared_scatter(texts, "rank", HOSTILE, HOSTILE)
    assert sum(len(trace.x) for trace in figure.data if trace.customdata is not None) == len(texts) - (count > 1)
    assert "<a href" not in json.dumps(
        [figure.layout.to_plotly_json(), [t.hovertext for t in figure.data]], default=str
    )


def test_calibration_and_moves_of_little_or_nothing():
    empty = pd.DataFrame(columns=["predicted", "observed", "low", "high", "n"], dtype=float)
    one = pd.DataFrame({"predicted": [0.7], "observed": [0.8], "low": [0.6], "high": [0.9], "n": [10]})
    assert "10 pairs" in clean(calibration_curves({HOSTILE: one, "empty": empty}))
    columns = ["feature_first", "feature_second", "effect_first", "effect_second", "correlation", "words"]
    moves = pd.DataFrame([[1, 2, 0.1, -0.1, 0.9, HOSTILE]], columns=columns)
    assert "effect = reward with the feature" in clean(effect_moves(moves, HOSTILE, "b"))
    assert not effect_moves(moves[:0], "a", "b").data[0].x
