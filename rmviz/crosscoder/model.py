"""A finished crosscoder: what fires is told by both models, what it does by each alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.firing import firings_of
from rmviz.ablation.plan import Firings
from rmviz.ablation.rerun import Clean
from rmviz.activations.hooks import residuals
from rmviz.errors import ModelError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder

FILE = "crosscoder.safetensors"
_TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")


def save_crosscoder(path: Path, joint: SparseAutoencoder, **further: Tensor) -> None:
    """Write the encoders (2 · d_in, d_sae) and decoders (d_sae, 2 · d_in), the first model's half first, in model units."""
    tensors = {name: getattr(joint, name) for name in _TENSORS} | further
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def load_crosscoder(path: Path, hookpoint: str) -> tuple[SparseAutoencoder, dict[str, Tensor]]:
    """What `save_crosscoder` wrote: the SAE on both sides, and the further tensors.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        tensors = load_file(path)
        own: dict[str, Any] = {name: tensors.pop(name) for name in _TENSORS}
    except (OSError, KeyError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as a crosscoder ({error}); train it again") from error
    return SparseAutoencoder(architecture="jumprelu", hookpoint=hookpoint, **own), tensors


def side_of(joint: SparseAutoencoder, side: int, rm: RewardModel) -> SparseAutoencoder:
    """One model's half as an SAE of its own; alone it knows only half of what decides which features fire."""
    W_enc, W_dec, b_dec = (
        part.chunk(2, dim=dim)[side].contiguous()
        for part, dim in ((joint.W_enc, 0), (joint.W_dec, 1), (joint.b_dec, 0))
    )
    return replace(joint, W_enc=W_enc, W_dec=W_dec, b_dec=b_dec, model_fingerprint=rm.fingerprint)


def decoder_norms(W_dec: Float[Tensor, "d_sae both"]) -> Float[np.ndarray, "d_sae 2"]:
    """Length of each feature's decoder in the first and in the second model."""
    return torch.stack([half.norm(dim=1) for half in W_dec.chunk(2, dim=1)], dim=1).double().cpu().numpy()


def cosines(W_dec: Float[Tensor, "d_sae both"]) -> Float[np.ndarray, " d_sae"]:
    """Cosine of each feature's two decoders, each in its model's own coordinates."""
    first, second = W_dec.chunk(2, dim=1)
    return torch.nn.functional.cosine_similarity(first, second, dim=1).double().cpu().numpy()


class SideEngine(EffectEngine):
    """The effect engine of one of the two models: features fire by both models' activations, ablated is its own half.

    `h_m' = h_m − a_f · W_dec_m[f]` wherever `f` fires, and the rest of model `m` runs on from there: exact.
    """

    def __init__(
        self, models: tuple[RewardModel, RewardModel], joint: SparseAutoencoder, side: int, *, max_tokens: int = 8192
    ) -> None:
        """Bind the pair; `side` is 0 for the first model, 1 for the second."""
        super().__init__(models[side], side_of(joint, side, models[side]), max_tokens=max_tokens)
        self._side, self._other, self._joint = side, models[1 - side], joint.to(models[side].device)

    def firings(
        self,
        clean: Clean,
        encoded: Sequence[Encoded],
        *,
        features: np.ndarray | None = None,
        gradient: Tensor | None = None,
    ) -> Firings:
        """What fires on the texts of a clean pass; nothing where either model's residual is no number."""
        other, _ = residuals(self._other, self._other.collate(encoded, side="right"), self.sae.hookpoint)
        halves = [clean.residual, other.to(clean.residual.device, clean.residual.dtype)]
        both = torch.cat(halves if self._side == 0 else halves[::-1], dim=-1)
        return firings_of(
            self.sae, clean, encoded, features=features, gradient=gradient, beside=both, encode=self._joint.encode
        )
