"""The compare job on tiny models: of other tokenizers, interrupted, with rewards that are no numbers."""

import json

import numpy as np
import pytest
import torch
from ablation.families import tiny_sae
from qdaif.fakes import Counting

from rmviz.compare import scoring
from rmviz.compare.job import run
from rmviz.configs.compare import CompareConfig
from rmviz.data.keep import keep_dataset
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.run import pinned
from rmviz.models.load import from_artifact
from rmviz.models.register import keep_reward_model
from rmviz.sae.files import save_sae
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair
from rmviz.world.tokenizer import world_tokenizer

WORDS = ["the", "garden", "quiet", "sailor", "politics", "rain", "grey", "kind", "city", "war"]


def some_pairs(count=60):
    rng = np.random.default_rng(0)
    line = lambda size: " ".join(rng.choice(WORDS, size))  # noqa: E731
    return [
        Pair(pair_id=f"p{i}", prompt=line(3), chosen=line(int(rng.integers(3, 9))), rejected=line(int(rng.integers(3, 9))),
             extra={"topics": str(rng.choice(["rain", "war"]))})
        for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    from dataclasses import asdict

    from rmviz.configs.world import WorldPolicyConfig
    from rmviz.models.load import load_base
    from rmviz.world.policy import language_model

    workspace = Workspace(tmp_path_factory.mktemp("compared"))
    data = keep_dataset(workspace, some_pairs(), name="pairs", heldout=0.0, seed=0, problems=[])
    config = WorldPolicyConfig(d_model=16, num_blocks=2)
    tokenizer = world_tokenizer()
    with workspace.create("policy", name="lm", config=asdict(config)) as draft:
        language_model(config, len(tokenizer)).save_pretrained(draft.folder / "model")
        tokenizer.save_pretrained(draft.folder / "model")
    for seed, (name, form, key, step) in enumerate(
        [("rm", "transcript", "train.reward-1/step-5", 5), ("rm-end", "transcript", "train.reward-1", 10),
         ("other", "plain", "", None)]
    ):  # fmt: skip
        rm = load_base(workspace.resolve("lm"), seed=seed, format=form, max_length=64, name=name)
        with torch.no_grad():
            rm.head.weight.mul_(50)
        model = keep_reward_model(workspace, rm, name=name, key=key, metrics={"steps": step} if step else {})
        if name != "other":
            sae = tiny_sae(rm, "layers.0", d_sae=24 if name == "rm" else 20, k=2)
            sae.model_fingerprint = rm.fingerprint
            with workspace.create("sae", name=f"sae-{name}", parents=(model.id,)) as draft:
                save_sae(draft.folder / "sae", sae)
            import pandas as pd

            parents = (draft.kept.id, data.id, model.id)
            with workspace.create("effects", name=f"effects-{name}", parents=parents) as draft:
                features = np.arange(sae.d_sae)
                columns = {n: features / 100 for n in ("mean_effect", "mean_effect_low", "mean_effect_high")}
                save_table(pd.DataFrame({"feature": features, **columns}), draft.folder / "summary.parquet")
                draft.metrics["reward_std"] = 2.0
    return workspace


def made(space, folder, **settings):
    config = CompareConfig(**{"models": "rm, other", "dataset": "pairs", "split": "all", "shard_size": 25, **settings})
    return run(pinned(config, space), space, Counting(folder))


def test_models_of_other_formats_score_the_same_texts(space, tmp_path):
    found = made(space, tmp_path)
    info = found.read_json("comparison.json")
    assert (
        info["kind"] == "models"
        and found.metrics["what"] == "models"
        and [m["step"] for m in info["models"]] == [None, None]
    )
    rewards, models = (load_table(found.path(f"{name}.parquet")) for name in ("rewards", "models"))
    assert len(rewards) == 2 * 60 * 2 and models["n"].tolist() == [60, 60]
    for number, name in enumerate(("rm", "other")):
        rm = from_artifact(space.resolve(name, "reward_model"))
        texts = [text for pair in some_pairs() for text in pair.texts]
        own = rewards[rewards["model"] == number]
        assert own["text_id"].tolist() == [text.text_id for text in texts]
        np.testing.assert_allclose(own["reward"], rm.score(texts), atol=1e-4)
    slices = load_table(found.path("slices.parquet"))
    assert {"topics", "longer reply"} <= set(slices["column"])
    assert set(found.parents) == {space.resolve(name).id for name in ("pairs", "rm", "other")}


def test_one_name_stands_for_the_steps_of_its_training(space, tmp_path):
    models = made(space, tmp_path, models="rm-end").read_json("comparison.json")["models"]
    assert [(model["name"], model["step"]) for model in models] == [("rm", 5), ("rm-end", 10)]


def test_an_interrupted_comparison_goes_on_to_the_same_result(space, tmp_path, monkeypatch):
    whole = made(space, tmp_path / "whole")
    calls, really = [], scoring.scored

    def breaking(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return really(*arguments)

    monkeypatch.setattr(scoring, "scored", breaking)
    with pytest.raises(KeyboardInterrupt):
        made(space, tmp_path / "broken")
    resumed = made(space, tmp_path / "broken")
    assert len(calls) == 4 + 3, "three of six shards were there already"
    for name in ("rewards.parquet", "models.parquet", "slices.parquet", "calibration.parquet"):
        assert load_table(whole.path(name)).equals(load_table(resumed.path(name)))


def test_rewards_that_are_no_numbers_are_left_out_and_counted(space, tmp_path, monkeypatch):
    really = scoring.scored

    def spoilt(rm, texts, max_tokens):
        rewards, cut = really(rm, texts, max_tokens)
        if rm.name == "other":
            rewards[:3] = np.nan
        return rewards, cut

    monkeypatch.setattr(scoring, "scored", spoilt)
    models = load_table(made(space, tmp_path).path("models.parquet"))
    assert models["num_missing"].tolist() == [0, 9] and models["num_common"].tolist() == [60, 54]


def test_a_model_that_gives_no_number_anywhere_stops_only_where_all_do(space, tmp_path, monkeypatch):
    monkeypatch.setattr(
        scoring, "scored", lambda rm, texts, _: (np.full(len(texts), np.nan), np.zeros(len(texts), int))
    )
    with pytest.raises(DataError, match="nothing to compare"):
        made(space, tmp_path)


def test_one_broken_reward_does_not_stop_the_others(space):
    rm = from_artifact(space.resolve("rm", "reward_model"))
    texts = [text for pair in some_pairs(4) for text in pair.texts]
    really = rm.rewards

    def broken(batch):
        values = really(batch)
        values[0] = float("inf")
        return values

    rm.rewards = broken
    rewards, cut = scoring.scored(rm, texts, 10_000)
    assert np.isnan(rewards).sum() == 1 and not cut.any()


def test_features_of_two_saes_are_matched(space, tmp_path):
    found = made(space, tmp_path, models="rm, rm-end", effects="effects-rm-end, effects-rm")
    (match,) = found.read_json("comparison.json")["matches"]
    assert match["by"] == "token" and match["frame_fit"] <= 1 and match["no_cosine"] == ""
    table = load_table(found.path("features.parquet"))
    firsts, seconds = table["feature_first"], table["feature_second"]
    assert set(firsts) >= set(range(24)) and set(seconds) >= set(range(20))
    matched = table[table["status"] == "matched"]
    assert matched["feature_first"].is_unique and matched["feature_second"].is_unique
    np.testing.assert_allclose(matched["effect_first"], matched["feature_first"] / 200)
    np.testing.assert_allclose(matched["moved"], matched["effect_second"] - matched["effect_first"])
    json.dumps(match, allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"models": "other"}, ConfigError, "is one reward model, and comparing needs two"),
        ({"models": "rm, rm"}, ConfigError, "rm is named twice"),
        ({"split": "heldout"}, DataError, "has no pairs in its heldout part"),
        ({"effects": "effects-rm"}, ConfigError, "two models or more"),
        ({"effects": "effects-rm, effects-rm-end"}, ConfigError, "effects-rm-end are of none of the compared models"),
    ],
)
def test_what_does_not_fit_is_said(space, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        made(space, tmp_path, **settings)


def test_names_are_pinned_to_ids(space):
    config = pinned(CompareConfig(models=" rm ,other", dataset="pairs", effects="effects-rm"), space)
    assert config.models == ", ".join(space.resolve(name, "reward_model").id for name in ("rm", "other"))
    assert config.effects == space.resolve("effects-rm").id
