"""A patched reward model: some features of an SAE scaled in every forward of the model, wherever it is loaded by rmviz.

The edit is h' = h + Σ (scale − 1) · activation · W_dec at every position where features are defined. An activation passes
through the SAE's ReLU, threshold or TopK, so no change of the weights does the same: only scales of 1 fold exactly, into nothing,
and they are dropped. Everything else is a hook, and the folder holds what the hook needs.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.errors import ConfigError, ModelError
from rmviz.models.encoding import special_ids
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import load_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import write_json

RECORD, SAE = "patch.json", "sae"


def write_patch(folder: Path, sae: SparseAutoencoder, scales: Mapping[int, float], *, weights: str) -> dict[str, Any]:
    """Write the record of a patch into a folder that holds its SAE as `sae`; the record.

    Args:
        folder: `rmviz_patch` in the model's folder.
        sae: The SAE.
        scales: Factor of each feature's activation: 0 off, 1 as it is.
        weights: Fingerprint of the model without the patch.

    Raises:
        ConfigError: A feature does not exist, a factor is no number, or nothing would change.
    """
    for feature, scale in scales.items():
        if not 0 <= feature < sae.d_sae:
            raise ConfigError(f"feature {feature} does not exist: this SAE has features 0 to {sae.d_sae - 1}")
        if not math.isfinite(scale):
            raise ConfigError(f"the scale of feature {feature} must be a finite number, got {scale}")
    changed = {feature: float(scale) for feature, scale in sorted(scales.items()) if scale != 1}
    if not changed:
        raise ConfigError("the patch changes nothing: give features, and a scale other than 1")
    record = {"hookpoint": sae.hookpoint, "scales": {str(f): s for f, s in changed.items()}, "weights": weights}
    write_json(folder / RECORD, record)
    return record


def apply(rm: RewardModel, folder: Path) -> None:
    """Put a patch in place: from now on every forward of the model has it.

    Raises:
        ModelError: It is damaged, or was made for other weights.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        scales = {int(feature): float(scale) for feature, scale in record["scales"].items()}
        hookpoint, weights = str(record["hookpoint"]), str(record["weights"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the patch in {folder} cannot be read ({error}); patch the model again") from error
    if rm.fingerprint != weights:
        raise ModelError(
            f"the patch in {folder} was made for other weights (fingerprint {weights[:12]}…) than these "
            f"({rm.fingerprint[:12]}…); patch this model again"
        )
    sae = load_sae(folder / SAE, hookpoint=hookpoint)
    sae.check_fits(rm)
    edit = PatchEdit(sae, scales, special_ids(rm.tokenizer))
    rm.base.register_forward_pre_hook(edit.begin, with_kwargs=True)
    rm.block(hookpoint).register_forward_hook(edit.on_output)
    rm.patch = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class PatchEdit:
    """Scales features in the output of a block; it knows of each forward, and of each thread, which positions are text."""

    def __init__(self, sae: SparseAutoencoder, scales: Mapping[int, float], special: frozenset[int]) -> None:
        """Prepare the change of each feature."""
        self._sae = sae
        self._change = torch.zeros(sae.d_sae)
        self._change[list(scales)] = torch.tensor(list(scales.values())) - 1
        self._special = torch.tensor(sorted(special), dtype=torch.long)
        self._defined: ContextVar[Bool[Tensor, "text position"] | None] = ContextVar("defined", default=None)

    def begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the base model runs: which positions have features."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            raise ModelError("a patched model reads token ids: it must know which tokens are text")
        defined = ~torch.isin(ids, self._special.to(ids.device))
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            defined &= mask[:, -ids.shape[1] :].bool()
        self._defined.set(defined)

    def on_output(self, module: Any, args: tuple[Any, ...], output: Any) -> Any:
        """The block's output with the features scaled."""
        if isinstance(output, tuple | list):
            return type(output)([self.edited(output[0]), *output[1:]])
        return self.edited(output)

    def edited(self, residual: Float[Tensor, "text position d_in"]) -> Float[Tensor, "text position d_in"]:
        """The residual with the features scaled where they are defined."""
        defined = self._defined.get()
        if defined is None or defined.shape != residual.shape[:2]:
            raise RuntimeError("the patched block was run apart from its model")
        defined = defined.to(residual.device)
        acts = self._sae.encode(residual[defined])
        change = self._change.to(acts.indices.device)[acts.indices.long()] * acts.values.relu()
        added = torch.einsum("ra,rad->rd", change, self._sae.W_dec[acts.indices.long()])
        edited = residual.clone()
        edited[defined] += added.to(residual.device, residual.dtype)
        return edited
