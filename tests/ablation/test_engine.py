"""The engine equals the naive hook, on every family, and obeys the laws of ablation."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ablation.families import CAUSAL, FAMILIES, encoded_text, random_texts, tiny_model, tiny_sae
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.naive import naive_effects
from rmviz.activations.hooks import residuals
from rmviz.errors import ConfigError, ModelError
from rmviz.models.reward_model import RewardModel


def dense(rows, num_texts, d_sae, column="effect"):
    table = np.zeros((num_texts, d_sae), np.float32)
    table[rows.text, rows.feature] = getattr(rows, column)
    return table


@pytest.mark.parametrize("hookpoint", ["layers.0", "layers.1", "layers.3"])
@pytest.mark.parametrize("name", FAMILIES)
def test_equals_the_naive_hook(family, texts, name, hookpoint, caplog):
    rm = family(name)
    sae = tiny_sae(rm, hookpoint)
    engine = EffectEngine(rm, sae)
    rows, rewards = engine.scan(texts)
    got = dense(rows, len(texts), sae.d_sae)
    assert np.abs(got).max() > 1e-3
    for side in ("right", "left"):
        features = range(side == "left", sae.d_sae, 2)
        wanted = naive_effects(rm, sae, texts, features, side=side)
        assert np.abs(got[:, features] - wanted).max() <= 1e-5
    assert np.abs(rewards - rm.score_encoded(texts)).max() <= 1e-5
    assert engine.method.startswith("suffix" if name in CAUSAL else "whole")
    assert not caplog.records


@pytest.mark.parametrize("name", FAMILIES)
def test_a_short_first_text_decides_nothing(family, texts, name):
    """One token alone cannot show which modules mix positions; what it settles must hold for longer texts."""
    rm = family(name)
    sae = tiny_sae(rm, "layers.0")
    wanted, _ = EffectEngine(rm, sae).scan(texts)
    for short in ([9], [9, 4], [9, 4, 7]):
        engine = EffectEngine(rm, sae)
        engine.scan([encoded_text(short, "short")])
        rows, _ = engine.scan(texts)
        np.testing.assert_allclose(rows.effect, wanted.effect, atol=1e-5)


def test_a_broken_first_text_leaves_the_full_pass(texts, caplog):
    rm = tiny_model("gpt_neox")
    sae = tiny_sae(rm)
    wanted, _ = EffectEngine(rm, sae).scan(texts)
    rm.model.get_input_embeddings().weight.data[3] = float("nan")
    engine = EffectEngine(rm, sae)
    assert not len(engine.scan([encoded_text([9, 3, 9], "broken")])[0])
    assert engine.method.startswith("full") and "full pass" in caplog.text
    np.testing.assert_allclose(engine.scan(texts)[0].effect, wanted.effect, atol=1e-5)


@pytest.fixture(scope="module")
def neox():
    rm = tiny_model("gpt_neox")
    return rm, tiny_sae(rm)


@pytest.fixture(scope="module")
def encoder():
    rm = tiny_model("bert")
    return rm, tiny_sae(rm)


def test_every_firing_row_is_there_and_no_other(neox, texts):
    rm, sae = neox
    rows, _ = EffectEngine(rm, sae).scan(texts)
    fired = {}
    for i, text in enumerate(texts):
        h, _ = residuals(rm, rm.collate([text]), sae.hookpoint)
        acts = sae.encode(h[0])
        for position in np.flatnonzero(text.feature_positions):
            for feature, value in zip(acts.indices[position].tolist(), acts.values[position].tolist(), strict=True):
                if value > 0:
                    first, strongest = fired.get((i, feature), (position, 0.0))
                    fired[i, feature] = (first, max(strongest, value))
    assert list(zip(rows.text.tolist(), rows.feature.tolist(), strict=True)) == sorted(fired)
    assert [fired[key][0] for key in sorted(fired)] == rows.first_position.tolist()
    np.testing.assert_allclose([fired[key][1] for key in sorted(fired)], rows.max_activation, rtol=1e-4)


@pytest.mark.parametrize("pair", ["neox", "encoder"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), max_tokens=st.sampled_from([1, 13, 40, 8192]))
def test_order_and_batching_change_nothing(request, pair, seed, max_tokens):
    rm, sae = request.getfixturevalue(pair)
    texts = random_texts(6, seed=seed)
    order = np.random.default_rng(seed).permutation(len(texts))
    plain, rewards = EffectEngine(rm, sae).scan(texts)
    shuffled, again = EffectEngine(rm, sae, max_tokens=max_tokens).scan([texts[i] for i in order])
    for column in ("effect", "first_order"):
        there = dense(plain, len(texts), sae.d_sae, column)[order]
        assert np.abs(there - dense(shuffled, len(texts), sae.d_sae, column)).max() <= 1e-5
    assert np.abs(rewards[order] - again).max() <= 1e-5


@pytest.mark.parametrize("pair", ["neox", "encoder"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), feature=st.integers(0, 23), other=st.integers(0, 23))
def test_laws_of_scaled_features(request, pair, seed, feature, other):
    rm, sae = request.getfixturevalue(pair)
    engine = EffectEngine(rm, sae)
    text = random_texts(1, seed=seed, shortest=5)[0]
    rows, (clean,) = engine.scan([text])
    effects = dense(rows, 1, sae.d_sae)[0]
    scales = [
        {},
        {feature: 1.0},
        {feature: 0.0},
        {feature: 0.0, other: 0.0},
        {feature: 0.5},
        {other: 1.0, feature: 0.0},
    ]
    none, one, off, both, half, same = engine.set_rewards(text, scales)
    assert none == one == clean
    assert abs(clean - off - effects[feature]) <= 1e-5
    assert abs(off - same) <= 1e-6
    assert (half != clean) == (feature in rows.feature) or effects[feature] == 0
    groups = engine.group_effects([text], [[feature], [feature, other], []])[0]
    assert np.abs(groups - [clean - off, clean - both, 0]).max() <= 1e-5
    assert np.abs(engine.set_rewards(text, scales[3:4])[0] - both) <= 1e-6  # sets do not see each other
    set_to = [{}, {feature: 0}, {feature: 2}, {other: 3.0, feature: 0.0}]
    untouched, zero, two, _ = engine.set_rewards(text, [{}, {}, {feature: -1.0}, {}], values=set_to)
    assert untouched == clean and abs(zero - off) <= 1e-6
    assert abs(two - engine.set_rewards(text, [{}], values=[{feature: 2}])[0]) <= 1e-6  # a value goes before a scale


def test_restricted_to_features(neox, texts):
    rm, sae = neox
    rows, _ = EffectEngine(rm, sae).scan(texts)
    some, _ = EffectEngine(rm, sae).scan(texts, features=[3, 5], first_order=False)
    wanted = rows.taken(np.isin(rows.feature, [3, 5]))
    assert some.feature.tolist() == wanted.feature.tolist() and np.isnan(some.first_order).all()
    np.testing.assert_allclose(some.effect, wanted.effect, atol=1e-6)
    with pytest.raises(ConfigError, match="feature 24 does not exist"):
        EffectEngine(rm, sae).scan(texts, features=[24])


def test_no_text_gives_no_rows(neox):
    rows, rewards = EffectEngine(*neox).scan([])
    assert len(rows) == 0 and len(rewards) == 0


def test_texts_on_which_nothing_fires(neox):
    rm, sae = neox
    silent = encoded_text([5, 6, 7], "silent", undefined=(0, 1, 2))
    rows, rewards = EffectEngine(rm, sae).scan([silent])
    assert len(rows) == 0 and np.isfinite(rewards).all()
    assert EffectEngine(rm, sae).group_effects([silent], [[1, 2]]).tolist() == [[0.0]]


@pytest.mark.parametrize("hookpoint", ["layers.1", "layers.3"])
def test_what_fires_after_the_read_position_has_no_effect(hookpoint):
    rm = tiny_model("gpt_neox")
    sae = tiny_sae(rm, hookpoint)
    late = encoded_text([5, 6, 7, 8, 0, 0], "late", undefined=(0, 1, 2, 3))  # 0 pads: the head reads position 3
    rows, rewards = EffectEngine(rm, sae).scan([late])
    np.testing.assert_allclose(rewards, rm.score_encoded([late]), atol=1e-6)
    assert len(rows) and (rows.effect == 0).all() and (rows.first_order == 0).all()


def test_a_broken_text_is_left_out_and_the_others_stay(texts):
    rm = tiny_model("gpt_neox")
    sae = tiny_sae(rm)
    good, wanted = EffectEngine(rm, sae).scan(texts)
    rm.model.get_input_embeddings().weight.data[3] = float("nan")
    rows, rewards = EffectEngine(rm, sae).scan([*texts, encoded_text([9, 3, 9, 9], "broken")])
    assert np.isnan(rewards[-1]) and len(texts) not in rows.text
    np.testing.assert_allclose(rewards[:-1], wanted, atol=1e-6)
    np.testing.assert_allclose(rows.effect, good.effect, atol=1e-6)


def test_bfloat16_keeps_rewards_in_float32(texts):
    rm = tiny_model("gpt_neox")
    exact, _ = EffectEngine(rm, tiny_sae(rm)).scan(texts)
    low = RewardModel(rm.model.to(torch.bfloat16), rm.tokenizer, name="low")
    rows, rewards = EffectEngine(low, tiny_sae(low)).scan(texts)
    assert rows.effect.dtype == rewards.dtype == np.float32
    table, wanted = dense(rows, len(texts), 24), dense(exact, len(texts), 24)
    assert np.corrcoef(table.ravel(), wanted.ravel())[0, 1] > 0.9


def test_the_model_is_not_touched(neox, texts):
    rm, sae = neox
    before = list(rm.model.modules())
    EffectEngine(rm, sae).scan(texts)
    assert all(a is b for a, b in zip(before, rm.model.modules(), strict=True))
    assert not any(module._forward_hooks for module in before)


def test_threads_may_share_a_model(neox, texts):
    rm, sae = neox
    wanted, _ = EffectEngine(rm, sae).scan(texts)
    with ThreadPoolExecutor(4) as pool:
        for rows, _ in pool.map(lambda _: EffectEngine(rm, sae).scan(texts), range(8)):
            np.testing.assert_allclose(rows.effect, wanted.effect, atol=1e-6)


def test_a_family_whose_cache_does_not_fit_falls_back_with_a_word(monkeypatch, texts, caplog):
    rm = tiny_model("gpt_neox")
    sae = tiny_sae(rm)
    wanted = naive_effects(rm, sae, texts, range(sae.d_sae))

    def forgetful(self, clean, new):
        return torch.cat([new[:, :, :1]] * self.length + [new], dim=2)

    monkeypatch.setattr("rmviz.ablation.caches.PrefixLayer._joined", forgetful)
    engine = EffectEngine(rm, sae)
    assert "not yet checked" in engine.method
    rows, _ = engine.scan(texts)
    assert engine.method.startswith("whole") and "cache does not fit" in engine.method
    assert np.abs(dense(rows, len(texts), sae.d_sae) - wanted).max() <= 1e-5
    assert "does not fit" in caplog.text


@pytest.mark.parametrize("name", FAMILIES)
def test_projections_run_at_changed_positions_only(family, texts, name):
    rm = family(name)
    engine = EffectEngine(rm, tiny_sae(rm, "layers.0"))
    engine.scan(texts)
    parallel = name in ("gpt_neox", "gptj")  # their MLP reads the block's input, not what attention made of it
    assert "at changed positions only" in engine.method
    assert ("mlp" in engine.method) == parallel


def test_an_sae_of_another_width_is_refused(neox):
    with pytest.raises(ModelError, match="width"):
        EffectEngine(neox[0], tiny_sae(tiny_model("gpt_neox", hidden_size=32)))
