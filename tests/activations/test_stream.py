import numpy as np
import pytest
import torch
from sae.tiny import some_pairs, tiny_rm

from rmviz.activations import rows as rows_module
from rmviz.activations import stream as stream_module
from rmviz.activations.hooks import reading, replacing, residuals
from rmviz.activations.rows import rows_of
from rmviz.activations.stream import ActivationStream
from rmviz.errors import DataError, ModelError
from rmviz.types import Text


@pytest.fixture(scope="module")
def rm():
    return tiny_rm()


@pytest.fixture(scope="module")
def texts():
    return [text for pair in some_pairs(12) for text in pair.texts]


def all_rows(rm, texts):
    return torch.cat([rows.h for rows in rows_of(rm, rm.encode(texts), "layers.1")])


def assert_same_rows(found, wanted):
    """Each row once, in whatever order; batching moves the last bits."""
    assert len(found) == len(wanted)
    exactly = "donot_use_mm_for_euclid_dist"
    close = torch.cdist(found, wanted, compute_mode=exactly) < 1e-3
    alike = torch.cdist(wanted, wanted, compute_mode=exactly) < 1e-3  # texts of a pair begin alike
    assert torch.equal(close.sum(dim=0), alike.sum(dim=0)) and close.any(dim=1).all()


def test_reading_sees_what_the_model_computes(rm, texts):
    batch = rm.collate(rm.encode(texts[:3]))
    h, rewards = residuals(rm, batch, "layers.1")
    states = rm.model.base_model(**batch, output_hidden_states=True).hidden_states
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(h[real], states[2][real])
    torch.testing.assert_close(rewards, rm.rewards(batch))


def test_replacing_by_itself_changes_nothing_and_hooks_leave(rm, texts):
    batch = rm.collate(rm.encode(texts[:3]))
    before, hooks = rm.rewards(batch), len(rm.block("layers.1")._forward_hooks)
    with replacing(rm.block("layers.1"), lambda h: h):
        assert torch.equal(rm.rewards(batch), before)
    with replacing(rm.block("layers.1"), torch.zeros_like):
        assert not torch.equal(rm.rewards(batch), before)
    with pytest.raises(ZeroDivisionError), reading(rm.block("layers.1")):
        raise ZeroDivisionError
    assert torch.equal(rm.rewards(batch), before) and len(rm.block("layers.1")._forward_hooks) == hooks


def test_hooks_keep_the_rest_of_a_tuple():
    class Block(torch.nn.Module):
        def forward(self, x):
            return x, "cache"

    block = Block()
    with reading(block) as kept, replacing(block, lambda h: h + 1):
        assert block(torch.zeros(2))[1] == "cache"
        assert torch.equal(block(torch.zeros(2))[0], torch.ones(2))
    assert torch.equal(kept[0], torch.zeros(2))


