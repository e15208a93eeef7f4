"""Which features fire where in a clean pass."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.ablation.plan import Firings
from rmviz.ablation.rerun import Clean
from rmviz.models.encoding import Encoded
from rmviz.sae.model import SparseActs, SparseAutoencoder
from rmviz.sae.rows import bag_dots


def defined_positions(
    residual: Float[Tensor, "text position d_in"], encoded: Sequence[Encoded]
) -> Bool[Tensor, "text position"]:
    """Where features are defined, on the residual's device: at all positions but padding and special tokens."""
    defined = torch.zeros(residual.shape[:2], dtype=torch.bool)
    for i, one in enumerate(encoded):
        defined[i, : len(one.ids)] = torch.tensor(one.feature_positions)
    return defined.to(residual.device)


@torch.no_grad()
def firings_of(
    sae: SparseAutoencoder,
    clean: Clean,
    encoded: Sequence[Encoded],
    *,
    features: np.ndarray | None = None,
    gradient: Tensor | None = None,
    beside: Tensor | None = None,
    encode: Callable[[Tensor], SparseActs] | None = None,
) -> Firings:
    """Every activation above zero at the positions where features are defined.

    Args:
        sae: The SAE of the clean pass's hookpoint.
        clean: Residuals of the texts.
        encoded: The texts.
        features: Mask (d_sae,) of the features wanted; all when None.
        gradient: Of each reward by the residual, in its shape; gives each firing its slope.
        beside: What is encoded in place of the residual, in its shape but for the width.
        encode: What encodes it in place of the SAE.

    Returns:
        Firings sorted by text and position; texts whose reward or residual is not finite are `broken` and have none.
    """
    residual = clean.residual if beside is None else beside
    defined = defined_positions(residual, encoded)
    finite = residual.isfinite().all(-1)
    finite |= (
        torch.arange(residual.shape[1], device=residual.device)
        >= torch.from_numpy(clean.lengths).to(residual.device)[:, None]
    )
    whole = finite.all(1) & clean.rewards.to(residual.device).isfinite()
    places = (defined & whole[:, None]).nonzero()
    h = residual[places[:, 0], places[:, 1]]
    acts = (encode or sae.encode)(h)
    fires = acts.values > 0
    if features is not None:
        fires &= torch.from_numpy(features).to(acts.indices.device)[acts.indices]
    at, column = fires.nonzero(as_tuple=True)
    feature = acts.indices[at, column]
    slope = None
    if gradient is not None:
        slopes = gradient[places[:, 0], places[:, 1]].to(sae.device, torch.float32)
        starts = torch.searchsorted(at, torch.arange(len(h), device=at.device))
        slope = bag_dots(slopes, sae.W_dec, feature, starts, at).cpu().numpy()
    text, position = places.to(at.device)[at].cpu().numpy().T
    return Firings(
        text=text,
        position=position,
        feature=feature.cpu().numpy().astype(np.int64),
        value=acts.values[at, column].float().cpu().numpy(),
        broken=(~whole).cpu().numpy(),
        slope=slope,
    )
