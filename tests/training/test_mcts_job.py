"""Preference data from tree search: exact counts of policy calls, pairs that can be checked, exact resume, clear words."""

import pandas as pd
import pytest
from packers import packer

from rmviz.configs.base import to_dict
from rmviz.configs.mcts import MctsConfig
from rmviz.configs.world import TaskPolicyConfig
from rmviz.data.keep import PAIRS, keep_dataset
from rmviz.data.load import dataset_frame
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.run import run_job
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.training import mcts_job
from rmviz.training.mcts import search
from rmviz.training.mcts_job import Blocks, run
from rmviz.training.rewards import Truth
from rmviz.training.tree_pairs import TREES, pairs_of
from rmviz.training.tree_policy import TreePolicy
from rmviz.types import Text
from rmviz.world.knapsack import Instance, Knapsack


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("mcts"))
    keep_policy(workspace, packer(), name="packer", key="", config=TaskPolicyConfig(), parents=(), metrics={})
    return workspace


def config(**changes) -> MctsConfig:
    settings = {
        "policy": "packer", "reward": "truth:knapsack", "num_problems": 10, "num_simulations": 8, "top_k": 9,
        "max_new_tokens": 9, "shard_size": 4, "min_visits": 1, "min_gap": 0.05, "num_trees": 6,
    }  # fmt: skip
    return MctsConfig(**settings | changes)


@pytest.fixture(scope="module")
def made(space):
    return run_job("data.mcts", config(), space, run)


class Counting(Policy):
    """Counts next-token distributions: one a row whose next token is asked for, one a token that is written."""

    calls = 0

    def next_log_probs(self, rows):
        self.calls += len(rows)
        return super().next_log_probs(rows)

    def continued(self, given, **settings):
        written = super().continued(given, **settings)
        self.calls += sum(map(len, written))
        return written


@pytest.mark.parametrize("num_simulations", [2, 7])
def test_policy_calls_are_counted_exactly(num_simulations):
    policy = packer()
    policy.__class__ = Counting
    prompts = [str(Instance(30, (7, 12, 9))), str(Instance(10, (7, 4, 3, 9, 5, 2, 8, 8)))]
    player = TreePolicy(policy, Truth(Knapsack()), prompts, config(), seed=3)
    trees = search(2, player, num_simulations=num_simulations, c_puct=1.0)
    assert policy.calls == sum(tree.calls for tree in trees) > 0


def test_priors_are_those_of_the_policy_and_rollouts_end(space):
    policy = packer()
    prompts = [str(Instance(30, (7, 12, 9)))]
    player = TreePolicy(policy, Truth(Knapsack()), prompts, config(top_k=5, temperature=2.0), seed=3)
    given = policy.contexts(prompts, 9)[0]
    token = policy.tokenizer.encode(" a")[0]
    (opened,) = player.opened([(0, (token,))], draw=1)
    expected = (policy.next_log_probs([(*given, token)])[0] / 2.0).softmax(0).topk(5)
    assert [one for one, _ in opened.priors] == expected.indices.tolist()
    assert [prior for _, prior in opened.priors] == pytest.approx(expected.values.tolist(), rel=1e-4)
    assert player.is_whole((token, *opened.rollout)) and opened.calls == len(opened.rollout) <= 8
    assert player.opened([(0, (token,))], draw=1) == [opened]


def test_pairs_are_worth_what_they_say_and_their_nodes_are_in_the_trees(made):
    table, trees = dataset_frame(made), load_table(made.path(TREES))
    task = Knapsack()
    assert len(table) == made.metrics["num_pairs"] > 10
    assert trees["tree"].nunique() == made.metrics["num_trees"] == 6
    assert sorted(trees["tree"].unique()) == list(range(6))
    for row in table.to_dict("records"):
        for side in ("chosen", "rejected"):
            assert row[f"paid_{side}"] == pytest.approx(task.reward(row["prompt"], row[side]), abs=1e-6)
        assert row["paid_chosen"] > row["paid_rejected"]
        assert row["value_chosen"] - row["value_rejected"] >= 0.05
        if row["tree"] < 6:
            nodes = trees[trees["tree"] == row["tree"]].set_index("node")
            one, other = nodes.loc[row["node_chosen"]], nodes.loc[row["node_rejected"]]
            assert one["parent"] == other["parent"] and one["prompt"] == row["prompt"]
            assert (one["value"], one["visits"]) == (row["value_chosen"], row["visits_chosen"])
    root = trees[trees["parent"] == -1]
    assert (root["visits"] == 8).all() and (trees.groupby("tree")["paid"].max() <= 1).all()
    assert made.metrics["best"] >= made.metrics["sampled"] and 0 < made.metrics["best_of_optimum"] <= 1


