"""The crosscoder job on tiny models: effects against really intervening, one model twice, interruption, wrong pairs."""

import signal
from dataclasses import asdict

import numpy as np
import pytest
import torch
from qdaif.fakes import Counting

from rmviz.activations.hooks import replacing, residuals
from rmviz.activations.rows import feature_mask
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.crosscoder import job, scan
from rmviz.crosscoder.model import load_crosscoder
from rmviz.crosscoder.tables import firing_rows
from rmviz.data.keep import keep_dataset
from rmviz.errors import ConfigError, ModelError
from rmviz.jobs.run import pinned
from rmviz.models.load import from_artifact, load_base
from rmviz.models.register import keep_reward_model
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer

WORDS = ["the", "garden", "quiet", "sailor", "politics", "rain", "grey", "kind", "city", "war"]
SETTINGS = {"first": "rm", "second": "other", "dataset": "pairs", "hookpoint": "layers.0", "d_sae": 24, "k": 2,
            "num_tokens": 6_000, "batch_size": 200, "dead_after": 100_000, "split": "all", "num_pairs": 10, "shard_size": 7,
            "num_resamples": 50}  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("crosscoders"))
    rng = np.random.default_rng(0)
    line = lambda: " ".join(rng.choice(WORDS, int(rng.integers(3, 9))))  # noqa: E731
    pairs = [Pair(pair_id=f"p{i}", prompt=line(), chosen=line(), rejected=line()) for i in range(40)]
    keep_dataset(workspace, pairs, name="pairs", heldout=0.3, seed=0)
    tokenizer = world_tokenizer()
    for name, width in (("lm", 16), ("wide", 24)):
        config = WorldPolicyConfig(d_model=width, num_blocks=2)
        with workspace.create("policy", name=name, config=asdict(config)) as draft:
            torch.manual_seed(width)
            language_model(config, len(tokenizer)).save_pretrained(draft.folder / "model")
            tokenizer.save_pretrained(draft.folder / "model")
    for seed, (name, base, form) in enumerate(
        [("rm", "lm", "transcript"), ("other", "lm", "transcript"), ("plain", "lm", "plain"), ("wide-rm", "wide", "transcript")]
    ):  # fmt: skip
        rm = load_base(workspace.resolve(base), seed=seed, format=form, max_length=64, name=name)
        with torch.no_grad():
            rm.head.weight.mul_(50)
            if name == "other":
                for parameter in rm.model.parameters():
                    parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        keep_reward_model(workspace, rm, name=name)
    return workspace


def made(space, folder, **settings):
    config = CrosscoderConfig(**{**SETTINGS, **settings})
    return job.run(pinned(config, space), space, Counting(folder))


@pytest.fixture(scope="module")
def kept(space, tmp_path_factory):
    return made(space, tmp_path_factory.mktemp("kept"))


@torch.no_grad()
def test_effects_are_those_of_really_taking_the_feature_out_of_either_model(space, kept):
    joint, _ = load_crosscoder(kept.path("crosscoder.safetensors"), "layers.0")
    models = [from_artifact(space.resolve(name, "reward_model")) for name in ("rm", "other")]
    texts = load_table(kept.path("texts.parquet")).head(3)
    rows = {side: firing_rows(kept, side).set_index(["text_id", "feature"])["effect"] for side in ("first", "second")}
    checked = 0
    for text in texts.itertuples():
        (one,) = models[0].encode([Text(text_id=text.text_id, prompt=text.prompt, reply=text.reply)])
        batches = [rm.collate([one]) for rm in models]
        mask = feature_mask([one])[0]
        halves = [residuals(rm, batch, "layers.0")[0][0] for rm, batch in zip(models, batches, strict=True)]
        acts = joint.encode(torch.cat(halves, dim=1)[mask])
        dense = torch.zeros(int(mask.sum()), joint.d_sae).scatter_(1, acts.indices, acts.values)
        fired = dense.gt(0).any(0).nonzero()[:, 0].tolist()
        for side, (rm, batch) in enumerate(zip(models, batches, strict=True)):
            name = ("first", "second")[side]
            assert set(rows[name].loc[text.text_id].index) == set(fired)
            clean = rm.rewards(batch).item()
            for feature in fired:
                decoder = joint.W_dec[feature, 16 * side : 16 * (side + 1)]

                def without(h, feature=feature, decoder=decoder, mask=mask, dense=dense):
                    h = h.clone()
                    h[0, mask] -= dense[:, feature, None] * decoder
                    return h

                with replacing(rm.block("layers.0"), without):
                    effect = clean - rm.rewards(batch).item()
                assert rows[name][text.text_id, feature] == pytest.approx(effect, abs=2e-4)
                checked += abs(effect) > 1e-3
    assert checked > 10


