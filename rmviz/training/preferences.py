"""Preference pairs as a policy reads them, and the reward that its likelihoods imply."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.models.policy import Policy, Tokens
from rmviz.store.artifact import Artifact
from rmviz.training.figures import pair_accuracy

MOST_HELDOUT = 500
"""Held-out pairs measured at most, drawn with the seed."""

_ROWS = 32
Encoded = tuple[Tokens, Tokens]


def training_pairs(policy: Policy, dataset: Artifact, num_pairs: int, seed: int) -> tuple[list[Encoded], int]:
    """Chosen and rejected texts of the training pairs, and how many pairs were left out as the same on both sides.

    Raises:
        DataError: The dataset has no pairs, or fewer than two that differ.
    """
    if not dataset.metrics.get("num_pairs"):
        raise DataError(f"the dataset {dataset.name} has texts alone; training needs pairs (chosen, rejected)")
    pairs = dataset_pairs(dataset, "train", num_pairs, seed)
    encoded = [(policy.encode(pair.prompt, pair.chosen), policy.encode(pair.prompt, pair.rejected)) for pair in pairs]
    found = [(chosen, rejected) for chosen, rejected in encoded if chosen.ids != rejected.ids]
    same = len(pairs) - len(found)
    if len(found) < 2:
        why = f": {same} are ties, the same on both sides in {policy.max_length} tokens" if same else ""
        raise DataError(f"the dataset {dataset.name} has {len(found)} training pairs, and at least 2 are needed{why}")
    return found, same


def heldout_pairs(policy: Policy, dataset: Artifact, seed: int) -> list[Encoded]:
    """Chosen and rejected texts of held-out pairs."""
    pairs = dataset_pairs(dataset, "heldout", MOST_HELDOUT, seed)
    return [(policy.encode(pair.prompt, pair.chosen), policy.encode(pair.prompt, pair.rejected)) for pair in pairs]


def implied(policy: Policy, reference: Policy, pairs: Sequence[Encoded], beta: float) -> dict[str, float]:
    """Figures of the implied reward β·log(π/π_ref) on pairs; empty without any.

    `heldout_accuracy` is the share of pairs whose chosen reply has the higher one (a tie counts half), `heldout_margin` the
    mean of chosen − rejected. Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 5.
    """
    if not pairs:
        return {}
    chosen, rejected = (
        beta * (reply_log_probs(policy, side) - reply_log_probs(reference, side)) for side in zip(*pairs, strict=True)
    )
    return {"heldout_accuracy": pair_accuracy(chosen, rejected), "heldout_margin": float((chosen - rejected).mean())}


@torch.no_grad()
def reply_log_probs(policy: Policy, rows: Sequence[Tokens]) -> Float[np.ndarray, " text"]:
    """Log-probability (nats) of each reply, its EOS included, given its prompt."""
    found = np.zeros(len(rows))
    for start in range(0, len(rows), _ROWS):
        batch = policy.batch(rows[start : start + _ROWS])
        found[start : start + _ROWS] = (policy.log_probs(batch) * batch.targets).sum(1).cpu().double().numpy()
    return found
