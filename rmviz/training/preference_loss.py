"""The loss of preferences: Bradley–Terry with margins, weights, and labels that may be flipped. Pure."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus


def bradley_terry_loss(
    difference: Float[Tensor, " pair"],
    margin: Float[Tensor, " pair"] | float = 0.0,
    weight: Float[Tensor, " pair"] | float = 1.0,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of the labels.

    Args:
        difference: Reward of chosen − reward of rejected.
        margin: The difference that is asked for.
        weight: How much each pair counts; mean 1 keeps the loss on its scale.
        smoothing: Probability ε that a label is flipped. The loss is (1 − ε)·−log σ(h) + ε·−log σ(−h) of
            h = difference − margin, least at h = log((1 − ε) / ε).

    Returns:
        Mean loss in nats.

    Source: Ouyang et al. 2022, eq. 1 (arXiv:2203.02155); margin: Touvron et al. 2023, eq. 2 (arXiv:2307.09288);
    flipped labels: Mitchell 2023 (conservative DPO), from −log σ(−h) = −log σ(h) + h.
    """
    beyond = difference - margin
    return (weight * (softplus(-beyond) + smoothing * beyond)).mean()
