"""The recipe knapsack: what it asks of the jobs, and what it says of their results, whichever way they fall."""

import pytest
from packers import packer

from rmviz.configs.files import config_of
from rmviz.configs.kinds import KINDS
from rmviz.configs.world import TaskPolicyConfig
from rmviz.models.policy_files import keep_policy
from rmviz.recipes import knapsack
from rmviz.recipes.knapsack import differences_of, measured, run, sized
from rmviz.store.experiments import figure_of, read_experiment
from rmviz.store.workspace import Workspace
from rmviz.worker import execute

SMALL = {
    "data.mcts": {"num_problems": 40, "num_simulations": 4, "min_gap": 1e-6, "shard_size": 20},
    "task.data": {"num_pairs": 4},
}


class Report:
    """Notes the steps that were told."""

    def __init__(self, folder):
        self.folder, self.key, self.steps = folder, "recipe-1", []

    def __call__(self, step, total, metrics=None):
        self.steps.append((step, total))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The recipe on two seeds, its jobs small; what would be trained is another untrained policy."""
    space = Workspace(tmp_path_factory.mktemp("recipe"))
    asked = []

    def small(kind, settings):
        settings = {**settings, **SMALL.get(kind, {})}
        if kind in KINDS:
            config_of(kind, settings)
        asked.append((kind, settings))
        if kind in ("task.policy", "train.dpo", "train.ppo"):
            name = settings.get("name", "knapsack-lm")
            parents = tuple(settings[one] for one in ("policy", "dataset") if one in settings)
            config = TaskPolicyConfig(seed=settings["seed"])
            return keep_policy(
                space, packer(len(asked)), name=name, key=f"{len(asked)}", config=config, parents=parents, metrics={}
            )
        return execute(kind, settings, space)

    report = Report(space.root)
    artifact = run(space, small, report, num_seeds=2, seed=7)
    return artifact, asked, report


def test_both_arms_of_a_seed_spend_the_same_calls_and_steps(done):
    artifact, asked, _ = done
    data = [settings for kind, settings in asked if kind == "data.mcts"]
    assert [(one.get("method", "mcts"), one["seed"]) for one in data] == [
        ("mcts", 7), ("two_samples", 7), ("mcts", 8), ("two_samples", 8),
    ]  # fmt: skip
    dpo = [settings for kind, settings in asked if kind == "train.dpo"]
    assert [one["seed"] for one in dpo] == [7, 7, 8, 8] and len({one["dataset"] for one in dpo}) == 4
    rows = [row for row in read_experiment(artifact).tables["every run"] if "pairs" in row]
    for settings, row in zip(dpo, rows, strict=True):
        assert settings["num_epochs"] * row["pairs"] == pytest.approx(knapsack._NUM_STEPS * settings["batch_size"])
    for trees, samples in zip(rows[::2], rows[1::2], strict=True):
        assert 0 < samples["policy calls"] <= trees["policy calls"]


def test_its_experiment_says_what_was_measured(done):
    artifact, _, report = done
    experiment = read_experiment(artifact)
    figures = {one.name: one for one in experiment.figures}
    rows = experiment.tables["every run"]
    assert [row["arm"] for row in rows] == [
        "untrained", *2 * ("tree search", "two samples", "PPO on the exact fill"),
    ]  # fmt: skip
    after = (rows[3]["sampled"] + rows[6]["sampled"]) / 2
    assert figures["fill_before"].mean == rows[0]["sampled"] and figures["fill_after"].mean == pytest.approx(after)
    assert figures["fill_gain"].mean == pytest.approx(after - rows[0]["sampled"]) and figures["fill_gain"].n == 2
    assert figures["fill_gain"].low < figures["fill_gain"].mean < figures["fill_gain"].high
    for way in ("greedy", "sampled"):
        expected = [rows[i][way] - rows[i + 1][way] for i in (1, 4)]
        assert figures[f"difference_{way}"].mean == pytest.approx(sum(expected) / 2)
        assert figures[f"difference_{way}"].n == 2
    told = experiment.told()
    assert {
        "fill_before",
        "fill_after",
        "mcts_greedy",
        "two_samples_sampled",
        "policy_calls_mcts",
        "seeds",
        "seconds",
    } <= set(told)
    assert set(experiment.links) == set(artifact.parents) and len(experiment.links) == 2 + 5 * 2
    steps = [step for step, _ in report.steps]
    assert steps == sorted(steps) and report.steps[-1] == (12, 12)


def test_a_policy_is_measured_by_its_own_replies(done, tmp_path):
    artifact, _, _ = done
    space = Workspace(artifact.folder.parents[1])
    policy = space.resolve("knapsack-lm", "policy")
    found = measured(policy)
    assert found == measured(policy)
    for way in ("greedy", "sampled"):
        assert 0 <= found[way] <= found[f"{way}_valid"] <= 1 and found[way] <= found[f"{way}_of_optimum"]


def test_an_effort_is_a_share_of_every_step_and_of_nothing_else():
    whole, tenth = sized(1.0), sized(0.1)
    assert whole["policy"]["num_steps"] == TaskPolicyConfig().num_steps and whole["dpo"]["steps"] == knapsack._NUM_STEPS
    changed = {
        (step, name): (one, tenth[step][name])
        for step, sizes in whole.items()
        for name, one in sizes.items()
        if one != tenth[step][name]
    }
    assert set(changed) == {
        ("policy", "num_steps"), ("search", "num_problems"), ("dpo", "steps"), ("ppo", "num_steps"),
    }  # fmt: skip
    assert all(small == pytest.approx(one / 10, abs=0.5) for one, small in changed.values())
    assert all(one == 1 for one in (sized(1e-9)[step][name] for step, name in changed))


def test_differences_are_taken_seed_by_seed():
    by_arm = {
        "mcts": [{"greedy": 0.5}, {"greedy": 0.7}],
        "two_samples": [{"greedy": 0.4}, {"greedy": 0.6}],
    }
    figure = differences_of(by_arm, "greedy")
    assert (figure.mean, figure.n) == (pytest.approx(0.1), 2)
    assert figure.low == pytest.approx(0.1) and figure.high == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.1, 0.11, 0.12], "pairs from tree search train the better packer by 11.0 points of fill (95 % interval +8.5 to +13.5"),
        ([-0.1, -0.11, -0.12], "pairs from two samples train the better packer by 11.0 points"),
        ([0.2, -0.2, 0.1], "cannot be told apart (mean +3.3 points, 95 % interval"),
        ([0.05], "tree search is 5.0 points of fill above two samples on the one seed"),
        ([-0.05], "tree search is 5.0 points of fill below two samples on the one seed"),
    ],
)  # fmt: skip
def test_the_sentence_says_it_whichever_way_it_fell(values, words):
    sentence = knapsack._sentence("greedy", figure_of("d", "a difference", values))
    assert words in sentence and sentence.startswith("Replies greedy")


def test_the_gain_is_told_as_it_is():
    before = {"sampled": 0.36, "greedy": 0.5}
    led = [{"sampled": after, "greedy": 0.55, "sampled_of_optimum": after} for after in (0.54, 0.56)]
    assert "+19.0 points [+6.3, +31.7], as wished" in knapsack._ppo_sentence(before, led)
    assert "+18.0 points, as wished" in knapsack._ppo_sentence(before, led[:1])
    assert "-6.0 points, less than wished" in knapsack._ppo_sentence({**before, "sampled": 0.60}, led[:1])