def test_rows_are_the_feature_positions_of_each_text(rm, texts):
    encoded = rm.encode(texts)
    counts = np.zeros(len(texts), int)
    for rows in rows_of(rm, encoded, "layers.1", max_tokens=64):
        np.add.at(counts, rows.text.numpy(), 1)
    assert counts.tolist() == [sum(one.feature_positions) for one in encoded]
    alone = torch.cat([rows.h for rows in rows_of(rm, encoded[:1], "layers.1")])
    together = torch.cat([rows.h[rows.text == 0] for rows in rows_of(rm, encoded, "layers.1", max_tokens=64)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


def make(rm, texts, **settings):
    return ActivationStream(rm, texts, "layers.1", **{"batch_size": 16, "seed": 3, **settings})


@pytest.mark.parametrize("memory", [2**30, 60 * 16 * 4])
def test_an_epoch_holds_every_row_once_in_another_order_each_time(rm, texts, memory):
    stream = make(rm, texts, batch_size=10, memory=memory)
    assert stream.in_memory == (memory > 10**6)
    rows = all_rows(rm, texts)
    rows = rows[rows.norm(dim=1) <= stream.norm_limit]
    epochs = [torch.cat([stream.batch() for _ in range(len(rows) // 10 + 1)]) for _ in range(2)]
    assert_same_rows(epochs[0][: len(rows)], rows)  # the last batch begins the next epoch
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("memory", [2**30, 60 * 16 * 4])
def test_the_same_seed_gives_the_same_batches_and_seek_goes_back_to_the_bit(rm, texts, memory):
    one, other, third = (make(rm, texts, memory=memory, seed=seed) for seed in (3, 3, 4))
    batches = [one.batch() for _ in range(40)]
    position = {}
    for number, batch in enumerate(batches):
        if number == 23:
            position = other.position
        assert torch.equal(other.batch(), batch)
    fresh = make(rm, texts, memory=memory)
    fresh.seek(position)
    assert all(torch.equal(fresh.batch(), batch) for batch in batches[23:])
    skipped = make(rm, texts, memory=memory)
    skipped.skip(23)
    assert skipped.position == position and torch.equal(skipped.batch(), batches[23])
    assert not torch.equal(third.batch(), batches[0])


def test_in_memory_the_model_reads_each_text_once(rm, texts, monkeypatch):
    stream = make(rm, texts)
    stream.batch()
    monkeypatch.setattr(stream_module, "rows_of", lambda *args, **settings: pytest.fail("read again"))
    for _ in range(60):
        stream.batch()


@pytest.mark.parametrize("memory", [2**30, 60 * 16 * 4])
def test_a_map_is_applied_to_every_batch(rm, texts, memory):
    plain, mapped = make(rm, texts, memory=memory), make(rm, texts, memory=memory)
    mapped.sample(5)
    mapped.map_with(lambda rows: 2 * rows + 1)
    for _ in range(30):
        torch.testing.assert_close(mapped.batch(), 2 * plain.batch() + 1)


def damaged(rows, change):
    def changed(*args, **settings):
        for found in rows_of(*args, **settings):
            change(found)
            yield found

    return changed


def test_sinks_and_rows_that_are_not_finite_are_left_out_and_counted(rm, texts, monkeypatch):
    def change(found):
        for text, factor in ((2, float("nan")), (5, 1e4)):
            here = (found.text == text).nonzero()[:, 0]
            if len(here):
                found.h[here[0]] *= factor

    monkeypatch.setattr(stream_module, "rows_of", damaged(rows_module, change))
    stream = make(rm, texts)
    batches = torch.cat([stream.batch() for _ in range(40)])
    assert bool(batches.isfinite().all()) and float(batches.norm(dim=1).max()) <= stream.norm_limit
    assert stream.nonfinite == {texts[2].text_id: 1} and stream.sinks == {texts[5].text_id: 1}


def test_all_rows_not_finite_is_an_error(rm, texts, monkeypatch):
    monkeypatch.setattr(stream_module, "rows_of", damaged(rows_module, lambda found: found.h.fill_(float("nan"))))
    with pytest.raises(ModelError, match="NaN or infinite"):
        make(rm, texts)


def test_rows_that_stop_being_finite_end_in_an_error_not_in_a_loop(rm, texts, monkeypatch):
    stream = make(rm, texts)
    monkeypatch.setattr(stream_module, "rows_of", damaged(rows_module, lambda found: found.h.fill_(float("nan"))))
    with pytest.raises(ModelError, match="whole pass"):
        stream.batch()


def test_no_texts_and_texts_without_tokens_are_errors(rm):
    with pytest.raises(DataError, match="no texts"):
        make(rm, [])
    with pytest.raises(DataError):
        make(rm, [Text(text_id="a", prompt="", reply="")])


def test_an_unknown_hookpoint_is_named(rm, texts):
    with pytest.raises(ModelError, match=r"layers\.0, layers\.1"):
        ActivationStream(rm, texts, "layers.9", batch_size=4)
