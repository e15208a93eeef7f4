"""What own training methods minimise; tensors in, tensors out."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

PerToken = Float[Tensor, "text step"]
Where = Bool[Tensor, "text step"]


def masked_mean(values: PerToken, where: Where) -> Float[Tensor, ""]:
    """Mean over the marked entries; 0 where none is marked."""
    return (values * where).sum() / where.sum().clamp(min=1)


def masked_whiten(values: PerToken, where: Where) -> PerToken:
    """Mean 0 and standard deviation 1 over the marked entries; 0 elsewhere."""
    mean = masked_mean(values, where)
    variance = masked_mean((values - mean).square(), where)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * where


def advantages(
    rewards: PerToken, values: PerToken, where: Where, gamma: float, gae_lambda: float
) -> tuple[PerToken, PerToken]:
    """Generalised advantage estimates and the returns that values are fitted to; after the last token all is 0.

    A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} − V_t (Schulman et al. 2016, arXiv:1506.02438, eq. 11 and 16).
    """
    values = values * where
    found = torch.zeros_like(values)
    ahead = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(ahead)
        delta = rewards[:, t] + gamma * following - values[:, t]
        ahead = (delta + gamma * gae_lambda * ahead) * where[:, t]
        found[:, t] = ahead
    return found, (found + values) * where


def ppo_policy_loss(
    log_probs: PerToken, old_log_probs: PerToken, advantage: PerToken, where: Where, clip: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The clipped surrogate, negated, and the share of tokens that were clipped.

    −E[min(ρA, clip(ρ, 1−ε, 1+ε)A)] with ρ = π/π_old (Schulman et al. 2017, arXiv:1707.06347, eq. 7).
    """
    ratio = (log_probs - old_log_probs).exp()
    plain, cut = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    return -masked_mean(torch.minimum(plain, cut), where), masked_mean((cut < plain).float(), where)


def ppo_value_loss(
    values: PerToken, old_values: PerToken, returns: PerToken, where: Where, clip: float
) -> Float[Tensor, ""]:
    """Half the squared error of the value, or of the value kept near the old one, whichever is larger."""
    near = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns).square(), (near - returns).square()), where)


def adapted_kl_coef(coef: float, kl: float, target: float, num_replies: int, horizon: int) -> float:
    """The price of a nat after a round: it rises where the policy is further away than wanted.

    Source: Ziegler et al. 2019 (arXiv:1909.08593), section 2.2.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coef * (1 + error * num_replies / horizon)


def nll(log_probs: PerToken, where: Where) -> Float[Tensor, ""]:
    """Negative log-likelihood of the marked tokens, in nats per token."""
    return -masked_mean(log_probs, where)


def preference_loss(
    chosen: Float[Tensor, " pair"], rejected: Float[Tensor, " pair"], beta: float, loss: str = "sigmoid"
) -> Float[Tensor, ""]:
    """DPO, or SLiC's hinge on the same margin.

    Args:
        chosen: Log-probability of the chosen replies under the policy less that under the reference, in nats.
        rejected: The same of the rejected ones.
        beta: Weight of the distance to the reference.
        loss: sigmoid (Rafailov et al. 2023, arXiv:2305.18290, eq. 7) or hinge (Liu et al. 2024, arXiv:2309.06657, eq. 10).
    """
    margin = beta * (chosen - rejected)
    return -F.logsigmoid(margin).mean() if loss == "sigmoid" else F.relu(1 - margin).mean()


def rejection_kept(rewards: list[float], beta: float, num_kept: int, draws: list[float]) -> list[int]:
    """Places of the replies that statistical rejection sampling keeps of one prompt's.

    Rounds go over those not kept yet; each is kept with probability exp((r − highest r not kept) / β), until enough are.

    Args:
        rewards: Of the replies.
        beta: Temperature: small keeps only the best, large keeps any.
        num_kept: How many to keep.
        draws: Uniform numbers in [0, 1), used in turn and over again.

    Source: Liu et al. 2024 (arXiv:2309.06657), algorithm 1.
    """
    kept: list[int] = []
    left, turn = list(range(len(rewards))), 0
    while left and len(kept) < num_kept:
        highest = max(rewards[place] for place in left)
        passed = list(left)
        for place in passed:
            if len(kept) == num_kept:
                break
            if draws[turn % len(draws)] < math.exp((rewards[place] - highest) / beta):
                kept.append(place)
                left.remove(place)
            turn += 1
    return kept
