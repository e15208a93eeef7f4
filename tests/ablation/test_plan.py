"""Planning: which rows run together, and what each row changes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.ablation.plan import Edits, batches, length_chunks

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=40)


@settings(deadline=None)
@given(SPANS, st.integers(1, 200), st.integers(0, 50))
def test_batches_take_every_row_once_within_the_budget(spans, budget, waste):
    spans = sorted((first, first + size) for first, size in spans)
    first, length = (np.array([span[i] for span in spans], np.int64) for i in range(2))
    taken = []
    for start, stop in batches(first, length, budget, waste):
        cells = (stop - start) * int(length[start:stop].max() - first[start])
        needed = int((length[start:stop] - first[start:stop]).sum())
        assert stop == start + 1 or (cells <= budget and cells - needed <= waste)
        taken.extend(range(start, stop))
    assert taken == list(range(len(spans)))


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_chunks_hold_every_text_once_within_the_budget(lengths, budget):
    chunks = length_chunks(lengths, budget)
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    assert all(len(chunk) == 1 or len(chunk) * max(lengths[i] for i in chunk) <= budget for chunk in chunks)


def test_edits_keep_their_entries():
    edits = Edits(
        text=np.array([4, 2, 9]), starts=np.array([0, 2, 3, 6]), position=np.array([1, 3, 0, 2, 4, 5]),
        feature=np.arange(6), coefficient=np.arange(6, dtype=np.float32),
    )  # fmt: skip
    assert edits.first.tolist() == [1, 0, 2] and edits.row.tolist() == [0, 0, 1, 2, 2, 2]
    turned = edits.taken(np.array([2, 0]))
    assert (
        turned.text.tolist() == [9, 4]
        and turned.feature.tolist() == [3, 4, 5, 0, 1]
        and turned.starts.tolist() == [0, 3, 5]
    )
    assert edits.slice(1, 3).feature.tolist() == [2, 3, 4, 5] and edits.slice(1, 3).starts.tolist() == [0, 1, 4]
    few = edits.only(np.array([True, False, True, False, True, True]))
    assert few.starts.tolist() == [0, 1, 2, 4] and few.feature.tolist() == [0, 2, 4, 5]
