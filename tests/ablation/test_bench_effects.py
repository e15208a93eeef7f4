"""The bench compares like with like, on tiny models."""

import pytest
import torch
from ablation.families import random_texts, tiny_model, tiny_sae

from rmviz.bench.effects import _case, _features_near, run_bench
from rmviz.errors import NotFoundError
from rmviz.store.workspace import Workspace


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_a_case_says_what_was_timed_and_how_far_the_results_are_apart(family):
    rm = tiny_model(family)
    sae, texts = tiny_sae(rm), random_texts(8)
    features = _features_near(rm, sae, texts, 0.5, 5)
    case = _case(rm, sae, texts, features, 1, sample=2)
    assert {"model", "hookpoint", "share_planned", "naive_seconds", "engine_seconds", "ratio", "max_difference"} <= set(
        case
    )
    assert 0 < case["share_planned"] <= 1 and case["max_difference"] <= 1e-5
    assert case["ratio"] == pytest.approx(case["naive_seconds"] / case["engine_seconds"])
    assert case["naive_sampled"] == 2 and case["num_features"] == 5


def test_a_model_of_ones_own_needs_all_three(tmp_path):
    threads = torch.get_num_threads()
    with pytest.raises(NotFoundError, match="--texts"):
        run_bench(Workspace(tmp_path), model="mine")
    assert torch.get_num_threads() == threads
