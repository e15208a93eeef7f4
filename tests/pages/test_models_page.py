"""The Models page: a reward model by slice, an ensemble with its members and errors."""

import json
import runpy
from pathlib import Path

import pytest

from rmviz.configs.data import RatingsConfig
from rmviz.data import load, rate
from rmviz.jobs.run import run_job
from rmviz.store.workspace import Workspace
from rmviz.ui import cached

MODELLED = runpy.run_path(str(Path(__file__).with_name("modelled.py")))
HOSTILE, kept = MODELLED["HOSTILE"], MODELLED["kept"]


def links(test):
    return [link.proto.label.replace("\\", "") for link in test.get("page_link")]


@pytest.fixture
def space(tmp_path):
    return MODELLED["build_models"](tmp_path / "ws")


def test_an_empty_workspace_says_what_to_do(open_page, text_of, tmp_path):
    test = open_page("models", root=tmp_path / "nothing")
    assert not test.exception and "no reward model yet" in text_of(test)


def test_a_reward_model_by_slice(open_page, text_of, space):
    test = open_page("models", root=space.root, model="rm-0")
    text = text_of(test)
    assert not test.exception and "75 %" in text and "70 % to 80 %" in text and "n = 80 pairs" in text
    assert "3 alike, left out; 2 cut to fit" in text and "Part of: both" in links(test) and "<img src=x" not in text
    assert test.dataframe[0].value["value"].tolist() == ["animals", HOSTILE] and len(test.get("plotly_chart")) == 1
    test = open_page("models", root=space.root, model="rm-0", by="longer reply")
    assert test.selectbox(key="pick-models-by").value == "longer reply"


def test_an_ensemble_with_its_members_and_errors(open_page, text_of, space):
    test = open_page("models", root=space.root, model="both")
    text = text_of(test)
    assert not test.exception and "one member" in text and "disagreement: held out" in text and "<img src=x" not in text
    assert "Spearman" in text
    assert len(test.get("plotly_chart")) == 2 and test.dataframe[0].value["name"].tolist() == ["rm-0", "rm-1"]
    assert {"rm-0", "rm-1"} <= set(links(test))


def test_a_model_that_was_brought_in_says_why_it_has_no_slices(open_page, text_of, tmp_path):
    space = Workspace(tmp_path / "ws")
    kept(space, "reward_model", "theirs", metrics={"num_parameters": 5, "family": "llama"})
    test = open_page("models", root=space.root)
    assert not test.exception and "has not measured it on held-out pairs" in text_of(test)


def test_ratings_are_a_view_of_the_data(open_page, text_of, tmp_path, monkeypatch):
    space = Workspace(tmp_path / "ws")
    file = tmp_path / "comparisons.jsonl"
    rows = [{"item_a": "good", "item_b": HOSTILE, "winner": "a"}, {"item_a": HOSTILE, "item_b": "bad", "winner": "tie"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_job("data.ratings", RatingsConfig(source=str(file), heldout=0.0), space, rate.run)
    read: list[str] = []
    monkeypatch.setattr(cached, "dataset_ratings", lambda one: (read.append(one.id), load.dataset_ratings(one))[1])
    assert not open_page("data", root=space.root).exception and not read, "the view Pairs needs none"
    test = open_page("data", root=space.root, view="ratings")
    test.run()
    assert len(read) == 1, "read once for all reruns"
    text = text_of(test)
    assert not test.exception and "2 comparisons, 1 of them ties" in text and "<img src=x" not in text
    assert len(test.get("plotly_chart")) == 1 and test.dataframe[0].value["item"].tolist()[0] == "good"
