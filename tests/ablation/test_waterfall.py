"""Pairs taken apart: the parts are what real ablations give, and they add up."""

import numpy as np
import pytest
import torch
from ablation.families import VOCAB, tiny_model, tiny_sae

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.naive import naive_effects
from rmviz.ablation.shapley import exact_shapley
from rmviz.ablation.waterfall import PairGame, _SideGame, taken_apart, waterfalls
from rmviz.activations.hooks import replacing
from rmviz.errors import DataError
from rmviz.types import Pair

FAMILIES = [("gpt_neox", "layers.1"), ("llama", "layers.0"), ("gpt2", "layers.3"), ("bert", "layers.1")]


def some_pairs(num_pairs=4, seed=0):
    rng = np.random.default_rng(seed)

    def words(n):
        return " ".join(f"w{i}" for i in rng.integers(4, VOCAB, n))

    return [Pair(pair_id=f"p{i}", prompt=words(3), chosen=words(6), rejected=words(4)) for i in range(num_pairs)]


@pytest.mark.parametrize(("name", "hookpoint"), FAMILIES)
def test_the_parts_sum_to_the_margin_and_are_what_hooks_measure(family, name, hookpoint):
    rm = family(name)
    engine = EffectEngine(rm, sae := tiny_sae(rm, hookpoint))
    pairs = some_pairs()
    rewards = rm.score([text for pair in pairs for text in pair.texts]).astype(float).reshape(-1, 2)
    encoded = rm.encode([text for pair in pairs for text in pair.texts])
    naive = naive_effects(rm, sae, encoded, range(sae.d_sae)).reshape(len(pairs), 2, -1)
    for i, parts in enumerate(waterfalls(engine, pairs)):
        assert parts.total == pytest.approx(rewards[i, 0] - rewards[i, 1], abs=1e-5)
        assert parts.margin == pytest.approx(rewards[i, 0] - rewards[i, 1], abs=1e-5)
        for side, own in enumerate((parts.chosen_effects, parts.rejected_effects)):
            np.testing.assert_allclose(own, naive[i, side, parts.features], atol=1e-5)
            error_off, both_off = hooked(rm, sae, encoded[2 * i + side])
            assert parts.errors[side] == pytest.approx(rewards[i, side] - error_off, abs=1e-5)
            assert parts.bases[side] == pytest.approx(both_off, abs=1e-5)
        assert (np.diff(np.abs(parts.effects)) <= 0).all() and 0 <= parts.interaction_share <= 1


def hooked(rm, sae, text):
    """Reward with the reconstruction in the place of the residual, and with the decoder's bias there."""
    defined = torch.tensor(text.feature_positions)

    def reward(edit):
        with torch.no_grad(), replacing(rm.block(sae.hookpoint), edit):
            return float(rm.rewards(rm.collate([text]))[0])

    def spliced(h):
        h = h.clone()
        h[0, defined] = sae.decode(sae.encode(h[0, defined]))
        return h

    def emptied(h):
        h = h.clone()
        h[0, defined] = sae.b_dec
        return h

    return reward(spliced), reward(emptied)


def test_a_pair_turned_round_has_the_opposite_parts(family):
    engine = EffectEngine(family("gpt_neox"), tiny_sae(family("gpt_neox")))
    pairs = some_pairs()
    turned = [Pair(pair_id=p.pair_id, prompt=p.prompt, chosen=p.rejected, rejected=p.chosen) for p in pairs]
    for one, other in zip(waterfalls(engine, pairs), waterfalls(engine, turned), strict=True):
        for part in ("margin", "error", "base", "interaction"):
            assert getattr(one, part) == pytest.approx(-getattr(other, part), abs=1e-5)
        assert set(one.features) == set(other.features)


def test_equal_texts_have_no_parts_and_ties_no_share(family):
    engine = EffectEngine(family("gpt_neox"), tiny_sae(family("gpt_neox")))
    parts = waterfalls(engine, [Pair(pair_id="p", prompt="w5", chosen="w6 w7", rejected="w6 w7")])[0]
    assert abs(parts.margin) + abs(parts.error) + abs(parts.base) < 1e-6 and np.abs(parts.effects).max() < 1e-6
    assert abs(parts.interaction) < 1e-6 and parts.interaction_share <= 1


@pytest.mark.parametrize("name", ["gpt_neox", "bert"])
def test_shapley_values_sum_to_the_margin_and_agree_with_enumeration(family, name):
    rm = family(name)
    sae = tiny_sae(rm)
    sae.b_dec = torch.linspace(-1, 1, rm.d_in)
    engine = EffectEngine(rm, sae)
    pair = some_pairs(1, seed=3)[0]
    found = PairGame(engine, pair, num_features=4).shapley(num_permutations=40)
    parts = waterfalls(engine, [pair])[0]
    estimate = found.estimate
    assert estimate.full == pytest.approx(parts.margin, abs=1e-5)
    assert estimate.empty == pytest.approx(parts.base, abs=1e-5)
    assert estimate.empty + estimate.value.sum() == pytest.approx(parts.margin, abs=1e-5)
    groups = [*([int(f)] for f in found.features), parts.features[4:].tolist()]
    sides = [_SideGame(engine, text, groups) for text in rm.encode(pair.texts)]
    exact = exact_shapley(lambda sets: sides[0](sets) - sides[1](sets), 6)
    assert (np.abs(exact - estimate.value) <= 4 * estimate.error + 1e-5).all()


def test_without_a_decoder_bias_the_empty_set_is_the_base_too(family):
    """At a residual of 0 a layer norm blows up whatever dust is left, so the empty set must not be reached bit by bit."""
    rm = family("gpt_neox")
    engine = EffectEngine(rm, tiny_sae(rm))
    assert not engine.sae.b_dec.any()
    for pair in some_pairs(1, seed=5):
        game, parts = PairGame(engine, pair, num_features=3), taken_apart(engine, pair)
        empty, full = game(np.array([[False] * 5, [True] * 5]))
        assert empty == pytest.approx(parts.base, abs=1e-6) and full == pytest.approx(parts.margin, abs=1e-5)
        assert game.shapley(num_permutations=4).estimate.empty == empty


def test_more_permutations_go_on_from_fewer(family):
    rm = family("gpt_neox")
    engine, pair = EffectEngine(rm, tiny_sae(rm)), some_pairs(1, seed=3)[0]
    fresh = PairGame(engine, pair, num_features=3).shapley(num_permutations=12)
    grown = PairGame(engine, pair, num_features=3)
    for number in (4, 8, 12):
        found = grown.shapley(num_permutations=number)
    np.testing.assert_allclose(found.estimate.value, fresh.estimate.value, atol=1e-5)
    grown._sides[0].engine = None  # a set that was not asked yet would fail
    assert grown.shapley(num_permutations=8).estimate.num_permutations == 8


def test_a_pair_without_finite_rewards_is_a_sentence():
    rm = tiny_model("gpt_neox")
    with torch.no_grad():
        rm.head.weight.fill_(float("nan"))
    pairs = some_pairs(2)
    engine = EffectEngine(rm, tiny_sae(rm))
    assert waterfalls(engine, pairs) == []
    with pytest.raises(DataError, match="pair 'p0' has a reward that is no finite number"):
        taken_apart(engine, pairs[0])
