"""The engine's check of itself: its ways of rerunning, compared with a full pass on long texts made of the first ones."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel

from rmviz.ablation.plan import Edits
from rmviz.ablation.rerun import Clean, Method, Rerun
from rmviz.ablation.standins import ReadOnly
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder

_log = logging.getLogger(__name__)
FULL = Method("full")
_NUM_TEXTS = 3
_NUM_TOKENS = 64
"""A text is repeated up to this length: on one token every module seems to read each position alone."""


def candidates(rm: RewardModel, hookpoint: str) -> list[Method]:
    """Ways to rerun, fastest first; the last one works for every model."""
    reaches = ["suffix", "whole"] if rm.causal else ["whole"]
    last = rm.hookpoints.index(hookpoint) == rm.num_blocks - 1
    read_only = [True, False] if ReadOnly.fits(rm.blocks[-1]) and not last and _attends_by_mask(rm) else [False]
    return [Method(reach, only) for reach in reaches for only in read_only] + [FULL]  # type: ignore[arg-type]


def choose(
    rm: RewardModel, sae: SparseAutoencoder, methods: Sequence[Method], texts: Sequence[Encoded], *, max_tokens: int
) -> Rerun:
    """The first method that agrees with a full pass on changed residuals of a few long texts.

    The changes are large (half the residual's length, along decoder rows, at three positions): a method that is wrong in
    any way shows it. A full pass itself, where the texts give no finite rewards or the rewards do not react.
    """
    full = Rerun(rm, sae.hookpoint, FULL, max_tokens=max_tokens)
    some = [_repeated(one, _check_length(rm)) for one in sorted(texts, key=lambda one: len(one.ids))[-_NUM_TEXTS:]]
    with torch.inference_mode():
        finite = full.clean(some).rewards.isfinite().tolist()
        some = [one for one, good in zip(some, finite, strict=True) if good]
        if not some:
            _log.warning("the first texts give rewards that are no numbers; every row takes a full pass")
            return full
        clean = full.clean(some)
    rewards, decoder = clean.rewards, sae.W_dec.to(rm.device, rm.dtype)
    edits = _large_edits(sae, clean, some)
    edits = edits.only(full.reaches(clean, edits.text[edits.row], edits.position))
    wanted = full.rewards(clean, edits, decoder.to(clean.residual.device))
    size = float(np.abs(wanted - rewards.cpu().numpy()[edits.text]).max(initial=0.0))
    tolerance = (1e-3 if rm.dtype == torch.float32 else 0.1) * size + 1e-6
    if not (np.isfinite(wanted).all() and size > 0):
        _log.warning("rewards of the first texts do not react to changes; every row takes a full pass")
        return full
    for method in [*_patched(rm, sae, methods[0], some, max_tokens), *methods]:
        rerun = Rerun(rm, sae.hookpoint, method, max_tokens=max_tokens)
        try:
            with torch.inference_mode():
                clean = rerun.clean(some)
            reached = edits.only(rerun.reaches(clean, edits.text[edits.row], edits.position))
            got = rerun.rewards(clean, reached, decoder.to(clean.residual.device))
            worst = max(float(np.abs(got - wanted).max()), float((clean.rewards - rewards).abs().max()))
        except torch.OutOfMemoryError:
            raise
        except (
            RuntimeError,
            TypeError,
            ValueError,
            AttributeError,
            IndexError,
            KeyError,
            NotImplementedError,
        ) as error:
            _log.warning("%s does not fit %s: %s: %s", method, rm.name, type(error).__name__, error)
            continue
        if worst <= tolerance:
            return rerun
        _log.warning(
            "%s does not fit %s: rewards differ by %.2g where changes reach %.2g", method, rm.name, worst, size
        )
    return full


def _patched(
    rm: RewardModel, sae: SparseAutoencoder, method: Method, texts: Sequence[Encoded], max_tokens: int
) -> list[Method]:
    """The same method with the modules patched that read each position alone; nothing where there are none."""
    pair = list(texts[-2:]) if len(texts) > 1 else [*texts, *texts]
    position = min(len(one.ids) for one in pair) // 3
    rerun = Rerun(rm, sae.hookpoint, Method("whole"), max_tokens=max_tokens)
    with torch.inference_mode():
        names = rerun.position_wise(rerun.clean(pair), position)
    return [replace(method, patched=names)] if names else []


def _check_length(rm: RewardModel) -> int:
    """Tokens that show all that position can do: more than a sliding window holds, where the model has one."""
    window = getattr(getattr(rm.base, "config", None), "sliding_window", None) or 0
    return min(rm.max_length, max(_NUM_TOKENS, window + _NUM_TOKENS))


def _repeated(one: Encoded, length: int) -> Encoded:
    """A text as it is if it has this many tokens, else its tokens over and over up to there."""
    times = -(-length // len(one.ids))
    if times <= 1:
        return one
    types = one.token_types and (one.token_types * times)[:length]
    features = (one.feature_positions * times)[:length]
    return replace(one, ids=(one.ids * times)[:length], token_types=types, feature_positions=features)


def _large_edits(sae: SparseAutoencoder, clean: Clean, texts: Sequence[Encoded]) -> Edits:
    """One row per text: a change where the head reads, and a few more after the first third, so that a prefix is left."""
    rng = np.random.default_rng(0)
    norms = sae.W_dec.norm(dim=1).clamp(min=1e-12).cpu().numpy()
    sizes = clean.residual.float().norm(dim=-1).cpu().numpy() / 2
    positions = []
    for i, one in enumerate(texts):
        late = np.arange(len(one.ids) // 3, len(one.ids))
        positions.append(np.union1d(rng.choice(late, min(3, len(late)), replace=False), [clean.reads[i]]))
    text = np.repeat(np.arange(len(texts)), [len(some) for some in positions])
    position = np.concatenate(positions).astype(np.int64)
    feature = rng.integers(len(norms), size=len(text))
    starts = np.searchsorted(text, np.arange(len(texts) + 1)).astype(np.int64)
    coefficient = (sizes[text, position] / norms[feature]).astype(np.float32)
    return Edits(np.arange(len(texts)), starts, position, feature, coefficient)


def _attends_by_mask(rm: RewardModel) -> bool:
    """Whether attention is told by a 4-d mask what it may see (SDPA and eager are)."""
    model = rm.model
    return isinstance(model, PreTrainedModel) and model.config._attn_implementation in ("sdpa", "eager")
