"""The recipe of reward ensembles: best of n without bias, and an experiment that says what was found."""

import numpy as np
import pytest

from rmviz.models.ensemble import common_scales
from rmviz.recipes import reward_ensemble as recipe
from rmviz.store.artifact import write_json
from rmviz.store.experiments import Experiment
from rmviz.store.workspace import Workspace
from rmviz.training.ensemble import member_configs

PROMPTS = 3


@pytest.fixture
def replies():
    """True rewards of replies, side by side by prompt."""
    return np.random.default_rng(0).normal(size=PROMPTS * 64)


def test_the_truth_as_its_own_chooser_finds_the_best_and_a_blind_one_nothing(replies):
    found = recipe.best_of(replies, replies)
    per_prompt = replies.reshape(PROMPTS, 64)
    assert found[0] == pytest.approx(replies.mean()) and found[-1] == pytest.approx(per_prompt.max(1).mean())
    assert (np.diff(found) > 0).all()
    two = np.mean([np.mean([max(a, b) for i, a in enumerate(row) for b in row[:i]]) for row in per_prompt])
    assert found[1] == pytest.approx(two)
    np.testing.assert_allclose(recipe.best_of(-replies, replies)[-1], per_prompt.min(1).mean())


def ensemble(space, rewards, penalty=1.0):
    scales = common_scales(rewards)
    record = {"offsets": [s.offset for s in scales], "factors": [s.factor for s in scales], "lambda": penalty}
    metrics = dict.fromkeys(
        ("accuracy", "accuracy_mean", "accuracy_members", "disagreement", "disagreement_other"), 0.5
    )
    with space.create("ensemble", name="few") as draft:
        write_json(draft.folder / "ensemble.json", record)
        draft.metrics |= metrics | {"error_correlation": None}
    return draft.kept


def test_members_that_err_apart_are_exploited_less_together(replies, tmp_path):
    rng = np.random.default_rng(1)
    chosen, ensembles = [], []
    for _ in range(3):
        rewards = replies + 1.5 * rng.normal(size=(4, len(replies)))
        ensembles.append(ensemble(Workspace(tmp_path), rewards))
        chosen.append(recipe._choices(rewards, ensembles[-1], replies))
    experiment = recipe._experiment(chosen, ensembles, [580, 600, 620], 0, 1.0)
    of = {one.name: one for one in experiment.figures}
    assert of["gain_mean"].low > 0 and of["gold_mean"].mean > of["gold_one"].mean
    assert of["promised_one"].mean > of["kept_one"].mean > 0 and of["gap_mean"].mean < of["gap_one"].mean
    assert of["gap_one"].mean == pytest.approx(of["promised_one"].mean - of["kept_one"].mean)
    assert of["error_correlation"].mean is None and of["gain_less"].n == 3
    assert Experiment.from_json(experiment.to_json()).told()["gold_one"]["n"] == 3
    assert f"worth +{of['gain_mean'].mean:.2f} [+{of['gain_mean'].low:.2f}, " in experiment.found[0]
    assert "may be chance" not in experiment.found[0] and len(experiment.curves[0].rows) == 3 * 3 * 7
    assert {arm["labels"] for arm in experiment.arms} == {600} and "the same 600 labels" in experiment.found[0]
    alone = recipe._experiment(chosen[:1], ensembles[:1], [600], 0, 1.0)
    assert "may be chance" in alone.found[0]


def test_members_that_are_one_model_gain_nothing(replies, tmp_path):
    """Against one model there is no difference but that of the members: one pool of labels, and one seed, choose alike."""
    rewards = np.repeat(replies[None] + np.random.default_rng(2).normal(size=len(replies)), 4, axis=0)
    own = recipe._choices(rewards, ensemble(Workspace(tmp_path), rewards), replies)
    for way in (recipe.MEAN, recipe.LESS):
        np.testing.assert_allclose(own[way]["gold"], own[recipe.ONE]["gold"])
        np.testing.assert_allclose(own[way]["proxy"], own[recipe.ONE]["proxy"], atol=1e-5)


def test_one_model_and_the_members_have_one_pool_of_labels_each_seed(tmp_path):
    asked, made = [], []

    def execute(kind, config):
        asked.append((kind, config))
        with Workspace(tmp_path).create("dataset", name=f"made-{len(asked)}") as draft:
            draft.metrics["kind"] = kind
        made.append(draft.kept)
        return draft.kept

    lm = execute("world.policy", None)
    asked.clear()
    for seed in range(3):
        recipe._ensemble(execute, lm, seed)
    pools, ensembles = asked[::2], asked[1::2]
    assert {kind for kind, _ in pools} == {"world.data"} and len({config.seed for _, config in pools}) == 3
    seeds = [one.seed for _, config in ensembles for one in member_configs(config)]
    assert len(set(seeds)) == len(seeds) == 3 * recipe._NUM_MEMBERS
    for number, (_, config) in enumerate(ensembles):
        for one in member_configs(config):
            assert (one.dataset, one.num_pairs, one.resample) == (made[2 * number + 1].id, 0, False)
