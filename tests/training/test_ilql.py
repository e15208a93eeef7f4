"""The ILQL job: what it learns from, what it leaves, and that a run that was broken off ends the same."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from rmviz.configs.ilql import IlqlConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.jobs.run import run_job
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy, trainable
from rmviz.models.reward_model import RewardModel
from rmviz.models.value_heads import Guide, ValueHeads, sizes_of
from rmviz.store.workspace import Workspace
from rmviz.training.ilql import BETAS, SWEEP, SWEPT, batch_loss, run
from rmviz.training.ilql_data import episodes, own_tokens, potentials, prefix_texts
from rmviz.training.ilql_losses import Weights
from rmviz.training.rewards import Truth
from rmviz.types import Pair, Text
from rmviz.world.lander_task import ENVIRONMENT, LanderTask
from rmviz.world.policy import language_model
from rmviz.world.tasks import task_pair
from rmviz.world.tokenizer import world_tokenizer

TASK = LanderTask()
LANDER = {
    "reward_source": "reward",
    "reward": "truth:lander",
    "shaping": "token",
    "gamma": 1.0,
    "environment": ENVIRONMENT,
}
QUICK = {"num_steps": 8, "batch_size": 4, "max_new_tokens": 8, "num_watched": 3, "num_looks": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Workspace:
    """Flights in pairs, and a language model that can write them."""
    space = Workspace(tmp_path_factory.mktemp("ilql"))
    keep_dataset(space, [task_pair(TASK, number, 0, 0.1) for number in range(40)], name="flights", heldout=0.2, seed=0)
    keep_policy(space, tiny(), name="lm", key="lm", config=WorldPolicyConfig(), parents=(), metrics={})
    return space


def tiny() -> Policy:
    tokenizer = TASK.tokenizer()
    config = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=1)
    return Policy(language_model(config, len(tokenizer), 136).eval(), tokenizer, format="plain", name="tiny")


def config(**changes) -> IlqlConfig:
    return IlqlConfig(**{"policy": "lm", "dataset": "flights", **QUICK, **changes})


def read(space: Workspace, policy: Policy, **changes):
    one, scorer = config(**changes), Truth(TASK)
    signs = one.reward_source == "sign"
    return episodes(one, policy, space.resolve(one.dataset), None if signs else scorer, lambda done: None)


def test_each_move_is_paid_its_own_step_reward_and_places_are_no_actions(space: Workspace) -> None:
    policy = tiny()
    found = read(space, policy, **LANDER, standardise=False)
    table = pd.read_parquet(space.resolve("flights").path("pairs.parquet"))
    train = table[table["split"] == "train"]
    texts = train[["chosen", "rejected"]].to_numpy().ravel().tolist()
    assert len(found.rows) == len(texts)
    for row, text in zip(found.rows, texts, strict=True):
        words = text.split()
        assert row.actions.tolist() == [True, False] * (len(words) // 2) + [True]  # a move, its place, …, EOS
        flown = row.rewards.tolist()
        assert flown[:-2] == pytest.approx([-0.04] * (len(words) // 2 - 1), abs=1e-6)
        # Φ counts from a craft that never lands (−1), so landing on the goal is worth 2 more and in a sandstorm 0
        assert flown[-2] == pytest.approx(
            -0.04 + (2 if TASK.facts(*_split(row, policy))["end"] == "goal" else 0), abs=1e-6
        )
        assert flown[-1] == pytest.approx(-1, abs=1e-6)
        assert sum(flown) == pytest.approx(TASK.reward(*_split(row, policy)), abs=1e-5)


def _split(row, policy: Policy) -> tuple[str, str]:
    ids = row.tokens.ids
    return policy.tokenizer.decode(ids[: row.tokens.start]), policy.tokenizer.decode(row.tokens.reply[:-1])


@pytest.mark.parametrize("shaping", ["token", "turn"])
def test_the_return_of_whole_replies_is_the_same_with_shaping(space: Workspace, shaping: str) -> None:
    policy = tiny()
    plain = read(space, policy, **{**LANDER, "shaping": "none"})
    after = read(space, policy, **{**LANDER, "shaping": shaping})
    for one, other in zip(plain.rows, after.rows, strict=True):
        assert not one.rewards[:-1].any()
        assert other.rewards.sum() == pytest.approx(one.rewards.sum(), abs=1e-9)
    returns = np.array([row.rewards.sum() for row in plain.rows])
    assert returns.mean() == pytest.approx(0, abs=1e-9) and returns.std() == pytest.approx(1)


def test_by_turn_the_score_counts_only_after_the_environment_has_written() -> None:
    prefixes = ["", " a", " a b", " a b [c]", " a b [c] d", " a b [c] d e"]
    assert own_tokens(r" \[\w\]", prefixes).tolist() == [True, True, False, True, True, True]
    # a reply that was cut has no EOS: its last token may be the environment's
    assert own_tokens(r" \[\w\]", prefixes[:3], prefixes[3]).tolist() == [True, True, False]
    assert own_tokens(r" \[\w\]", prefixes[:4], prefixes[4]).tolist() == [True, True, False, True]


class Rain:
    """Pays 1 for each rain and takes 2 for each garden, whoever says it."""

    name = "rain"

    def score(self, texts):
        words = [text.reply.replace(".", " ").split() for text in texts]
        return np.array([some.count("rain") - 2 * some.count("garden") for some in words], np.float32)


def test_two_turns_of_a_conversation_are_paid_what_each_led_to(tmp_path: Path) -> None:
    space, tokenizer = Workspace(tmp_path), world_tokenizer()
    model = language_model(WorldPolicyConfig(d_model=16, num_blocks=1), len(tokenizer))
    policy = Policy(model.eval(), tokenizer, format="transcript", max_length=64)
    replies = [
        "rain rain garden.\n\nHuman: rain\n\nAssistant: garden rain rain", "rain\n\nHuman: garden\n\nAssistant: rain",
    ]  # fmt: skip
    given = [Text(text_id=str(place), prompt="rain", reply=reply) for place, reply in enumerate(replies)]
    keep_dataset(space, given, name="flights", heldout=0.0, seed=0)
    turns = {
        "reward_source": "reward",
        "reward": "rain",
        "shaping": "turn",
        "environment": r"\n\nHuman:.*?\n\nAssistant:",
    }

    def rewards(**changes):
        one = config(**{**turns, "gamma": 1.0, "standardise": False, **changes})
        return [row.rewards for row in episodes(one, policy, space.resolve("flights"), Rain(), lambda done: None).rows]

    long, short = rewards()
    # the first turn and its answer hold 3 rain and a garden; what the second adds, 2 rain and a garden, is worth 0
    assert long == pytest.approx([0, 0, 0, 1, 0, 0, 0, 0], abs=1e-6)
    assert short == pytest.approx([-1, 0, 1], abs=1e-6)  # answered with a garden; then one rain more
    halved = rewards(gamma=0.5)[0]
    assert halved == pytest.approx([0, 0, 0, 0.5, -0.5, -0.5, -0.5, 0], abs=1e-6)
    for gamma in (1.0, 0.5):
        for standardise in (False, True):
            after = rewards(gamma=gamma, standardise=standardise)
            plain = rewards(gamma=gamma, standardise=standardise, shaping="none")
            for one, other in zip(plain, after, strict=True):
                discounts = gamma ** np.arange(len(one))
                assert (discounts * other).sum() == pytest.approx((discounts * one).sum(), abs=1e-6)


def test_signs_are_plus_and_minus_one_and_pairs_without_a_difference_are_left_out(tmp_path: Path) -> None:
    space, prompt = Workspace(tmp_path), "flight 7 from ad"
    replies = ["left ac", "right ae", "up ad", "right ae"]
    pairs = [Pair(pair_id=str(i), prompt=prompt, chosen="right ae", rejected=reply) for i, reply in enumerate(replies)]
    keep_dataset(space, pairs, name="flights", heldout=0.0, seed=0)
    found = read(space, tiny())
    assert [row.rewards[-1] for row in found.rows] == [1.0, -1.0] * 2
    assert found.num_same == 1  # the second of them was dropped with the data as a duplicate
    assert all(row.actions.all() and not row.rewards[:-1].any() for row in found.rows)


def test_a_causal_reward_models_potentials_are_its_prefix_rewards() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification

    tokenizer = world_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = GPTNeoXForSequenceClassification(
        GPTNeoXConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, **sizes)
    )
    rm = RewardModel(model, tokenizer, format="transcript", max_length=64)
    policy = Policy(
        language_model(WorldPolicyConfig(d_model=16, num_blocks=1), len(tokenizer)), tokenizer, format="transcript"
    )
    texts = [
        Text(text_id=str(i), prompt="Tell Anna about space.", reply=reply)
        for i, reply in enumerate(("My suitcase docked.", "My suitcase docked. Tell Anna."))
    ]
    prefixes = [prefix_texts(policy, policy.encode(text.prompt, text.reply).reply) for text in texts]
    for text, some, found in zip(texts, prefixes, potentials(rm, policy, texts, prefixes), strict=True):
        (encoded,) = rm.encode([text])
        curve = rm.prefix_rewards(encoded)[encoded.reply_start - 1 :]
        assert len(found) == len(some) == len(curve)  # the same tokens, none of them blank
        assert found == pytest.approx(curve, abs=1e-6)
    cut = RewardModel(
        model, tokenizer, format="transcript", max_length=3
    )  # what it does not see has no potential of its own
    assert all(np.isfinite(one).all() for one in potentials(cut, policy, texts, prefixes))


def test_at_beta_0_the_language_model_learns_as_in_plain_cloning(space: Workspace) -> None:
    rows = read(space, tiny()).rows[:6]
    policy = trainable(tiny())
    guide = Guide(ValueHeads(*sizes_of(policy.model))).attach(policy.model)
    batch_loss(policy, guide, rows, Weights(tau=0.9, gamma=0.9, cql=1.0), shared=False)[0].backward()
    learnt = {name: weight.grad.clone() for name, weight in policy.model.named_parameters() if weight.grad is not None}
    cloned = trainable(tiny())
    batch = cloned.batch([row.tokens for row in rows])
    (-cloned.log_probs(batch)[batch.targets].mean()).backward()
    assert learnt
    for name, weight in cloned.model.named_parameters():
        assert weight.grad is not None
        assert torch.allclose(learnt[name], weight.grad, atol=1e-7), name
    shared = trainable(tiny())
    guide = Guide(ValueHeads(*sizes_of(shared.model))).attach(shared.model)
    batch_loss(shared, guide, rows, Weights(tau=0.9, gamma=0.9, cql=1.0))[0].backward()
    assert not all(
        torch.allclose(learnt[n], w.grad, atol=1e-6) for n, w in shared.model.named_parameters() if w.grad is not None
    )


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_run_that_was_broken_off_ends_the_same(space: Workspace, tmp_path: Path, monkeypatch, lora_rank: int) -> None:
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    one = config(**LANDER, gold="truth:lander", lora_rank=lora_rank, name=f"led {lora_rank}")
    whole = run_job("train.ilql", one, space, run, key=f"whole-{lora_rank}")
    told: list[int] = []

    def stop(kind, step, *rest) -> None:
        told.append(step)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("train.ilql", one, space, _slow(run), stop, key=f"broken-{lora_rank}")
    after: list[int] = []
    again = run_job(
        "train.ilql", one, space, run, lambda kind, step, *rest: after.append(step), key=f"broken-{lora_rank}"
    )
    assert 5 in told and min(step for step in after if step) > 4
    assert set(whole.files) == set(again.files)
    for name in ("model/model.safetensors", "heads.safetensors"):
        first, second = load_file(whole.path(name)), load_file(again.path(name))
        assert all(torch.allclose(first[key], second[key], atol=1e-6, rtol=0) for key in first), name
    for name in (SWEEP, SWEPT, "looks.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(whole.path(name)), pd.read_parquet(again.path(name)))
    sweep = pd.read_parquet(whole.path(SWEEP))
    assert sweep["beta"].tolist() == list(BETAS)
    assert {"reward", "gold", "kl", "length", "ended", "distinct_2"} <= set(sweep.columns)
    assert pd.read_parquet(whole.path(SWEPT)).groupby("beta").size().tolist() == [3] * len(BETAS)
    kept = load_policy(again)
    assert kept.guide is not None and kept.guide.beta == one.beta
    assert whole.metrics["reward"] == pytest.approx(float(sweep.set_index("beta").loc[one.beta, "reward"]))


def _slow(task):
    """The job, telling every step."""

    def told(one, space, report):
        from rmviz.training import loop

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "_TOLD_EVERY", 0.0)
            return task(one, space, report)

    return told


def test_a_tied_model_is_taken_up_again(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from rmviz.world.policy import load_checkpoint, save_checkpoint

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    models = [LlamaForCausalLM(LlamaConfig(vocab_size=50, tie_word_embeddings=True, **sizes)) for _ in range(2)]
    optimizers = [torch.optim.AdamW(model.parameters()) for model in models]
    models[0](input_ids=torch.tensor([[1, 2]])).logits.sum().backward()
    optimizers[0].step()
    save_checkpoint(tmp_path / "c.safetensors", models[0], optimizers[0], 3)
    assert load_checkpoint(tmp_path / "c.safetensors", models[1], optimizers[1]) == 3
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_no_number_stops_the_run(space: Workspace) -> None:
    with pytest.raises(ModelError, match=r"not a number any more at step .* of 8; .*Lower learning_rate"):
        run_job("train.ilql", config(learning_rate=1e30), space, run)


def test_data_without_anything_to_learn_is_refused_in_words(space: Workspace, tmp_path: Path) -> None:
    other, policy = Workspace(tmp_path), tiny()
    same = [
        Pair(pair_id=str(i), prompt=f"flight {i} from ad", chosen="right ae", rejected="right ae") for i in range(4)
    ]
    keep_dataset(other, same, name="ties", heldout=0.0, seed=0)
    keep_dataset(other, same[:1], name="one", heldout=0.0, seed=0)
    keep_dataset(
        other, [Text(text_id="t", prompt="flight 1 from ad", reply="right ae")], name="texts", heldout=0.0, seed=0
    )
    with pytest.raises(DataError, match="the same in all 4 pairs of ties"):
        read(other, policy, dataset="ties")
    with pytest.raises(DataError, match=r"all 8 replies of ties are paid 0\.96"):
        read(other, policy, dataset="ties", **LANDER)
    with pytest.raises(DataError, match="has no pair to train on"):
        read(other, policy, dataset="texts")
    with pytest.raises(DataError, match="has 1 replies to learn from"):
        read(other, policy, dataset="texts", **LANDER)
    with pytest.raises(DataError, match="1 prompts to train on, and at least 2"):
        run_job(
            "train.ilql",
            replace(config(dataset="one"), policy=space.resolve("lm").folder.as_posix() + "/model"),
            other,
            run,
        )


def test_pairs_without_a_prompt_are_left_out_and_only_such_pairs_are_refused(tmp_path: Path, caplog) -> None:
    space = Workspace(tmp_path)
    prompts = ["", *(f"flight {i} from ad" for i in range(3))]
    pairs = [Pair(pair_id=str(i), prompt=p, chosen="right ae", rejected="left ac") for i, p in enumerate(prompts)]
    keep_dataset(space, pairs, name="flights", heldout=0.0, seed=0)
    keep_dataset(space, pairs[:1], name="bare", heldout=0.0, seed=0)
    keep_policy(space, tiny(), name="lm", key="lm", config=WorldPolicyConfig(), parents=(), metrics={})
    made = run_job("train.ilql", config(num_steps=1, num_looks=1), space, run)
    assert made.metrics["num_texts"] == 6 and made.metrics["num_same"] == 0
    assert "1 of 4 pairs are left out: their prompt is empty" in caplog.text
    with pytest.raises(DataError, match="all 1 pairs of bare have an empty prompt"):
        read(space, tiny(), dataset="bare")


def test_prompts_that_are_too_long_are_cut_and_that_is_said(space: Workspace, caplog) -> None:
    policy = Policy(tiny().model, TASK.tokenizer(), format="plain", max_length=16, name="short")
    found = read(space, policy)
    assert max(len(row.tokens.ids) for row in found.rows) == 16
    assert "fill the 16 tokens of max_length" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tau": 1.0}, "tau must lie between 0 and 1"),
        ({"gamma": 0.0}, "gamma must lie above 0"),
        ({"polyak": math.inf}, "polyak must lie"),
        ({"reward_source": "reward"}, "needs a reward"),
        ({"shaping": "token"}, "needs a score for unfinished replies"),
        ({"reward_source": "reward", "reward": "truth:lander", "shaping": "turn"}, "needs environment"),
        ({"environment": "("}, "no regular expression"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**changes)
