"""How far the cheap scores can be trusted: each held against the exact effects on the same rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from torch import nn

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.first_order import integrated_gradients
from rmviz.models.reward_model import RewardModel
from rmviz.ranks import spearman
from rmviz.sae.model import SparseAutoencoder
from rmviz.types import Text

NUM_STEPS = 8
"""Steps of integrated gradients."""

LARGEST = 0.1
"""Share of rows, by |exact effect|, on which signs are compared."""

NUM_TOP = 50
"""Features in the top lists that are compared."""


def audit(engine: EffectEngine, texts: Sequence[Text]) -> dict[str, Any]:
    """Rank correlation, sign agreement and shared top features of each cheap score with the exact effect.

    Returns:
        hookpoint, num_texts, num_rows, and per score (`decoder_head`, `gradient`, `integrated_gradients`):
        `spearman_rows`, `spearman_means`, `sign_agreement` on the largest tenth of rows, `top_overlap` of the top
        features by |mean|; None where a score does not exist (a head that is not linear) or nothing varies.
    """
    encoded = engine.rm.encode(texts)
    rows, rewards = engine.scan(encoded)
    shape = (len(encoded), engine.sae.d_sae)
    exact = _table(rows.text, rows.feature, rows.effect, shape)
    usable = np.isfinite(rewards)
    gradients = integrated_gradients(
        engine.rm, engine.sae, [e for e, good in zip(encoded, usable, strict=True) if good], num_steps=NUM_STEPS
    )
    place = np.cumsum(usable) - 1
    integrated = np.asarray(gradients[place[rows.text], rows.feature]).ravel() if len(rows) else rows.effect
    direction = head_direction(engine.rm, engine.sae)
    scores = {
        "decoder_head": None if direction is None else rows.max_activation * direction[rows.feature],
        "gradient": rows.first_order,
        "integrated_gradients": integrated,
    }
    return {
        "hookpoint": engine.sae.hookpoint,
        "num_texts": int(usable.sum()),
        "num_rows": len(rows),
        "scores": {
            name: None
            if values is None
            else agreement(exact, _table(rows.text, rows.feature, values, shape), rows.effect, values)
            for name, values in scores.items()
        },
    }


def agreement(exact_table: csr_array, score_table: csr_array, exact: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """How a score agrees with the exact effect, row by row and in the means over texts."""
    features = np.unique(exact_table.indices)
    exact_mean = np.asarray(exact_table.mean(axis=0)).ravel()[features]
    score_mean = np.asarray(score_table.mean(axis=0)).ravel()[features]
    num_top = min(NUM_TOP, len(features))
    shared = np.intersect1d(np.argsort(-np.abs(exact_mean))[:num_top], np.argsort(-np.abs(score_mean))[:num_top])
    large = np.argsort(-np.abs(exact))[: max(1, round(LARGEST * len(exact)))]
    same = np.sign(exact[large]) == np.sign(score[large])
    return {
        "spearman_rows": spearman(exact, score),
        "spearman_means": spearman(exact_mean, score_mean),
        "sign_agreement": float(same.mean()) if len(exact) else None,
        "top_overlap": len(shared) / num_top if num_top else None,
        "num_top": num_top,
    }


def head_direction(rm: RewardModel, sae: SparseAutoencoder) -> np.ndarray | None:
    """`W_dec · head` per feature; None where the head is not one linear map of the residual's width."""
    head = rm.head
    if not (isinstance(head, nn.Linear) and head.in_features == sae.d_in and head.out_features == 1):
        return None
    return (sae.W_dec.float() @ head.weight[0].to(sae.W_dec.device).float()).cpu().numpy()


def _table(text: np.ndarray, feature: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.asarray(values, float), (text, feature)), shape=shape)
