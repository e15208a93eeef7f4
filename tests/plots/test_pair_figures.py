"""Figures of margins: bars that add up, and a band around its curve."""

import json

import pandas as pd
import pytest

from rmviz.plots.pairs import explained_curve, waterfall_bars
from rmviz.plots.style import NEGATIVE, POSITIVE

HOSTILE = '<a href="http://evil.test">x</a>'
PARTS = pd.DataFrame({"part": ["base", HOSTILE, "SAE error"], "feature": [-1, 7, -1], "value": [0.5, -2.0, 0.25]})


def test_each_bar_begins_where_the_last_one_ends_and_the_last_is_the_margin():
    bar = waterfall_bars(PARTS, title="t").data[0]
    assert list(bar.base) == [0, 0.5, -1.5, 0] and list(bar.x) == [0.5, -2.0, 0.25, -1.25]
    assert bar.marker.color[:3] == (POSITIVE, NEGATIVE, POSITIVE) and bar.customdata[1][0] == 7
    assert bar.error_x.array is None


def test_whiskers_are_the_interval_and_no_data_is_read_as_markup():
    parts = PARTS.assign(low=[float("nan"), -2.5, 0.0], high=[float("nan"), -1.0, 1.0])
    figure = waterfall_bars(parts, title="t")
    error = figure.data[0].error_x
    assert list(error.array) == [0, 1.0, 0.75, 0] and list(error.arrayminus) == [0, 0.5, 0.25, 0]
    assert HOSTILE not in json.loads(figure.to_json())["layout"]["yaxis"]["ticktext"][1]
    assert all(HOSTILE not in text for text in figure.data[0].hovertext)


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0]])
def test_a_margin_of_nothing_draws(values):
    parts = pd.DataFrame({"part": ["p"] * len(values), "feature": [-1] * len(values), "value": values})
    assert waterfall_bars(parts, title="t").data[0].x[-1] == 0


def test_the_band_goes_up_one_side_and_down_the_other():
    shares = pd.DataFrame(
        {"k": [1, 10], "share": [0.2, 0.6], "share_low": [0.1, 0.5], "share_high": [0.3, 0.7], "num_pairs": 20}
    )
    band, line = explained_curve(shares).data
    assert list(band.x) == [1, 10, 10, 1] and list(band.y) == [0.3, 0.7, 0.5, 0.1]
    assert list(line.y) == [0.2, 0.6] and "60.0%" in line.hovertext[1]
