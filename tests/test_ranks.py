"""Rank correlation against values worked out by hand."""

import numpy as np
import pytest

from rmviz.ranks import spearman


def test_only_the_order_counts():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)


def test_by_hand():
    # rank differences 1, 1, 0, 0: 1 - 6 * 2 / (4 * 15)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 4])) == pytest.approx(0.8)


@pytest.mark.parametrize("a, b", [([1.0, 2.0], [2.0, 1.0]), ([1.0, 1, 1], [1.0, 2, 3]), ([1.0, 2, 3], [0.0, 0, 0])])
def test_no_answer_without_variation(a, b):
    assert spearman(np.array(a), np.array(b)) is None
