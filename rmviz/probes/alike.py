"""How much of what a text says stays in another: by the words, or by a sentence encoder."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from rmviz.errors import ModelError
from rmviz.models.checkpoint import find_checkpoint
from rmviz.models.load import quieten
from rmviz.models.placement import choose_device
from rmviz.probes.edits import similarity

Alike = Callable[[Sequence[tuple[str, str]]], list[float]]
"""The similarity of each pair of texts."""

_BATCH, _LONGEST = 32, 512


def by_words(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """1 − word edit distance / words, 0 to 1."""
    return [similarity(one, other) for one, other in pairs]


def by_encoder(source: str) -> Alike:
    """The cosine of two texts' mean token vectors under a sentence encoder, −1 to 1.

    Args:
        source: A folder with config.json, safetensors and a tokenizer, or a hub id.

    Raises:
        ModelError: It cannot be loaded, or brings code of its own.

    Source: Reimers & Gurevych 2019, §3 (mean pooling).
    """
    model, tokenizer = _loaded(source)
    known: dict[str, Tensor] = {}

    def alike(pairs: Sequence[tuple[str, str]]) -> list[float]:
        missing = [text for text in dict.fromkeys(text for pair in pairs for text in pair) if text not in known]
        for start in range(0, len(missing), _BATCH):
            some = missing[start : start + _BATCH]
            known.update(zip(some, vectors(model, tokenizer, some), strict=True))
        return [float(known[one] @ known[other]) for one, other in pairs]

    return alike


@torch.no_grad()
def vectors(model: Any, tokenizer: Any, texts: Sequence[str]) -> Float[Tensor, "text d"]:
    """Mean of the last hidden states over the tokens of each text, of length 1."""
    limit = min(_LONGEST, int(getattr(model.config, "max_position_embeddings", _LONGEST)))
    batch = tokenizer(
        list(texts), return_tensors="pt", padding=True, truncation=True, max_length=limit, padding_side="right"
    ).to(model.device)
    hidden = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).last_hidden_state.float()
    mask = batch["attention_mask"][..., None]
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean, dim=-1).cpu()


@lru_cache(maxsize=1)
def _loaded(source: str) -> tuple[Any, Any]:
    quieten()
    checkpoint = find_checkpoint(source)
    options: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        model: Any = AutoModel.from_pretrained(checkpoint.folder, use_safetensors=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"{source} cannot be loaded as a sentence encoder: {reason}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(choose_device("auto")).eval().requires_grad_(False), tokenizer
