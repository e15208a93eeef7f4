"""PPO, ReST, best of n and RSO raise what they are paid for; broken off and taken up again they end the same."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rmviz.configs.rl import BestOfNConfig, PPOConfig, PreferencesConfig, RestConfig, RSOConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.add import keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy
from rmviz.models.value_heads import Guide, ValueHeads, sizes_of
from rmviz.store.workspace import Workspace
from rmviz.training import gold_labels, improve, ppo, rest, rso
from rmviz.training.loop import Loop
from rmviz.types import Pair
from rmviz.world.policy import language_model

SHORT = {
    "policy": "lm",
    "dataset": "prompts",
    "reward": "letters",
    "learning_rate": 1e-2,
    "max_new_tokens": 8,
    "num_watched": 16,
}
SHORT |= {"num_looks": 2, "batch_size": 16, "name": "trained"}
DRAW = {"draw_prompts": 40, "samples_per_prompt": 8}
RUNS = {
    "ppo": (ppo.run, PPOConfig(**SHORT, num_steps=8, num_replies=32, num_epochs=2)),
    "rest": (rest.run, RestConfig(**SHORT, **DRAW, num_grow=3, num_improve=2, num_steps=10)),
    "rest-dpo": (
        rest.run,
        RestConfig(**SHORT, **DRAW, num_grow=1, num_improve=2, num_steps=10, improve="dpo", beta=0.5),
    ),
    "best-of-n": (rest.run_best_of_n, BestOfNConfig(**SHORT, **DRAW, num_grow=2, num_steps=30)),
    "rso": (rso.run, RSOConfig(**SHORT, **DRAW, num_steps=20, kept_per_prompt=4, beta=0.1, gamma=0.5)),
}


LETTERS = "abcdefgh"


class Letters:
    """Pays each `a`, as a share of the longest reply."""

    name = "letters"

    def score(self, texts) -> np.ndarray:
        return np.array([text.reply.split().count("a") / 8 for text in texts])


def letter_tokenizer() -> PreTrainedTokenizerFast:
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "say", *LETTERS])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", model_max_length=32)


class Reports:
    key = ""

    def __init__(self, folder: Path, stop_at: int = 10**9) -> None:
        self.folder, self.stop_at, self.seen = folder, stop_at, []

    def __call__(self, step, total, metrics=None) -> None:
        self.seen.append(dict(metrics or {}))
        if step >= self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Workspace:
    space = Workspace(tmp_path_factory.mktemp("rl"))
    tokenizer = letter_tokenizer()
    model = language_model(WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=0), len(tokenizer)).eval()
    config = WorldPolicyConfig(num_steps=1)
    keep_policy(space, Policy(model, tokenizer), name="lm", key="", config=config, parents=(), metrics={})
    pairs = [
        Pair(pair_id=str(i), prompt="say " + " ".join(random.Random(i).choices(LETTERS, k=4)), chosen="a", rejected="b")
        for i in range(60)
    ]
    keep_dataset(space, pairs, name="prompts", heldout=0.3, seed=0)
    same = [Pair(pair_id="0", prompt="say a", chosen="a", rejected="b")]
    keep_dataset(space, same, name="one", heldout=0.0, seed=0)
    return space


@pytest.fixture(autouse=True)
def paid_for_letters(monkeypatch):
    for module in (improve, gold_labels):
        monkeypatch.setattr(module, "opened_scorer", lambda ref, workspace: Letters())
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    torch.set_num_threads(1)


def weights(artifact) -> dict[str, torch.Tensor]:
    return load_policy(artifact).model.state_dict()


def started_from(monkeypatch) -> list[int]:
    """Filled with the steps that each loop from now on finds done."""
    starts: list[int] = []
    begin = Loop.__init__

    def noted(self, *given, **named) -> None:
        begin(self, *given, **named)
        starts.append(self.start)

    monkeypatch.setattr(Loop, "__init__", noted)
    return starts


@pytest.mark.parametrize("name", RUNS)
def test_it_raises_what_it_is_paid_for_and_resumes_to_the_same(
    space: Workspace, tmp_path: Path, monkeypatch, name: str
) -> None:
    run, config = RUNS[name]
    whole = run(config, space, Reports(tmp_path / "whole"))
    assert whole.metrics["reward"] > whole.metrics["reward_before"] + 0.1
    assert whole.metrics["kl_before"] == pytest.approx(0, abs=1e-5)
    assert whole.metrics["kl"] > 0.01
    looks = pd.read_parquet(whole.path("looks.parquet"))
    assert looks["step"].tolist() == [0, looks["step"].max() // 2, looks["step"].max()]
    stopped = Reports(tmp_path / "again", stop_at=looks["step"].max() // 2)
    with pytest.raises(KeyboardInterrupt):
        run(config, space, stopped)
    starts = started_from(monkeypatch)
    resumed = run(config, space, Reports(tmp_path / "again"))
    assert starts and starts[0] > 0, "nothing was taken up again"
    other = weights(resumed)
    assert all(torch.equal(tensor, other[key]) for key, tensor in weights(whole).items())
    assert resumed.metrics["reward"] == whole.metrics["reward"]


@pytest.mark.parametrize("name", ["ppo", "rso"])
def test_a_policy_with_a_guide_is_compared_with_itself_without_it(space: Workspace, tmp_path: Path, name: str) -> None:
    policy = load_policy(space.resolve("lm", "policy"))
    policy.guide = Guide(ValueHeads(*sizes_of(policy.model)), beta=50.0, top_k=3).attach(policy.model)
    config = WorldPolicyConfig(num_steps=1)
    guided = keep_policy(space, policy, name="guided", key=name, config=config, parents=(), metrics={})
    run, config = RUNS[name]
    found = run(replace(config, policy=guided.id, num_steps=2, num_looks=1), space, Reports(tmp_path)).metrics
    assert np.isfinite([value for value in found.values() if isinstance(value, float)]).all()
    assert found["kl_before"] == pytest.approx(0, abs=1e-5)


def test_at_another_temperature_ppo_learns_from_the_distribution_that_it_draws_from(
    space: Workspace, tmp_path: Path
) -> None:
    config = replace(RUNS["ppo"][1], temperature=0.5, num_looks=1)
    job = improve.opened_run(config, space, Reports(tmp_path), config.num_steps, "ppo")
    with torch.no_grad():
        job.policy.model.get_output_embeddings().weight *= 4  # as it has gone away from its reference
    actor = ppo.ActorCritic(job.policy, config.kl_coef, config.temperature)
    rollout = ppo.drawn(job, actor, 0)
    per_reply = []
    for place, row in enumerate(rollout.rows):
        own, other = (
            (policy.model(input_ids=torch.tensor([row.ids])).logits[0].detach() / 0.5).log_softmax(1)
            for policy in (job.policy, job.reference)
        )
        at = torch.arange(row.start - 1, len(row.ids) - 1), torch.tensor(row.reply)
        there = rollout.batch.targets[place]
        assert rollout.log_probs[place][there].tolist() == pytest.approx(own[at].tolist(), abs=1e-4)
        per_reply.append(float((own[at] - other[at]).sum()))
    assert rollout.figures["kl_reply_drawn"] == pytest.approx(np.mean(per_reply), abs=1e-3)
    again, _, _ = actor(rollout.batch)
    ratio = (again - rollout.log_probs).exp()[rollout.batch.targets]
    assert ratio.tolist() == pytest.approx([1.0] * len(ratio), abs=1e-4)


def test_ppos_value_is_read_in_float32_under_autocast(space: Workspace) -> None:
    policy = load_policy(space.resolve("lm", "policy"))
    actor = ppo.ActorCritic(policy, 0.0)
    torch.nn.init.normal_(actor.value.weight)
    seen: list[torch.dtype] = []
    actor.value.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actor(policy.batch([policy.encode("say a", "a b")]))
    assert seen == [torch.float32]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(RUNS["ppo"][1], temperature=0.0), "temperature must be above 0"),
        (lambda: replace(RUNS["rest-dpo"][1], beta=0.0), "beta must be above 0 where improve is dpo"),
        (lambda: replace(RUNS["rso"][1], gamma=0.0), "gamma must be above 0"),
    ],
)
def test_settings_that_would_teach_nothing_are_refused(make, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_without_a_price_the_policy_goes_further_away(space: Workspace, tmp_path: Path) -> None:
    config = replace(RUNS["ppo"][1], num_looks=1)
    kl = [
        ppo.run(replace(config, kl_coef=coef), space, Reports(tmp_path / str(coef))).metrics["kl_reply"]
        for coef in (0.0, 20.0)
    ]
    assert kl[0] > 2 * kl[1]


def test_a_rewards_that_are_all_the_same_teach_nothing(space: Workspace, tmp_path: Path, monkeypatch) -> None:
    class Flat(Letters):
        def score(self, texts) -> np.ndarray:
            return np.zeros(len(texts))

    monkeypatch.setattr(improve, "opened_scorer", lambda ref, workspace: Flat())
    for name in ("rest", "rso"):
        run, config = RUNS[name]
        with pytest.raises(DataError, match="worth the same"):
            run(config, space, Reports(tmp_path / name))


def test_a_reward_that_is_no_number_is_said(space: Workspace, tmp_path: Path, monkeypatch) -> None:
    class Broken(Letters):
        name = "broken"

        def score(self, texts) -> np.ndarray:
            return np.full(len(texts), np.nan)

    monkeypatch.setattr(improve, "opened_scorer", lambda ref, workspace: Broken())
    with pytest.raises(ModelError, match=r"broken gives .* no number"):
        ppo.run(RUNS["ppo"][1], space, Reports(tmp_path))


def test_a_dataset_of_one_prompt_is_too_little(space: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 prompts to train on, and at least 2"):
        ppo.run(replace(RUNS["ppo"][1], dataset="one"), space, Reports(tmp_path))


GOLD = PreferencesConfig(policy="lm", dataset="prompts", gold="letters", num_pairs=300, max_new_tokens=8, name="labels")


def test_the_gold_model_prefers_and_noise_turns_as_many_as_asked(space: Workspace, tmp_path: Path) -> None:
    clean = gold_labels.run(GOLD, space, Reports(tmp_path / "clean"))
    assert clean.metrics["agreement"] == 1.0
    noisy = gold_labels.run(replace(GOLD, noise=0.25, seed=1), space, Reports(tmp_path / "noisy"))
    assert noisy.metrics["turned"] == pytest.approx(0.25, abs=0.08)
    assert noisy.metrics["agreement"] == pytest.approx(1 - noisy.metrics["turned"])
    pairs = dataset_pairs(clean)
    assert all(pair.chosen.split().count("a") > pair.rejected.split().count("a") for pair in pairs)


def test_labels_that_were_paid_for_are_not_drawn_again(space: Workspace, tmp_path: Path) -> None:
    whole = gold_labels.run(GOLD, space, Reports(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt):
        gold_labels.run(GOLD, space, Reports(tmp_path / "b", stop_at=150))
    assert len(list((tmp_path / "b").glob("block-*.json"))) == 2
    again = gold_labels.run(GOLD, space, Reports(tmp_path / "b"))
    assert dataset_pairs(again) == dataset_pairs(whole)
    more = gold_labels.run(replace(GOLD, earlier=again.id, seed=9), space, Reports(tmp_path / "c"))
    assert more.metrics["num_pairs"] > again.metrics["num_pairs"] + 200


def test_a_policy_that_always_writes_the_same_is_said(space: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="same reply again and again"):
        gold_labels.run(replace(GOLD, temperature=0.0, num_pairs=20), space, Reports(tmp_path))
