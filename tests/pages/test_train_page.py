import json
import runpy
from pathlib import Path

import pytest

from rmviz.configs.base import field_docs
from rmviz.configs.files import config_file
from rmviz.configs.kinds import KINDS
from rmviz.configs.sae import SAEConfig
from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
from rmviz.jobs.estimate import Estimate
from rmviz.jobs.records import list_jobs
from rmviz.store.workspace import Workspace
from rmviz.ui import job_drafts
from rmviz.ui.forms import checked, default_values, field_groups, widget_key

make_job = runpy.run_path(str(Path(__file__).with_name("job_folders.py")))["make_job"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No supervisor is started: jobs stay queued."""
    monkeypatch.setattr("rmviz.jobs.queue.kick", lambda root: None)
    monkeypatch.setattr("rmviz.ui.jobs.wake", lambda root: None)


def widget(test, name):
    """The widget of a field of the form that is shown."""
    kinds = ("selectbox", "number_input", "text_input", "toggle")
    found = [w for kind in kinds for w in getattr(test, kind) if str(w.key).startswith("form-")]
    return next(w for w in found if str(w.key).endswith(f"-{name}"))


def said(element):
    """The words of an element, without Markdown's backslashes."""
    return element.value.replace("\\", "")


def command(test):
    return next(code.value for code in test.code if code.value.startswith("rmviz "))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_form_made_from_its_config(kind, open_page, text_of):
    test = open_page("train", kind=kind)
    for name in field_docs(KINDS[kind]):
        assert widget(test, name).label.startswith(f"{name} · ")
    assert not test.error and test.query_params["kind"] == kind


@pytest.mark.parametrize("kind", KINDS)
def test_field_groups_hold_every_field_once(kind):
    names = [name for group in field_groups(kind) for name in group]
    assert sorted(names) == sorted(default_values(kind))


def test_a_number_out_of_range_is_said_beside_the_form(open_page):
    test = open_page("train", kind="sae.train")
    widget(test, "k").set_value(0).run()
    assert said(test.warning[0]) == "k must be at least 1, got 0."
    assert not any(button.key == "launch" for button in test.button)
    widget(test, "k").set_value(4).run()
    assert not test.warning and "--k 4" in command(test)


def test_a_preset_fills_the_form_and_keeps_parents_and_name(open_page, planted):
    test = open_page("train", kind="sae.train")
    widget(test, "name").set_value("mine").run()
    widget(test, "seed").set_value(9).run()
    test.button(key="preset-tiny").click().run()
    assert (
        widget(test, "d_sae").value == 128 and widget(test, "name").value == "mine" and widget(test, "seed").value == 9
    )
    assert widget(test, "model").value == planted["reward_model"].id
    assert "--d-sae 128" in command(test)
    test.button(key="preset-defaults").click().run()
    assert (
        widget(test, "d_sae").value == 2048 and widget(test, "name").value == "mine" and widget(test, "seed").value == 0
    )


def test_changes_outlive_a_look_at_another_kind(open_page):
    test = open_page("train", kind="sae.train")
    widget(test, "k").set_value(5).run()
    test.selectbox(key="train-kind").set_value("effects").run()
    assert widget(test, "num_pairs").value == 500
    test.selectbox(key="train-kind").set_value("sae.train").run()
    assert widget(test, "k").value == 5


def test_launch_queues_one_job_and_opens_it(open_page, tmp_path, text_of):
    test = open_page("train", root=tmp_path, kind="world.data")
    widget(test, "num_pairs").set_value(50).run()
    test.button(key="launch").click().run()
    (job,) = list_jobs(Workspace(tmp_path))
    assert job.kind == "world.data" and job.config["num_pairs"] == 50 and job.state == "queued"
    assert test.title[0].value == "Jobs" and test.query_params["job"] == job.key


def test_the_same_settings_launched_again_are_the_same_job(open_page, tmp_path):
    for _ in range(2):
        test = open_page("train", root=tmp_path, kind="world.data")
        test.button(key="launch").click().run()
    assert len(list_jobs(Workspace(tmp_path))) == 1
    test = open_page("train", root=tmp_path, kind="world.data")
    test.toggle(key="train-again").set_value(True).run()
    assert "--again" in command(test)
    test.button(key="launch").click().run()
    assert len(list_jobs(Workspace(tmp_path))) == 2


def test_a_known_job_is_told(open_page, tmp_path):
    make_job(tmp_path, "world.data", WorldDataConfig(), "succeeded", artifact="dataset-1")
    with Workspace(tmp_path).create("dataset", name="world", key=list_jobs(Workspace(tmp_path))[0].key) as draft:
        (draft.folder / "x").write_bytes(b"x")
    file = tmp_path / "jobs" / list_jobs(Workspace(tmp_path))[0].key / "launch.json"
    file.write_text(json.dumps({"submitted": 1.0}))
    test = open_page("train", root=tmp_path, kind="world.data")
    test.button(key="launch").click().run()
    assert any("was run before" in info.value for info in test.info)


def test_what_clearly_cannot_fit_is_refused(open_page, tmp_path, monkeypatch):
    found = Estimate(seconds=60, memory=2**50, disk=1, basis="a guess", refusals=("it needs 1 PiB of memory",))
    monkeypatch.setattr("rmviz.jobs.estimate.estimated", lambda *_: found)
    test = open_page("train", root=tmp_path, kind="world.data")
    test.button(key="launch").click().run()
    assert said(test.error[0]) == "This cannot run here: it needs 1 PiB of memory." and not list_jobs(
        Workspace(tmp_path)
    )


def test_an_estimate_is_shown_until_the_settings_change(open_page, tmp_path, text_of, monkeypatch):
    found = Estimate(seconds=3725, memory=3 * 2**30, disk=None, basis="from an earlier job")
    monkeypatch.setattr("rmviz.jobs.estimate.estimated", lambda *_: found)
    test = open_page("train", root=tmp_path, kind="world.data")
    test.button(key="estimate").click().run()
    words = text_of(test)
    assert "1 h 02 min" in words and "3.0 GiB" in words and "not known" in words and "From an earlier job." in words
    widget(test, "seed").set_value(1).run()
    assert "1 h 02 min" not in text_of(test)


def test_a_probe_that_cannot_begin_is_a_sentence(open_page, tmp_path, monkeypatch):
    def probe(*_):
        raise job_drafts.RmvizError("the <b>file</b> is gone")

    monkeypatch.setattr("rmviz.jobs.estimate.probe", probe)
    test = open_page("train", root=tmp_path, kind="world.data")
    test.button(key="probe").click().run()
    assert said(test.error[0]) == "The probe could not begin: the <b>file</b> is gone"


def test_a_deleted_parent_is_a_sentence_at_launch(open_page, tmp_path):
    space = Workspace(tmp_path)
    for kind in ("dataset", "sae"):
        with space.create(kind, name=kind) as draft:
            (draft.folder / "x").write_bytes(b"x")
    test = open_page("train", root=tmp_path, kind="effects")
    draft.kept.folder.rename(tmp_path / "gone")
    space.catalogue.file.unlink()
    test.button(key="launch").click().run()
    assert "sae" in said(test.warning[0]).lower() or "no sae called" in said(test.error[0]).lower()
    assert not list_jobs(space)


def test_without_parents_the_page_says_what_comes_first(open_page, tmp_path, text_of):
    test = open_page("train", root=tmp_path, kind="sae.train")
    assert any("no reward model in this workspace yet" in said(info) for info in test.info)
    assert "model and dataset are still empty." in [said(warning) for warning in test.warning]
    test.button(key="make-dataset").click().run()
    assert test.selectbox(key="train-kind").value == "data.add"
    assert not tmp_path.joinpath("jobs").exists(), "looking makes nothing"


def test_a_base_can_be_typed_in(open_page, planted):
    test = open_page("train", kind="train.reward", base="some/folder; x")
    assert widget(test, "base").value == "some/folder; x" and "'some/folder; x'" in command(test)


def test_a_config_file_fills_its_form(open_page, planted):
    test = open_page("train", kind="world.data")
    text = json.dumps(config_file("sae.train", SAEConfig(model=planted["reward_model"].id, dataset="toy pairs", k=3)))
    test.file_uploader[0].upload("sae.train.json", text.encode(), "application/json").run()
    assert test.selectbox(key="train-kind").value == "sae.train"
    assert widget(test, "k").value == 3 and widget(test, "dataset").value == planted["dataset"].id


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "A config file is JSON"),
        ('{"kind": "world.data", "version": 99}', "newer rmviz"),
        ('{"kind": "nothing"}', "No job kind"),
        ('{"kind": "world.data", "colour": 1}', "Unknown setting colour"),
        ('{"kind": "world.data", "num_pairs": 3}', "at least 10"),
        ('{"kind": "world.data", "seed": 1e999}', "must be"),
        ('{"kind": "world.data", "seed": 99999999999999999999}', "a number up to"),
        ("[" * 100_000, "config file"),
        (" " * 1_000_001, "at most"),
    ],
)
def test_a_bad_config_file_is_a_sentence_and_changes_nothing(text, sentence, open_page, tmp_path):
    test = open_page("train", root=tmp_path, kind="world.data")
    test.file_uploader[0].upload("x.json", text.encode(), "application/json").run()
    assert sentence in said(test.error[0]) and widget(test, "num_pairs").value == 6000