def test_pairs_of_one_tree_are_read_alone(made):
    frame = dataset_frame(made)
    assert frame["tree"].nunique() > 2
    for tree, rows in frame.groupby("tree"):
        alone = dataset_frame(made, beginning=pairs_of(tree))
        pd.testing.assert_frame_equal(alone, rows.reset_index(drop=True))
    assert dataset_frame(made, beginning=pairs_of(99)).empty


@pytest.mark.parametrize("method", ["mcts", "two_samples"])
def test_interrupted_and_resumed_gives_the_same_files(space, tmp_path, monkeypatch, method):
    settings = config(method=method, min_gap=0.001)
    whole = run_job("data.mcts", settings, space, run)
    other = Workspace(tmp_path)
    keep_policy(other, packer(), name="packer", key="", config=TaskPolicyConfig(), parents=(), metrics={})
    original, made = Blocks.make, []

    def broken(self, number, folder):
        if number == 2 and made == [0, 1]:
            (folder / "half").touch()
            raise KeyboardInterrupt
        made.append(number)
        return original(self, number, folder)

    monkeypatch.setattr(mcts_job.Blocks, "make", broken)
    with pytest.raises(KeyboardInterrupt):
        run_job("data.mcts", settings, other, run)
    made.append(-1)
    again = run_job("data.mcts", settings, other, run)
    assert made == [0, 1, -1, 2]
    for file in (PAIRS, *([TREES] if method == "mcts" else [])):
        assert load_table(again.path(file)).equals(load_table(whole.path(file)))
    assert again.metrics == whole.metrics


def test_two_samples_spend_as_many_calls(space, made):
    most = made.metrics["policy_calls"]
    base = run_job("data.mcts", config(method="two_samples", num_problems=400, max_calls=most), space, run)
    assert most - 2 * 9 < base.metrics["policy_calls"] <= most
    assert 10 < base.metrics["num_problems"] < 400 and base.metrics["num_trees"] == 0
    assert base.parents == made.parents


@pytest.mark.parametrize("pairs", ["depths", "paths"])
def test_other_ways_of_pairing(space, pairs):
    table = dataset_frame(run_job("data.mcts", config(pairs=pairs), space, run))
    assert (table["value_chosen"] > table["value_rejected"]).all()
    assert pairs != "depths" or (table["depth_chosen"] != table["depth_rejected"]).all()


def test_prompts_of_a_dataset_are_continued(space):
    prompts = [str(Instance(30, (7, 12, 9, weight))) for weight in range(1, 9)]
    texts = [Text(text_id=str(place), prompt=prompt, reply="a") for place, prompt in enumerate(prompts)]
    dataset = keep_dataset(space, texts, name="given", heldout=0.25, seed=0)
    made = run_job("data.mcts", config(dataset="given"), space, run)
    assert set(dataset_frame(made)["prompt"]) <= set(prompts) and dataset.id in made.parents
    assert made.metrics["num_problems"] == dataset.metrics["num_train"]


def test_what_cannot_be_searched_is_told(space):
    with pytest.raises(ConfigError, match="needs a dataset whose prompts are continued"):
        run_job("data.mcts", config(reward="some-rm"), space, run)
    with pytest.raises(DataError, match="max_calls is 3, and the first problem alone takes"):
        run_job("data.mcts", config(max_calls=3), space, run)
    with pytest.raises(DataError, match="no preference was found in 10 problems"):
        run_job("data.mcts", config(min_gap=5.0), space, run)
    with pytest.raises(DataError, match="top_k is 5000"):
        run_job("data.mcts", config(top_k=5000), space, run)
    heavy = "capacity 10 items a 12 b 15 pack"
    keep_dataset(
        space, [Text(text_id=str(i), prompt=heavy, reply=str(i)) for i in range(3)], name="heavy", heldout=0, seed=0
    )
    with pytest.raises(DataError, match="no item fits into this knapsack"):
        run_job("data.mcts", config(dataset="heavy"), space, run)
    with pytest.raises(DataError, match="leave no room"):
        run_job("data.mcts", config(max_new_tokens=64), space, run)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"num_simulations": 1}, "num_simulations must be at least 2"), ({"top_k": 1}, "top_k must be at least 2"),
     ({"temperature": 0.0}, "temperature must be above 0"), ({"heldout": 1.0}, "heldout must be a share")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_told(changes, words):
    with pytest.raises(ConfigError, match=words):
        MctsConfig(**to_dict(config()) | changes)
