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


def test_margins_say_what_features_explain(space):
    found = json.loads(told(space, "margins", "sae", "data", "--split", "all", "--num-pairs", 40, "--json"))
    assert found["num_pairs"] == 40 and found["explained"][0]["k"] == 1
    assert sum(one["num_pairs"] for one in found["groups"]) == found["num_wrong"] == len(found["wrong_pairs"])
    assert "pairs" in told(space, "margins", "sae", "data", "--split", "all", "--num-pairs", 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pair", "sae", "data", "nobody"), "has no pair 'nobody'"),
        (("pair", "sae", "data", "p3", "--top", 0), "top must be at least 1"),
        (("pair", "sae", "data", "p3", "--shapley", 2), "0 or at least 4"),
        (("margins", "sae", "data", "--split", "half"), "split must be"),
        (("margins", "sae", "data"), "has no pairs in its heldout part"),
        (("probe", "euphemism", "sae", "data", "--split", "all"), "say which words are probed"),
        (("probe", "spec", "sae", "data", "--words", "a: x; a: y"), "two word lists are called a"),
    ],
)
def test_mistakes_are_sentences(space, words, message):
    with pytest.raises(RmvizError, match=message):
        told(space, *words)
