"""Policies: what they read and write, how likely it was, and the watch over a run; each held against a known answer."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from rmviz.configs.world import WorldPolicyConfig
from rmviz.errors import DataError, ModelError
from rmviz.models.formats import layout
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy
from rmviz.store.workspace import Workspace
from rmviz.training.diversity import distinct_n, self_bleu
from rmviz.training.looks import drift_table
from rmviz.training.loop import Loop, schedule
from rmviz.training.watch import PolicyWatch, kl_and_entropy
from rmviz.world.policy import language_model
from rmviz.world.tasks import task_named
from rmviz.world.tokenizer import world_tokenizer

TINY = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=1)
PROMPTS = ["Tell Anna about space.", "Write a happy haiku for Ben.", "Explain taxes to the man at the door."]


def tiny(seed: int = 1) -> Policy:
    tokenizer = world_tokenizer()
    config = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=seed)
    return Policy(language_model(config, len(tokenizer)).eval(), tokenizer, format="transcript", name="tiny")


def test_a_prompt_with_a_reply_begins_with_the_prompt_alone() -> None:
    policy = tiny()
    for given, prompt in zip(policy.contexts(PROMPTS, 20), PROMPTS, strict=True):
        tokens = policy.encode(prompt, "My suitcase docked.")
        assert tokens.ids[: tokens.start] == given
        assert tokens.reply[-1] == policy.eos_id
        assert policy.tokenizer.decode(tokens.reply[:-1]).strip() == "My suitcase docked."


def test_what_is_sampled_is_encoded_as_it_was_written() -> None:
    policy = tiny()
    policy.model.get_output_embeddings().weight.data[policy.eos_id] += 0.5  # so that some replies end
    replies = policy.sample(PROMPTS * 10, seed=0, max_new_tokens=12)
    assert replies == policy.sample(PROMPTS * 10, seed=0, max_new_tokens=12)
    assert replies != policy.sample(PROMPTS * 10, seed=1, max_new_tokens=12)
    assert all(len(reply.tokens.reply) <= 12 for reply in replies)
    assert all((reply.tokens.ids[-1] == policy.eos_id) == reply.ended for reply in replies)


def test_a_sampled_reply_laid_out_after_its_prompt_is_what_was_written() -> None:
    policy = tiny()
    prompts = [
        PROMPTS[0],
        "\n\nHuman: Tell me.\n\nAssistant:",
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
    ]
    for prompt in prompts:
        written = list(policy.tokenizer(" My lamp.", add_special_tokens=False)["input_ids"])
        text = policy.text_of(prompt, [*written, policy.eos_id])
        assert layout(prompt, text, "transcript", policy.tokenizer).text.endswith("Assistant: My lamp.")
        assert policy.encode(prompt, text).reply == (*written, policy.eos_id)
    assert policy.text_of(prompts[0], written) == "My lamp."
    assert policy.text_of(prompts[1], written) == " My lamp."


def test_log_probs_are_those_of_the_plain_forward_whatever_the_neighbours() -> None:
    policy = tiny()
    rows = [
        policy.encode(prompt, reply) for prompt, reply in zip(PROMPTS, ("Yes.", "My lamp.", "So be it."), strict=True)
    ]
    batch = policy.batch(rows)
    together = policy.log_probs(batch)
    for place, row in enumerate(rows):
        ids = torch.tensor([row.ids])
        logits = policy.model(input_ids=ids).logits[0].log_softmax(1)
        wanted = [logits[i - 1, row.ids[i]].item() for i in range(row.start, len(row.ids))]
        assert together[place][batch.targets[place]].tolist() == pytest.approx(wanted, abs=1e-5)
        following = policy.next_log_probs([row.ids[: row.start]])[0]
        assert following[row.ids[row.start]].item() == pytest.approx(wanted[0], abs=1e-5)


def test_too_long_a_prompt_loses_its_start_and_no_room_is_said() -> None:
    policy = tiny()
    (given,) = policy.contexts(["space " * 500 + "end"], 10)
    assert len(given) == policy.max_length - 10
    tokens = policy.encode("space " * 500, "lamp " * 500)
    assert len(tokens.ids) == policy.max_length
    with pytest.raises(DataError, match="leave no room"):
        policy.contexts(PROMPTS, policy.max_length)


def test_a_reply_that_is_cut_does_not_end_and_leaves_its_prompt_half_the_space() -> None:
    policy = tiny()
    most, eos = policy.max_length, policy.eos_id
    long, short = policy.encode("space " * 500, "lamp " * 500), policy.encode("Tell me.", "lamp " * 500)
    assert (len(long.ids), long.start, eos in long.ids) == (most, most // 2, False)
    given = policy.contexts(["Tell me."], 0)[0]
    assert (short.ids[: short.start], len(short.ids), eos in short.ids) == (given, most, False)
    whole = policy.encode("space " * 500, "lamp lamp")
    assert (len(whole.ids), whole.ids.count(eos), whole.ids[-1]) == (most, 1, eos)
    # word by word: the EOS is there as long as it has room, and nothing but the reply's end is ever lost
    one = len(policy.encode("Tell me.", "lamp").reply) - 1
    for words in range((most - len(given)) // one - 3, (most - len(given)) // one + 3):
        reply = policy.encode("Tell me.", " ".join(["lamp"] * words)).reply
        written = policy.tokenizer(" " + " ".join(["lamp"] * words), add_special_tokens=False)["input_ids"]
        assert reply == (*written, eos)[: most - len(given)]


def test_a_kept_policy_is_the_same(tmp_path: Path) -> None:
    policy, space = tiny(), Workspace(tmp_path)
    artifact = keep_policy(space, policy, name="one", key="k", config=TINY, parents=(), metrics={"a": 1})
    again = load_policy(artifact)
    assert (again.format, again.max_length) == ("transcript", policy.max_length)
    assert again.sample(PROMPTS, seed=3, max_new_tokens=8) == policy.sample(PROMPTS, seed=3, max_new_tokens=8)


def test_kl_and_entropy_by_hand() -> None:
    one, other = tiny(1), tiny(2)
    rows = [one.encode(PROMPTS[0], "Yes."), one.encode(PROMPTS[1], "My lamp rests.")]
    kl, entropy = kl_and_entropy(one, other, rows)
    for place, row in enumerate(rows):
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            p, q = (
                model.model(input_ids=ids).logits[0, row.start - 1 : -1].softmax(1).double() for model in (one, other)
            )
        assert kl[place] == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)
        assert entropy[place] == pytest.approx(float(-(p * p.log()).sum()), rel=1e-4)
    assert kl_and_entropy(one, one, rows)[0] == pytest.approx([0, 0], abs=1e-6)


def test_a_policy_that_rules_tokens_out_has_a_finite_distance() -> None:
    one, other = tiny(1), tiny(2)
    one.model.get_output_embeddings().register_forward_hook(
        lambda module, args, out: out.masked_fill(torch.arange(out.shape[-1]) > 300, -torch.inf)
    )
    kl, entropy = kl_and_entropy(one, other, [one.encode(PROMPTS[0], "a")])
    assert np.isfinite([*kl, *entropy]).all()


def test_diversity_of_known_texts() -> None:
    assert distinct_n(["a b a b"], 1) == 0.5
    assert distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct_n([""], 2) == 0.0
    assert self_bleu(["one two three four five"] * 3) == pytest.approx(1.0)
    assert self_bleu(["one two three four", "five six seven eight"]) < 0.1


class Reports:
    key = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, step, total, metrics=None) -> None:
        pass


def test_the_watch_sees_what_changed_and_looks_once(tmp_path: Path) -> None:
    policy, reference = tiny(1), tiny(1)
    watch = PolicyWatch(
        policy, reference, PROMPTS, {"reward": Length()}, tmp_path, num_steps=10, num_looks=2, max_new_tokens=6,
        temperature=1.0, seed=0,
    )  # fmt: skip
    assert watch.steps == [0, 5, 10]
    assert watch.look(3) == {}
    before = watch.look(0)
    assert before["kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight *= 3
    assert watch.look(0) == before
    after = watch.look(5)
    assert after["kl"] > 0.01
    assert after["entropy"] < before["entropy"]
    (tmp_path / "out").mkdir()
    watch.attach(tmp_path / "out")
    samples = pd.read_parquet(tmp_path / "out" / "samples.parquet")
    assert set(samples["step"]) == {0, 5}
    assert samples["reward"].tolist() == [len(reply) for reply in samples["reply"]]


class Length:
    name = "length"

    def score(self, texts) -> np.ndarray:
        return np.array([len(text.reply) for text in texts], dtype=float)


def test_drift_is_found_where_it_is_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for step, mean in ((0, 1.0), (9, 2.0)):
        rows += [(step, text, 3, mean + 0.1 * rng.standard_normal()) for text in range(40)]
        rows += [(step, text, 5, 1.0 + 0.1 * rng.standard_normal()) for text in range(40)]
        rows += [(step, text, 7, 0.5) for text in range(0, 40, 2) if step == 0]
    table = drift_table(pd.DataFrame(rows, columns=["step", "text", "feature", "activation"]), 0, 9, 40).set_index(
        "feature"
    )
    assert table.loc[3, "change"] == pytest.approx(1.0, abs=0.1)
    assert table.loc[3, "q"] < 1e-6
    assert table.loc[5, "q"] > 0.05
    assert table.loc[5, "low"] < 0 < table.loc[5, "high"]
    assert (table.loc[7, "share_before"], table.loc[7, "share_after"]) == (0.5, 0.0)
    assert table.loc[7, "change"] == pytest.approx(-0.25)


def fitted(folder: Path, stop_at: int = 10**9, monkeypatch=None) -> torch.Tensor:
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.fill_(0.3)
        module.bias.fill_(0.0)
    loop = Loop(Reports(folder), 40, module, learning_rate=0.1, seed=5)
    for step in loop.steps():
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3)
        loop.update((module(x).squeeze(1) - x[:, 0]).square().mean())
    return module.weight.detach().clone()


def test_a_loop_that_was_broken_off_ends_the_same(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "0")
    whole = fitted(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "b", stop_at=23)
    assert torch.equal(fitted(tmp_path / "b"), whole)
    assert whole[0, 0] > 0.8


def test_a_loss_that_is_no_number_stops_with_the_step(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    loop = Loop(Reports(tmp_path), 4, module, learning_rate=0.1, seed=0)
    with pytest.raises(ModelError, match=r"step 1 of 4.*Lower learning_rate"):
        for _ in loop.steps():
            loop.update(module(torch.ones(1, 1)).sum() * math.nan)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(step, 100) for step in range(100)]
    assert max(rates) == 1.0
    assert rates.index(1.0) in (4, 5)
    assert rates[-1] == pytest.approx(1 / 95)


def test_every_reply_of_the_world_is_paid() -> None:
    import random

    task, rng = task_named("world"), random.Random(0)
    for _ in range(50):
        prompt = task.prompt(rng)
        assert np.isfinite(task.reward(prompt, task.reply(prompt, rng)))
