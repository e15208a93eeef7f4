"""Heat maps: what they say must follow from their cells."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.plots import map_curves
from rmviz.plots.confusion import confusion_cells
from rmviz.plots.maps import (
    CELL,
    Scale,
    cell_size,
    common_scale,
    figure,
    hatching,
    map_cells,
    map_figure,
)

VALUES = st.lists(st.floats(-1e4, 1e4) | st.just(float("nan")), min_size=1, max_size=30)


def cells(values, draws=None, thin=None):
    count = len(values)
    return pd.DataFrame(
        {
            "cell": range(count),
            "row": [f"r{i // 5}" for i in range(count)],
            "column": [f"c{i % 5}" for i in range(count)],
            "best": values,
            "draws": [7] * count if draws is None else draws,
            "thin": [False] * count if thin is None else thin,
        }
    )


@given(VALUES, st.booleans())
def test_every_value_lies_on_the_scale_and_order_is_kept(values, diverging):
    scale = common_scale([np.array(values)], diverging=diverging)
    known = sorted(value for value in values if np.isfinite(value))
    shares = [scale.share(value) for value in known]
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)
    if diverging:
        assert scale.share(0.0) == 0.5 and scale.low == -scale.high


@given(VALUES, VALUES)
def test_maps_that_are_compared_share_one_scale(one, other):
    both = common_scale([np.array(one), np.array(other)])
    assert both == common_scale([np.array(other), np.array(one)])
    for values in (one, other):
        alone = common_scale([np.array(values)])
        if np.isfinite(values).any():
            assert both.low <= alone.low and both.high >= alone.high


@given(VALUES, st.integers(0, 29))
def test_a_cell_without_a_figure_has_no_colour_and_one_cell_at_most_is_set_off(values, chosen):
    drawn = map_cells(cells(values, thin=[True] * len(values)), "best", common_scale([np.array(values)]), chosen=chosen)
    finite = np.isfinite(values)
    assert drawn["known"].tolist() == finite.tolist() == drawn["value"].notna().tolist()
    assert not drawn.loc[~finite, "hatched"].any() and drawn.loc[finite, "hatched"].all()
    assert drawn["chosen"].sum() == (chosen < len(values))


def test_a_choice_changes_the_table_and_not_the_specification():
    values = np.arange(6.0)
    scale = common_scale([values])
    one, other = (map_cells(cells(values), "best", scale, chosen=chosen) for chosen in (1, 2))
    assert [name for name in one if not one[name].equals(other[name])] == ["chosen"]


def test_empty_thin_and_full_cells_are_told_apart_in_words():
    table = cells([1.0, 2.0, np.nan, np.nan], draws=[40, 3, 3, 0], thin=[False, True, True, True])
    says = map_cells(table, "best", common_scale([table["best"].to_numpy()]))["says"].tolist()
    assert says[0] == "r0, c0: 1.00 (n = 40)" and "too few draws" in says[1]
    assert says[2] == "r0, c2: no figure (n = 3)" and says[3] == "r0, c3: no figure (empty)"


@pytest.mark.parametrize(
    ("value", "name", "signed", "text"),
    [(-0.5, "best", False, "−0.50"), (0.5, "best", True, "+0.50"), (0.0, "effect", True, "0"), (12.0, "draws", False, "12"),
     (0.25, "right_share", False, "25 %"), (float("nan"), "best", False, "–"), (123456.0, "best", False, "1.23e+05")],
)  # fmt: skip
def test_figures_read_as_they_should(value, name, signed, text):
    assert figure(value, name, signed=signed) == text


def test_small_values_get_the_digits_that_tell_them_apart():
    assert Scale(low=-0.014, high=0.014).decimals == 3 and Scale(low=0, high=5).decimals == 2
    assert Scale(low=0, high=0).decimals == 2 and Scale(low=0, high=1e-30).decimals == 6


def test_text_reads_on_its_colour():
    drawn = map_cells(cells([0.0, 1.0]), "best", Scale(low=0.0, high=1.0))
    assert drawn["bright"].tolist() == [False, True], "white on violet, dark on yellow"
    middle = map_cells(cells([0.0]), "best", Scale(low=-1.0, high=1.0, diverging=True))
    assert middle["bright"].tolist() == [True]


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_cells_can_be_clicked_however_many_there_are(rows, columns, small):
    width, height = cell_size(rows, columns, small=small)
    assert width >= 12 and height >= 12


@given(st.floats(0.2, 1.0))
def test_hatching_stays_inside_its_cell(aspect):
    points = np.array([[float(x), float(y)] for x, y in re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", hatching(aspect))])
    assert len(points) > 6
    assert np.abs(points[:, 0]).max() <= 1.001 and np.abs(points[:, 1]).max() <= aspect + 0.002


def test_a_click_gives_the_cell_and_a_still_map_takes_none():
    scale = Scale(low=0.0, high=1.0)
    params = [layer.get("params") for layer in map_figure(["a", "b"], ["c", "d"], scale)["layer"]]
    assert [p[0]["name"] for p in params if p] == [CELL] and params[0][0]["select"]["fields"] == ["cell"]
    assert "params" not in json.dumps(map_figure(["a", "b"], [""], scale, clickable=False))


def test_labels_keep_their_order_and_one_axis_has_no_columns():
    spec = map_figure(["z", "a"], [""], Scale(low=0.0, high=1.0), names=("words", ""))
    assert spec["encoding"]["y"]["scale"]["domain"] == ["z", "a"] and spec["encoding"]["x"]["axis"] is None


def test_shares_of_a_confusion_sum_to_one_in_each_row():
    table = pd.DataFrame(
        [("tone", "happy", "happy", 3), ("tone", "happy", "dark", 1), ("tone", "dark", "dark", 0), ("tone", "", "dark", 2),
         ("tone", "happy", "", 4), ("other", "x", "y", 9)], columns=["axis", "asked", "judged", "count"],
    )  # fmt: skip
    drawn, rows, columns = confusion_cells(table, "tone", ["happy", "dark"])
    assert rows == ["happy", "dark", "none"] and columns == ["happy", "dark", "none"]
    shares = drawn.groupby("row", sort=False)["value"].sum(min_count=1)
    assert shares["happy"] == pytest.approx(1) and shares["none"] == pytest.approx(1) and np.isnan(shares["dark"])
    assert drawn["rests"].tolist()[0] == "n = 3"


def test_bands_hold_their_means():
    bands = pd.DataFrame(
        {"method": ["qdaif", "random"], "attempts": [5, 5], "measure": "best", "mean": [1.0, 0.5], "low": [0.5, 0.1],
         "high": [1.5, 0.9], "runs": 2}
    )  # fmt: skip
    points = map_curves.band_points(bands, "best")
    assert points["method"].tolist() == ["QDAIF", "random"] and map_curves.band_points(bands, "coverage").empty
    spec = map_curves.band_figure(["random"], "best", upto=5)
    assert spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["random"]
    assert spec["layer"][-1]["encoding"]["x"] == {"datum": 5}


def test_a_method_keeps_its_colour_whatever_stands_beside_it():
    def colour(methods, name):
        scale = map_curves.band_figure(methods, "best")["layer"][1]["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))[name]

    assert colour(["random"], "random") == colour(["qdaif", "random"], "random")


def test_means_stand_lowest_first():
    means = pd.DataFrame(
        {
            "label": ["a", "b"],
            "mean": [2.0, 1.0],
            "low": 0.0,
            "high": 3.0,
            "num_cells": 5,
            "p_lowest": 0.5,
            "p_adjusted": 1.0,
        }
    )
    points = map_curves.mean_points(means)
    assert points["label"].tolist() == ["b", "a"]
    assert map_curves.mean_figure(["b", "a"], "tone")["encoding"]["y"]["sort"] == ["b", "a"]
