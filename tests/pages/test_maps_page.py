"""The Maps page on maps that the job's own code wrote from dice."""

import re
import shutil

import numpy as np
import pytest

from rmviz.errors import BackendError
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.ui import map_export, map_link

VIEWS = ("map", "history", "means", "labels", "several", "changes")
MAPS = ("map", "line", "hostile")


@pytest.fixture
def open_maps(open_page, mapped):
    """Open the Maps page of the workspace that has maps."""
    root = mapped["map"].folder.parents[1]
    return lambda name="map", **params: open_page("maps", root=root, map=mapped[name].id, **params)


def best_cell(artifact):
    cells = load_table(artifact.path("cells.parquet"))
    cells = cells[cells["by"] == "judged"].reset_index(drop=True)
    return cells.loc[cells["expected_best"].idxmax()]


def links(test):
    return [str(link.proto.query_string) for link in test.get("page_link")]


def said(elements):
    return " ".join(re.sub(r"\\", "", element.value) for element in elements)


def test_without_a_map_the_page_says_how_to_make_one(open_page, text_of, tmp_path):
    with Workspace(tmp_path).create("reward_model", name="my rm") as draft:
        (draft.folder / "reward_model.json").write_text("{}")
    test = open_page("maps", root=tmp_path)
    words = text_of(test)
    assert "No map has been drawn yet" in words and "rmviz map run 'my rm' POLICY" in words
    assert any("kind=map" in link for link in links(test)) and not test.error


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", MAPS)
def test_every_view_of_every_map_draws(name, view, open_maps):
    test = open_maps(name, view=view)
    assert not test.error and not test.exception and not test.warning
    assert test.title[0].value == "Maps"


@pytest.mark.parametrize("value", ["best", "median", "q90", "draws", "right_share"])
@pytest.mark.parametrize("by", ["judged", "asked"])
def test_every_value_draws_and_stands_in_the_link(value, by, open_maps, text_of):
    test = open_maps(value=value, by=by)
    assert not test.error and test.query_params["value"] == value
    assert "seed 0" in text_of(test) and ("asked for" if by == "asked" else "judge found") in text_of(test)


def test_the_best_cell_is_open_with_its_poems_ranked(open_maps, text_of, mapped):
    test = open_maps()
    best = best_cell(mapped["map"])
    words = text_of(test)
    assert test.query_params["cell"] == str(best["cell"])
    assert f"{best['row']} × {best['column']}" in words and "★ elite" in words
    rewards = [float(r.replace("−", "-")) for r in re.findall(r"<b>\d+\. ([+−][\d.]+)</b>", words)]
    assert len(rewards) == 5 and rewards == sorted(rewards, reverse=True)
    assert rewards[0] == pytest.approx(best["best"], abs=1e-3)


@pytest.mark.parametrize(("picked", "cell"), [([{"cell": 7}], 7), ([], 3), (None, 3), ([{}], 3)])
def test_a_click_opens_its_cell_and_one_beside_the_cells_changes_nothing(picked, cell, monkeypatch):
    state = {"key": {"selection": {"cell": picked}}, map_link.CELL: 3, map_link.POEM: (1, "family")}
    monkeypatch.setattr("rmviz.ui.map_link.st.session_state", state)
    map_link.choose("key")
    assert state[map_link.CELL] == cell and (map_link.POEM in state) == (cell == 3)


def test_the_chosen_cell_stays_when_the_value_changes(open_maps, text_of):
    test = open_maps(cell="7")
    test.button_group(key="pick-maps-value").set_value("draws").run()
    assert test.query_params["cell"] == "7" and "sonnet × mysterious" in text_of(test)


def test_a_link_to_a_cell_opens_it(open_maps, text_of):
    test = open_maps(cell="24")
    assert "hymn × reflective" in text_of(test) and test.query_params["cell"] == "24" and not test.warning


@pytest.mark.parametrize("cell", ["25", "-1", "x", "1" * 4000, "<img src=x>", "٣", ""])
def test_a_bad_cell_in_the_link_is_said_and_the_best_is_shown(cell, open_maps, mapped):
    test = open_maps(cell=cell)
    assert "its cells are numbered from 0 to 24" in said(test.warning)
    assert test.query_params["cell"] == str(best_cell(mapped["map"])["cell"])


