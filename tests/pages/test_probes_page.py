import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from rmviz.probes.export import page
from rmviz.probes.told import lines, told
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.ui.probe_item import ordered
from rmviz.ui.probe_tokens import matching

build_probes = runpy.run_path(str(Path(__file__).with_name("probed.py")))["build_probes"]
KINDS = ["euphemism", "spec", "bias", "tokens"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("probed") / "workspace"


@pytest.fixture(scope="module")
def kept(root):
    return build_probes(root, "sae-x")


@pytest.fixture
def probes(open_page, root, kept):
    return lambda what, **params: open_page("probes", root=root, probe=kept[what].id, **params)


def test_an_empty_workspace_says_what_to_do(open_page, text_of, tmp_path):
    words = text_of(open_page("probes", root=tmp_path / "nothing"))
    assert "Nothing to probe yet" in words and "rmviz demo --workspace" in words


def test_an_sae_and_data_lead_to_forms_and_commands(open_page, text_of, planted):
    test = open_page("probes")
    assert f"rmviz probe bias {planted['sae'].id} {planted['dataset'].id} --workspace" in text_of(test)
    test.button(key="start-bias").click().run()
    draft = test.session_state["_job-drafts"]["probe.bias"]
    assert draft.values["sae"] == planted["sae"].id and draft.values["dataset"] == planted["dataset"].id


@pytest.mark.parametrize("what", KINDS)
def test_every_kind_shows_no_markup_of_the_data(what, probes, text_of):
    test = probes(what)
    assert not test.exception and not test.error
    words = text_of(test)
    assert re.search(r"n = [\d,]+", words) and "What next" in words
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    for kind in ("markdown", "caption", "warning", "info", "subheader"):
        for element in getattr(test, kind):
            unescaped = re.sub(r"\\.", "", str(element.value))
            assert "![" not in unescaped and "](" not in unescaped and "<img" not in unescaped


@pytest.mark.parametrize("what", KINDS)
def test_every_kind_is_told_and_exported(what, kept):
    words = lines(told(kept[what]))
    assert what in words[0] and len(words) >= 3
    assert not re.search(r"<(img|script|svg|iframe)", page(kept[what]), re.IGNORECASE)


def test_the_figures_of_a_euphemism_test_are_its_tables(probes, text_of, kept):
    items = load_table(kept["euphemism"].path("items.parquet"))
    own = items[items["features"] == "pregnancy"].iloc[0]
    words = text_of(probes("euphemism"))
    assert f"{own['gap']:+.3g}" in words and "60 %" in words and "2 %" in words and "features of money" in words
    assert f"{own['remaining']:+.3g}" in words and "3 off" in words
    assert words.count('class="rm-text"') == 2


def test_the_open_case_follows_the_link_and_the_order(probes, text_of, kept):
    cases = load_table(kept["euphemism"].path("cases.parquet"))
    test = probes("euphemism", case="5", order="down")
    assert f"reward {cases['reward_with'][5]:+.3g}".replace("-", "−") in text_of(test)
    assert test.dataframe[1].value["gap"].is_monotonic_increasing
    assert np.abs(ordered(cases, "size")["gap"]).is_monotonic_decreasing
    assert ordered(cases, "alike")["similarity"].is_monotonic_increasing


def test_the_battery_ranks_and_opens_an_edit(probes, text_of, kept):
    test = probes("bias", item="typos")
    assert test.dataframe[0].value["item"].tolist()[0] == "padding"
    assert test.subheader[0].value == "typos"
    unseen = text_of(probes("bias", item="spaces"))
    assert "reads the same tokens with and without" in unseen
    assert probes("bias", item="gone").warning


def test_carriers_go_into_a_draft_of_a_patched_model(probes):
    test = probes("euphemism")
    test.button(key="probe-patch").click().run()
    assert test.session_state["_job-drafts"]["model.patch"].values["features"] == "3, 5, 7"


def test_tokens_are_searched_literally(probes, kept):
    table = load_table(kept["tokens"].path("tokens.parquet"))
    assert matching(table, "WORD12", "all")["token"].str.contains("word12").all()
    assert matching(table, "[", "all")["token"].str.contains("[", regex=False).all()
    assert set(matching(table, "feature:3", "all")["feature"]) == {3}
    assert matching(table, "", "special")["special"].all() and len(matching(table, "", "ordinary")) == 297
    test = probes("tokens", show="special")
    assert len(test.dataframe[0].value) == 3


def test_a_finished_probe_is_linked_from_the_overview(open_page, root, kept):
    test = open_page("overview", root=root)
    assert any("Probe" in element.value for element in test.subheader)
    assert Workspace(root).list("probe")
