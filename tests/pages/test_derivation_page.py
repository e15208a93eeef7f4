"""The page Derivation: the picture and the texts of one pair, what an edit would make again, and all of it escaped."""

import json
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from rmviz.elephants import graph, job, read
from rmviz.store.workspace import Workspace
from rmviz.worker import execute

SETTINGS = {"num_conversations": 24, "shard_size": 16, "topics": "wines", "pairs_per_topic": 2}


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """Pink-elephant data in a workspace of its own."""
    return execute("data.pink_elephants", SETTINGS, Workspace(tmp_path_factory.mktemp("derived")))


@pytest.fixture
def open_derivation(open_page, derived):
    return lambda **params: open_page("derivation", root=derived.folder.parents[1], **params)


def picture(test) -> str:
    return test.get("graphviz_chart")[0].proto.spec


def test_an_empty_workspace_says_how_to_write_such_data(open_page, text_of, tmp_path):
    test = open_page("derivation", root=tmp_path / "nothing here")
    assert "rmviz data pink-elephants --workspace" in text_of(test) and not test.error


def test_a_pair_is_drawn_with_every_text_that_it_came_from(open_derivation, text_of, derived):
    number = read.conversation_numbers(derived)[3]
    target, row = read.text_graph(derived, number), read.stage_row(derived, number)
    test = open_derivation(dataset=derived.id, pair=f"E{number:06d}")
    assert not test.exception
    assert all(node.id in picture(test) for node in graph.lineage(target)) and "dashed" not in picture(test)
    words = text_of(test)
    assert row["pink"] in words and "<ins>" in words
    assert test.text_area[0].value == row["prompt"].strip() or test.text_area[0].value == row["prompt"]
    assert test.query_params["pair"] in (f"E{number:06d}", [f"E{number:06d}"])


def test_an_edit_lists_what_would_be_made_again(open_derivation, text_of, derived):
    number = read.conversation_numbers(derived)[0]
    target = read.text_graph(derived, number)
    critique = next(node for node in graph.lineage(target) if node.name == "critique")
    test = open_derivation(dataset=derived.id, text=critique.id)
    assert not test.dataframe
    test.text_area[0].set_value("Say more about the taste.").run()
    assert test.dataframe[0].value["text"].tolist() == ["ask for a revision", "revision"]
    assert "1 answer by grammar of the task elephants" in text_of(test)
    stale = [node.id for node in graph.stale_after(target, critique.id)]
    assert all(re.search(f'"{one}" \\[[^]]*dashed', picture(test)) for one in stale)


def test_a_conversation_that_became_no_pair_says_why(open_derivation, text_of, derived):
    lost = set(read.conversation_numbers(derived, only_pairs=False)) - set(read.conversation_numbers(derived))
    words = text_of(open_derivation(pair=f"E{min(lost):06d}"))
    assert "became no pair: reply: it does not name the forbidden term" in words.replace("\\", "")


@pytest.mark.parametrize("pair", ["E999999", "E1", "<img src=x>", "../x"])
def test_a_pair_that_does_not_exist_is_told(pair, open_derivation, text_of):
    test = open_derivation(pair=pair)
    assert "has no conversation" in text_of(test) and not test.exception


def test_next_opens_the_next_pair(open_derivation, derived):
    first, second = read.conversation_numbers(derived)[:2]
    test = open_derivation(pair=f"E{first:06d}")
    test.button(key="next-pair").click().run()
    assert test.text_input[0].value == f"E{second:06d}"


def test_a_repeat_that_the_dataset_does_not_have_is_no_pair(open_page, text_of, tmp_path, monkeypatch):
    made = job._pairs

    def repeating(*args):
        first, second, *rest = made(*args)
        yield first
        yield replace(second, prompt=first.prompt, chosen=first.chosen, rejected=first.rejected)
        yield from rest

    monkeypatch.setattr(job, "_pairs", repeating)
    dataset = execute("data.pink_elephants", SETTINGS, Workspace(tmp_path))
    problems = {row["number"]: row["problem"] for row in pq.read_table(dataset.path(read.STAGES)).to_pylist()}
    first, second, third = [number for number, problem in problems.items() if not problem][:3]
    assert read.conversation_numbers(dataset)[:2] == [first, third]
    test = open_page("derivation", root=tmp_path, pair=f"E{second:06d}")
    assert "repeat another" in text_of(test) and "Show in the data" not in text_of(test) and not test.exception
    test = open_page("derivation", root=tmp_path, pair=f"E{first:06d}")
    test.button(key="next-pair").click().run()
    assert test.text_input[0].value == f"E{third:06d}" and "repeat another" not in text_of(test)


def test_texts_of_a_generator_never_become_markup(open_page, tmp_path, monkeypatch):
    hostile = '<img src=x onerror=alert(1)> ![a](http://evil) "quote" </script>'
    monkeypatch.setattr("rmviz.elephants.grammar._PLANS", (hostile,))
    monkeypatch.setattr("rmviz.elephants.grammar._revised", lambda topic, pink, grey, reply, rng: hostile)
    made = execute("data.pink_elephants", SETTINGS, Workspace(tmp_path))
    number = read.conversation_numbers(made)[0]
    plan = next(node for node in graph.lineage(read.text_graph(made, number)) if node.name == "plan")
    test = open_page("derivation", root=tmp_path, text=plan.id)
    assert not test.exception and test.text_area[0].value == hostile
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    for kind in ("markdown", "caption", "warning"):
        for element in getattr(test, kind):
            assert "![" not in re.sub(r"\\.", "", str(element.value)) and "<img" not in str(element.value)
    assert json.dumps(hostile)[1:8] in picture(test)