def test_the_tables_say_what_fires_where(kept):
    table, examples = load_table(kept.path("features.parquet")), load_table(kept.path("examples.parquet"))
    assert kept.metrics["what"] == "crosscoder" and len(table) == kept.metrics["num_features"] > 5
    assert table["relative"].between(0, 1).all() and (table["words"] != "").all()
    for row in examples.itertuples():
        assert max(row.acts) == pytest.approx(row.activation, rel=1e-5) and len(row.tokens) == len(row.acts)
    assert set(examples["feature"]) == set(table["feature"]) and examples["effect"].notna().all()
    info = kept.read_json("crosscoder.json")
    assert info["noise"] == pytest.approx(max(abs(r - 0.5) for r in info["null"]), abs=1e-5)
    assert [model["name"] for model in info["models"]] == ["rm", "other"]


def test_one_model_beside_itself_has_no_feature_of_its_own(space, tmp_path):
    found = made(space, tmp_path, second="rm", num_tokens=60_000, learning_rate=1e-2)
    assert found.metrics["num_only_first"] == found.metrics["num_only_second"] == 0
    table = load_table(found.path("features.parquet"))
    np.testing.assert_allclose(table["effect_first"], table["effect_second"], atol=0.2)
    assert found.metrics["bound"] < 0.4, "the noise is small enough to tell anything"


@pytest.mark.slow  # the soak kills crosscoders too
def test_an_interrupted_crosscoder_goes_on_to_the_same_result(space, kept, tmp_path, monkeypatch):
    steps, really = [], job.CrosscoderTrainer.step

    def breaking(self, x, rate):
        steps.append(1)
        if len(steps) == 12:
            signal.raise_signal(signal.SIGINT)
        return really(self, x, rate)

    monkeypatch.setattr(job.CrosscoderTrainer, "step", breaking)
    with pytest.raises(KeyboardInterrupt):
        made(space, tmp_path)
    calls, make = [], scan.CrosscoderScan.make

    def breaking_scan(self, number, folder):
        calls.append(number)
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return make(self, number, folder)

    monkeypatch.setattr(scan.CrosscoderScan, "make", breaking_scan)
    with pytest.raises(KeyboardInterrupt):
        made(space, tmp_path)
    resumed = made(space, tmp_path)
    assert len(steps) == 30, "no step was taken twice"
    assert calls[:3] == [0, 1, 1], "the first shard and the training were there"
    for name in ("features.parquet", "examples.parquet", "texts.parquet"):
        assert load_table(kept.path(name)).astype(str).equals(load_table(resumed.path(name)).astype(str))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"second": "plain"}, ModelError, "read the same text as other tokens.*rmviz compare"),
        ({"second": "wide-rm"}, ModelError, "width 16 and wide-rm 24"),
        ({"hookpoint": "layers.7"}, ModelError, "layers"),
        ({"k": 24}, ConfigError, "k must be below d_sae"),
    ],
)
def test_what_does_not_fit_is_said(space, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        made(space, tmp_path, **settings)
