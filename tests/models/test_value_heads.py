"""Heads and guide: what a guide does to a model of any family, and that it is kept with its policy."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTNeoXConfig, LlamaConfig

from rmviz.configs.world import WorldPolicyConfig
from rmviz.errors import ModelError
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy, trainable
from rmviz.models.value_heads import HEADS, Guide, ValueHeads, load_guide, save_guide, sizes_of
from rmviz.store.workspace import Workspace
from rmviz.training.watch import kl_and_entropy
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer

SIZE = {"vocab_size": 600, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES = {
    "gpt_neox": GPTNeoXConfig(**SIZE, max_position_embeddings=64),
    "llama": LlamaConfig(**SIZE, max_position_embeddings=64, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=600, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1),
    # it caps its logits after the output embeddings
    "gemma2": Gemma2Config(**SIZE, num_key_value_heads=1, head_dim=8, max_position_embeddings=64, final_logit_softcapping=0.5),
}  # fmt: skip


def tiny(seed: int = 1) -> Policy:
    tokenizer = world_tokenizer()
    config = WorldPolicyConfig(num_steps=1, d_model=16, num_blocks=1, seed=seed)
    return Policy(language_model(config, len(tokenizer)).eval(), tokenizer, format="transcript", name="tiny")


def guided(policy: Policy, *, beta: float, top_k: int = 0, seed: int = 3) -> Guide:
    heads = ValueHeads(*sizes_of(policy.model), seed=seed)
    with torch.no_grad():
        for head in heads.target_q:
            head[-1].weight *= 20  # so that it leads somewhere
    policy.guide = Guide(heads, beta=beta, top_k=top_k).attach(policy.model)
    return policy.guide


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_are_led_by_q_minus_v_in_every_family(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[kind]).eval()
    ids = torch.randint(5, 600, (2, 7))
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        hidden = model.base_model(input_ids=ids).last_hidden_state
        heads = ValueHeads(*sizes_of(model))
        guide = Guide(heads).attach(model)
        assert torch.equal(model(input_ids=ids).logits, plain)  # β = 0
        guide.beta = 3.0
        lower = torch.minimum(heads.target_q[0](hidden), heads.target_q[1](hidden))
        wanted = plain.log_softmax(-1) + 3 * (lower - heads.v(hidden))
        assert torch.allclose(model(input_ids=ids).logits, wanted, atol=1e-5)
        guide.detach()
        assert torch.equal(model(input_ids=ids).logits, plain)


def test_sampling_likelihoods_and_distance_all_see_the_guide() -> None:
    policy, reference, prompts = tiny(), tiny(), ["Tell Anna about space.", "Write a poem."] * 4
    before = policy.sample(prompts, seed=0, max_new_tokens=8)
    guide = guided(policy, beta=0.0)
    assert policy.sample(prompts, seed=0, max_new_tokens=8) == before
    guide.beta = 50.0
    after = policy.sample(prompts, seed=0, max_new_tokens=8, temperature=0)
    assert [reply.text for reply in after] != [reply.text for reply in before]
    rows = [reply.tokens for reply in after]
    batch = policy.batch(rows)
    with torch.no_grad():
        likelihoods = policy.log_probs(batch)[batch.targets].exp()
        likeliest = policy.logits(batch).softmax(2).max(2).values[batch.targets]
    assert torch.allclose(likelihoods, likeliest, atol=1e-5)  # it took the likeliest token of what the guide made of it
    assert kl_and_entropy(policy, reference, rows)[0].min() > 0.1
    guide.beta = 0.0
    assert kl_and_entropy(policy, reference, rows)[0] == pytest.approx(0, abs=1e-5)


def test_led_sampling_keeps_to_the_models_own_likeliest_tokens() -> None:
    policy = tiny()
    ids = [policy.contexts(["Tell Anna about space."], 10)[0]]
    likeliest = policy.next_log_probs(ids)[0].topk(5).indices
    guide = guided(policy, beta=50.0, top_k=5)
    left = torch.isfinite(policy.next_log_probs(ids)[0])
    assert set(left.nonzero().squeeze(1).tolist()) == set(likeliest.tolist())
    guide.beta = 0.0
    assert torch.isfinite(policy.next_log_probs(ids)).all()  # at β = 0 it is what it was


def test_targets_follow_by_their_share() -> None:
    heads = ValueHeads(4, 3)
    first = heads.target_q[0][0].weight.clone()
    with torch.no_grad():
        heads.q[0][0].weight += 1
    heads.follow(0.25)
    assert torch.allclose(heads.target_q[0][0].weight, first + 0.25)
    assert not any(weight.requires_grad for weight in heads.target_q.parameters())


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_guided_policy_is_kept_with_its_guide(tmp_path: Path, lora_rank: int) -> None:
    space, prompts = Workspace(tmp_path), ["Tell Anna about space."] * 4
    plain = keep_policy(space, tiny(), name="plain", key="p", config=WorldPolicyConfig(), parents=(), metrics={})
    policy = load_policy(plain, lora_rank=lora_rank)
    guided(policy, beta=20.0, top_k=30)
    kept = keep_policy(space, policy, name="led", key="k", config=WorldPolicyConfig(), parents=(), metrics={})
    again = load_policy(kept)
    assert again.guide is not None and (again.guide.beta, again.guide.top_k) == (20.0, 30)
    assert again.sample(prompts, seed=3, max_new_tokens=8) == policy.sample(prompts, seed=3, max_new_tokens=8)
    assert trainable(again).guide is None  # its heads would read other hidden states
    assert again.sample(prompts, seed=3, max_new_tokens=8) == load_policy(plain).sample(
        prompts, seed=3, max_new_tokens=8
    )


def test_heads_of_another_model_are_refused(tmp_path: Path) -> None:
    record = save_guide(Guide(ValueHeads(8, 600), beta=1.0), tmp_path)
    with pytest.raises(ModelError, match="heads of another model"):
        load_guide(record, tmp_path / HEADS, tiny().model)


def test_heads_are_read_in_float32_under_autocast() -> None:
    heads, hidden = ValueHeads(16, 40), torch.randn(3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = [heads.values(hidden), *heads.both_q(hidden), heads.lower_q(hidden)]
    plain = [heads.values(hidden), *heads.both_q(hidden), heads.lower_q(hidden)]
    for one, other in zip(mixed, plain, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
