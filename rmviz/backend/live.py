"""What one loaded model answers: rewards, prefix rewards, features that fire, rewards after an edit.

Nothing is shared between requests: hooks live inside one forward, and a model's lane does one request at a time.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.plan import EffectRows, Firings
from rmviz.ablation.rerun import Clean
from rmviz.backend import wire
from rmviz.backend.apart import KEPT_BYTES, LiveGames, pair_answer
from rmviz.backend.edits import FeatureEdit, firing_tokens
from rmviz.backend.prefixes import Prefixes, causal_prefixes, encoder_prefixes
from rmviz.backend.wire_pair import PairRequest, ShapleyRequest
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel
from rmviz.sae.model import SparseAutoencoder

KEPT_TEXTS = 8
"""Texts of each SAE whose clean pass is kept, so that a toggle reruns the later blocks only."""


@dataclass(eq=False)
class TextReading:
    """One text as the model and the SAE read it; what is None was not asked yet."""

    encoded: Encoded
    clean: Clean
    fired: Firings
    effects: EffectRows | None = None
    prefixes: Prefixes | None = None

    @property
    def reward(self) -> float:
        """Of the text as it is; NaN where the model gives no finite number."""
        return float(self.clean.rewards[0])

    @property
    def num_bytes(self) -> int:
        """Memory of the clean pass."""
        return self.clean.num_bytes


@dataclass(eq=False)
class LiveSAE:
    """An SAE beside its model, and the texts it was last asked about."""

    sae: SparseAutoencoder
    engine: EffectEngine
    readings: "OrderedDict[wire.TextIn, TextReading]"
    games: LiveGames = field(default_factory=LiveGames)


class LiveModel:
    """A loaded model with the SAEs it was asked about."""

    def __init__(self, model_id: str, name: str, rm: RewardModel) -> None:
        """Hold a model that is loaded."""
        self.id = model_id
        self.name = name
        self.rm = rm
        self.saes: dict[str, LiveSAE] = {}
        self.last_use = time.monotonic()
        self._model_bytes = sum(t.numel() * t.element_size() for t in (*rm.model.parameters(), *rm.model.buffers()))

    @property
    def num_bytes(self) -> int:
        """Memory of the weights, SAEs included."""
        weights = [getattr(live.sae, name) for live in list(self.saes.values()) for name in ("W_enc", "W_dec")]
        return self._model_bytes + sum(w.numel() * w.element_size() for w in weights)

    @property
    def info(self) -> wire.ModelInfo:
        """What answers should say of the model."""
        rm = self.rm
        return wire.ModelInfo(
            id=self.id,
            name=self.name,
            family=rm.family,
            format=rm.format,
            format_reason=rm.format_reason,
            max_length=rm.max_length,
            causal=rm.causal,
            device=str(rm.device),
            dtype=str(rm.dtype).removeprefix("torch."),
        )

    def loaded(self, num_waiting: int) -> wire.LoadedModel:
        """This model as a line of the health answer."""
        return wire.LoadedModel(
            id=self.id,
            name=self.name,
            bytes=self.num_bytes,
            saes=list(self.saes),
            device=self.info.device,
            dtype=self.info.dtype,
            num_waiting=num_waiting,
        )

    def add_sae(self, sae_id: str, sae: SparseAutoencoder) -> None:
        """Hold an SAE too.

        Raises:
            ModelError: It was made for another model.
        """
        engine = EffectEngine(self.rm, sae)
        self.saes[sae_id] = LiveSAE(engine.sae, engine, OrderedDict())

    @torch.no_grad()
    def answers(self, requests: Sequence[wire.Request], sae_id: str = "") -> list[wire.Answer]:
        """The answers to requests of one kind, in order; only score requests come in numbers."""
        if all(isinstance(request, wire.ScoreRequest) for request in requests):
            return list(self.scores([request for request in requests if isinstance(request, wire.ScoreRequest)]))
        return [self._answer(request, sae_id) for request in requests]

    def _answer(self, request: wire.Request, sae_id: str) -> wire.Answer:
        if isinstance(request, wire.PrefixRequest):
            return self.prefixes(request)
        if isinstance(request, wire.FeaturesRequest):
            return self.features(request, self.saes[sae_id])
        if isinstance(request, PairRequest):
            return pair_answer(self.saes[sae_id].engine, request, self.info)
        if isinstance(request, ShapleyRequest):
            return self.saes[sae_id].games.answer(self.saes[sae_id].engine, request)
        assert isinstance(request, wire.AblateRequest), type(request)
        return self.ablation(request, self.saes[sae_id])

    def scores(self, requests: Sequence[wire.ScoreRequest]) -> list[wire.ScoreAnswer]:
        """The rewards of several requests, from one batch."""
        encoded = self.rm.encode([text.text for request in requests for text in request.texts])
        rewards = self.rm.score_encoded(encoded) if encoded else np.zeros(0, np.float32)
        found, begin = [], 0
        for request in requests:
            part = slice(begin, begin := begin + len(request.texts))
            found.append(
                wire.ScoreAnswer(
                    rewards=rewards[part].tolist(),
                    num_tokens=[len(e.ids) for e in encoded[part]],
                    num_cut=[e.num_cut for e in encoded[part]],
                    off_format=[e.off_format for e in encoded[part]],
                    info=self.info,
                )
            )
        return found

    def prefixes(self, request: wire.PrefixRequest) -> wire.PrefixAnswer:
        """The reward after each token."""
        encoded = self.rm.encode([request.text.text])[0]
        reward = float(self.rm.score_encoded([encoded])[0])
        return wire.PrefixAnswer.model_validate(self._read(encoded, reward, self._clean_prefixes(encoded)))

    def features(self, request: wire.FeaturesRequest, live: LiveSAE) -> wire.FeaturesAnswer:
        """Every feature that fires on the text, with the effect that the batch engine computes."""
        text = self._reading(request.text, live)
        if text.effects is None:
            text.effects = live.engine.scan([text.encoded])[0]
        if request.with_prefixes and text.prefixes is None:
            text.prefixes = self._clean_prefixes(text.encoded)
        order = np.lexsort((text.effects.feature, -np.abs(text.effects.effect)))
        where = firing_tokens(text.fired)
        rows = [_row(text.effects, row, where) for row in order[: request.limit].tolist()]
        common = self._read(text.encoded, text.reward, text.prefixes if request.with_prefixes else None)
        return wire.FeaturesAnswer.model_validate(
            {
                **common,
                "rows": rows,
                "num_rows": len(order),
                "hookpoint": live.sae.hookpoint,
                "d_sae": live.sae.d_sae,
                "method": live.engine.method,
            }
        )

    def ablation(self, request: wire.AblateRequest, live: LiveSAE) -> wire.AblateAnswer:
        """The reward with features scaled or set, from the kept clean pass."""
        text = self._reading(request.text, live)
        read = (text.clean, text.fired)
        ablated = live.engine.set_rewards(text.encoded, [request.scales], values=[request.values], read=read)[0]
        before = after = None
        if request.with_prefixes:
            before = text.prefixes = text.prefixes or self._clean_prefixes(text.encoded)
            after = self._edited_prefixes(text, live, request)
        return wire.AblateAnswer(
            clean=text.reward,
            ablated=float(ablated),
            fired=sorted({*request.scales, *request.values} & set(text.fired.feature.tolist())),
            tokens=list(text.encoded.tokens),
            prefix_positions=before.positions if before else [],
            prefix_clean=before.rewards.tolist() if before else [],
            prefix_ablated=after.rewards.tolist() if after else [],
            info=self.info,
        )

    def _clean_prefixes(self, encoded: Encoded) -> Prefixes:
        read = causal_prefixes if self.rm.causal else encoder_prefixes
        return read(self.rm, encoded, self.rm.blocks[-1])

    def _edited_prefixes(self, text: TextReading, live: LiveSAE, request: wire.AblateRequest) -> Prefixes:
        edit, block = FeatureEdit(live.sae, request.scales, request.values), self.rm.block(live.sae.hookpoint)
        if self.rm.causal:
            residual = edit.on_firings(text.clean.residual, text.fired, text.encoded)
            return causal_prefixes(self.rm, text.encoded, block, residual)
        return encoder_prefixes(self.rm, text.encoded, block, edit)

    def _reading(self, text: wire.TextIn, live: LiveSAE) -> TextReading:
        if found := live.readings.get(text):
            live.readings.move_to_end(text)
            return found
        encoded = self.rm.encode([text.text])[0]
        found = live.readings[text] = TextReading(encoded, *live.engine.read(encoded))
        kept = live.readings
        while len(kept) > 1 and (len(kept) > KEPT_TEXTS or sum(old.num_bytes for old in kept.values()) > KEPT_BYTES):
            kept.popitem(last=False)
        return found

    def _read(self, encoded: Encoded, reward: float, prefixes: Prefixes | None) -> dict[str, object]:
        return {
            "tokens": list(encoded.tokens),
            "feature_positions": list(encoded.feature_positions),
            "reply_start": encoded.reply_start,
            "num_cut": encoded.num_cut,
            "off_format": encoded.off_format,
            "reward": reward,
            "prefix_positions": prefixes.positions if prefixes else [],
            "prefix_rewards": prefixes.rewards.tolist() if prefixes else [],
            "info": self.info,
        }


def _row(effects: EffectRows, row: int, where: Mapping[int, tuple[list[int], list[float]]]) -> wire.FeatureRow:
    feature = int(effects.feature[row])
    positions, activations = where.get(feature, ([], []))
    return wire.FeatureRow(
        feature=feature,
        effect=float(effects.effect[row]),
        first_order=float(effects.first_order[row]),
        max_activation=float(effects.max_activation[row]),
        positions=positions,
        activations=[*activations],
    )
