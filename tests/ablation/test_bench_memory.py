"""The memory bench scans what it says, in processes of its own."""

import pytest

from rmviz.bench.memory import run_bench


@pytest.mark.slow  # two scans in processes of their own
def test_ten_times_the_texts_are_ten_times_the_rows():
    found = run_bench(num_texts=40)
    few, many = found["cases"]
    assert (few["num_texts"], many["num_texts"]) == (40, 400)
    assert 8 < many["num_rows"] / few["num_rows"] < 12
    assert found["ratio"] == many["peak_bytes"] / few["peak_bytes"] and few["peak_bytes"] > 1e8
