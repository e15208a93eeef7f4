"""Implicit Q-learning over tokens: the losses, pure.

A state is what is written so far, an action is the next token. The actions of all texts stand in one row, text after text;
`last` marks each text's last action, after which nothing more is paid. What others write within a text (the environment's
tokens) is no action: it stands between an action and the next state, as a draw of nature.
Source: Snell et al. 2022 (arXiv:2206.11871), which puts Kostrikov et al. 2021 (arXiv:2110.06169) on language models.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How the losses are put together; the names are those of `IlqlConfig`."""

    tau: float
    gamma: float
    cql: float
    behaviour: float = 1.0
    behaviour_beta: float = 0.0


@dataclass(frozen=True)
class Steps:
    """What was done and what came of it, an entry per action."""

    actions: Int[Tensor, " action"]
    """Ids of the tokens."""
    rewards: Float[Tensor, " action"]
    last: Bool[Tensor, " action"]


@dataclass(frozen=True)
class Estimates:
    """What language model and heads say in the state before each action, of every token."""

    logits: Float[Tensor, "action token"]
    """Of the language model."""
    q: tuple[Float[Tensor, "action token"], Float[Tensor, "action token"]]
    target_q: Float[Tensor, "action token"]
    """The lower of both target heads."""
    values: Float[Tensor, " action"]


def next_values(values: Float[Tensor, " action"], last: Bool[Tensor, " action"]) -> Float[Tensor, " action"]:
    """V of the state in which the next action is chosen; 0 after a text's last action."""
    return torch.where(last, 0.0, values.roll(-1))


def q_targets(steps: Steps, values: Float[Tensor, " action"], gamma: float) -> Float[Tensor, " action"]:
    """R + γ V(s'), which takes no gradient.

    Source: Kostrikov et al. 2021, eq. 6; Snell et al. 2022, section 4.
    """
    return (steps.rewards + gamma * next_values(values, steps.last)).detach()


def expectile_loss(differences: Float[Tensor, " action"], tau: float) -> Float[Tensor, ""]:
    """Mean of |τ − 1(u < 0)| u² over differences u; least at the τ-expectile: the mean at τ = ½, towards the highest at τ → 1.

    Source: Kostrikov et al. 2021, eq. 3 (Newey & Powell 1987).
    """
    return (torch.where(differences < 0, 1 - tau, tau) * differences.square()).mean()


def value_loss(values: Float[Tensor, " action"], target_q: Float[Tensor, " action"], tau: float) -> Float[Tensor, ""]:
    """V towards the τ-expectile, over actions, of the target Q of what was done.

    Source: Kostrikov et al. 2021, eq. 5.
    """
    return expectile_loss(target_q.detach() - values, tau)


def cql_loss(q: Float[Tensor, "action token"], actions: Int[Tensor, " action"]) -> Float[Tensor, ""]:
    """Keeps Q of tokens that nobody wrote below Q of those that stand there: cross-entropy of Q read as logits, in nats.

    Source: Kumar et al. 2020 (arXiv:2006.04779), eq. 4 with the Q of the data's action, as in Snell et al. 2022, section 4.
    """
    return cross_entropy(q, actions)


def behaviour_loss(
    logits: Float[Tensor, "action token"],
    actions: Int[Tensor, " action"],
    advantages: Float[Tensor, " action"],
    beta: float,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats, each action weighted by exp(β · advantage), at most e⁵; plain behaviour cloning at β = 0.

    Source: Nair et al. 2020 (arXiv:2006.09359), eq. 13 (AWAC).
    """
    weights = (beta * advantages.detach()).clamp(max=5.0).exp()
    return (weights * cross_entropy(logits, actions, reduction="none")).mean()


def ilql_loss(steps: Steps, said: Estimates, weights: Weights) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The sum that is minimised, and its parts, beside the mean `q` and `v`.

    Parts are `q_loss`, `v_loss`, `cql_loss` (0 where it has no weight) and `behaviour_loss`.
    """
    targets = q_targets(steps, said.values, weights.gamma)
    taken = [_taken(q, steps.actions) for q in said.q]
    target_q = _taken(said.target_q, steps.actions)
    parts = {
        "q_loss": sum(((q - targets).square().mean() for q in taken), start=torch.zeros_like(targets[0])),
        "v_loss": value_loss(said.values, target_q, weights.tau),
        "cql_loss": sum((cql_loss(q, steps.actions) for q in said.q if weights.cql), start=torch.zeros_like(targets[0])),
        "behaviour_loss": behaviour_loss(
            said.logits, steps.actions, target_q - said.values, weights.behaviour_beta
        ),
    }  # fmt: skip
    loss = parts["q_loss"] + parts["v_loss"] + weights.cql * parts["cql_loss"]
    loss = loss + weights.behaviour * parts["behaviour_loss"]
    return loss, {**parts, "q": taken[0].mean(), "v": said.values.mean()}


def neutral_loss(
    q: tuple[Float[Tensor, "step token"], Float[Tensor, "step token"]], values: Float[Tensor, " step"]
) -> Float[Tensor, ""]:
    """Draws Q of every token and V together where the environment writes, so that no token of it is preferred; 0 without any."""
    return sum(((one - values[:, None]).square().mean(1).sum() for one in q), start=torch.zeros(())) / max(
        1, len(values)
    )


def shaped(
    rewards: Float[Tensor, " action"], potentials: Float[Tensor, " action"], gamma: float
) -> Float[Tensor, " action"]:
    """Rewards of one text with γ Φ(s') − Φ(s) added: the best policy is the same, but it is paid at once.

    Φ of the first state counts as 0, and so does Φ after the end: the discounted sum over the whole text stays as it was.

    Args:
        rewards: Of each action.
        potentials: Φ of the state before each action.
        gamma: The discount.

    Source: Ng, Harada & Russell 1999, theorem 1; Grzes 2017 for Φ = 0 at the end.
    """
    level = potentials - potentials[0]
    return rewards + gamma * torch.cat([level[1:], level.new_zeros(1)]) - level


def _taken(values: Float[Tensor, "action token"], actions: Int[Tensor, " action"]) -> Float[Tensor, " action"]:
    return values.gather(1, actions[:, None]).squeeze(1)
