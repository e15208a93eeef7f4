"""Features of one text scaled, `h' = h + Σ (scale − 1) · activation · W_dec` where they fire, or set to a value.

A value v is set at every position where features are defined: `h' = h + Σ (v − activation) · W_dec`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.ablation.firing import defined_positions
from rmviz.ablation.plan import Firings
from rmviz.models.encoding import Encoded
from rmviz.sae.model import SparseAutoencoder


class FeatureEdit:
    """Features of an SAE, each with the factor that its activation is multiplied by (0 off, 1 as it is) or with its value."""

    def __init__(
        self, sae: SparseAutoencoder, scales: Mapping[int, float], values: Mapping[int, float] | None = None
    ) -> None:
        """Prepare the change of each feature."""
        self._sae = sae
        set_to = dict(values or {})
        self._change = torch.zeros(sae.d_sae)
        self._change[list(scales)] = torch.tensor(list(scales.values()), dtype=torch.float32) - 1
        self._change[list(set_to)] = -1
        numbers = torch.tensor(list(set_to.values()), device=sae.device, dtype=sae.W_dec.dtype)
        self._constant = numbers @ sae.W_dec[list(set_to)] if set_to else None

    def on_firings(
        self, residual: Float[Tensor, "1 position d_in"], fired: Firings, encoded: Encoded
    ) -> Float[Tensor, "1 position d_in"]:
        """A text's residual with the features changed, from activations that are known."""
        change = self._change.numpy()[fired.feature]
        changed = np.flatnonzero(change)
        text, position = torch.from_numpy(fired.text[changed]), torch.from_numpy(fired.position[changed])
        coefficient = torch.from_numpy((fired.value * change)[changed])
        edited = self._added(residual, text, position, torch.from_numpy(fired.feature[changed]), coefficient)
        return self._set(edited, defined_positions(residual, [encoded]))

    def on_texts(
        self, residual: Float[Tensor, "text position d_in"], encoded: Sequence[Encoded]
    ) -> Float[Tensor, "text position d_in"]:
        """The residual of right-padded texts with the features changed, from activations that are computed now."""
        defined = defined_positions(residual, encoded)
        places = defined.nonzero()
        acts = self._sae.encode(residual[places[:, 0], places[:, 1]])
        indices, places = acts.indices.long().cpu(), places.cpu()
        coefficient = acts.values.float().cpu().relu() * self._change[indices]
        at, column = coefficient.nonzero(as_tuple=True)
        edited = self._added(residual, places[at, 0], places[at, 1], indices[at, column], coefficient[at, column])
        return self._set(edited, defined)

    def _set(self, edited: Tensor, defined: Bool[Tensor, "text position"]) -> Tensor:
        if self._constant is not None:
            edited[defined] += self._constant.to(edited.device, edited.dtype)
        return edited

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
