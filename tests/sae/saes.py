"""Small random SAEs, SAELens' and ours, and a dense TopK step to compare with."""

import torch

from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.topk_step import TopKWeights

D_IN, D_SAE, K = 16, 64, 6


def random_weights(d_in: int = D_IN, d_sae: int = D_SAE, seed: int = 0) -> TopKWeights:
    g = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=g), dim=1)
    W_enc = W_dec + 0.1 * torch.randn(d_sae, d_in, generator=g)
    return TopKWeights(W_enc, 0.1 * torch.randn(d_sae, generator=g), W_dec, 0.1 * torch.randn(d_in, generator=g))


def random_sae(
    architecture: str = "topk", seed: int = 0, *, center: bool = True, hookpoint: str = "layers.1"
) -> SparseAutoencoder:
    weights = random_weights(seed=seed)
    g = torch.Generator().manual_seed(seed + 1)
    return SparseAutoencoder(
        architecture=architecture, W_enc=weights.W_enc.T.contiguous(), W_dec=weights.W_dec, b_dec=weights.b_dec, b_enc=weights.b_enc,
        k=K if architecture == "topk" else None, threshold=torch.rand(D_SAE, generator=g) if architecture == "jumprelu" else None,
        magnitude=(torch.rand(D_SAE, generator=g) + 0.5, 0.1 * torch.randn(D_SAE, generator=g)) if architecture == "gated" else None,
        center=center, hookpoint=hookpoint, model_fingerprint="abc",
    )  # fmt: skip


def dense(sae: SparseAutoencoder, h: torch.Tensor) -> torch.Tensor:
    acts = sae.encode(h)
    return torch.zeros(len(h), sae.d_sae).scatter_add(1, acts.indices, acts.values)
