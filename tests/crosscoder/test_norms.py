import numpy as np
import pandas as pd

from rmviz.crosscoder.norms import (
    LEAST,
    ONLY_FIRST,
    ONLY_SECOND,
    SHARED,
    bound,
    classes,
    noise_level,
    ranked,
    relative_norm,
)


def test_relative_norm_by_hand():
    norms = np.array([[1.0, 1.0], [3.0, 1.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(relative_norm(norms), [0.5, 0.75, 0.0, 0.5])
    np.testing.assert_allclose(relative_norm(norms[:, ::-1]), 1 - relative_norm(norms))


def test_a_feature_is_exclusive_beyond_twice_the_noise_and_a_decoder_twice_as_long():
    assert bound(0.0) == bound(LEAST / 2) == LEAST and bound(0.2) == 0.4
    relative = np.array([0.5, 0.66, 0.68, 0.32, 0.95])
    assert classes(relative, 0.0) == [SHARED, SHARED, ONLY_FIRST, ONLY_SECOND, ONLY_FIRST]
    assert classes(relative, 0.2) == [SHARED, SHARED, SHARED, SHARED, ONLY_FIRST]


def test_noise_is_the_largest_of_the_living():
    assert noise_level(np.array([0.5, 0.45, 0.9]), np.array([True, True, False])) == 0.04999999999999999
    assert noise_level(np.zeros(0), np.zeros(0, bool)) == 0


def test_features_are_ranked_by_their_effect_in_the_model_that_has_them():
    table = pd.DataFrame(
        {"feature": [1, 2, 3, 4], "class": [ONLY_FIRST, ONLY_FIRST, ONLY_SECOND, SHARED],
         "effect_first": [0.1, -0.2, 9.0, 0.0], "effect_second": [9.0, 0.0, 0.1, np.nan]}
    )  # fmt: skip
    assert ranked(table, ONLY_FIRST)["feature"].tolist() == [2, 1]
    assert ranked(table, ONLY_SECOND)["feature"].tolist() == [3] and ranked(table, SHARED)["feature"].tolist() == [4]