def test_a_copy_of_a_job_opens_with_its_settings(open_page, tmp_path):
    key = make_job(tmp_path, "world.policy", WorldPolicyConfig(num_steps=77, name="a/b\n<b>"), "failed")
    test = open_page("train", root=tmp_path, copy=key)
    assert test.selectbox(key="train-kind").value == "world.policy" and widget(test, "num_steps").value == 77
    assert "copy" not in test.query_params
    assert "../x" in open_page("train", root=tmp_path, copy="../x").error[0].value.replace("\\", "")


def test_a_parent_that_is_gone_must_be_chosen_again(open_page, planted):
    test = open_page("train", kind="effects", sae="sae-gone")
    assert widget(test, "sae").value is None
    assert any("no sae called" in warning.value for warning in test.warning)


def test_an_unknown_kind_in_the_link_is_said(open_page):
    test = open_page("train", kind="<img src=x>")
    assert "there is no job kind" in said(test.error[0]).lower().replace("\\", "")


@pytest.mark.parametrize(
    ("address", "allowed"), [("0.0.0.0", False), ("", False), ("localhost", True), ("127.0.0.1", True)]
)
def test_launching_is_off_where_other_machines_can_reach_it(
    address, allowed, open_page, tmp_path, monkeypatch, text_of
):
    monkeypatch.setattr("rmviz.ui.jobs.st.get_option", lambda name: address)
    test = open_page("train", root=tmp_path, kind="world.data")
    assert test.button(key="launch").disabled is not allowed
    assert ("Other machines can reach this app" in text_of(test)) is not allowed
    monkeypatch.setenv("RMVIZ_ALLOW_REMOTE_JOBS", "1")
    assert not open_page("train", root=tmp_path, kind="world.data").button(key="launch").disabled


