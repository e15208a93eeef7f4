"""Strings that know what made them: their ids, what goes stale, replays, and what is written down."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.elephants import graph
from rmviz.elephants.graph import Traced, constant, formatted, generated, lineage, replay, stale_after
from rmviz.errors import DataError


def poem(topic: str = "rain", *, answer: str = "a | b\nc | d", seed: int = 0) -> Traced:
    """topic → question → answer → its second line → its parts → a sentence → an answer to it; plan stands beside."""
    first = constant(topic, "topic")
    said = generated(formatted("List {topic}.", "question", topic=first), answer, model="m", seed=seed, name="list")
    line = graph.split(said, "\n", 1, "line")
    left, right = graph.sliced(line, 0, 1, "left"), graph.sliced(line, 4, None, "right")
    plan = generated(formatted("Plan.", "ask"), "go", model="other", seed=seed, name="plan")
    whole = graph.concat(left, right, plan, between=" & ", name="whole")
    return generated(
        formatted("Say {whole} to {who}.", whole=whole, who="{you}"), "end", model="m", seed=seed, name="end"
    )


def named(target: Traced, name: str) -> Traced:
    return next(node for node in lineage(target) if node.name == name)


def test_operations_by_hand():
    target = poem()
    assert str(named(target, "whole")) == "c & d & go"
    assert str(target.parents[0]) == "Say c & d & go to {you}."
    assert isinstance(target, str) and target == "end" and target.upper() == "END"
    assert str(graph.split(named(target, "list"), "\n", 7)) == ""


def test_turns_are_a_transcript_open_for_the_reply():
    text = constant("Sure, here it is.\nHuman: hi  there\nAI: yes\n\nUser: and\nmore?\nAssistant: too much")
    turns = graph.turns_of(text, opening="Do not mention X.", unless="X")
    assert turns == "\n\nHuman: Do not mention X. hi there\n\nAssistant: yes\n\nHuman: and more?\n\nAssistant:"
    assert (
        graph.turns_of(constant("Human: no X please"), opening="Do.", unless="X")
        == "\n\nHuman: no X please\n\nAssistant:"
    )
    assert graph.turns_of(constant("Assistant: hello\nHuman: X?"), opening="Do.", unless="zzz") == (
        "\n\nHuman: Do.\n\nAssistant: hello\n\nHuman: X?\n\nAssistant:"
    )
    assert graph.turns_of(constant("no turns at all")) == graph.turns_of(constant("Assistant: only")) == ""


def test_an_id_is_how_a_string_was_made_not_what_it_says():
    assert poem().id == poem().id
    assert poem(seed=1).id != poem().id != poem("snow").id
    one, other = poem(answer="a | b\nc | d"), poem(answer="x | y\nz | w")
    assert one.id == other.id and named(one, "left") != named(other, "left")
    assert constant("a").id != constant("b").id


def test_parents_come_before_children_each_once():
    nodes = lineage(poem())
    seen: set[str] = set()
    for node in nodes:
        assert all(parent.id in seen for parent in node.parents) and node.id not in seen
        seen.add(node.id)
    assert len(nodes) == 11


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("topic", ["question", "list", "line", "left", "right", "whole", "format", "end"]),
        ("plan", ["whole", "format", "end"]),
        ("left", ["whole", "format", "end"]),
        ("end", []),
    ],
)
def test_what_would_be_made_again_by_hand(name, stale):
    target = poem()
    assert [node.name for node in stale_after(target, named(target, name).id)] == stale


def test_a_replay_asks_only_where_the_question_changed():
    target = poem()
    questions: list[str] = []

    def writer(old: Traced, question: str) -> str:
        questions.append(question)
        return f"<{old.name}>"

    again, asked = replay(target, {named(target, "plan").id: "stay"}, writer)
    assert [node.name for node in asked] == ["end"] and questions == ["Say c & d & stay to {you}."]
    assert again == "<end>" and named(again, "list") is named(target, "list")
    assert (
        named(again, "plan").op == "constant" and named(again, "plan").params["instead_of"] == named(target, "plan").id
    )
    kept = {node.id: str(node) for node in lineage(again)}
    assert replay(target, {named(target, "plan").id: "stay"}, writer, kept)[1] == []
    # the second line stays what it was, so the last question says the same and its answer is kept
    same, asked = replay(target, {named(target, "list").id: "other\nc | d"}, writer)
    assert asked == [] and same == "end" and same.id != target.id
    with pytest.raises(DataError, match="not in the lineage"):
        replay(target, {"nothing": "x"}, writer)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_laws_on_random_graphs(seed):
    rng = random.Random(seed)
    nodes = [constant(f"c{i}") for i in range(3)]
    for number in range(12):
        one, two = rng.choice(nodes), rng.choice(nodes)
        question = formatted("{a} {b}", a=one, b=two)
        nodes.append(
            rng.choice(
                [
                    question,
                    graph.concat(one, two),
                    graph.sliced(one, 0, 2),
                    generated(question, f"g{number}", model="m", seed=number),
                ]
            )
        )
    target = graph.concat(*nodes)
    edited = rng.choice(lineage(target)[:-1])
    stale = {node.id for node in stale_after(target, edited.id)}
    again, asked = replay(target, {edited.id: "edited!"}, lambda old, question: f"again {question}")
    remade = {node.id for node in lineage(target)} - {node.id for node in lineage(again)} - {edited.id}
    assert remade - {node.id for node in lineage(edited)} == stale >= {node.id for node in asked}
    same, asked = replay(target, {}, lambda old, question: "never")
    assert same.id == target.id and same == target and not asked
    assert graph.to_records(graph.from_records(graph.to_records(target))) == graph.to_records(target)


def test_what_is_written_down_is_read_again_and_checked():
    target = poem()
    records = json.loads(json.dumps(graph.to_records(target)))
    assert graph.from_records(records).id == target.id
    records[0]["params"]["text"] = "snow"
    with pytest.raises(DataError, match="damaged"):
        graph.from_records(records)
    with pytest.raises(DataError, match="no text graph"):
        graph.from_records([{"id": "x"}])
    with pytest.raises(DataError, match="no text graph"):
        graph.from_records([])


def test_the_picture_shows_every_string_and_escapes_it():
    target = poem('ra"in\\ <b>')
    dot = graph.to_dot(target, chosen=target.id, stale=[target.id])
    assert dot.count(" -> ") == sum(len(set(node.parents)) for node in lineage(target))
    assert all(f'"{node.id}" [label=' in dot for node in lineage(target))
    assert 'ra\\"in\\\\' in dot and "dashed" in dot and "penwidth" in dot
