"""The commands on a tiny workspace, as a script would read them."""

import json

import pytest
from typer.testing import CliRunner

from rmviz import cli
from rmviz.errors import RmvizError
from rmviz.models.load import from_artifact


def told(space, *words):
    done = CliRunner().invoke(cli.app, [*map(str, words), "-w", str(space.root)])
    if isinstance(done.exception, RmvizError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_pair_is_taken_apart(space):
    from rmviz.data.load import dataset_pairs

    found = json.loads(told(space, "pair", "sae", "data", "p3", "--top", 4, "--shapley", 8, "--json"))
    pair = next(one for one in dataset_pairs(space.resolve("data")) if one.pair_id == "p3")
    rewards = from_artifact(space.resolve("rm")).score(pair.texts)
    margin = float(rewards[0] - rewards[1])
    assert sum(one["value"] for one in found["parts"]) == pytest.approx(margin, abs=1e-4)
    assert [one["part"] for one in found["parts"]][4:] == ["other features", "SAE error", "base", "interaction"]
    shared = found["shapley"]
    assert shared["base"] + sum(one["value"] for one in shared["parts"]) == pytest.approx(margin, abs=1e-4)
    assert "sum" in told(space, "pair", "sae", "data", "p3")


def test_margins_leave_a_probe(space):
    made = json.loads(
        told(space, "margins", "sae", "data", "--split", "all", "--num-pairs", 10, "--name", "m", "--json")
    )
    assert made["kind"] == "probe" and made["metrics"]["what"] == "margins" and made["metrics"]["num_pairs"] == 10
    shown = json.loads(told(space, "probe", "show", "m", "--json"))
    assert shown["num_wrong"] == sum(group["num_pairs"] for group in shown["groups"]) == made["metrics"]["num_wrong"]
    assert {row["k"]: row["share"] for row in shown["shares"]}[1] == pytest.approx(made["metrics"]["share_1"])
    words = told(space, "probe", "show", "m")
    assert "10 pairs" in words and "k = 1 " in words and words.count(" pairs  ") == len(shown["groups"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pair", "sae", "data", "nobody"), "has no pair 'nobody'"),
        (("pair", "sae", "data", "p3", "--top", 0), "top must be at least 1"),
        (("pair", "sae", "data", "p3", "--shapley", 2), "0 or at least 4"),
        (("margins", "sae", "data", "--shard-size", 0), "shard_size must be at least 1"),
        (("margins", "sae", "data"), "has no pairs in its heldout part"),
        (("probe", "euphemism", "sae", "data", "--split", "all"), "say which words are probed"),
        (("probe", "spec", "sae", "data", "--words", "a: x; a: y"), "two word lists are called a"),
    ],
)
def test_mistakes_are_sentences(space, words, message):
    with pytest.raises(RmvizError, match=message):
        told(space, *words)
