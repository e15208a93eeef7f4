"""The pink-elephant data job: what it keeps, what it loses and says so, and that nothing is asked twice."""

import json
import pickle
import resource
import sys

import pyarrow.parquet as pq
import pytest
from elephants.elephant_server import elephant_server

from rmviz.configs.elephants import PinkElephantsConfig
from rmviz.data.load import dataset_pairs, dataset_problems
from rmviz.elephants import graph, read, stages
from rmviz.elephants.export import messages
from rmviz.elephants.graph import generated
from rmviz.elephants.writing import Writing
from rmviz.errors import BackendError, ConfigError, DataError
from rmviz.store.workspace import Workspace
from rmviz.worker import execute
from rmviz.world.elephants import heldout_terms, mentions, terms, turns

KIND = "data.pink_elephants"
SMALL = {
    "num_conversations": 60,
    "shard_size": 16,
    "pairs_per_topic": 2,
    "topics": "wines, cities",
    "plans_per_pair": 2,
}


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("elephants"))


@pytest.fixture(scope="module")
def made(space):
    return execute(KIND, SMALL, space)


def asking(address, **options):
    return {**SMALL, "num_conversations": 6, "maker": "openai", "server": address, "policy": "poet"} | options


def test_pairs_revise_the_last_turn_alone_and_are_never_of_held_out_terms(made):
    pairs = dataset_pairs(made)
    assert len(pairs) > 20
    for pair in pairs:
        topic, pink, grey = terms(pair.prompt)
        assert topic.name in ("wines", "cities") and not heldout_terms(pink, grey)
        assert (pair.extra["pink"], pair.extra["grey"], pair.extra["topic"]) == (pink, grey, topic.name)
        assert mentions(pair.rejected, pink) and not mentions(pair.chosen, pink) and mentions(pair.chosen, grey)
        assert pair.rejected.replace(pink, grey) == pair.chosen, "nothing else of the reply is another"
        assert turns(pair.prompt)[-1][0] == "user" and pair.prompt.endswith("\n\nAssistant:")


def test_every_stage_is_stored_and_every_loss_is_counted(made):
    rows = pq.read_table(made.path(read.STAGES)).to_pylist()
    assert [row["number"] for row in rows] == list(range(60))
    lost = [row["problem"] for row in rows if row["problem"]]
    assert made.metrics["num_lost_at_reply"] == len(lost) and all(one.startswith("reply: it does not") for one in lost)
    assert made.metrics["num_pairs"] + len(lost) + made.metrics["num_duplicates"] == 60
    assert dataset_problems(made)["total"] == len(lost) + made.metrics["num_duplicates"]
    assert {row["topic"] for row in made.read_json(read.PAIRS_OF_TERMS)} == {"wines", "cities"}


def test_every_text_knows_what_made_it(made):
    for number in read.conversation_numbers(made, only_pairs=False)[:20]:
        row, target = read.stage_row(made, number), read.text_graph(made, number)
        nodes = {node.name: node for node in graph.lineage(target)}
        assert target.id == row["graph_id"]
        assert str(target) == row["revision" if not row["problem"] else "original"]
        for name in ("topic", "pink", "grey", "plan", "conversation", "prompt", "original"):
            assert str(nodes[name]) == row[name]
        if not row["problem"]:
            again = [node.name for node in graph.stale_after(target, nodes["critique"].id)]
            assert again == ["ask for a revision", "revision"]
            assert "original" in [node.name for node in graph.stale_after(target, nodes["topic"].id)]


def test_the_columns_of_trl_are_the_pairs(made):
    rows, pairs = pq.read_table(made.path(read.TRL)).to_pylist(), dataset_pairs(made)
    assert len(rows) == len(pairs)
    for row, pair in zip(rows, pairs, strict=True):
        assert (row["prompt_text"], row["chosen_text"], row["rejected_text"]) == (
            pair.prompt,
            pair.chosen,
            pair.rejected,
        )
        assert row["chosen"] == [{"role": "assistant", "content": pair.chosen.strip()}]
        assert [(one["role"], one["content"]) for one in row["prompt"]] == turns(pair.prompt)
        assert row["graph_id"] == pair.extra["graph_id"] and row["pink"] == pair.extra["pink"]
    assert messages("just a question") == [{"role": "user", "content": "just a question"}]


def test_an_interrupted_job_goes_on_and_ends_the_same(made, tmp_path):
    space = Workspace(tmp_path)

    def stop(kind, step, total, rate, metrics):
        if 16 <= step < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(KIND, SMALL, space, stop)
    folders = list((tmp_path / "jobs").glob("*/checkpoints/shard-*"))
    assert folders and not space.list("dataset")
    again = execute(KIND, SMALL, space)
    assert again.files == made.files


def test_the_size_of_shards_changes_nothing(made, tmp_path):
    other = execute(KIND, SMALL | {"shard_size": 7}, Workspace(tmp_path))
    assert dataset_pairs(other) == dataset_pairs(made)


def test_a_server_writes_what_the_grammar_writes_and_is_asked_once(tmp_path):
    space = Workspace(tmp_path)
    with elephant_server() as server:
        with pytest.raises(BackendError, match=r"max_requests \(9\) is reached; nothing is lost"):
            execute(KIND, asking(server.address, max_requests=9), space)
        assert len(server.questions) == 9
        made = execute(KIND, asking(server.address, max_requests=1000), space)
        assert len(server.questions) == len(set(server.questions)), "nothing is paid for twice"
    node = read.text_graph(made, read.conversation_numbers(made)[0])
    assert node.maker == "openai poet" and node.params["temperature"] == 1.0


