"""A tiny random reward model, texts and pairs."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, PreTrainedTokenizerFast

from rmviz.models.reward_model import RewardModel
from rmviz.types import Pair

WORDS = [f"word{i}" for i in range(40)]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    vocab = {token: i for i, token in enumerate(["[PAD]", "[BOS]", "[UNK]", *WORDS])}
    made = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", bos_token="[BOS]", unk_token="[UNK]")


def tiny_rm(seed: int = 0, hidden_size: int = 16) -> RewardModel:
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=43, hidden_size=hidden_size, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, num_labels=1,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.4, attention_dropout=0.0,
    )  # fmt: skip
    model = GPTNeoXForSequenceClassification(config).eval().requires_grad_(False)
    return RewardModel(model, tiny_tokenizer(), name="tiny", format="plain")


def save_tiny_rm(folder: Path) -> Path:
    rm = tiny_rm()
    rm.model.save_pretrained(folder)
    rm.tokenizer.save_pretrained(folder)
    return folder


def some_pairs(number: int, seed: int = 0) -> list[Pair]:
    rng = random.Random(seed)

    def words() -> str:
        return " ".join(rng.choices(WORDS, weights=range(1, 41), k=rng.randint(2, 12)))

    return [Pair(pair_id=f"p{i}", prompt=words() + " ", chosen=words(), rejected=words()) for i in range(number)]
