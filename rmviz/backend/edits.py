"""Scaling features of one text: `h' = h + Σ (scale − 1) · activation · W_dec` where features are defined and fire."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rmviz.ablation.plan import Firings
from rmviz.models.encoding import Encoded
from rmviz.sae.model import SparseAutoencoder


class ScaleEdit:
    """Features of an SAE, each with the factor that its activation is multiplied by (0 off, 1 as it is)."""

    def __init__(self, sae: SparseAutoencoder, scales: Mapping[int, float]) -> None:
        """Prepare the change of each feature."""
        self._sae = sae
        self._change = torch.zeros(sae.d_sae)
        self._change[list(scales)] = torch.tensor(list(scales.values()), dtype=torch.float32) - 1

    def on_firings(
        self, residual: Float[Tensor, "text position d_in"], fired: Firings
    ) -> Float[Tensor, "text position d_in"]:
        """A text's residual with the features scaled, from activations that are known."""
        change = self._change.numpy()[fired.feature]
        changed = np.flatnonzero(change)
        text, position = torch.from_numpy(fired.text[changed]), torch.from_numpy(fired.position[changed])
        coefficient = torch.from_numpy((fired.value * change)[changed])
        return self._added(residual, text, position, torch.from_numpy(fired.feature[changed]), coefficient)

    def on_texts(
        self, residual: Float[Tensor, "text position d_in"], encoded: Sequence[Encoded]
    ) -> Float[Tensor, "text position d_in"]:
        """The residual of right-padded texts with the features scaled, from activations that are computed now."""
        defined = torch.zeros(residual.shape[:2], dtype=torch.bool)
        for row, text in enumerate(encoded):
            defined[row, : len(text.ids)] = torch.tensor(text.feature_positions)
        places = defined.nonzero()
        acts = self._sae.encode(residual[places[:, 0].to(residual.device), places[:, 1].to(residual.device)])
        indices = acts.indices.long().cpu()
        coefficient = acts.values.float().cpu().relu() * self._change[indices]
        at, column = coefficient.nonzero(as_tuple=True)
        return self._added(residual, places[at, 0], places[at, 1], indices[at, column], coefficient[at, column])

    def _added(self, residual: Tensor, text: Tensor, position: Tensor, feature: Tensor, coefficient: Tensor) -> Tensor:
        directions = self._sae.W_dec[feature.to(self._sae.device)].to(residual.device, residual.dtype)
        edited = residual.clone()
        place = (text * residual.shape[1] + position).to(residual.device)
        change = directions * coefficient.to(residual.device, residual.dtype)[:, None]
        edited.view(-1, residual.shape[-1]).index_add_(0, place, change)
        return edited


def firing_tokens(fired: Firings) -> dict[int, tuple[list[int], list[float]]]:
    """Positions and activations of every feature that fires on one text."""
    order = np.lexsort((fired.position, fired.feature))
    features, starts = np.unique(fired.feature[order], return_index=True)
    positions = np.split(fired.position[order], starts[1:])
    values = np.split(fired.value[order], starts[1:])
    return {int(f): (p.tolist(), v.tolist()) for f, p, v in zip(features, positions, values, strict=False)}
