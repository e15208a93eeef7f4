"""Which token pads, and how long a text may be."""

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NO_LIMIT = 10**9
"""Tokenizers without a limit say about 1e30."""


def pad_token_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, append_eos: bool) -> int:
    """The token that fills up a batch: the model's own, else one that texts do not end in.

    A text that ends in the padding token would be pooled too early by anyone who calls the model's own forward.
    """
    config = model.config.get_text_config()
    if config.pad_token_id is not None:
        return config.pad_token_id
    probe = tokenizer("a").input_ids
    ends_in_eos = append_eos or probe[-1:] == [tokenizer.eos_token_id]
    fits = range(config.vocab_size)
    unused = range(len(tokenizer), config.vocab_size)
    wanted = [
        tokenizer.pad_token_id if tokenizer.pad_token_id != tokenizer.eos_token_id else None,
        None if ends_in_eos else tokenizer.eos_token_id,
        next(iter(unused), None),
        tokenizer.unk_token_id,
        tokenizer.bos_token_id,
        0,
    ]
    return next(token for token in wanted if token is not None and token in fits)


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest input that model and tokenizer take, in tokens."""
    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    table = counted_positions(model.base_model)
    if table is not None:  # counting starts after the padding index
        limits.append(table.num_embeddings - int(table.padding_idx or 0) - 1)
    if tokenizer.model_max_length < _NO_LIMIT:
        limits.append(tokenizer.model_max_length)
    return min([int(limit) for limit in limits if limit], default=_NO_LIMIT)


def counted_positions(base: nn.Module) -> nn.Embedding | None:
    """The position table of families that count positions from the padding ids (RoBERTa and its children)."""
    table = getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    return table if isinstance(table, nn.Embedding) and table.padding_idx is not None else None
