import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.errors import DataError
from rmviz.models.encoding import EncodingRules, encode_texts
from rmviz.types import Text

HARD = [
    "",
    " ",
    "\n\n\t ",
    "\0\x07",
    "a\ud800b",
    "👩‍👩‍👧‍👦 ok",
    "שלום עולם",
    "<|endoftext|>",
    "é" * 40,
    "<script>alert(1)</script>",
]
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def text_of(reply, prompt=""):
    return Text(text_id="t", prompt=prompt, reply=reply)


def shown(one, specials=()):
    return "".join(token for token in one.tokens if token not in specials)


@pytest.fixture(scope="module")
def byte_level(make):
    return make.byte_level_tokenizer()


@settings(max_examples=150, deadline=None)
@given(prompt=any_text, reply=any_text)
def test_tokens_join_to_the_text_byte_level(byte_level, prompt, reply):
    if not prompt + reply:
        return
    one = encode_texts([text_of(reply, prompt)], byte_level, EncodingRules(format="plain", max_length=10**6))[0]
    assert shown(one) in (prompt + reply, f"{prompt} {reply}")
    assert len(one.ids) == len(one.tokens) == len(one.feature_positions)
    assert list(one.ids) == byte_level(shown(one)).input_ids
    whole = shown(one)
    assert "".join(one.tokens[one.reply_start :]).endswith(reply) or reply not in whole


@settings(max_examples=100, deadline=None)
@given(prompt=any_text, reply=any_text, max_length=st.integers(4, 40))
def test_segments_keep_specials_and_cut_the_prompt_first(make_encoder, prompt, reply, max_length):
    tokenizer = make_encoder
    rules = EncodingRules(format="segments", max_length=max_length, token_types=True)
    one = encode_texts([text_of(reply, prompt)], tokenizer, rules)[0]
    whole = encode_texts([text_of(reply, prompt)], tokenizer, EncodingRules(format="segments", max_length=10**6))[0]
    assert len(one.ids) <= max_length and one.num_cut == len(whole.ids) - len(one.ids)
    assert one.ids[0] == tokenizer.cls_token_id and one.ids[-1] == tokenizer.sep_token_id
    kept_reply, whole_reply = one.ids[one.reply_start :], whole.ids[whole.reply_start :]
    assert whole_reply[len(whole_reply) - len(kept_reply) :] == kept_reply
    if 0 < len(kept_reply) < len(whole_reply):
        assert one.reply_start == (3 if prompt else 1)  # all of the prompt went first: CLS SEP SEP remain
    if not one.num_cut and prompt and "[" not in prompt + reply:
        assert shown(one, ("[CLS]", "[SEP]")) == prompt + reply or not any(one.feature_positions)


@pytest.fixture(scope="module")
def make_encoder(make):
    return make.encoder_tokenizer(byte_level=True)


@pytest.mark.parametrize("reply", HARD)
def test_hard_texts_are_scored_as_the_model_scores_them(family, reply, tiny):
    rm = tiny(family)
    texts = [text_of(reply, "the dog"), text_of("a longer text beside it, with many more words")]
    together = rm.score(texts)
    assert np.isfinite(together).all()
    assert rm.score(texts[:1])[0] == pytest.approx(together[0], abs=1e-5)


def test_an_empty_text_stands_as_one_special_token_or_is_refused(tiny, byte_level):
    assert tiny("gpt2").encode([text_of("")])[0].ids == (byte_level.eos_token_id,)
    assert np.isfinite(tiny("gpt2").score([text_of("")])).all()
    bare = type(byte_level)(tokenizer_object=byte_level.backend_tokenizer)
    with pytest.raises(DataError, match="'t' is empty"):
        encode_texts([text_of("")], bare, EncodingRules(format="plain", max_length=8))


def test_pieces_of_one_character_show_it_once(byte_level):
    one = encode_texts([text_of("a😀b")], byte_level, EncodingRules(format="plain", max_length=64))[0]
    assert len(one.ids) > 3 and [token for token in one.tokens if token] == ["a", "😀", "b"]


def test_special_tokens_in_the_text_define_no_feature(byte_level):
    one = encode_texts([text_of("the<|endoftext|>dog")], byte_level, EncodingRules(format="plain", max_length=64))[0]
    at = one.ids.index(byte_level.eos_token_id)
    assert [i for i, defined in enumerate(one.feature_positions) if not defined] == [at]


def test_unknown_words_are_text(tiny):
    rm = tiny("bert")
    one = rm.encode([text_of("☃ dog", "☃")])[0]
    unknown = [i for i, token in enumerate(one.ids) if token == rm.tokenizer.unk_token_id]
    assert len(unknown) == 2 and all(one.feature_positions[i] for i in unknown)


def test_left_truncation_keeps_bos(make):
    tokenizer = make.byte_level_tokenizer(bos=True)
    rules = EncodingRules(format="plain", max_length=6)
    one = encode_texts([text_of("the quick brown fox jumps over the lazy dog")], tokenizer, rules)[0]
    whole = tokenizer("the quick brown fox jumps over the lazy dog").input_ids
    assert list(one.ids) == whole[:1] + whole[-5:] and one.num_cut == len(whole) - 6 and one.reply_start == 1
    assert "the quick brown fox jumps over the lazy dog".endswith("".join(one.tokens[1:]))


@pytest.mark.parametrize("reply", ["word " * 200_000, "x" * 1_000_000, " " * 1_000_000, "😀" * 1_000_000])
def test_a_million_characters(family, reply, tiny):
    rm = tiny(family)
    rm.encode([text_of("warm up")])
    start = time.monotonic()
    one = rm.encode([text_of(reply, "the dog")])[0]
    assert time.monotonic() - start < 2 * 4  # 2 s on a free core; tests share theirs
    assert len(one.ids) <= rm.max_length and one.num_cut > 0
    assert np.isfinite(rm.score_encoded([one])).all()


def test_string_cut_and_token_cut_agree(byte_level):
    """A text just beyond the characters that are kept gives the same last tokens as the whole."""
    text = "the quick brown fox, " * 200
    one = encode_texts([text_of(text)], byte_level, EncodingRules(format="plain", max_length=32))[0]
    whole = byte_level(text).input_ids
    assert list(one.ids) == whole[-32:]
    assert one.num_cut == pytest.approx(len(whole) - 32, rel=0.05)


def test_threads_share_a_tokenizer(tiny):
    rm = tiny("bert")
    texts = [text_of("mix flour and water " * n, "the dog") for n in range(1, 30)]
    wanted, failures = rm.encode(texts), []

    def work():
        for _ in range(10):
            if rm.encode(texts) != wanted:
                failures.append("different")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
