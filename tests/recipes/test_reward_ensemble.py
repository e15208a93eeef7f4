"""The recipe of reward ensembles: best of n without bias, and an experiment that says what was found."""

import numpy as np
import pytest

from rmviz.models.ensemble import common_scales
from rmviz.recipes import reward_ensemble as recipe
from rmviz.store.artifact import write_json
from rmviz.store.experiments import Experiment
from rmviz.store.workspace import Workspace

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
    experiment = recipe._experiment(chosen, ensembles, 6800, 0, 1.0)
    of = {one.name: one for one in experiment.figures}
    assert of["gain"].low > 0 and of["gold_mean"].mean > of["gold_one"].mean
    assert of["promised_one"].mean > of["kept_one"].mean > 0
    assert of["error_correlation"].mean is None and of["gain"].n == 3
    assert Experiment.from_json(experiment.to_json()).told()["gold_one"]["n"] == 3
    assert "may be chance" not in experiment.found[0] and len(experiment.curves[0].rows) == 3 * 3 * 7
    alone = recipe._experiment(chosen[:1], ensembles[:1], 6800, 0, 1.0)
    assert "may be chance" in alone.found[0]
    assert [arm["distinct labels (about)"] for arm in experiment.arms] == [379, 1395, 1395]
    assert "about 1,395 distinct labels, one model about 379" in experiment.found[0]


def test_distinct_labels_are_those_of_the_draws():
    seen = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        draws = [rng.choice(rng.choice(2000, recipe._NUM_PAIRS, replace=False), recipe._NUM_PAIRS) for _ in range(4)]
        seen.append(len(np.unique(np.concatenate(draws))))
    assert recipe.labels_seen(2000, 4) == pytest.approx(np.mean(seen), rel=0.02)
    assert recipe.labels_seen(100, 1) == pytest.approx(63, abs=1), "a bootstrap of all pairs"
