"""The losses of implicit Q-learning, worked out by hand on three tokens."""

import math

import pytest
import torch

from rmviz.training.ilql_losses import (
    Estimates,
    Steps,
    Weights,
    behaviour_loss,
    cql_loss,
    expectile_loss,
    ilql_loss,
    neutral_loss,
    next_values,
    q_targets,
    shaped,
)

# two tokens of one text, then the only token of another; a vocabulary of two
STEPS = Steps(torch.tensor([0, 1, 1]), torch.tensor([0.5, 2.0, -1.0]), torch.tensor([False, True, True]))


def said() -> Estimates:
    def of(*rows: list[float]) -> torch.Tensor:
        return torch.tensor(rows, requires_grad=True)

    return Estimates(
        logits=of([0.0, 0.0], [0.0, math.log(3)], [0.0, 0.0]),
        q=(of([1.0, 0.0], [0.0, 1.0], [0.0, 0.0]), of([0.0, 0.0], [0.0, 2.0], [0.0, -1.0])),
        target_q=torch.tensor([[1.0, 5.0], [5.0, 1.0], [5.0, -1.0]]),
        values=torch.tensor([0.0, 2.0, 1.0], requires_grad=True),
    )


def test_three_tokens_by_hand() -> None:
    one = said()
    assert next_values(one.values, STEPS.last).tolist() == [2.0, 0.0, 0.0]
    assert q_targets(STEPS, one.values, 0.5).tolist() == [1.5, 2.0, -1.0]  # 0.5 + 0.5 · 2, then nothing follows
    loss, parts = ilql_loss(STEPS, one, Weights(tau=0.9, gamma=0.5, cql=0.1, behaviour=2.0))
    # Q of what was done: 1, 1, 0 and 0, 2, -1 against 1.5, 2, -1
    assert parts["q_loss"].item() == pytest.approx((0.25 + 1 + 1) / 3 + (2.25 + 0 + 0) / 3)
    # target Q − V: 1, -1, -2
    assert parts["v_loss"].item() == pytest.approx((0.9 * 1 + 0.1 * 1 + 0.1 * 4) / 3)
    nll = lambda wanted, other: math.log(1 + math.exp(other - wanted))  # noqa: E731
    cql = [nll(1, 0) + nll(1, 0) + nll(0, 0), nll(0, 0) + nll(2, 0) + nll(-1, 0)]
    assert parts["cql_loss"].item() == pytest.approx(sum(cql) / 3, rel=1e-5)
    behaviour = (math.log(2) + math.log(4 / 3) + math.log(2)) / 3
    assert parts["behaviour_loss"].item() == pytest.approx(behaviour, rel=1e-5)
    total = parts["q_loss"] + parts["v_loss"] + 0.1 * parts["cql_loss"] + 2 * parts["behaviour_loss"]
    assert loss.item() == pytest.approx(total.item())


def test_gradients_go_where_they_should() -> None:
    one = said()
    _, parts = ilql_loss(STEPS, one, Weights(tau=0.9, gamma=0.5, cql=0.0, behaviour_beta=1.0))
    reached = {
        name: [
            tensor is not None and bool(tensor.abs().sum() > 0)
            for tensor in torch.autograd.grad(
                parts[name], [one.logits, *one.q, one.values], retain_graph=True, allow_unused=True
            )
        ]
        for name in ("q_loss", "v_loss", "behaviour_loss")
    }
    assert reached == {
        "q_loss": [False, True, True, False],  # not into V of the next state
        "v_loss": [False, False, False, True],
        "behaviour_loss": [True, False, False, False],  # not into the advantage that weights it
    }


def test_the_expectile_loss_has_its_gradient_and_is_least_at_the_expectile() -> None:
    for tau in (0.1, 0.5, 0.9):
        differences = torch.tensor([2.0, -3.0], dtype=torch.double, requires_grad=True)
        assert torch.autograd.gradcheck(lambda u, tau=tau: expectile_loss(u, tau), (differences,))
        expectile_loss(differences, tau).backward()
        assert differences.grad is not None
        assert differences.grad.tolist() == pytest.approx([2 * tau * 2 / 2, 2 * (1 - tau) * -3 / 2])
    samples, value = torch.tensor([0.0, 1.0]), torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        expectile_loss(samples - value, 0.9).backward()
        optimizer.step()
    assert value.item() == pytest.approx(0.9, abs=1e-4)  # 0.9 (1 − v) = 0.1 v


def test_cql_pushes_down_what_nobody_wrote() -> None:
    q = torch.zeros(1, 3, requires_grad=True)
    cql_loss(q, torch.tensor([1])).backward()
    assert q.grad is not None
    assert q.grad[0].tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3])


def test_the_behaviour_loss_is_cloning_at_beta_0_and_weights_what_is_better_above() -> None:
    logits, actions = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])
    advantages = torch.tensor([1.0, -1.0, 0.0, 100.0])
    plain = torch.nn.functional.cross_entropy(logits, actions, reduction="none")
    assert behaviour_loss(logits, actions, advantages, 0.0).item() == pytest.approx(plain.mean().item())
    weights = torch.tensor([math.e, 1 / math.e, 1.0, math.exp(5)])
    assert behaviour_loss(logits, actions, advantages, 1.0).item() == pytest.approx((weights * plain).mean().item())


def test_no_token_of_the_environment_is_preferred_in_the_end() -> None:
    q, values = torch.tensor([[1.0, 3.0]]), torch.tensor([2.0])
    assert neutral_loss((q, q + 1), values).item() == pytest.approx((1 + 1) / 2 + (0 + 4) / 2)
    assert neutral_loss((q[:0], q[:0]), values[:0]).item() == 0


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_shaping_leaves_the_return_of_a_whole_reply(gamma: float) -> None:
    generator = torch.Generator().manual_seed(1)
    for length in (1, 2, 7):
        rewards, potentials = torch.randn(2, length, generator=generator, dtype=torch.double)
        discounts = gamma ** torch.arange(length)
        after = shaped(rewards, potentials, gamma)
        assert (discounts * after).sum().item() == pytest.approx((discounts * rewards).sum().item())
    by_hand = shaped(torch.tensor([0.0, 1.0]), torch.tensor([5.0, 7.0]), 1.0)
    assert by_hand.tolist() == [2.0, -1.0]  # the score rises by 2 at once, and what is left of 1 is −1