def test_a_link_to_another_map_is_said(open_page, mapped):
    test = open_page("maps", root=mapped["map"].folder.parents[1], map="map-gone")
    assert "map-gone" in said(test.warning) and not test.error


@pytest.mark.parametrize("params", [{"view": "history", "after": "0"}, {"view": "history", "after": "9" * 50},
                                    {"view": "several", "with": "map-gone"}, {"poem": "123456"}, {"poem": "<b>"},
                                    {"view": "changes", "comparison": "gone"}])  # fmt: skip
def test_other_bad_links_are_sentences(params, open_maps):
    test = open_maps(**params)
    assert len(test.warning) == 1 and not test.error


@pytest.mark.parametrize(
    "params", [{"value": "nonsense"}, {"by": "<b>"}, {"view": "nowhere"}, {"show": "x", "poem": "60"}]
)
def test_what_a_link_cannot_choose_falls_back(params, open_maps):
    test = open_maps(**params)
    assert not test.error and not test.warning


def test_a_link_to_a_poem_opens_its_cell_its_page_and_its_family(open_maps, text_of, mapped):
    attempts = load_table(mapped["map"].path("attempts.parquet"), filters=[("run", "==", 0)])
    cell = attempts[attempts["judged"] == 3].sort_values("reward", ascending=False)
    cell = cell[np.isfinite(cell["reward"]) & (cell["problem"] == "") & (cell["parents"].map(len) > 0)]
    poem = int(cell["attempt_id"].iloc[-1])
    test = open_maps(poem=str(poem))
    words = text_of(test)
    assert test.query_params["cell"] == "3" and f"#{poem} · " in words and "<h5>Parents</h5>" in words
    assert test.query_params["poem"] == str(poem) and test.query_params["show"] == "family"


def test_a_button_opens_a_family_and_closes_it(open_maps, text_of):
    test = open_maps()
    button = next(b for b in test.button if str(b.key).endswith("-family"))
    test.button(key=button.key).click().run()
    words = text_of(test)
    assert "<h5>Parents</h5>" in words or "no other poem went into it" in words
    test.button(key=button.key).click().run()
    assert "poem" not in test.query_params


def test_features_of_a_poem_are_asked_for_only_on_a_click(open_maps, text_of, fake):
    test = open_maps()
    assert not fake.requests
    button = next(b for b in test.button if str(b.key).endswith("-features"))
    test.button(key=button.key).click().run()
    assert fake.requests == ["/features"] and not test.error
    assert "activation of feature" in text_of(test) and "Effect = reward with the feature" in text_of(test)
    picker = test.selectbox(key="map-feature")
    picker.set_value(picker.options and [int(o.split(" ")[0]) for o in picker.options][1]).run()
    assert not test.error and "activation of feature" in text_of(test)


def test_a_backend_that_is_gone_is_a_sentence(open_maps, fake):
    fake.broken = BackendError("the backend stopped twice over this request")
    test = open_maps()
    button = next(b for b in test.button if str(b.key).endswith("-features"))
    test.button(key=button.key).click().run()
    assert "stopped twice" in test.error[0].value


def test_the_history_follows_the_slider(open_maps, text_of):
    test = open_maps(view="history", after="50")
    assert test.slider[0].value == 50 and "after 50 attempts of 400" in text_of(test)
    test.slider[0].set_value(400).run()
    assert "after 400 attempts of 400" in text_of(test) and "after" not in test.query_params
    assert "means over 2 runs" in text_of(test)


def test_rows_and_columns_get_a_sentence_with_a_p_value(open_maps, text_of):
    words = said(open_maps(view="means").markdown)
    assert len(re.findall(r"(The lowest|No) (genre|tone) .*?p [=<] [\d.]+", words)) == 2
    assert words.count("lowest") >= 2 and "words" in text_of(open_maps("line", view="means"))


def test_labels_are_told_by_axis(open_maps):
    assert len(re.findall(r"\d+ % of \d+ poems have the (genre|tone)", said(open_maps(view="labels").markdown))) == 2


def test_maps_stand_side_by_side(open_maps, mapped, text_of):
    test = open_maps(view="several", **{"with": mapped["line"].id})
    assert mapped["line"].id in said(test.caption) and "one colour scale" in said(test.caption)
    test.multiselect(key="map-with").set_value([mapped["line"].id, mapped["hostile"].id]).run()
    assert test.query_params["with"].count(",") == 1
    test.toggle[0].set_value(True).run()
    assert "standard deviations" in said(test.caption) and not test.error


