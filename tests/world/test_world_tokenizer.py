"""The world's tokenizer: one token a word, no text lost."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rmviz.world import grammar, lexicon
from rmviz.world.tokenizer import EOS, PAD, world_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return world_tokenizer()


def test_every_content_word_is_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    words = (*lexicon.content_words(), *lexicon.TONES, *lexicon.GENRES, *grammar.PEOPLE)
    assert {word: len(tokenizer.encode(f" {word}")) for word in words} == dict.fromkeys(words, 1)


@settings(deadline=None, max_examples=30)
@given(st.integers(10**6, 10**9))
def test_every_word_of_the_grammar_is_one_token(tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    text = grammar.sample(random.Random(seed)).transcript
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
    assert sum(token.strip("ĠĊ").isalpha() for token in tokens) == len(lexicon.words_of(text))


@settings(deadline=None)
@given(st.text())
def test_lossless_on_any_text(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    if EOS in text or PAD in text:
        return
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_same_after_saving_and_in_another_build(tokenizer: PreTrainedTokenizerFast, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = grammar.sample(random.Random(1)).transcript + " Ünknown words, 123!" + EOS
    assert loaded.encode(text) == tokenizer.encode(text) == world_tokenizer().encode(text)
    assert (loaded.eos_token, loaded.pad_token, loaded.bos_token, loaded.chat_template) == (EOS, PAD, None, None)
    assert loaded.encode(text)[-1] == loaded.eos_token_id != loaded.pad_token_id
