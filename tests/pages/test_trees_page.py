"""The page of search trees: what is drawn is what search left, and a link opens one pair of one tree."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

from rmviz.plots.trees import MOST, path, search_tree

TREED = runpy.run_path(str(Path(__file__).with_name("treed.py")))
nodes, ROWS, COLUMNS = TREED["nodes"], TREED["ROWS"], TREED["COLUMNS"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return TREED["build_trees"](tmp_path_factory.mktemp("trees"))


def test_without_a_tree_the_page_says_what_makes_one(open_page, text_of, tmp_path):
    text = text_of(open_page("trees", root=tmp_path))
    assert "No tree has been searched yet" in text and "rmviz data mcts" in text


def test_a_tree_with_its_pairs(open_page, text_of, searched):
    test = open_page("trees", root=searched.folder.parents[1])
    text = text_of(test)
    assert "paid 1: **a c**" in text and "paid 0.4: b \\<b\\>" in text
    assert "n = 1 pair, n = 5 texts, seed 3" in text
    assert test.query_params["tree"] in ("0", ["0"])
    (table,) = [one for one in test.dataframe if "pair_id" in one.value]
    assert table.value["chosen"].tolist() == ["a c"]


def test_a_link_opens_one_pair_of_one_tree(open_page, text_of, searched):
    root = searched.folder.parents[1]
    test = open_page("trees", root=root, dataset="searched", tree="0", pair="T000000-0")
    assert test.query_params["pair"] in ("T000000-0", ["T000000-0"])
    assert "<b>chosen</b>" in text_of(test) and "paid 0<" in text_of(test)
    test = open_page("trees", root=root, dataset="searched", tree="5")
    assert test.selectbox(key="pick-tree").value == 5 and "gave no pair" in text_of(test)
    assert "Tree “99” was not kept" in text_of(open_page("trees", root=root, tree="99"))


def test_the_figure_draws_every_node_and_the_way_to_both_sides_of_a_pair():
    figure = search_tree(nodes(), [(2, 3)], chosen=0)
    edges, chosen, rejected, dots = figure.data
    assert len(dots.x) == 5 and list(dots.y) == [0, 1, 2, 1, 2] and list(dots.marker.color) == [row[6] for row in ROWS]
    place = dict(zip(range(5), zip(dots.x, dots.y, strict=True), strict=True))
    assert [(x, y) for x, y in zip(chosen.x, chosen.y, strict=True) if x is not None] == [
        place[0], place[1], place[1], place[2],
    ]  # fmt: skip
    assert [(x, y) for x, y in zip(rejected.x, rejected.y, strict=True) if x is not None] == [place[0], place[3]]
    assert sum(x is None for x in edges.x) == 4
    assert path({0: -1, 1: 0, 2: 1}, 2) == [0, 1, 2]
    assert "&lt;b&gt;" in dots.hovertext[0] and len({*zip(dots.x, dots.y, strict=True)}) == 5


def test_a_large_tree_is_drawn_by_its_most_visited_nodes_and_nothing_hangs_in_the_air():
    rows = [(0, -1, 0, "", 1.0, 2000, 0.5, False, "", 0.5)]
    rows += [
        (i, (i - 1) // 2, i.bit_length(), "x", 0.5, max(1, 2000 // (i + 1)), 0.5, False, "", 0.5) for i in range(1, 900)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    figure = search_tree(table, [(899, 898)])
    edges, dots = figure.data[0], figure.data[-1]
    assert len(dots.x) <= MOST and len(edges.x) == 3 * (len(dots.x) - 1)
