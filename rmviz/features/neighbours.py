"""The nearest features: by direction of the decoder row, and by firing in the same texts."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from torch import Tensor

Nearest = tuple[Int[np.ndarray, "feature near"], Float[np.ndarray, "feature near"]]
"""For each feature its neighbours, nearest first, and how near; NaN marks an empty place."""

_CELLS = 4_000_000  # of a similarity matrix at once
_PRODUCTS = 500_000_000  # of the co-firing count: some seconds on one core


@torch.no_grad()
def nearest_decoders(rows: Float[Tensor, "feature d_in"], n: int) -> Nearest:
    """The features whose decoder rows have the largest cosine, the feature itself left out."""
    unit = torch.nn.functional.normalize(rows.float(), dim=1)
    n = min(n, max(len(rows) - 1, 0))
    step = max(1, _CELLS // max(len(rows), 1))
    near, size = np.zeros((len(rows), n), dtype=np.int64), np.zeros((len(rows), n))
    for low in range(0, len(rows), step):
        cosine = unit[low : low + step] @ unit.T
        places = torch.arange(len(cosine), device=cosine.device)
        cosine[places, places + low] = -torch.inf
        top = cosine.topk(n, dim=1)
        near[low : low + step], size[low : low + step] = top.indices.cpu().numpy(), top.values.cpu().numpy()
    return near, size


def nearest_cofiring(fires: sparse.csr_matrix, n: int) -> Nearest:
    """The features that fire in the same texts, by phi; only neighbours with phi above 0.

    Phi is the correlation of two yes-or-no variables, here "fires in this text". It is not defined for a feature that
    fires in every text.

    Args:
        fires: (text, feature), 1 where the feature fires in the text.
        n: Neighbours at most.

    Source: Yule 1912, the phi coefficient.
    """
    num_texts, num_features = fires.get_shape()
    n = min(n, max(num_features - 1, 0))
    share = torch.from_numpy(np.asarray(fires.sum(axis=0), dtype=np.float64).ravel() / max(num_texts, 1)).float()
    spread = (share * (1 - share)).sqrt()
    by_feature = fires.T.tocsr()
    step = max(1, _CELLS // max(num_features, 1))
    near, size = np.zeros((num_features, n), dtype=np.int64), np.zeros((num_features, n))
    for low in range(0, num_features, step):
        part = slice(low, min(low + step, num_features))
        phi = torch.from_numpy((by_feature[part] @ fires).toarray()).div_(max(num_texts, 1))
        phi.sub_(share[part, None] * share).div_(spread[part, None] * spread)
        phi.masked_fill_(~(phi > 0) | ~phi.isfinite(), -1.0)
        phi[torch.arange(len(phi)), torch.arange(low, low + len(phi))] = -1.0
        top = phi.topk(n, dim=1)
        near[part], size[part] = top.indices.numpy(), top.values.masked_fill(top.values < 0, torch.nan).numpy()
    return near, size


def texts_to_compare(
    per_text: Int[np.ndarray, " text"], seed: int, products: int = _PRODUCTS
) -> Bool[np.ndarray, " text"]:
    """The texts that co-firing is counted on: all, or a random part where counting in all would take too long."""
    cost = per_text.astype(np.float64) ** 2
    order = np.random.default_rng(seed).permutation(len(per_text))
    kept = np.zeros(len(per_text), dtype=bool)
    kept[order[np.cumsum(cost[order]) <= max(products, cost.max(initial=0))]] = True
    return kept


def firing_matrix(
    rows: Iterable[dict[str, np.ndarray]], kept: Bool[np.ndarray, " text"], num_features: int
) -> sparse.csr_matrix:
    """Which of the kept texts each feature fires in, from rows with `text` and `feature`."""
    number = np.cumsum(kept) - 1
    text, feature = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
    for part in rows:
        inside = kept[part["text"]]
        text.append(number[part["text"][inside]].astype(np.int32))
        feature.append(part["feature"][inside].astype(np.int32))
    places = (np.concatenate(text), np.concatenate(feature))
    return sparse.csr_matrix((np.ones(len(places[0]), dtype=np.float32), places), shape=(int(kept.sum()), num_features))
