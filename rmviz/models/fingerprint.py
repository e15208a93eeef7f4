"""A short name for the weights of a model."""

import hashlib
import json

import torch
from transformers import PreTrainedModel

_SAMPLED = 64
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


@torch.no_grad()
def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 over family and sizes, names and shapes of all tensors, and 64 values of each.

    Values are rounded to bfloat16 first, so that one checkpoint has one fingerprint on every device and in every dtype.
    """
    config = model.config.get_text_config()
    digest = hashlib.sha256(
        json.dumps([model.config.model_type, [getattr(config, size, None) for size in _SIZES]]).encode()
    )
    for name, tensor in sorted(model.named_parameters()):
        flat = tensor.reshape(-1)
        places = torch.linspace(0, flat.numel() - 1, min(_SAMPLED, flat.numel()), dtype=torch.float64).long()
        sample = flat[places.to(flat.device)].to(torch.bfloat16).view(torch.int16).cpu()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()
