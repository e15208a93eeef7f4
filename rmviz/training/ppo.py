"""PPO on whole replies: draw, pay, estimate advantages, and take clipped steps near the policy that drew them.

Details as in Huang et al. 2024 (arXiv:2403.17031): the reward stands at the last token, the KL penalty at every one (k1),
advantages are whitened over a round, ratio and value are clipped, the value head starts at 0.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rmviz.configs.rl import PPOConfig
from rmviz.models.placement import unmixed
from rmviz.models.policy import Policy, Reply, TokenBatch, Tokens
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.improve import Run, opened_run
from rmviz.training.loop import Loop, mixed
from rmviz.training.losses import (
    PerToken,
    adapted_kl_coef,
    advantages,
    masked_mean,
    masked_whiten,
    ppo_policy_loss,
    ppo_value_loss,
)
from rmviz.training.rewards import paid
from rmviz.types import Report


class ActorCritic(nn.Module):
    """The policy's model with a value head on its last hidden states, and the price of a nat."""

    kl_coef: Tensor
    reward_scale: Tensor

    def __init__(self, policy: Policy, kl_coef: float, temperature: float = 1.0) -> None:
        """The value begins at 0 everywhere; `temperature` is that of the replies that are learnt from, above 0."""
        super().__init__()
        self.model, self.temperature = policy.model, temperature
        width = int(policy.model.get_output_embeddings().weight.shape[1])
        self.value = nn.Linear(width, 1).to(policy.device)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)
        self.register_buffer("kl_coef", torch.tensor(kl_coef, dtype=torch.float64))
        self.register_buffer("reward_scale", torch.tensor(0.0, dtype=torch.float64))

    def forward(self, batch: TokenBatch) -> tuple[PerToken, PerToken, PerToken]:
        """Log-probability (nats) of each token but the first, the entropy there, and the value before it, all float32.

        Log-probability and entropy are those at the temperature of the draws. The value's arithmetic is in float32, though
        autocast may be on around it.
        """
        kept: list[Tensor] = []
        head = self.model.get_output_embeddings()
        handle = head.register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))
        try:
            logits = self.model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, :-1].float()
        finally:
            handle.remove()
        log_probs = (logits / self.temperature).log_softmax(2)
        entropy = -(log_probs.exp() * log_probs).sum(2)
        with unmixed():
            values = self.value(kept[0][:, :-1].float()).squeeze(2)
        return log_probs.gather(2, batch.ids[:, 1:, None]).squeeze(2), entropy, values


@dataclass
class Rollout:
    """The replies of a round, and what is held fixed while it is learnt from."""

    rows: list[Tokens]
    batch: TokenBatch
    log_probs: Float[Tensor, "text step"]
    values: Float[Tensor, "text step"]
    advantage: Float[Tensor, "text step"]
    returns: Float[Tensor, "text step"]
    figures: dict[str, float]


def run(config: PPOConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train by PPO; an interrupted run goes on from its last round and ends the same.

    Metrics: those of the watch, and the last `kl_coef`.
    """
    job = opened_run(config, workspace, report, config.num_steps, "ppo")
    actor = ActorCritic(job.policy, config.kl_coef, config.temperature)
    loop = Loop(report, config.num_steps, actor, learning_rate=config.learning_rate, seed=config.seed)
    job.watched(0)
    for step in loop.steps():
        with mixed(config.precision, job.policy.device):
            rollout = drawn(job, actor, step)
        figures = {**rollout.figures, **_learn(config, actor, loop, rollout, step)}
        if config.kl_target:
            coef = adapted_kl_coef(
                float(actor.kl_coef), figures["kl_reply_drawn"], config.kl_target, config.num_replies, config.kl_horizon
            )
            actor.kl_coef.fill_(coef)
        looked = job.watched(step + 1)
        loop.tell({**figures, "kl_coef": float(actor.kl_coef), **looked}, always=bool(looked))
    return job.keep(config.num_steps, {"kl_coef": float(actor.kl_coef)})


@torch.no_grad()
def drawn(job: Run, actor: ActorCritic, step: int) -> Rollout:
    """Draw the replies of a round, and estimate their advantages under the policy that drew them."""
    config = job.config
    replies = job.policy.sample(
        job.draw_prompts(step, config.num_replies), seed=config.seed * 10_007 + step,
        max_new_tokens=config.max_new_tokens, temperature=config.temperature,
    )  # fmt: skip
    rewards = paid(job.scorer, [reply.prompt for reply in replies], [reply.text for reply in replies])
    if config.standardise and not float(actor.reward_scale):
        actor.reward_scale.fill_(max(float(rewards.std()), 1e-6))
    scale = float(actor.reward_scale) if config.standardise else 1.0
    batch = job.policy.batch([reply.tokens for reply in replies])
    log_probs, entropy, values = actor(batch)
    apart = (log_probs - job.reference.log_probs(batch, actor.temperature)) * batch.targets
    per_token = token_rewards(
        batch, apart, rewards / scale - config.eos_penalty * _unended(replies), float(actor.kl_coef)
    )
    advantage, returns = advantages(per_token, values, batch.targets, config.gamma, config.gae_lambda)
    if config.whiten:
        advantage = masked_whiten(advantage, batch.targets)
    figures = {
        "reward_drawn": float(rewards.mean()), "kl_reply_drawn": float(apart.sum(1).mean()),
        "entropy_drawn": float(masked_mean(entropy, batch.targets)),
        "length_drawn": float(batch.targets.sum(1).float().mean()),
    }  # fmt: skip
    rows = [reply.tokens for reply in replies]
    return Rollout(rows, batch, log_probs, values * batch.targets, advantage, returns, figures)


def token_rewards(batch: TokenBatch, apart: PerToken, rewards: np.ndarray, kl_coef: float) -> PerToken:
    """−β (log π − log π_ref) at each token of a reply, and the reply's reward at its last."""
    per_token = -kl_coef * apart
    last = batch.mask.sum(1) - 2
    rows = torch.arange(len(last), device=last.device)
    per_token[rows, last] += torch.as_tensor(rewards, dtype=per_token.dtype, device=per_token.device)
    return per_token * batch.targets


def _unended(replies: list[Reply]) -> np.ndarray:
    return np.array([not reply.ended for reply in replies], dtype=float)


def _learn(config: PPOConfig, actor: ActorCritic, loop: Loop, rollout: Rollout, step: int) -> dict[str, float]:
    found: list[tuple[float, float, float]] = []
    where = rollout.batch.targets
    for epoch in range(config.num_epochs):
        order = np.random.default_rng([config.seed, step, epoch]).permutation(len(rollout.rows))
        for start in range(0, len(order), config.batch_size):
            some = torch.as_tensor(order[start : start + config.batch_size], device=where.device)
            part = TokenBatch(rollout.batch.ids[some], rollout.batch.mask[some], rollout.batch.reply[some])
            with mixed(config.precision, where.device):
                log_probs, _, values = actor(part)
                gain, clipped = ppo_policy_loss(
                    log_probs, rollout.log_probs[some], rollout.advantage[some], where[some], config.clip
                )
                error = ppo_value_loss(
                    values, rollout.values[some], rollout.returns[some], where[some], config.value_clip
                )
            loop.update(gain + config.value_coef * error)
            found.append((gain.item(), error.item(), clipped.item()))
    means = np.mean(found, axis=0)
    return {"policy_loss": float(means[0]), "value_loss": float(means[1]), "clipped": float(means[2])}
