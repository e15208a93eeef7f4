"""What an SAE is worth: how well it reconstructs, and what the reward model is worth with its reconstruction spliced in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rmviz.activations.hooks import replacing
from rmviz.activations.rows import feature_mask, rows_of, sink_limit
from rmviz.errors import DataError, ModelError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel, length_buckets
from rmviz.ranks import spearman
from rmviz.sae.model import SparseAutoencoder
from rmviz.types import Pair, Text


@dataclass
class _Fit:
    """Sums over rows, in float64, from which FVU and cosine follow."""

    num_rows: int = 0
    squared_error: float = 0.0
    squares: float = 0.0
    total: np.ndarray | float = 0.0
    cosines: float = 0.0
    num_active: int = 0

    def add(self, h: Tensor, reconstruction: Tensor, num_active: int) -> None:
        self.num_rows += len(h)
        self.squared_error += float((h - reconstruction).double().square().sum())
        self.squares += float(h.double().square().sum())
        self.total = self.total + h.double().sum(0).cpu().numpy()
        self.cosines += float(torch.cosine_similarity(h, reconstruction, dim=1).double().sum())
        self.num_active += num_active

    @property
    def fvu(self) -> float | None:
        """Squared error as a share of the variance; None where there is no variance."""
        variance = self.squares - float(np.square(self.total).sum()) / max(self.num_rows, 1)
        return self.squared_error / variance if variance > 0 else None

    @property
    def cosine(self) -> float | None:
        """Mean cosine between row and reconstruction."""
        return self.cosines / self.num_rows if self.num_rows else None

    @property
    def l0(self) -> float | None:
        """Mean number of active features per row."""
        return self.num_active / self.num_rows if self.num_rows else None


@dataclass
class _Reading:
    inner: _Fit = field(default_factory=_Fit)
    outer: _Fit = field(default_factory=_Fit)
    fired: Bool[Tensor, " d_sae"] | None = None


@torch.no_grad()
def report_card(
    rm: RewardModel,
    sae: SparseAutoencoder,
    data: Sequence[Pair] | Sequence[Text],
    *,
    dead_share: float | None = None,
    max_tokens: int = 8192,
) -> dict[str, Any]:
    """The figures every SAE is stored with, and sentences that warn of what is wrong with it.

    Attention sinks (norm above 10 times the median) are left out of `fvu`, `cosine` and `l0`, and keep their residual when
    the reconstruction is spliced in: the SAE is not trained on them.

    Args:
        rm: The reward model.
        sae: Fits the model.
        data: Held-out pairs; or texts, and then everything about pairs is None.
        dead_share: Share of features that were silent at the end of training; of those silent on these texts, when None.
        max_tokens: Tokens per forward, padding included.

    Raises:
        ModelError: The SAE does not fit the model, or rewards are not finite.
        DataError: There are no texts.
    """
    sae.check_fits(rm)
    pairs = [item for item in data if isinstance(item, Pair)]
    texts = [text for item in data for text in (item.texts if isinstance(item, Pair) else (item,))]
    if not texts:
        raise DataError("a report card needs texts; the dataset has none in this split")
    sae, encoded = sae.to(rm.device), rm.encode(texts)
    limit = _limit(rm, sae, encoded, max_tokens)
    reading = _read(rm, sae, encoded, limit, max_tokens)
    clean, spliced = (
        rm.score_encoded(encoded, max_tokens=max_tokens),
        _spliced_rewards(rm, sae, encoded, limit, max_tokens),
    )
    silent = 1.0 - float(reading.fired.float().mean()) if reading.fired is not None else 1.0
    card: dict[str, Any] = {
        "l0": reading.inner.l0, "fvu": reading.inner.fvu, "fvu_with_sinks": reading.outer.fvu, "cosine": reading.inner.cosine,
        "cosine_with_sinks": reading.outer.cosine, "dead_share": silent if dead_share is None else dead_share, "silent_share": silent,
        **_pair_figures(clean, spliced, len(pairs)), "splice_spearman": _spearman(clean, spliced), "num_tokens": reading.outer.num_rows,
        "num_sinks": reading.outer.num_rows - reading.inner.num_rows, "num_pairs": len(pairs), "num_texts": len(texts),
    }  # fmt: skip
    return card | {"warnings": warnings_of(card, sae.k)}


def warnings_of(card: dict[str, Any], k: int | None = None) -> list[str]:
    """A sentence for each figure that makes a ranking of this SAE's features doubtful."""
    warnings = []
    if card["fvu"] is None or card["fvu"] > 0.5:
        fvu = "undefined" if card["fvu"] is None else f"{card['fvu']:.2f}"
        warnings.append(
            f"The SAE looks untrained: it leaves {fvu} of the variance unexplained (FVU; below 0.5 is wanted). "
            "Train it on more tokens."
        )
    if card["dead_share"] > 0.5:
        warnings.append(
            f"The SAE has collapsed: {card['dead_share']:.0%} of its features never fire. "
            "Train with fewer features or more tokens."
        )
    if card["splice_spearman"] is None:
        warnings.append("The rewards of the held-out texts do not vary, so the splice says nothing.")
    elif card["splice_spearman"] < 0.8:
        warnings.append(
            "The SAE loses what the reward depends on: with its reconstruction spliced in, rewards correlate "
            f"{card['splice_spearman']:.2f} (Spearman) with the clean ones; 0.8 is wanted. Effects of its features tell only "
            "part of the story."
        )
    if card["l0"] is not None and k is not None and not 0.5 * k <= card["l0"] <= 1.5 * k:
        warnings.append(f"On average {card['l0']:.1f} features fire on a token, although k is {k}.")
    if card["l0"] == 0:
        warnings.append("No feature fires on any token of the held-out texts.")
    return warnings


