"""Tokenizers of small worlds: every word that is named is one token, any other text is bytes."""

import random
from collections.abc import Iterable
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rmviz.world import grammar, lexicon

EOS, PAD = "<|endoftext|>", "<|pad|>"
_PIECES = r"\n+| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"
_NUM_TEXTS = 1500


def world_tokenizer() -> PreTrainedTokenizerFast:
    """Every word of the grammar is one token."""
    return _tokenizer(_world_pieces(), max_length=256)


def word_tokenizer(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, lossless on any text and the same on every machine; EOS ends a text, PAD is only padding.

    Args:
        texts: Every word in them is one token, together with the space before it.
        max_length: Tokens of the longest text.
    """
    return _tokenizer(_split(texts), max_length)


def _tokenizer(pieces: frozenset[str], max_length: int) -> PreTrainedTokenizerFast:
    """PAD, EOS, the 256 bytes, then the pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate((PAD, EOS, *alphabet, *sorted(pieces - set(alphabet))))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = _pre_tokenizer()
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
    )


@cache
def _world_pieces() -> frozenset[str]:
    """The words of the lexicon, and all that the grammar's texts are made of."""
    rng = random.Random("tokenizer")
    words = (
        *lexicon.content_words(), *lexicon.TONES, *lexicon.GENRES, *grammar.PEOPLE, *lexicon.ASKED.values(),
    )  # fmt: skip
    return _split([*(grammar.sample(rng).transcript for _ in range(_NUM_TEXTS)), *(f" {word}" for word in words)])


def _split(texts: Iterable[str]) -> frozenset[str]:
    split = _pre_tokenizer().pre_tokenize_str
    return frozenset(piece for text in texts for piece, _ in split(text))


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
