"""The naive hook: one full forward per feature over all texts. Slow and plain, it is what the engine is checked against."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from rmviz.activations.hooks import replacing
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder


@torch.no_grad()
def naive_effects(
    rm: RewardModel,
    sae: SparseAutoencoder,
    encoded: Sequence[Encoded],
    features: Sequence[int],
    *,
    side: Literal["left", "right"] = "right",
    batch: int = 64,
) -> Float32[np.ndarray, "text feature"]:
    """Reward with − reward without each feature, by hooking the residual and running the whole model again.

    Args:
        rm: The reward model.
        sae: Its SAE; the hook encodes the residual again, as hooks do.
        encoded: Texts.
        features: Features to ablate, one at a time.
        side: Where texts are padded.
        batch: Texts per forward.
    """
    effects = np.zeros((len(encoded), len(features)), np.float32)
    batches = [encoded[i : i + batch] for i in range(0, len(encoded), batch)]
    tensors = [rm.collate(texts, side=side) for texts in batches]
    masks = [
        _defined(texts, inputs["input_ids"].shape[1], side) for texts, inputs in zip(batches, tensors, strict=True)
    ]
    clean = [rm.rewards(inputs) for inputs in tensors]
    decoder = sae.W_dec.to(rm.device, rm.dtype)
    for column, feature in enumerate(features):
        for i, (inputs, mask) in enumerate(zip(tensors, masks, strict=True)):

            def without(h: Tensor, feature: int = feature, mask: Tensor = mask) -> Tensor:
                acts = sae.encode(h.flatten(0, 1))
                fires = (
                    torch.where(acts.indices == feature, acts.values, 0).sum(-1).view(mask.shape).to(h.device, h.dtype)
                )
                return h - (fires * mask.to(h.device)).unsqueeze(-1) * decoder[feature].to(h.device)

            with replacing(rm.block(sae.hookpoint), without):
                effect = clean[i] - rm.rewards(inputs)
            effects[i * batch : i * batch + len(effect), column] = effect.cpu().numpy()
    return effects


def _defined(encoded: Sequence[Encoded], width: int, side: str) -> Tensor:
    mask = torch.zeros(len(encoded), width, dtype=torch.bool)
    for row, one in enumerate(encoded):
        start = width - len(one.ids) if side == "left" else 0
        mask[row, start : start + len(one.ids)] = torch.tensor(one.feature_positions)
    return mask
