"""One-token replies: rewards and effects by plain scoring, and what is said of prompts that do not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from qdaif.fakes import Counting

from rmviz.ablation.naive import naive_effects
from rmviz.configs.tokens import TokensConfig
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.probes import tokens
from rmviz.probes.token_replies import slot_of, vocabulary
from rmviz.sae.files import load_sae_artifact
from rmviz.store.tables import load_table
from rmviz.types import Text

ASK = TokensConfig(
    sae="sae", prompts="Tell Anna about the river. || Explain the garden.", num_explained=9, shard_size=100
)


@pytest.fixture(scope="module")
def made(space, tmp_path_factory):
    return tokens.run(ASK, space, Counting(tmp_path_factory.mktemp("tokens")))


def test_each_token_is_rewarded_as_the_model_rewards_it_as_a_reply(space, made):
    rm = from_artifact(space.resolve("rm"))
    table = load_table(made.path("tokens.parquet")).set_index("token").rename(index=str.strip)
    for word in ("river", "garden", "pregnant", "the"):
        texts = [Text(text_id="t", prompt=prompt.strip(), reply=word) for prompt in ASK.prompts.split("||")]
        rewards = rm.score(texts)
        np.testing.assert_allclose(table.loc[word, "reward"], rewards.mean(), atol=1e-4)
        np.testing.assert_allclose(
            table.loc[word, ["reward_low", "reward_high"]].astype(float), sorted(rewards), atol=1e-4
        )


def test_the_whole_vocabulary_is_ranked_and_special_tokens_are_marked(space, made):
    rm = from_artifact(space.resolve("rm"))
    ids, special = vocabulary(rm)
    table = load_table(made.path("tokens.parquet"))
    assert sorted(table["token_id"]) == ids and table["reward"].is_monotonic_decreasing
    assert set(table.loc[table["special"], "token_id"]) == special and special
    assert table["rank"].tolist() == list(range(1, len(ids) + 1))
    assert abs(table["z"].mean()) < 1e-6 and table["z"].std(ddof=0) == pytest.approx(1)


def test_effects_are_what_naive_ablation_gives_on_that_token_alone(space, made):
    rm, sae = from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae"))
    table = load_table(made.path("tokens.parquet"))
    explained = table[table["feature"] >= 0]
    assert len(explained) <= 18 and len(explained) >= 12
    ends = {*range(1, 10), *range(len(table) - 8, len(table) + 1)}
    assert set(explained["rank"]) <= ends
    for row in (explained.iloc[0], explained.iloc[-1]):
        slots = [slot_of(rm, prompt.strip()) for prompt in ASK.prompts.split("||")]
        texts = [slot.with_token(int(row["token_id"]), special=False) for slot in slots]
        effects = np.stack([naive_effects(rm, sae, [text], range(sae.d_sae))[0] for text in texts]).mean(axis=0)
        assert row["feature"] == np.abs(effects).argmax()
        assert row["effect"] == pytest.approx(effects[int(row["feature"])], abs=1e-4)


def test_an_interrupted_probe_ends_the_same_to_the_byte(space, made, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tokens.run(ASK, space, Counting(tmp_path, 3))
    again = tokens.run(ASK, space, Counting(tmp_path))
    assert {n: again.path(n).read_bytes() for n in again.files} == {n: made.path(n).read_bytes() for n in made.files}


def test_prompts_are_drawn_from_the_data_and_long_ones_are_counted(space, tmp_path):
    config = TokensConfig(sae="sae", dataset="data", split="all", num_prompts=3, num_explained=2)
    made = tokens.run(config, space, Counting(tmp_path))
    info = made.read_json("probe.json")
    assert len(set(info["prompts"])) == 3 == made.metrics["num_prompts"] and info["dataset"] in made.parents
    json.dumps(info, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": "river " * 300}, "reads 128; shorten it"),
        ({"prompts": "", "dataset": "data"}, "has no texts in its heldout part"),
    ],
)
def test_prompts_that_do_not_fit_are_a_sentence(space, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        tokens.run(replace(ASK, **changes), space, Counting(tmp_path))


def test_without_a_prompt_tokens_stand_alone(space, tmp_path):
    made = tokens.run(TokensConfig(sae="sae", num_explained=1), space, Counting(tmp_path))
    table = load_table(made.path("tokens.parquet")).set_index("token")
    (reward,) = from_artifact(space.resolve("rm")).score([Text(text_id="t", prompt="", reply=" river")])
    assert table.loc[" river", "reward"] == pytest.approx(reward, abs=1e-4)
    with pytest.raises(ConfigError, match="num_prompts must be at least 1"):
        TokensConfig(sae="sae", num_prompts=0)