@pytest.mark.parametrize(("name", "sentences"), [("difference", 3), ("one-sided", 3), ("ablation", 3)])
def test_a_comparison_has_a_sentence_for_each_panel_and_both_rewards(name, sentences, open_page, mapped, text_of):
    root = mapped["map"].folder.parents[1]
    test = open_page("maps", root=root, comparison=mapped[name].id, cell="6")
    words = text_of(test)
    assert test.query_params["map"] == mapped["map"].id, "a comparison opens the map that it is of"
    assert len([m for m in test.markdown if re.search(r"poems\\?\.|lowest in", m.value)]) == sentences
    assert "sonnet × dark" in words and not test.error and not test.warning
    head = re.search(r'<p class="rm-poem-head">.*?</p>', words.split("sonnet × dark")[1], re.S)[0]
    assert head.count("<b>") == 3, "its rank and two rewards"


def test_the_links_to_forms_carry_the_map(open_maps, mapped):
    found = links(open_maps())
    assert any("kind=map_rescore" in link and mapped["map"].id in link for link in found)
    assert any(link.rstrip("&").endswith("kind=map") for link in found)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", MAPS)
def test_text_from_data_never_becomes_markup(name, view, open_maps):
    cells = range(4) if view == "map" and name == "hostile" else [0]
    for cell in cells:
        test = open_maps(name, view=view, **({"cell": str(cell)} if view == "map" else {}))
        for element in test.get("html"):
            assert not re.search(r"<(img|script|svg|iframe|b>gen)", str(element.value), re.IGNORECASE)
        for kind in ("markdown", "caption", "warning", "error", "info"):
            for element in getattr(test, kind):
                unescaped = re.sub(r"\\.", "", str(element.value))
                assert "![" not in unescaped and "](" not in unescaped and "<img" not in unescaped
                assert "http://evil" not in str(element.value)


def test_exports_are_the_files_of_the_command_line(mapped, tmp_path):
    cells = load_table(mapped["map"].path("cells.parquet"))
    cells = cells[cells["by"] == "judged"].reset_index(drop=True)
    assert map_export.png(mapped["map"], cells, "q90").startswith(b"\x89PNG")
    figure = map_export.svg(mapped["map"], cells, "best").decode()
    assert figure.startswith("<svg") and "seed 0" in figure and "romantic" in figure and "n = " in figure
    page = map_export.html(mapped["map"], cells, "draws").decode()
    assert "default-src 'none'" in page and "<script" not in page


def test_a_damaged_map_is_a_sentence(mapped, open_page, tmp_path):
    target = tmp_path / "map" / mapped["map"].folder.name
    shutil.copytree(mapped["map"].folder, target)
    (target / "attempts.parquet").write_bytes(b"PAR")
    assert "is damaged" in open_page("maps", root=tmp_path).error[0].value


def test_a_map_whose_parents_are_gone_still_opens(mapped, open_page, tmp_path, text_of):
    shutil.copytree(mapped["map"].folder, tmp_path / "map" / mapped["map"].folder.name)
    test = open_page("maps", root=tmp_path)
    button = next(b for b in test.button if str(b.key).endswith("-features"))
    test.button(key=button.key).click().run()
    assert "not in this workspace any more" in said(test.info) and not test.error
    assert "have not been scored again" in said(open_page("maps", root=tmp_path, view="changes").info)
    assert "no other map" in said(open_page("maps", root=tmp_path, view="several").info)


def test_the_overview_lists_maps(open_page, mapped):
    test = open_page(root=mapped["map"].folder.parents[1])
    tables = [frame.value for frame in test.dataframe]
    assert any("coverage" in table and len(table) == 3 for table in tables)
    assert any(mapped["hostile"].id in link for link in links(test))


def test_the_form_of_a_rescore_offers_what_is_there(open_page, mapped):
    test = open_page("train", root=mapped["map"].folder.parents[1], kind="map_rescore", map=mapped["line"].id)
    found = {str(w.key).rsplit("-", 1)[1]: w for w in test.selectbox if str(w.key).startswith("form-map_rescore")}
    assert found["map"].value == mapped["line"].id and found["sae"].value is None
    assert not any("needs one" in info.value for info in test.info)
    found["model"].set_value(mapped["reward_model"].id).run()
    assert any(button.key == "launch" for button in test.button) and not test.warning
