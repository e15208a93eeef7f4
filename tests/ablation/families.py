"""Tiny random reward models of every family, a tiny random SAE, and texts."""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder

VOCAB = 61
_SMALL = {
    "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 128, "num_labels": 1, "pad_token_id": 0, "initializer_range": 0.25,
}  # fmt: skip
_GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
_GPT = {
    "vocab_size": VOCAB, "n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 128, "num_labels": 1, "pad_token_id": 0,
    "initializer_range": 0.25, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict]] = {
    "gpt_neox": ("gpt_neox", {}),
    "gpt2": ("gpt2", _GPT),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 4}),
    "llama": ("llama", _GROUPED),
    "mistral": ("mistral", {**_GROUPED, "sliding_window": 6}),
    "qwen2": ("qwen2", {"num_key_value_heads": 1}),
    "qwen2_window": (
        "qwen2",
        {"num_key_value_heads": 1, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
    ),
    "qwen3": ("qwen3", _GROUPED),
    "gemma2": ("gemma2", {**_GROUPED, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3_text", {**_GROUPED, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "bert": ("bert", {}),
    "roberta": ("roberta", {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
    "deberta_v2": (
        "deberta-v2",
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "conv_kernel_size": 3,
         "pooler_hidden_size": 16},
    ),
}  # fmt: skip
CAUSAL = [name for name in FAMILIES if name not in ("bert", "roberta", "deberta_v2")]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w3")


def tiny_model(family: str, seed: int = 0, **changes: object) -> RewardModel:
    kind, options = FAMILIES[family]
    own = options if "n_embd" in options else {**_SMALL, **options}
    config = AutoConfig.for_model(kind, **{**own, **changes})
    for name in vars(config):
        if "dropout" in name or name.endswith("pdrop"):
            setattr(config, name, 0.0)
    torch.manual_seed(seed)
    return RewardModel(
        AutoModelForSequenceClassification.from_config(config).eval().requires_grad_(False),
        tiny_tokenizer(),
        name=family,
    )


def tiny_sae(
    rm: RewardModel, hookpoint: str = "layers.1", d_sae: int = 24, k: int = 4, seed: int = 1
) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, rm.d_in, generator=generator), dim=1)
    return SparseAutoencoder(
        architecture="topk",
        W_enc=W_dec.T.contiguous(),
        W_dec=W_dec,
        b_dec=torch.zeros(rm.d_in),
        b_enc=torch.zeros(d_sae),
        k=k,
        hookpoint=hookpoint,
    )


def encoded_text(
    ids: list[int],
    name: str,
    *,
    undefined: tuple[int, ...] = (1,),
    pair: str = "",
    side: str = "text",
    types: bool = False,
) -> Encoded:
    return Encoded(
        text_id=name, pair_id=pair, side=side, ids=tuple(ids),
        token_types=tuple(int(2 * i > len(ids)) for i in range(len(ids))) if types else None,
        feature_positions=tuple(i not in undefined for i in range(len(ids))), reply_start=len(ids) // 2, num_cut=0,
        tokens=tuple(f"w{i}" for i in ids),
    )  # fmt: skip


def random_texts(num_texts: int, *, seed: int = 0, shortest: int = 3, longest: int = 12) -> list[Encoded]:
    rng = np.random.default_rng(seed)
    return [
        encoded_text(
            rng.integers(4, VOCAB, rng.integers(shortest, longest + 1)).tolist(),
            f"t{i}",
            pair=f"p{i // 2}",
            side=("chosen", "rejected")[i % 2],
        )
        for i in range(num_texts)
    ]
