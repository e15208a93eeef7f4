"""What a loaded model answers about a pair: its margin taken apart, and shared out as Shapley values."""

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.waterfall import PairGame, taken_apart
from rmviz.backend.wire import ModelInfo
from rmviz.backend.wire_pair import PairAnswer, PairIn, PairRequest, PairSide, ShapleyAnswer, ShapleyRequest

KEPT_BYTES = 512 * 2**20
"""Most memory for the clean passes of an SAE's texts that are kept, keys and values included, and for those of its game."""


def pair_answer(engine: EffectEngine, request: PairRequest, info: ModelInfo) -> PairAnswer:
    """The parts of a margin, as the batch engine gives them.

    Raises:
        DataError: The pair has no finite rewards.
    """
    pair = request.pair.pair
    parts = taken_apart(engine, pair)
    encoded = engine.rm.encode(pair.texts)
    chosen, rejected = (
        PairSide(
            reward=parts.rewards[i], error=parts.errors[i], base=parts.bases[i], interaction=parts.interactions[i],
            num_tokens=len(text.ids), num_cut=text.num_cut, off_format=text.off_format,
        )
        for i, text in enumerate(encoded)
    )  # fmt: skip
    return PairAnswer(
        chosen=chosen,
        rejected=rejected,
        features=parts.features.tolist(),
        chosen_effects=parts.chosen_effects.tolist(),
        rejected_effects=parts.rejected_effects.tolist(),
        interaction_share=parts.interaction_share,
        same=encoded[0].ids == encoded[1].ids,
        d_sae=engine.sae.d_sae,
        method=engine.method,
        info=info,
    )


class LiveGames:
    """The pair that was last shared out, whose sets of players are known: more permutations of it go on from there."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._key: tuple[PairIn, int] | None = None
        self._game: PairGame | None = None

    def answer(self, engine: EffectEngine, request: ShapleyRequest) -> ShapleyAnswer:
        """Shapley values, as the batch engine gives them.

        Raises:
            DataError: The pair has no finite rewards.
        """
        key = request.pair, request.num_features
        if self._game is None or self._key != key:
            self._key, self._game = key, PairGame(engine, request.pair.pair, num_features=request.num_features)
        found = self._game.shapley(num_permutations=request.num_permutations, seed=request.seed)
        if self._game.num_bytes > KEPT_BYTES:
            self._game = None
        estimate = found.estimate
        return ShapleyAnswer(
            features=found.features.tolist(),
            value=estimate.value.tolist(),
            error=estimate.error.tolist(),
            low=estimate.low.tolist(),
            high=estimate.high.tolist(),
            empty=estimate.empty,
            full=estimate.full,
            num_permutations=estimate.num_permutations,
        )
