"""Cheap estimates of effects from gradients, for all features at once."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array

from rmviz.ablation.firing import firings_of
from rmviz.ablation.plan import Firings, length_chunks
from rmviz.ablation.rerun import Clean, Method, Rerun
from rmviz.ablation.selfcheck import candidates
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.rows import bag_sums


def first_order_effects(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], *, max_tokens: int = 8192
) -> csr_array:
    """Gradient × activation: Σ over positions of a_f · W_dec[f] · ∂reward/∂h, (text, feature); one forward and one backward.

    It is the first-order estimate of reward with − reward without the feature.

    Source: attribution patching, Nanda 2023; Syed et al. 2023 (arXiv:2310.10348).
    """
    rerun = Rerun(rm, sae.hookpoint, _whole(rm, sae), max_tokens=max_tokens)
    parts = []
    for chunk in length_chunks([len(one.ids) for one in encoded], max_tokens):
        texts = [encoded[i] for i in chunk]
        clean, gradient = rerun.clean_and_gradient(texts)
        fired = firings_of(sae, clean, texts, gradient=gradient)
        assert fired.slope is not None
        parts.append((np.array(chunk)[fired.text], fired.feature, fired.value * fired.slope))
    return _summed(parts, len(encoded), sae.d_sae)


def integrated_gradients(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], *, num_steps: int = 8, max_tokens: int = 8192
) -> csr_array:
    """Gradients averaged along the straight line from all features off to the text as it is, × activation, (text, feature).

    The SAE's error is kept all along. Steps are midpoints. One forward and one backward per step.

    Source: Sundararajan et al. 2017, eq. 3 (arXiv:1703.01365).
    """
    rerun = Rerun(rm, sae.hookpoint, _whole(rm, sae), max_tokens=max_tokens)
    parts = []
    for chunk in length_chunks([len(one.ids) for one in encoded], max_tokens):
        texts = [encoded[i] for i in chunk]
        with torch.no_grad():
            clean = rerun.clean(texts)
        fired = firings_of(sae, clean, texts)
        features = _feature_part(sae, clean, fired)
        total = torch.zeros_like(clean.residual)
        for step in range(num_steps):
            share = (step + 0.5) / num_steps
            total += rerun.gradient(clean, clean.residual - (1 - share) * features)
        fired = firings_of(sae, clean, texts, gradient=total / num_steps)
        assert fired.slope is not None
        parts.append((np.array(chunk)[fired.text], fired.feature, fired.value * fired.slope))
    return _summed(parts, len(encoded), sae.d_sae)


def _whole(rm: RewardModel, sae: SparseAutoencoder) -> Method:
    """The quickest way that needs no prefix."""
    return next(method for method in candidates(rm, sae.hookpoint) if method.reach == "whole" and not method.read_only)


def _feature_part(sae: SparseAutoencoder, clean: Clean, fired: Firings) -> torch.Tensor:
    """What all features together add to the residual, in its shape."""
    num_texts, length, d_in = clean.residual.shape
    starts = np.searchsorted(fired.text * length + fired.position, np.arange(num_texts * length))
    feature, value, start = (torch.from_numpy(a).to(sae.device) for a in (fired.feature, fired.value, starts))
    return (
        bag_sums(sae.W_dec, feature, start, value)
        .view(num_texts, length, d_in)
        .to(clean.residual.device, clean.residual.dtype)
    )


def _summed(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], num_texts: int, d_sae: int) -> csr_array:
    text, feature, value = (np.concatenate([part[i] for part in parts]) if parts else np.zeros(0) for i in range(3))
    return coo_array((value, (text, feature)), shape=(num_texts, d_sae)).tocsr()
