"""The tokenizer of the planted world: every word of the grammar is one token, any other text is bytes."""

import random
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rmviz.world import grammar, lexicon

EOS, PAD = "<|endoftext|>", "<|pad|>"
_PIECES = r"\n+| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"
_NUM_TEXTS = 1500


def world_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, lossless on any text and the same on every machine; EOS ends a text, PAD is only padding."""
    return word_tokenizer(_texts(), 256)


def word_tokenizer(texts: tuple[str, ...], max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer that has every word of these texts (each with the space before it) as one token, and any other text as bytes."""
    vocabulary = {piece: i for i, piece in enumerate(_vocabulary(texts))}
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
def _texts() -> tuple[str, ...]:
    """The words of the lexicon, and texts that hold all that the grammar's texts are made of."""
    rng = random.Random("tokenizer")
    words = (
        *lexicon.content_words(), *lexicon.TONES, *lexicon.GENRES, *grammar.PEOPLE, *lexicon.ASKED.values()
    )  # fmt: skip
    return (*(grammar.sample(rng).transcript for _ in range(_NUM_TEXTS)), *(f" {word}" for word in words))


@cache
def _vocabulary(texts: tuple[str, ...]) -> tuple[str, ...]:
    """PAD, EOS, the 256 bytes, then the pieces of the texts."""
    split = _pre_tokenizer().pre_tokenize_str
    pieces = {piece for text in texts for piece, _ in split(text)}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return PAD, EOS, *alphabet, *sorted(pieces - set(alphabet))


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
