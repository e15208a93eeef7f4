"""Ensembles: members by the reward job, their mean less their disagreement, and what disagreement says of errors."""

from dataclasses import replace

import numpy as np
import pytest
from training.test_reward_training import bases, toy_dataset, workspace

from rmviz.configs.ensemble import EnsembleConfig
from rmviz.data.load import dataset_texts
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.jobs.run import job_key, run_job
from rmviz.models.ensemble import Ensemble, Scale, common_scales, conservative, ensemble_rewards, open_ensemble
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.store.workspace import Workspace
from rmviz.training.ensemble import error_bins, member_configs, run, shuffled
from rmviz.types import Text

__all__ = ["bases", "workspace"]  # fixtures


def config(base, **changes):
    values = dict(dataset="toy", base=str(base), name="few", batch_size=8, learning_rate=1e-2, num_members=2)
    return EnsembleConfig(**values | changes)


class Fixed(RewardModel):
    """Gives the same rewards whatever it reads."""

    def __init__(self, rewards):
        self.rewards = np.array(rewards, dtype=np.float32)

    def score(self, texts, *, max_tokens=8192):
        return self.rewards


def test_mean_less_disagreement_by_hand():
    texts = [Text(text_id="x", prompt="", reply="x"), Text(text_id="y", prompt="", reply="y")]
    models = [Fixed([1.0, 4.0]), Fixed([3.0, 4.0])]
    np.testing.assert_allclose(ensemble_rewards(models, texts, 0.5), [2.0 - 0.5, 4.0])
    ensemble = Ensemble("e", [lambda m=m: m for m in models], 0.5, [Scale(), Scale(2.0, 3.0)])
    np.testing.assert_allclose(ensemble.score(texts), [2.0 - 0.5, 5.0 - 0.5])
    np.testing.assert_allclose(ensemble.disagreement(texts), [1.0, 1.0])
    assert ensemble.name == "e" and ensemble.score(texts).dtype == np.float32


def test_offsets_and_scales_are_no_disagreement():
    rng = np.random.default_rng(0)
    rewards = np.stack([rng.normal(size=50)] * 3) * np.array([[1.0], [2.0], [3.0]]) + np.array([[0.0], [5.0], [-1.0]])
    scales = common_scales(rewards)
    np.testing.assert_allclose(conservative(rewards, 7.0, scales), conservative(rewards, 0.0, scales), atol=1e-5)
    constant = common_scales(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert constant[0] == Scale(1.0, 1.0)


def test_wrong_pairs_are_counted_by_fifths_of_disagreement():
    doubt, wrong = np.arange(10.0), np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1.0])
    rows = error_bins(doubt, wrong)
    assert [row["wrong"] for row in rows] == [0, 0, 0, 0.5, 1] and [row["n"] for row in rows] == [2] * 5
    assert all(row["low"] <= row["wrong"] <= row["high"] for row in rows)


def test_trap_6_members_have_their_own_seeds_and_are_what_the_reward_job_makes(workspace, bases):
    dataset = toy_dataset(workspace, 60)
    artifact = run_job("train.ensemble", config(bases["gpt_neox"]), workspace, run)
    record, figures = artifact.read_json("ensemble.json"), artifact.read_json("figures.json")
    members = [workspace.resolve(one) for one in record["members"]]
    assert [one.metrics["seed"] for one in members] == [0, 1] and [one.name for one in members] == ["few-1", "few-2"]
    first, second = (from_artifact(one, device="cpu") for one in members)
    assert first.fingerprint != second.fingerprint
    assert [one.key for one in members] == [
        job_key("train.reward", one) for one in member_configs(replace(config(bases["gpt_neox"]), dataset=dataset.id))
    ]
    texts = dataset_texts(dataset, "heldout")
    scales = [Scale(*both) for both in zip(record["offsets"], record["factors"], strict=True)]
    wanted = ensemble_rewards([first, second], texts, 1.0, scales)
    for together in (True, False):
        ensemble = open_ensemble(artifact, workspace, together=together)
        np.testing.assert_allclose(ensemble.score(texts), wanted, atol=1e-6)
    assert wanted.mean() == pytest.approx(-artifact.metrics["disagreement"], abs=1e-5)  # members have mean 0 there
    paid = wanted[::2] - wanted[1::2]
    assert artifact.metrics["accuracy"] == pytest.approx((np.sign(paid) / 2 + 0.5).mean())
    far = open_ensemble(artifact, workspace).disagreement([shuffled(text, 0) for text in texts])
    assert artifact.metrics["disagreement_other"] == pytest.approx(far.mean(), abs=1e-5)
    assert [row["id"] for row in figures["members"]] == record["members"]
    assert figures["members"][1]["accuracy"] == members[1].metrics["accuracy"]
    assert set(record["members"]) < set(artifact.parents)


def test_an_interrupted_ensemble_ends_as_an_unbroken_one(tmp_path, bases):
    found = []
    for interrupted in (False, True):
        space = Workspace(tmp_path / str(interrupted))
        dataset = toy_dataset(space, 40)

        def stop(kind, step, total, rate, metrics):
            if metrics.get("member") == 2 and step % (total // 2) == 2:
                raise KeyboardInterrupt

        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                run_job("train.ensemble", config(bases["gpt_neox"]), space, run, stop)
            assert len(space.list("reward_model")) == 1 and not space.list("ensemble")
        artifact = run_job("train.ensemble", config(bases["gpt_neox"]), space, run)
        found.append(open_ensemble(artifact, space).score(dataset_texts(dataset)))
    np.testing.assert_array_equal(*found)


def test_what_cannot_be_an_ensemble_is_refused(workspace, bases):
    toy_dataset(workspace, 20, heldout=0.0)
    with pytest.raises(DataError, match="0 held-out pairs, and at least 2 are needed"):
        run_job("train.ensemble", config(bases["gpt_neox"]), workspace, run)
    with pytest.raises(ConfigError, match="num_members must be at least 2"):
        config(bases["gpt_neox"], num_members=1)
    with pytest.raises(ConfigError, match="label_smoothing"):
        config(bases["gpt_neox"], label_smoothing=0.9)
    with pytest.raises(ModelError, match="toy is a dataset, and an ensemble is needed"):
        open_ensemble(workspace.resolve("toy"), workspace)
