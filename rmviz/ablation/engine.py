"""Exact effects of SAE features on the reward, for every feature that fires on every text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from rmviz.ablation.firing import defined_positions, firings_of
from rmviz.ablation.plan import EffectRows, Firings, grouped_edits, length_chunks, scale_changes
from rmviz.ablation.rerun import Clean, Rerun
from rmviz.ablation.selfcheck import candidates, choose
from rmviz.ablation.set_values import joined, with_values
from rmviz.errors import ConfigError
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder


class EffectEngine:
    """Ablates features of one SAE in one reward model: `h' = h − a_f · W_dec[f]` wherever `f` fires, the SAE's error kept.

    Only rows that can change are rerun, only through the blocks after the hookpoint, and for causal models only from the
    first changed position on. On the first texts the engine compares its fastest way with a full pass, and takes a
    slower one where the family does not allow it; `method` says which. The model is never changed.
    """

    def __init__(self, rm: RewardModel, sae: SparseAutoencoder, *, max_tokens: int = 8192) -> None:
        """Bind a model and an SAE.

        Args:
            rm: The reward model.
            sae: Its SAE.
            max_tokens: Tokens in memory at once, in the clean pass and in a rerun.

        Raises:
            ModelError: The SAE was made for another model, width or hookpoint.
        """
        sae.check_fits(rm)
        self.rm, self.sae, self.max_tokens = rm, sae.to(rm.device), max_tokens
        self._candidates = candidates(rm, sae.hookpoint)
        self._chosen: Rerun | None = None
        self._decoder: Tensor | None = None

    @property
    def method(self) -> str:
        """How rows are rerun, and why; settled on the first texts."""
        method = (self._chosen.method if self._chosen else self._candidates[0]).described(self.rm, self.sae.hookpoint)
        return method if self._chosen else f"{method} (not yet checked)"

    def scan(
        self,
        encoded: Sequence[Encoded],
        *,
        features: Collection[int] | None = None,
        first_order: bool = True,
        exact: bool = True,
    ) -> tuple[EffectRows, Float32[np.ndarray, " text"]]:
        """Every row (text, feature) that fires, with its exact effect, and the rewards.

        Args:
            encoded: Texts.
            features: Only these features; all when None.
            first_order: Also estimate each effect by gradient × activation (one backward pass); else that column is NaN.
            exact: Rerun the model without each feature; else the column of effects is NaN, and a text costs two passes.

        Returns:
            Rows sorted by text and feature, and the reward of each text. A text with an activation or a reward that is
            not a finite number has reward NaN and no rows.
        """
        parts, rewards = [], np.full(len(encoded), np.nan, np.float32)
        wanted = _feature_mask(features, self.sae.d_sae)
        for chunk in length_chunks([len(e.ids) for e in encoded], self.max_tokens):
            texts = [encoded[i] for i in chunk]
            clean, gradient = self._clean(texts, gradient=first_order)
            fired = self.firings(clean, texts, features=wanted, gradient=gradient)
            rows, values = self._rows(clean, fired, exact=exact)
            index = np.array(chunk)
            rows.text = index[rows.text].astype(np.int32)
            parts.append(rows)
            rewards[index] = values
        return EffectRows.joined(parts), rewards

    def settle(self, texts: Sequence[Encoded]) -> None:
        """Choose by these texts how rows are rerun; without it the first texts that come decide."""
        if self._chosen is None and texts:
            chunk = length_chunks([len(e.ids) for e in texts], self.max_tokens)[0]
            some = [texts[i] for i in chunk]
            self._chosen = choose(self.rm, self.sae, self._candidates, some, max_tokens=self.max_tokens)

    def read(self, encoded: Encoded) -> tuple[Clean, Firings]:
        """One clean pass over a text, and all that fires on it: `set_rewards` takes it for further sets on the same text."""
        clean, _ = self._clean([encoded])
        return clean, self.firings(clean, [encoded])

    def firings(
        self,
        clean: Clean,
        encoded: Sequence[Encoded],
        *,
        features: np.ndarray | None = None,
        gradient: Tensor | None = None,
    ) -> Firings:
        """What fires on the texts of a clean pass; see `firings_of`."""
        return firings_of(self.sae, clean, encoded, features=features, gradient=gradient)

    def set_rewards(
        self,
        encoded: Encoded,
        scales: Sequence[Mapping[int, float]],
        *,
        values: Sequence[Mapping[int, float]] = (),
        read: tuple[Clean, Firings] | None = None,
    ) -> Float32[np.ndarray, " set"]:
        """Reward of one text under each set of features scaled or set to a value.

        A scale (0: off, 1: as it is) gives h + Σ (scale − 1) · a_f · W_dec[f], so it changes nothing where f is silent. A
        value gives h + Σ (value − a_f) · W_dec[f] at every position where features are defined, silent ones too.

        Args:
            encoded: The text.
            scales: Sets of feature scales.
            values: Activations to set, one mapping for each set of scales; none are set when empty. A value goes before a
                scale of the same feature.
            read: What `read` gave for this text, if it is at hand.

        Raises:
            ConfigError: A feature does not exist.
        """
        _feature_mask({feature for some in (*scales, *values) for feature in some}, self.sae.d_sae)
        clean, fired = read or self.read(encoded)
        parts = [scale_changes(fired, some, self.sae.d_sae) for some in scales]
        decoder = None
        if any(values):
            off = [{**some, **dict.fromkeys(new, 0.0)} for some, new in zip(scales, values, strict=True)]
            parts = [scale_changes(fired, some, self.sae.d_sae) for some in off]
            places = np.flatnonzero(encoded.feature_positions) if not fired.broken[0] else np.zeros(0, np.int64)
            parts, decoder = with_values(parts, places, values, self.sae.W_dec, self._decoder_like(clean.residual))
        position, feature, change = (joined([part[i] for part in parts]) for i in range(3))
        row = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        changes = Firings(np.zeros_like(position), position, feature, change.astype(np.float32), fired.broken)
        text, entry = np.zeros(len(parts), np.int64), np.arange(len(position))
        return self._edited(clean, changes, text, row, entry, np.ones(len(position), np.float32), decoder)

    def group_effects(
        self, encoded: Sequence[Encoded], groups: Sequence[Sequence[int]]
    ) -> Float32[np.ndarray, "text group"]:
        """Reward with − reward without all features of a group at once; 0 where none fires, NaN for texts that `scan` skips.

        Raises:
            ConfigError: A feature does not exist.
        """
        effects = np.zeros((len(encoded), len(groups)), np.float32)
        wanted = _feature_mask({feature for group in groups for feature in group}, self.sae.d_sae)
        member = np.zeros((len(groups), self.sae.d_sae), bool)
        for i, group in enumerate(groups):
            member[i, list(group)] = True
        for chunk in length_chunks([len(e.ids) for e in encoded], self.max_tokens):
            texts = [encoded[i] for i in chunk]
            clean, _ = self._clean(texts)
            fired = self.firings(clean, texts, features=wanted)
            group, entry = np.nonzero(member[:, fired.feature])
            row = group * len(chunk) + fired.text[entry]
            order = np.argsort(row, kind="stable")
            row_text = np.tile(np.arange(len(chunk)), len(groups))
            rewards = self._edited(
                clean, fired, row_text, row[order], entry[order], np.full(len(order), -1, np.float32)
            )
            clean_rewards = clean.rewards.detach().cpu().numpy()
            effects[chunk] = (np.tile(clean_rewards, len(groups)) - rewards).reshape(len(groups), len(chunk)).T
        return effects

    def without_error(self, clean: Clean, encoded: Sequence[Encoded], *, features: bool = True) -> Clean:
        """The same texts without the SAE's error term: where features are defined, the residual is the reconstruction.

        Beside the firings of the clean pass it serves `set_rewards` as `read`: sets of features with the error off. Without
        `features` only the decoder's bias is left there.
        """
        assert self._chosen is not None
        defined = defined_positions(clean.residual, encoded)
        with torch.inference_mode():
            residual = clean.residual.clone()
            acts = self.sae.encode(residual[defined])
            acts = acts if features else replace(acts, values=torch.zeros_like(acts.values))
            residual[defined] = self.sae.decode(acts).to(residual.device, residual.dtype)
            return self._chosen.clean(encoded, instead=residual)

    def emptied(self, encoded: Sequence[Encoded]) -> Float32[np.ndarray, "text 3"]:
        """Reward of each text with all features off, with the SAE's error off, and with both off; NaN where `scan` skips it."""
        rewards = np.full((len(encoded), 3), np.nan, np.float32)
        for chunk in length_chunks([len(e.ids) for e in encoded], self.max_tokens):
            texts = [encoded[i] for i in chunk]
            clean, _ = self._clean(texts)
            fired = self.firings(clean, texts)
            off = np.full(len(fired.text), -1, np.float32)
            rows = np.arange(len(chunk))
            rewards[chunk, 0] = self._edited(clean, fired, rows, fired.text, np.arange(len(off)), off)
            for column, features in ((1, True), (2, False)):
                bare = self.without_error(clean, texts, features=features)
                rewards[chunk, column] = bare.rewards.cpu().numpy()
            rewards[np.array(chunk)[fired.broken]] = np.nan
        return rewards

    def _clean(self, texts: Sequence[Encoded], *, gradient: bool = False) -> tuple[Clean, Tensor | None]:
        """One clean pass, and the gradient of each reward by its residual."""
        if self._chosen is None:
            self._chosen = choose(self.rm, self.sae, self._candidates, texts, max_tokens=self.max_tokens)
        if not gradient:
            with torch.inference_mode():
                return self._chosen.clean(texts), None
        return self._chosen.clean_and_gradient(texts)

    def _rows(self, clean: Clean, fired: Firings, *, exact: bool = True) -> tuple[EffectRows, np.ndarray]:
        key = fired.text * self.sae.d_sae + fired.feature
        order = np.argsort(key, kind="stable")
        key = key[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        row = np.cumsum(np.diff(key, prepend=-1) != 0) - 1
        text = key[starts] // self.sae.d_sae
        rewards = clean.rewards.cpu().numpy()
        off = np.full(len(order), -1, np.float32)
        effect = (
            rewards[text] - self._edited(clean, fired, text, row, order, off)
            if exact
            else np.full(len(text), np.nan, np.float32)
        )
        value = fired.value[order]
        slope = np.full(len(value), np.nan, np.float32) if fired.slope is None else value * fired.slope[order]
        rows = EffectRows(
            text=text.astype(np.int32),
            feature=(key[starts] % self.sae.d_sae).astype(np.int32),
            first_position=fired.position[order][starts].astype(np.int32),
            max_activation=np.maximum.reduceat(value, starts) if len(starts) else value,
            effect=effect,
            first_order=np.add.reduceat(slope, starts) if len(starts) else slope,
        )
        broken = ~np.isfinite(rewards) | fired.broken
        broken[rows.text[~np.isfinite(rows.effect if exact else rows.first_order)]] = True
        return rows.taken(~broken[rows.text]), np.where(broken, np.nan, rewards).astype(np.float32)

    def _edited(
        self,
        clean: Clean,
        fired: Firings,
        text: np.ndarray,
        row: np.ndarray,
        entry: np.ndarray,
        factor: np.ndarray,
        decoder: Tensor | None = None,
    ) -> Float32[np.ndarray, " row"]:
        """Reward of each row (of text `text[row]`) once its entries are applied; rows that no entry reaches keep the clean reward.

        `decoder` holds the directions that the firings' features name, where these are not the SAE's own.
        """
        assert self._chosen is not None
        rewards = clean.rewards.detach().cpu().numpy()[text]
        reached = self._chosen.reaches(clean, fired.text[entry], fired.position[entry])
        row, entry, factor = row[reached], entry[reached], factor[reached]
        rows, compact = np.unique(row, return_inverse=True)
        if not len(rows):
            return rewards
        edits = grouped_edits(compact, text[rows], fired, entry, factor)
        directions = self._decoder_like(clean.residual) if decoder is None else decoder
        rewards[rows] = self._chosen.rewards(clean, edits, directions)
        return rewards

    def _decoder_like(self, residual: Tensor) -> Tensor:
        if self._decoder is None or self._decoder.device != residual.device:
            self._decoder = self.sae.W_dec.to(residual.device, residual.dtype)
        return self._decoder


def _feature_mask(features: Collection[int] | None, d_sae: int) -> np.ndarray | None:
    if features is None:
        return None
    chosen = np.fromiter(features, np.int64, len(features))
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < d_sae):
        wrong = next(int(feature) for feature in chosen if not 0 <= feature < d_sae)
        raise ConfigError(f"feature {wrong} does not exist: this SAE has features 0 to {d_sae - 1}")
    mask = np.zeros(d_sae, bool)
    mask[chosen] = True
    return mask
