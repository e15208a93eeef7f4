"""What own methods minimise, held against figures worked out by hand."""

import math
import random

import pytest
import torch

from rmviz.training.grow import Group, above, best, contrasts, tournament
from rmviz.training.losses import (
    adapted_kl_coef,
    advantages,
    masked_whiten,
    nll,
    ppo_policy_loss,
    ppo_value_loss,
    preference_loss,
    rejection_kept,
)

from rmviz.models.policy import Tokens  # isort: skip

ALL = torch.ones(1, 3, dtype=torch.bool)


def test_advantages_of_a_recorded_reply() -> None:
    rewards, values = torch.tensor([[0.0, -0.1, 1.0]]), torch.tensor([[0.5, 0.4, 0.2]])
    # δ2 = 1 − .2 = .8; δ1 = −.1 + .9·.2 − .4 = −.32; δ0 = 0 + .9·.4 − .5 = −.14
    # A2 = .8; A1 = −.32 + .9·.5·.8 = .04; A0 = −.14 + .45·.04 = −.122
    found, returns = advantages(rewards, values, ALL, gamma=0.9, gae_lambda=0.5)
    assert found[0].tolist() == pytest.approx([-0.122, 0.04, 0.8], abs=1e-6)
    assert returns[0].tolist() == pytest.approx([0.378, 0.44, 1.0], abs=1e-6)


def test_advantages_see_nothing_behind_the_last_token() -> None:
    rewards, values = torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[0.0, 0.0, 9.0]])
    where = torch.tensor([[True, True, False]])
    found, returns = advantages(rewards, values, where, 1.0, 1.0)
    assert found[0].tolist() == [1.0, 1.0, 0.0]
    assert returns[0].tolist() == [1.0, 1.0, 0.0]


def test_with_lambda_one_the_advantage_is_the_return_less_the_value() -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(4, 6), torch.randn(4, 6)
    where = torch.arange(6) < torch.tensor([[6], [3], [1], [5]])
    rewards = rewards * where
    found, returns = advantages(rewards, values, where, 1.0, 1.0)
    wanted = rewards.flip(1).cumsum(1).flip(1) * where
    assert torch.allclose(returns, wanted, atol=1e-5)
    assert torch.allclose(found, (wanted - values) * where, atol=1e-5)


def test_the_clipped_loss_of_a_recorded_batch() -> None:
    old = torch.zeros(1, 3)
    new = torch.tensor([[math.log(1.5), math.log(0.5), math.log(1.1)]])
    advantage = torch.tensor([[1.0, -1.0, 2.0]])
    # min(1.5, 1.2) = 1.2; min(−.5, −.8) = −.8; min(2.2, 2.2) = 2.2: mean 2.6 / 3
    loss, clipped = ppo_policy_loss(new, old, advantage, ALL, 0.2)
    assert loss.item() == pytest.approx(-2.6 / 3)
    assert clipped.item() == pytest.approx(2 / 3)


def test_clipped_tokens_have_no_gradient() -> None:
    new = torch.tensor([[math.log(1.5), math.log(0.5), math.log(1.1)]], requires_grad=True)
    loss, _ = ppo_policy_loss(new, torch.zeros(1, 3), torch.tensor([[1.0, -1.0, 2.0]]), ALL, 0.2)
    loss.backward()
    assert new.grad is not None
    assert new.grad[0].tolist() == pytest.approx([0, 0, -2.2 / 3])


def test_the_value_loss_of_a_recorded_batch() -> None:
    # errors: (1 − 0)² = 1, near .2 − 0 → .04: 1; (.1 − 1)² = .81 both; (0 − 2)² = 4, near 0: 4
    loss = ppo_value_loss(torch.tensor([[1.0, 0.1, 0.0]]), torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 2.0]]), ALL, 0.2)
    assert loss.item() == pytest.approx(0.5 * (1 + 0.81 + 4) / 3)


def test_the_price_of_a_nat_follows_the_distance() -> None:
    assert adapted_kl_coef(0.1, 6.0, 6.0, 100, 10_000) == 0.1
    assert adapted_kl_coef(0.1, 60.0, 6.0, 100, 10_000) == pytest.approx(0.1 * (1 + 0.2 * 0.01))
    assert adapted_kl_coef(0.1, 5.4, 6.0, 100, 10_000) == pytest.approx(0.1 * (1 - 0.1 * 0.01))


def test_whitened_values() -> None:
    where = torch.tensor([[True, True, False]])
    white = masked_whiten(torch.tensor([[1.0, 3.0, 100.0]]), where)
    assert white[0].tolist() == pytest.approx([-1, 1, 0], abs=1e-4)


def test_preference_losses_by_hand() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    # margins .5 and −1
    wanted = (math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(1))) / 2
    assert preference_loss(chosen, rejected, 0.5).item() == pytest.approx(wanted)
    assert preference_loss(chosen, rejected, 0.5, "hinge").item() == pytest.approx((0.5 + 2) / 2)
    assert preference_loss(chosen, chosen, 0.5).item() == pytest.approx(math.log(2))


def test_likelihood_counts_marked_tokens_only() -> None:
    assert nll(torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[True, True, False]])).item() == 1.5


def test_rejection_keeps_the_best_always_and_the_rest_by_chance() -> None:
    rng = random.Random(0)
    rewards, beta = [1.0, 0.0], 0.5
    counts = [0, 0]
    for _ in range(20_000):
        first = rejection_kept(rewards, beta, 1, [rng.random() for _ in range(64)])[0]
        counts[first] += 1
    # the first is tried first and kept with probability 1
    assert counts == [20_000, 0]
    counts = [0, 0]
    for _ in range(20_000):
        first = rejection_kept([0.0, 1.0], beta, 1, [rng.random() for _ in range(64)])[0]
        counts[first] += 1
    assert counts[0] / 20_000 == pytest.approx(math.exp(-2), abs=0.01)


def test_rejection_ends_with_as_many_as_asked() -> None:
    rng = random.Random(1)
    rewards = [rng.random() for _ in range(16)]
    kept = rejection_kept(rewards, 0.1, 5, [rng.random() for _ in range(999)])
    assert len(kept) == len(set(kept)) == 5
    assert sorted(rejection_kept(rewards, 1e9, 16, [rng.random() for _ in range(999)])) == list(range(16))


def group(*rewards: float) -> Group:
    return Group("p", tuple(Tokens((0, i), 1) for i in range(len(rewards))), rewards)


def places(rows) -> list[int]:
    return [row.ids[1] for row in rows]


def test_thresholds_of_a_draw() -> None:
    assert places(above([group(0, 1, 2, 3)], 0.5)) == [2, 3]
    assert places(above([group(0, 1, 2, 3)], 0.95)) == [3]
    assert above([group(1, 1, 1)], 0.5) == []
    assert places(above([group(0, 0, 0, 5)], 0.0)) == [3]  # the worst never stays
    assert places(best([group(0, 5, 5), group(2, 1)])) == [1, 0]


def test_pairs_of_a_draw_put_the_better_first() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for pairs in (contrasts([group(0, 1, 2, 3)] * 5, 0.5, rng), tournament([group(0, 1, 2, 3)] * 5, rng)):
        assert pairs
        assert all(better.ids[1] > worse.ids[1] for better, worse in pairs)
    assert len(tournament([group(0, 1, 2, 3)], rng)) == 3
    assert tournament([group(1, 1)], rng) == []
