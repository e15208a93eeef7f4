"""Features taken together: by the topic of the texts they fire on, or because they fire together. Pure arrays."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

LEAST_SHARE = 0.7
"""A feature belongs to a topic when this share of the texts it fires on hold the topic."""


def firing_matrix(
    text: Int[np.ndarray, " row"],
    feature: Int[np.ndarray, " row"],
    shape: tuple[int, int],
    weight: Float[np.ndarray, " row"] | None = None,
) -> csr_array:
    """What fires on what, (text, feature): 1, or the weight of each row."""
    return csr_array((np.ones(len(text)) if weight is None else weight, (text, feature)), shape=shape)


def topic_of_features(firing: csr_array, presence: Bool[np.ndarray, "text topic"]) -> Int[np.ndarray, " feature"]:
    """The topic that each feature fires on: the one most above its base rate among the texts it fires on, −1 for none.

    Args:
        firing: (text, feature), from `firing_matrix`; weights let strong firings count for more.
        presence: Which topic stands in which text.
    """
    together = np.asarray(firing.T @ presence.astype(float))
    texts = np.asarray(firing.sum(axis=0)).ravel()
    share = np.divide(together, texts[:, None], out=np.zeros_like(together), where=texts[:, None] > 0)
    base = presence.mean(axis=0)
    lift = np.divide(share - base, 1 - base, out=np.full_like(share, -1.0), where=base < 1)
    best = lift.argmax(axis=1)
    rows = np.arange(len(best))
    return np.where(share[rows, best] >= LEAST_SHARE, best, -1)


def cofiring_groups(firing: csr_array, least_phi: float = 0.7) -> list[Int[np.ndarray, " feature"]]:
    """Features that fire on the same texts: connected where the phi coefficient of their firing reaches a threshold.

    Returns:
        Groups of at least two features, largest first.
    """
    num_texts = firing.shape[0]
    count = np.asarray(firing.sum(axis=0)).ravel()
    both = (firing.T @ firing).tocoo()
    i, j = both.row, both.col
    spread = np.sqrt(count * (num_texts - count))
    with np.errstate(divide="ignore", invalid="ignore"):
        phi: Float[np.ndarray, " entry"] = (num_texts * both.data - count[i] * count[j]) / (spread[i] * spread[j])
    linked = (phi >= least_phi) & (i != j)
    graph = csr_array((np.ones(int(linked.sum())), (i[linked], j[linked])), shape=both.shape)
    _, label = connected_components(graph, directed=False)
    members = [np.flatnonzero(label == one) for one in np.flatnonzero(np.bincount(label) > 1)]
    return sorted(members, key=len, reverse=True)
