import numpy as np
import pytest
import torch
import transformers as hf

from rmviz.errors import ModelError
from rmviz.types import Text

TOLERANCE = 1e-5


def plain_rewards(folder, rm, texts):
    """What anyone gets from transformers alone, one text at a time, on the same ids."""
    model = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rewards = []
    for one in rm.encode(texts):
        inputs = {"input_ids": torch.tensor([one.ids]), "attention_mask": torch.ones(1, len(one.ids), dtype=torch.long)}
        if one.token_types is not None:
            inputs["token_type_ids"] = torch.tensor([one.token_types])
        with torch.no_grad():
            rewards.append(model(**inputs).logits[0, 0].item())
    return np.array(rewards, dtype=np.float32)


def test_score_is_the_plain_forward(family, published, tiny, texts):
    rm = tiny(family)
    scored = rm.score(texts)
    assert scored.dtype == np.float32 and np.ptp(scored) > 0.01
    np.testing.assert_allclose(scored, plain_rewards(published(family), rm, texts), atol=TOLERANCE)


def test_the_tokenizer_alone_gives_the_same_ids(family, tiny, texts):
    rm = tiny(family)
    for text, one in zip(texts, rm.encode(texts), strict=True):
        if rm.format == "segments":
            assert list(one.ids) == rm.tokenizer(text.prompt, text.reply).input_ids
        else:
            joint = "" if text.reply.startswith(" ") else " "
            assert list(one.ids) == rm.tokenizer(text.prompt + joint + text.reply).input_ids


@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_and_padding_side_change_no_reward(family, side, tiny, texts):
    rm = tiny(family)
    encoded = rm.encode(texts)
    with torch.no_grad():
        together = rm.rewards(rm.collate(encoded, side=side)).numpy()
        alone = [rm.rewards(rm.collate([one])).item() for one in encoded]
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_read_position(family, side, tiny, texts):
    rm = tiny(family)
    encoded = rm.encode(texts)
    lengths = np.array([len(one.ids) for one in encoded])
    start = lengths.max() - lengths if side == "left" else 0 * lengths
    wanted = start + lengths - 1 if rm.causal else start
    assert rm.read_positions(rm.collate(encoded, side=side)).tolist() == wanted.tolist()


def test_the_head_sees_only_the_read_position(family, tiny, texts):
    rm = tiny(family)
    batch = rm.collate(rm.encode(texts))
    read = rm.read_positions(batch)
    with torch.no_grad():
        hidden = rm.hidden_states(batch)
        by_hand = rm.head(hidden[torch.arange(len(read)), read])[:, 0]
        assert rm.head(hidden).shape == (*hidden.shape[:2], 1)
        torch.testing.assert_close(rm.head(hidden)[torch.arange(len(read)), read, 0], by_hand)
        torch.testing.assert_close(rm.rewards(batch), by_hand)


def test_hookpoints(family, tiny, texts):
    rm = tiny(family)
    assert rm.hookpoints == ["layers.0", "layers.1", "layers.2"] and rm.num_blocks == 3 and rm.d_in == 16
    assert [rm.block(name) for name in rm.hookpoints] == list(rm.blocks)
    with pytest.raises(ModelError, match=r"layers\.0, layers\.1, layers\.2"):
        rm.block("layers.3")


@pytest.mark.parametrize("hookpoint", ["layers.0", "layers.1", "layers.2"])
def test_replacing_the_residual(family, hookpoint, tiny, texts):
    rm = tiny(family)
    batch = rm.collate(rm.encode(texts))

    def rewards_with(edit):
        def hook(module, inputs, output):
            return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

        handle = rm.block(hookpoint).register_forward_hook(hook)
        try:
            with torch.no_grad():
                return rm.rewards(batch)
        finally:
            handle.remove()

    seen = []
    with torch.no_grad():
        clean = rm.rewards(batch)
    itself = rewards_with(lambda h: seen.append(h.shape) or h.clone())
    assert torch.equal(itself, clean)
    assert seen == [(*batch["input_ids"].shape, rm.d_in)]
    assert (rewards_with(torch.zeros_like) - clean).abs().min() > 1e-4


def test_score_keeps_order(family, tiny, texts):
    rm = tiny(family)
    scored = rm.score(texts)
    np.testing.assert_allclose(rm.score(texts[::-1], max_tokens=16)[::-1], scored, atol=TOLERANCE)
    np.testing.assert_allclose(rm.score(texts * 3)[len(texts) : 2 * len(texts)], scored, atol=TOLERANCE)
    assert rm.score([]).shape == (0,)


def test_prefix_rewards(family, tiny, texts):
    rm = tiny(family)
    encoded = rm.encode(texts)
    for one, reward in zip(encoded, rm.score(texts), strict=True):
        curve = rm.prefix_rewards(one)
        assert curve.shape == (len(one.ids),) and curve.dtype == np.float32
        assert curve[-1] == pytest.approx(reward, abs=TOLERANCE)


def test_prefix_rewards_of_a_decoder_are_rewards_of_prefixes(decoder, tiny, texts):
    rm = tiny(decoder)
    one = rm.encode(texts[:1])[0]
    ids = torch.tensor([one.ids])
    with torch.no_grad():
        cut = [
            rm.rewards({"input_ids": ids[:, :n], "attention_mask": torch.ones_like(ids[:, :n])}).item()
            for n in range(1, len(one.ids) + 1)
        ]
    np.testing.assert_allclose(rm.prefix_rewards(one), cut, atol=TOLERANCE)


def test_prefix_rewards_of_an_encoder_are_rewards_of_shorter_replies(encoder, tiny):
    rm = tiny(encoder)
    words = ["mix", "the", "dog", "and"]
    whole = rm.encode([Text(text_id="a", prompt="the fox", reply=" ".join(words))])[0]
    curve = rm.prefix_rewards(whole)
    assert np.isnan(curve[0])
    for n in range(1, len(words) + 1):
        shorter = Text(text_id="a", prompt="the fox", reply=" ".join(words[:n]))
        end = len(rm.encode([shorter])[0].ids) - 2  # the last word's last token, before the closing SEP
        assert curve[end] == pytest.approx(rm.score([shorter])[0], abs=TOLERANCE)


def test_only_special_tokens(family, published, tiny):
    rm = tiny(family)
    texts = [Text(text_id="m", prompt="", reply=rm.tokenizer.convert_ids_to_tokens(rm.tokenizer.all_special_ids[0]))]
    np.testing.assert_allclose(rm.score(texts), plain_rewards(published(family), rm, texts), atol=TOLERANCE)


def test_family_and_fingerprint(family, published, tiny):
    rm = tiny(family)
    assert rm.family == family and not any(p.requires_grad for p in rm.model.parameters()) and not rm.model.training
    first = rm.fingerprint
    head = next(reversed(list(rm.head.parameters())))
    kept = head.detach().clone()
    with torch.no_grad():
        head += 0.5
    assert rm.fingerprint != first
    with torch.no_grad():
        head.copy_(kept)
    assert rm.fingerprint == first
