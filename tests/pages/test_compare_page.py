import re
import runpy
from pathlib import Path

import pytest

from rmviz.compare.tables import flip_table
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.ui import compare_tables

build_comparison = runpy.run_path(str(Path(__file__).with_name("compared.py")))["build_comparison"]
VIEWS = ["accuracy", "flips", "rewards", "calibration", "length", "features", "splice", "crosscoder", "steps"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("compared") / "workspace"


@pytest.fixture(scope="module")
def kept(root):
    return build_comparison(root)


@pytest.fixture
def compare(open_page, root, kept):
    return lambda **params: open_page("compare", root=root, **params)


def test_an_empty_workspace_says_what_to_do(open_page, text_of, tmp_path):
    test = open_page("compare", root=tmp_path / "nothing")
    assert "takes two reward models" in text_of(test) and "rmviz demo --workspace" in text_of(test)
    assert not (tmp_path / "nothing").exists()


def test_two_models_and_data_lead_to_the_command(open_page, text_of, tmp_path):
    ids = []
    for kind in ("dataset", "reward_model", "reward_model"):
        with Workspace(tmp_path).create(kind, name=kind) as draft:
            (draft.folder / "x").write_bytes(b"")
        ids.append(draft.kept.id)
    assert f"rmviz compare {ids[1]},{ids[2]} {ids[0]} --workspace" in text_of(open_page("compare", root=tmp_path))


def test_comparisons_of_maps_are_not_of_models(open_page, text_of, tmp_path):
    with Workspace(tmp_path).create("comparison", name="of maps") as draft:
        draft.metrics["what"] = "difference"
    assert "Nothing to compare yet" in text_of(open_page("compare", root=tmp_path))


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_says_its_n_and_shows_no_markup_of_the_data(view, compare, text_of):
    test = compare(view=view, pair="pair-0005")
    assert not test.exception and not test.error
    words = text_of(test)
    assert "second − first" in words and re.search(r"n = (\[?[\d,]+|\d)", words)
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    for kind in ("markdown", "caption", "warning", "error", "info"):
        for element in getattr(test, kind):
            unescaped = re.sub(r"\\.", "", str(element.value))
            assert "![" not in unescaped and "](" not in unescaped and "<img" not in unescaped


def test_the_headline_is_the_tables_figures(compare, text_of, kept):
    table = load_table(kept.path("models.parquet"))
    words = text_of(compare())
    last = table.iloc[2]
    assert f"{int(last['num_gained'])} gained, {int(last['num_lost'])} lost" in words
    assert "rewards that are no numbers" in words and "n = 200 pairs" in words and "n = 197 pairs" in words
    assert f"{100 * last['difference']:+.3g} pp" in words


def test_swapping_the_two_models_turns_the_difference(compare, text_of):
    def difference(**params):
        found = re.search(r">([+−\d.]+) pp<", text_of(compare(**params)))
        return float(found.group(1).replace("−", "-"))

    first, last = "reward-model-0", "reward-model-2"
    assert difference(first=first, second=last) == -difference(first=last, second=first) != 0


def test_all_flips_are_listed_and_open(compare, text_of, kept):
    pairs, rewards = load_table(kept.path("pairs.parquet")), compare_tables.values(kept, "reward")
    want = flip_table(pairs, rewards, 0, 2)
    test = compare(view="flips")
    assert test.dataframe[0].value["pair_id"].tolist() == want["pair_id"].tolist() and len(want) > 10
    gained = compare(view="flips", change="gained").dataframe[0].value
    assert (gained["margin_second"] > 0).all() and (gained["margin_first"] < 0).all()
    words = text_of(compare(view="flips", pair=want["pair_id"][0]))
    assert f"{want['pair_id'][0]}</h4>" in words and words.count('class="rm-text"') == 2 and "margin, z" in words


def test_slices_are_cut_and_ordered_by_the_link(compare):
    test = compare(by="topic", order="size")
    assert test.selectbox(key="pick-compare-by").value == "topic" and not test.error


@pytest.mark.parametrize(
    "params", [{"pair": "<img src=x>", "view": "flips"}, {"first": "gone"}, {"comparison": "gone"}]
)
def test_a_link_to_what_is_not_there_is_said(params, compare):
    assert compare(**params).warning


@pytest.mark.parametrize("step", ["200", "7", "x", "1" * 400])
def test_the_slider_takes_the_step_of_the_link(step, compare, text_of):
    test = compare(view="steps", step=step)
    assert f'<span class="v">{200 if step == "200" else 300}</span>' in text_of(test)


def test_features_that_only_one_model_has(compare):
    assert len(compare(view="features").dataframe[0].value) == 6
    assert compare(view="features", show="first").dataframe[0].value.shape[0] == 3
    turned = compare(view="features", show="first", first="reward-model-2", second="reward-model-0")
    assert len(turned.dataframe[0].value) == 1


def test_models_without_a_match_say_how_to_make_one(compare, text_of):
    assert "--effects" in text_of(compare(view="features", second="reward-model-1"))


def test_next_to_nothing_is_said(open_page, text_of, tmp_path):
    build_comparison(tmp_path, num_pairs=1, effects=False)
    for view in VIEWS:
        test = open_page("compare", root=tmp_path, view=view)
        assert not test.error and any("no pair that both" in warning.value for warning in test.warning)