def _limit(rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], max_tokens: int) -> float:
    norms = [rows.norms for rows in rows_of(rm, encoded, sae.hookpoint, max_tokens=max_tokens)]
    return sink_limit(torch.cat(norms)) if norms else float("inf")


def _read(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], limit: float, max_tokens: int
) -> _Reading:
    reading = _Reading(fired=torch.zeros(sae.d_sae, dtype=torch.bool, device=sae.device))
    for rows in rows_of(rm, encoded, sae.hookpoint, max_tokens=max_tokens):
        h = rows.h[rows.norms.isfinite()].to(sae.device)
        acts = sae.encode(h)
        reconstruction, on = sae.decode(acts), acts.values != 0
        inner = h.norm(dim=1) <= limit
        reading.outer.add(h, reconstruction, int(on.sum()))
        reading.inner.add(h[inner], reconstruction[inner], int(on[inner].sum()))
        assert reading.fired is not None
        reading.fired[acts.indices[on]] = True
    return reading


def _spliced_rewards(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], limit: float, max_tokens: int
) -> Float[np.ndarray, " text"]:
    rewards = np.empty(len(encoded), np.float32)
    for bucket in length_buckets([len(one.ids) for one in encoded], max_tokens):
        chosen = [encoded[i] for i in bucket]
        mask = feature_mask(chosen)

        def spliced(h: Tensor, mask: Tensor = mask) -> Tensor:
            where = mask.to(h.device) & (h.float().norm(dim=-1) <= limit)
            out = h.clone()
            out[where] = sae.decode(sae.encode(h[where].float())).to(h.device, h.dtype)
            return out

        with replacing(rm.block(sae.hookpoint), spliced):
            rewards[bucket] = rm.rewards(rm.collate(chosen)).cpu().numpy()
    if not np.isfinite(rewards).all():
        raise ModelError(
            "with the SAE's reconstruction spliced in, rewards are not finite; train the SAE again, or use float32"
        )
    return rewards


def _pair_figures(clean: np.ndarray, spliced: np.ndarray, num_pairs: int) -> dict[str, Any]:
    if not num_pairs:
        names = ("clean_pair_accuracy", "splice_pair_accuracy", "splice_margin_r2", "splice_steps")
        return dict.fromkeys(names)
    before, after = (
        rewards[: 2 * num_pairs : 2].astype(float) - rewards[1 : 2 * num_pairs : 2] for rewards in (clean, spliced)
    )
    variance = float(np.square(before - before.mean()).sum())
    return {
        "clean_pair_accuracy": _accuracy(before),
        "splice_pair_accuracy": _accuracy(after),
        "splice_steps": np.bincount((np.sign(after) - np.sign(before)).astype(int) + 2, minlength=5).tolist(),
        "splice_margin_r2": 1 - float(np.square(after - before).sum()) / variance if variance > 0 else None,
    }


def _accuracy(margins: np.ndarray) -> float:
    return float((margins > 0).mean() + 0.5 * (margins == 0).mean())


def _spearman(clean: np.ndarray, spliced: np.ndarray) -> float | None:
    """None where the clean rewards do not vary; 0 where only the spliced ones do not."""
    lost = np.ptp(clean) > 0 and np.ptp(spliced) == 0
    return 0.0 if lost else spearman(clean, spliced)
