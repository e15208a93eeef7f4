"""Matching features: planted pairs are found, rotations are undone."""

import numpy as np
import pytest
import torch
from scipy import sparse

from rmviz.compare.matching import best_matches, chance_correlation, shared_frame


def planted(seed=0, units=2000, features=40):
    rng = np.random.default_rng(seed)
    acts = rng.exponential(1, (units, features)) * (rng.random((units, features)) < 0.05)
    return rng, acts


def test_a_permuted_and_scaled_copy_is_matched_whole():
    rng, acts = planted()
    order = rng.permutation(40)
    other = acts[:, order] * rng.uniform(0.1, 9, 40)
    to_second, size, to_first, back = best_matches(sparse.csr_matrix(acts), sparse.csr_matrix(other))
    np.testing.assert_array_equal(order[to_second], np.arange(40))
    np.testing.assert_array_equal(to_first, order)
    np.testing.assert_allclose([size.min(), back.min()], 1, atol=1e-9)


def test_the_correlation_is_pearsons_in_every_block(monkeypatch):
    rng, acts = planted()
    other = acts[:, ::-1] + rng.exponential(1, acts.shape) * (rng.random(acts.shape) < 0.05)
    want = np.corrcoef(acts.T, other.T)[:40, 40:]
    monkeypatch.setattr("rmviz.compare.matching._CELLS", 7 * 40)
    _, size, _, back = best_matches(sparse.csr_matrix(acts), sparse.csr_matrix(other))
    np.testing.assert_allclose(size, want.max(axis=1))
    np.testing.assert_allclose(back, want.max(axis=0))


def test_silent_features_have_no_match():
    _, acts = planted()
    acts[:, 3] = 0
    to_second, size, to_first, _ = best_matches(sparse.csr_matrix(acts), sparse.csr_matrix(acts))
    assert to_second[3] == -1 and np.isnan(size[3]) and to_first[3] == -1


def test_strangers_stay_below_what_chance_gives():
    _, acts = planted(0)
    _, other = planted(1)
    first, second = sparse.csr_matrix(acts), sparse.csr_matrix(other)
    noise = chance_correlation(first, second)
    assert (best_matches(first, second)[1] > noise).mean() < 0.2
    assert (best_matches(first, first)[1] > noise).all()


def test_a_turned_stream_is_turned_back():
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(500, 8, generator=generator)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    found, fit = shared_frame(stream, 3 * stream @ turn + 5)
    torch.testing.assert_close(found, turn.T, atol=1e-4, rtol=1e-4)
    assert fit == pytest.approx(1, abs=1e-6)
    strange = shared_frame(stream, torch.randn(500, 8, generator=generator))[1]
    assert strange < 0.2
