import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae.saes import D_IN, D_SAE, random_weights

from rmviz.sae.rows import bag_dots, bag_sums, top_entries


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.sampled_from([8, 24, 64, 100, 256, 1024]), st.integers(1, 8), st.integers(0, 10**6))
def test_top_entries_are_the_largest(num_rows, d_sae, k, seed):
    x = torch.randn(num_rows, d_sae, generator=torch.Generator().manual_seed(seed))
    values, indices = top_entries(x, k)
    assert torch.equal(values.sort(1, descending=True).values, x.topk(k).values)
    assert torch.equal(x.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_top_entries_with_many_ties_and_infinities():
    x = torch.zeros(2, 256)
    x[1, 7] = float("inf")
    values, indices = top_entries(x, 4)
    assert values[0].tolist() == [0, 0, 0, 0] and values[1].max() == float("inf")
    assert len(set(indices[1].tolist())) == 4


def test_bag_sums_and_dots_equal_dense_products():
    weights = random_weights()
    features, starts = torch.tensor([3, 3, 60, 0, 5]), torch.tensor([0, 2, 2])
    values, bags = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0]), torch.tensor([0, 0, 2, 2, 2])
    dense = torch.zeros(3, D_SAE).index_put_((bags, features), values, accumulate=True)
    torch.testing.assert_close(bag_sums(weights.W_dec, features, starts, values), dense @ weights.W_dec)
    left = torch.randn(3, D_IN)
    torch.testing.assert_close(
        bag_dots(left, weights.W_dec, features, starts, bags), (left @ weights.W_dec.T)[bags, features]
    )
