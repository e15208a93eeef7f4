"""Estimates from gradients: their definitions, checked by differences and by completeness."""

import numpy as np
import pytest
from ablation.families import random_texts, tiny_model, tiny_sae

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.first_order import first_order_effects, integrated_gradients


@pytest.fixture(scope="module", params=["gpt_neox", "bert"])
def measured(request):
    rm = tiny_model(request.param)
    sae = tiny_sae(rm)
    return rm, sae, random_texts(5), EffectEngine(rm, sae)


def test_first_order_is_the_slope_of_the_reward_in_the_scale_of_a_feature(measured):
    rm, sae, texts, engine = measured
    table = first_order_effects(rm, sae, texts, max_tokens=20).toarray()
    rows, _ = engine.scan(texts)
    np.testing.assert_allclose(table[rows.text, rows.feature], rows.first_order, atol=1e-6)
    assert np.count_nonzero(table) <= len(rows)
    step = 0.02
    for row in range(0, len(rows), 7):
        text, feature = int(rows.text[row]), int(rows.feature[row])
        up, down = engine.set_rewards(texts[text], [{feature: 1 + step}, {feature: 1 - step}])
        assert (up - down) / (2 * step) == pytest.approx(rows.first_order[row], abs=2e-3)


def test_integrated_gradients_sum_to_the_effect_of_all_features(measured):
    rm, sae, texts, engine = measured
    total = integrated_gradients(rm, sae, texts, num_steps=64).sum(axis=1)
    together = engine.group_effects(texts, [range(sae.d_sae)])[:, 0]
    np.testing.assert_allclose(total, together, atol=5e-3)


def test_one_step_at_the_text_itself_would_be_first_order(measured):
    rm, sae, texts, _ = measured
    many = integrated_gradients(rm, sae, texts, num_steps=8).toarray()
    assert np.corrcoef(many.ravel(), first_order_effects(rm, sae, texts).toarray().ravel())[0, 1] > 0.3
