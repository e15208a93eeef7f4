"""What is done to activations before an SAE is trained on them, and how it is folded into the finished SAE.

Without whitening a few huge directions take the whole SAE: its FVU and its splice look perfect and its features mean
nothing (measured on the planted world).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rmviz.errors import ModelError
from rmviz.sae.model import SparseAutoencoder

_FLOOR = 1e-3  # of the mean eigenvalue: directions with less variance are not blown up


@dataclass
class Whitening:
    """The affine map `z = (x - mean) @ forward` and its inverse `x = z @ backward + mean`."""

    mean: Float[Tensor, " d_in"]
    forward: Float[Tensor, "d_in d_in"]
    backward: Float[Tensor, "d_in d_in"]
    variance: float
    """Total variance of z, the denominator of FVU in training."""

    def __call__(self, x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_in"]:
        """Activations as the SAE in training sees them."""
        return (x - self.mean) @ self.forward


def whitening(
    sample: Float[Tensor, "row d_in"], normalize: Literal["whiten", "center", "none"] = "whiten"
) -> Whitening:
    """The map for activations like these: ZCA whitening, centring with one scale, or nothing but the mean noted.

    Raises:
        ModelError: All activations are the same.
    """
    x = sample.double()
    mean = x.mean(0)
    covariance = sum((part.sub(mean).T @ part.sub(mean) for part in x.split(65536)), torch.zeros(())) / len(x)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    if not float(values.sum()) > 1e-12 * float(x.square().sum(1).mean()):
        raise ModelError(
            "the activations at this hookpoint are all the same, so there is nothing to learn; is the model trained?"
        )
    if normalize == "whiten":
        scales = (values + _FLOOR * values.mean()).sqrt()
    else:
        scales = torch.full_like(values, float(values.mean().sqrt()) if normalize == "center" else 1.0)
        vectors = torch.eye(len(values), dtype=x.dtype)
    forward, backward = vectors / scales @ vectors.T, vectors * scales @ vectors.T
    variance = float(torch.einsum("ij,jk,ki->", forward, covariance, forward))
    if normalize == "none":
        mean = torch.zeros_like(mean)
    return Whitening(mean.float(), forward.float(), backward.float(), variance)


def folded(sae: SparseAutoencoder, map: Whitening) -> SparseAutoencoder:
    """The SAE that gives on raw activations the features which `sae` gives on mapped ones; W_dec is in model units."""
    forward, backward = map.forward.double().cpu(), map.backward.double().cpu()
    W_enc, W_dec, b_dec, mean = (tensor.double().cpu() for tensor in (sae.W_enc, sae.W_dec, sae.b_dec, map.mean))
    # (x - mean) F - b_dec = (x - (b_dec B + mean)) F, so one new b_dec serves the encoder and the decoder
    b_enc, magnitude = sae.b_enc.cpu(), sae.magnitude
    if not sae.center:
        shift = b_dec @ W_enc
        b_enc = (b_enc.double() + shift).float()
        if magnitude is not None:
            magnitude = (
                magnitude[0].cpu(),
                (magnitude[1].double().cpu() + shift * magnitude[0].double().cpu()).float(),
            )
    return replace(
        sae.to("cpu"), W_enc=(forward @ W_enc).float().contiguous(), W_dec=(W_dec @ backward).float().contiguous(),
        b_dec=(b_dec @ backward + mean).float(), b_enc=b_enc, magnitude=magnitude, center=True,
    )  # fmt: skip