def test_launching_is_off_in_a_read_only_workspace(open_page, tmp_path, monkeypatch, text_of):
    monkeypatch.setattr("rmviz.ui.router.is_read_only", lambda: True)
    test = open_page("train", root=tmp_path, kind="world.data")
    assert test.button(key="launch").disabled and "read-only" in text_of(test)


def test_checks_name_what_is_missing():
    assert checked("effects", {"sae": None, "dataset": ""}) == (None, "sae and dataset are still empty.")
    config, problem = checked("world.data", default_values("world.data"))
    assert config == WorldDataConfig() and not problem


def test_the_form_takes_types_that_no_kind_uses_yet(monkeypatch):
    from dataclasses import dataclass
    from typing import Literal

    from streamlit.testing.v1 import AppTest

    @dataclass(frozen=True, kw_only=True)
    class OddConfig:
        """Odd."""

        layers: tuple[int, ...] = (1, 2)
        """Layers."""

        rate: float | None = None
        """Rate."""

        mode: Literal["a", "b"] | None = None
        """Mode."""

        note: str | None = None
        """Note."""

        fast: bool = True
        """Fast."""

    monkeypatch.setitem(KINDS, "odd", OddConfig)
    monkeypatch.setattr("rmviz.ui.forms.field_docs", lambda kind: dict.fromkeys(default_values("odd"), "Doc."))

    def script():
        import streamlit as st

        from rmviz.ui import forms

        st.session_state["out"] = forms.config_form("odd", [], forms.default_values("odd"), "f")

    test = AppTest.from_function(script).run()
    assert not test.exception
    assert test.session_state["out"] == {"layers": (1, 2), "rate": None, "mode": None, "note": None, "fast": True}
    test.text_input(key=widget_key("f", "layers")).set_value("3, 4,").run()
    test.number_input(key=widget_key("f", "rate")).set_value(0.5).run()
    assert test.session_state["out"]["layers"] == (3, 4) and test.session_state["out"]["rate"] == 0.5


def test_a_recipe_is_one_click(open_page, tmp_path):
    test = open_page("train", root=tmp_path)
    test.button(key="recipe-iterated").click().run()
    (job,) = list_jobs(Workspace(tmp_path))
    assert job.kind == "recipe" and job.config["name"] == "iterated" and job.config["num_seeds"] == 5
    assert test.title[0].value == "Jobs" and test.query_params["job"] == job.key
    test = open_page("train", root=tmp_path, kind="recipe")
    widget(test, "name").set_value("map").run()
    widget(test, "num_attempts").set_value(100).run()
    assert "rmviz recipe map --num-attempts 100 --queue" in command(test)
    widget(test, "name").set_value("knapsack").run()
    assert "has no num_attempts" in said(test.warning[0])
