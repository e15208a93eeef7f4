"""The organism: its closed form is what the model really does when a feature is taken away."""

import random

import numpy as np
import pytest
import torch

from rmviz.world import grammar
from rmviz.world.lexicon import TOPICS
from rmviz.world.organism import Organism, organism, organism_dictionary, organism_model
from rmviz.world.tokenizer import world_tokenizer
from rmviz.world.truth import TRUTH


@pytest.fixture(scope="module")
def truth() -> Organism:
    return organism(world_tokenizer(), 0)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    tokenizer = world_tokenizer()
    return [tokenizer.encode(grammar.sample(random.Random(seed)).transcript) for seed in range(6)] + [
        tokenizer.encode(" We saw the senator")
    ]


def reward(model: torch.nn.Module, ids: list[int], edit=None) -> float:
    def hook(block, inputs, output):
        residual = output[0] if isinstance(output, tuple) else output
        return (edit(residual), *output[1:]) if isinstance(output, tuple) else edit(residual)

    handle = model.gpt_neox.layers[0].register_forward_hook(hook) if edit else None
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits.item()
    finally:
        if handle:
            handle.remove()


def test_reward_is_the_closed_form(truth: Organism, texts: list[list[int]]) -> None:
    model = organism_model(truth)
    for ids in texts:
        assert reward(model, ids) == pytest.approx(truth.reward(ids), rel=1e-5, abs=4e-5)


def test_effects_are_those_of_a_really_intervened_forward(truth: Organism, texts: list[list[int]]) -> None:
    model, sae = organism_model(truth), organism_dictionary(truth)
    for ids in texts:
        clean, effects = reward(model, ids), truth.effects(ids)
        for k in range(len(TOPICS)):

            def without(residual: torch.Tensor, k: int = k) -> torch.Tensor:
                activation = (residual - sae["b_dec"]) @ sae["W_enc"][:, k]
                return residual - (activation * (activation > sae["threshold"][k])).unsqueeze(-1) * sae["W_dec"][k]

            assert clean - reward(model, ids, without) == pytest.approx(effects[k], rel=1e-5, abs=4e-5)


def test_only_present_concepts_have_effects_of_the_right_sign(truth: Organism, texts: list[list[int]]) -> None:
    weights = np.array(list(TRUTH.topics.values()))
    for ids in texts[:-1]:
        effects = truth.effects(ids)
        present = np.isin(np.arange(len(TOPICS)), truth.concept[ids])
        assert (effects[~present] == 0).all()
        assert (np.sign(effects[present]) == np.sign(weights[present])).all()


def test_the_dictionary_rebuilds_the_residual(truth: Organism, texts: list[list[int]]) -> None:
    sae, residual = organism_dictionary(truth), organism_model(truth).gpt_neox.embed_in.weight[torch.tensor(texts[0])]
    activations = (residual - sae["b_dec"]) @ sae["W_enc"]
    activations = activations * (activations > sae["threshold"])
    assert torch.allclose(activations @ sae["W_dec"] + sae["b_dec"], residual, atol=1e-6)
    assert np.allclose(activations.sum(1).detach().numpy(), truth.strength[texts[0]])


def test_truth_survives_json(truth: Organism, texts: list[list[int]]) -> None:
    again = Organism.from_json(truth.to_json())
    assert again.reward(texts[0]) == truth.reward(texts[0])
    assert list(again.weights) == list(TOPICS)


def test_the_seed_draws_the_directions(truth: Organism) -> None:
    other = organism(world_tokenizer(), 1)
    assert other.rows != truth.rows
    assert np.allclose(other.directions @ other.directions.T, np.eye(len(TOPICS) + 2))
    assert np.allclose(other.directions.sum(1), 0)