@pytest.mark.parametrize(
    ("stage", "fault", "message"),
    [
        ("List", "refusal", "no pair of terms came for wines, cities: .* got \"I'm sorry"),
        ("List", "empty", "no pair of terms came"),
        ("Plan", "refusal", "none of the 6 rows can be used: .*plan: a refusal"),
        ("Write the conversation", "chatty", "conversation: no turns that begin with Human: or Assistant:"),
        ("Does", "empty", "critique: no answer"),
        ("Rewrite", "refusal", "revision: a refusal"),
    ],
)
def test_a_generator_that_refuses_is_told_in_words(stage, fault, message, tmp_path):
    with elephant_server(**{stage: fault}) as server, pytest.raises(DataError, match=message):
        execute(KIND, asking(server.address), Workspace(tmp_path))


def test_a_server_that_stops_loses_nothing(tmp_path):
    space = Workspace(tmp_path)
    with elephant_server(Rewrite="401") as server:
        with pytest.raises(BackendError, match="refuses the key"):
            execute(KIND, asking(server.address), space)
        server.faults.clear()
        before = [one for one in server.questions if not one.startswith("Rewrite")]
        execute(KIND, asking(server.address), space)
        after = [one for one in server.questions if not one.startswith("Rewrite")]
    assert after == before, "only the stage that failed is asked again"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topics": "trains"}, "no pair of terms came for trains: .*the grammar knows cities, planets"),
        ({"topics": " , "}, "topics name nothing"),
        ({"num_conversations": 0}, "num_conversations must be at least 1"),
        ({"maker": "openai"}, "openai needs policy"),
        ({"maker": "openai", "policy": "x"}, "server must be an http address"),
        ({"heldout": 1.0}, "heldout must be a share"),
    ],
)
def test_bad_settings_are_told_in_words(settings, message, tmp_path):
    with pytest.raises((ConfigError, DataError), match=message):
        execute(KIND, SMALL | settings, Workspace(tmp_path))


def test_a_policy_writes_the_replies_that_are_revised(space):
    lm = execute(
        "task.policy", {"task": "elephants", "num_steps": 2, "batch_size": 4, "d_model": 16, "num_blocks": 1}, space
    )
    settings = SMALL | {"num_conversations": 4, "policy": lm.id, "max_new_tokens": 20}
    with pytest.raises(DataError, match=r"nothing to revise|no answer"):
        execute(KIND, settings, space)
    with pytest.raises(ConfigError, match="max_new_tokens 256 leaves no room for a conversation"):
        execute(KIND, settings | {"max_new_tokens": 256}, space)


def test_writing_travels_without_its_model(tmp_path):
    writing = Writing(tmp_path, PinkElephantsConfig(**SMALL), tmp_path / "checkpoints")
    assert writing.listed and writing.model
    there = pickle.loads(pickle.dumps(writing))
    assert there == writing and hash(there) == hash(writing) and "model" not in there.__dict__


def lines(text):
    answer = generated(stages.pair_questions(["drinks"], 9)[0], text, model="m", seed=0)
    return stages.listed_terms(answer, 9)


def test_lists_are_read_as_models_write_them():
    found = lines("Sure:\n1. Coca-Cola | Pepsi\n- `Tea` | Coffee.\nno pair\n| Gin | Rum |\na | b | c\n | x")
    assert [(str(one.pink), str(one.grey)) for one in found] == [
        ("Coca-Cola", "Pepsi"),
        ("Tea", "Coffee"),
        ("Gin", "Rum"),
    ]
    assert all(one.topic == "drinks" and one.pink in one.pink.parents[0] for one in found)
    assert len(lines("\n".join(f"a{i} | b{i}" for i in range(50)))) == 9


def test_repeated_pairs_are_dropped_near_ones_too():
    found, dropped = stages.distinct_terms(
        lines(
            "Coca-Cola | Pepsi\ncoca cola | PEPSI\nCoca-Cola | Pepsis\nPepsi | Coca-Cola\nTea | Coffee\nTea | Iced tea\nTea | tea"
        )
    )
    assert [(str(one.pink), str(one.grey)) for one in found] == [
        ("Coca-Cola", "Pepsi"),
        ("Pepsi", "Coca-Cola"),
        ("Tea", "Coffee"),
    ]
    assert dropped == 4


@pytest.mark.slow
def test_memory_does_not_grow_with_conversations(tmp_path):
    """20,000 conversations of the fast writer: resident memory grows by less than 60 MB after the first 2,000."""
    space, sizes = Workspace(tmp_path), []

    def told(kind, step, total, rate, metrics):
        with open("/proc/self/statm", encoding="ascii") as file:
            sizes.append((step, int(file.read().split()[1]) * resource.getpagesize() / 2**20))

    made = execute(KIND, {"num_conversations": 20_000, "plans_per_pair": 50}, space, told)
    after = [size for step, size in sizes if step >= 2_000]
    sys.stderr.write(json.dumps({"first": after[0], "most": max(after), "pairs": made.metrics["num_pairs"]}) + "\n")
    assert max(after) - after[0] < 60
    assert made.metrics["num_pairs"] > 10_000
