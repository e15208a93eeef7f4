"""The bench on sizes that mean nothing, for its shape and its fairness."""

import pytest
import torch

from rmviz.bench import sae as bench


@pytest.fixture(scope="module")
def result():
    return bench.run_bench(num_rounds=2, cases=((64, 2),), d_in=48, k=4, batch_size=128)


def test_the_bench_names_everybody(result):
    [case] = result["cases"]
    assert case["d_sae"] == 64 and case["num_rows"] == 2 * 2 * 128
    names = {"ours", "sae_lens", "sparsify", "dictionary_learning"}
    assert names | {"encoder_matmul"} <= set(case["rows_per_second"]) and names <= set(case["fvu"])
    assert all(case["rows_per_second"][name] > 0 for name in ("ours", "sae_lens", "encoder_matmul"))
    assert all(0 < case["fvu"][name] < 2 for name in ("ours", "sae_lens"))


def test_a_rival_that_is_not_installed_is_null(monkeypatch):
    monkeypatch.setattr(bench, "_module", lambda name: None)
    [case] = bench.run_bench(num_rounds=1, cases=((64, 1),), d_in=48, k=4, batch_size=64)["cases"]
    for name in ("sparsify", "dictionary_learning"):
        assert case["rows_per_second"][name] is None and case["fvu"][name] is None and name not in case["ratio"]


def test_the_seed_trap_is_caught(monkeypatch):
    rows, _ = bench.planted_activations(bench._HELD_OUT + 64, 48)
    generator = torch.Generator().manual_seed(bench._MODEL_SEED)
    directions = torch.nn.functional.normalize(torch.randn(64, 48, generator=generator), dim=1)
    monkeypatch.setattr(bench, "planted_activations", lambda *args: (rows, directions))
    with pytest.raises(AssertionError, match="share a seed"):
        bench.run_bench(num_rounds=1, cases=((64, 1),), d_in=48, k=4, batch_size=64)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with bench._one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
