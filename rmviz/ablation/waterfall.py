"""A pair taken apart: its margin as features, the SAE's error, what both texts share, and what only acts together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.shapley import ShapleyEstimate, sampled_shapley
from rmviz.errors import DataError
from rmviz.models.encoding import Encoded
from rmviz.types import Pair


@dataclass(frozen=True)
class Waterfall:
    """The parts of one pair's margin, in reward units; positive parts speak for the chosen text.

    A part of the margin is that part of the chosen text's reward − that of the rejected text's:

    - `effects`, one per feature that fires on either text: reward with the feature − reward without it;
    - `error`: reward with the SAE's error term − reward with the reconstruction in its place;
    - `base`: reward with all features and the error off, so what the prompt's frame, the special tokens, the positions and
      the biases pay by themselves; what both texts share cancels here;
    - `interaction`: the rest. Each of the parts above is measured alone, with everything else in place, so what two parts do
      only together is in both of them or in neither; the difference to the reward of the whole stands here, as a part of its
      own, and is assigned to no feature. Shapley values (`shapley`) share it out.
    """

    pair_id: str
    rewards: tuple[float, float]
    """Of the chosen and of the rejected text."""
    features: Int[np.ndarray, " feature"]
    """Those that fire on either text, largest |effect| on the margin first."""
    chosen_effects: Float[np.ndarray, " feature"]
    rejected_effects: Float[np.ndarray, " feature"]
    errors: tuple[float, float]
    bases: tuple[float, float]

    @property
    def margin(self) -> float:
        """Reward of the chosen − reward of the rejected text."""
        return self.rewards[0] - self.rewards[1]

    @property
    def effects(self) -> Float[np.ndarray, " feature"]:
        """Effect of each feature on the margin."""
        return self.chosen_effects - self.rejected_effects

    @property
    def error(self) -> float:
        """The SAE error's part of the margin."""
        return self.errors[0] - self.errors[1]

    @property
    def base(self) -> float:
        """What is left of the margin without features and error."""
        return self.bases[0] - self.bases[1]

    @property
    def interactions(self) -> tuple[float, float]:
        """The interaction rest of each text: its reward − base − error − all effects."""
        own = (self.chosen_effects, self.rejected_effects)
        rests = [
            r - b - e - float(f.sum()) for r, b, e, f in zip(self.rewards, self.bases, self.errors, own, strict=True)
        ]
        return rests[0], rests[1]

    @property
    def interaction(self) -> float:
        """The interaction rest of the margin."""
        return self.interactions[0] - self.interactions[1]

    @property
    def interaction_share(self) -> float:
        """Size of the rest: |interaction| / (Σ |effects| + |error| + |base| + |interaction|), from 0 to 1."""
        rest = abs(self.interaction)
        whole = float(np.abs(self.effects).sum()) + abs(self.error) + abs(self.base) + rest
        return rest / whole if whole else 0.0

    @property
    def total(self) -> float:
        """All parts added up."""
        return float(self.effects.sum()) + self.error + self.base + self.interaction


def waterfalls(engine: EffectEngine, pairs: Sequence[Pair]) -> list[Waterfall]:
    """Each pair taken apart, in order; pairs with a reward or an activation that is no finite number are left out."""
    encoded = engine.rm.encode([text for pair in pairs for text in pair.texts])
    rows, rewards = engine.scan(encoded, first_order=False)
    without = engine.emptied(encoded).astype(float)
    rewards = rewards.astype(float)
    ends = np.searchsorted(rows.text, np.arange(len(encoded) + 1))
    found = []
    for number, pair in enumerate(pairs):
        texts = (2 * number, 2 * number + 1)
        if not (np.isfinite(rewards[list(texts)]).all() and np.isfinite(without[list(texts)]).all()):
            continue
        own = [(rows.feature[ends[t] : ends[t + 1]], rows.effect[ends[t] : ends[t + 1]].astype(float)) for t in texts]
        features = np.union1d(own[0][0], own[1][0])
        sides = np.zeros((2, len(features)))
        for side, (feature, effect) in zip(sides, own, strict=True):
            side[np.searchsorted(features, feature)] = effect
        order = np.argsort(-np.abs(sides[0] - sides[1]), kind="stable")
        chosen, rejected = ((float(rewards[t]), float(rewards[t] - without[t, 1]), float(without[t, 2])) for t in texts)
        found.append(
            Waterfall(
                pair_id=pair.pair_id, rewards=(chosen[0], rejected[0]), features=features[order],
                chosen_effects=sides[0][order], rejected_effects=sides[1][order],
                errors=(chosen[1], rejected[1]), bases=(chosen[2], rejected[2]),
            )
        )  # fmt: skip
    return found


def taken_apart(engine: EffectEngine, pair: Pair) -> Waterfall:
    """One pair taken apart.

    Raises:
        DataError: The pair has no finite rewards.
    """
    found = waterfalls(engine, [pair])
    if not found:
        raise DataError(f"pair {pair.pair_id[:80]!r} has a reward that is no finite number; choose another pair")
    return found[0]


@dataclass(frozen=True)
class ShapleyWaterfall:
    """A margin shared out without a rest: base + Σ values = margin, to float precision.

    The players are the top features, all other features together, and the SAE's error, in this order.
    """

    features: Int[np.ndarray, " feature"]
    estimate: ShapleyEstimate
    """Of the features, then of the others, then of the error; its `empty` is the base, its `full` the margin."""


class PairGame:
    """The margin of one pair by which players are in place; `ShapleyWaterfall` says who they are.

    A set is computed once, so an estimate from more permutations of the same seed costs only what they add.
    """

    def __init__(self, engine: EffectEngine, pair: Pair, *, num_features: int = 10) -> None:
        """Read a pair; its `num_features` features with the largest effects are players of their own.

        Raises:
            DataError: The pair has no finite rewards.
        """
        ranked = taken_apart(engine, pair).features
        self.features, others = ranked[:num_features], ranked[num_features:]
        groups = [*([int(feature)] for feature in self.features), others.tolist()]
        self._sides = [_SideGame(engine, text, groups) for text in engine.rm.encode(pair.texts)]
        self._known: dict[bytes, float] = {}

    @property
    def num_bytes(self) -> int:
        """Memory of the clean passes of both texts, with and without the SAE's error."""
        return sum(clean.num_bytes for side in self._sides for clean, _ in side.reads.values())

    def __call__(self, sets: Bool[np.ndarray, "set player"]) -> Float[np.ndarray, " set"]:
        """The margin with each set of players in place."""
        names = [row.tobytes() for row in sets]
        new = np.array([name not in self._known for name in names], bool)
        if new.any():
            values = (self._sides[0](sets[new]) - self._sides[1](sets[new])).tolist()
            self._known |= dict(zip((name for name in names if name not in self._known), values, strict=True))
        return np.array([self._known[name] for name in names])

    def shapley(self, *, num_permutations: int = 64, seed: int = 0) -> ShapleyWaterfall:
        """The margin as Shapley values of the players; each interaction is shared by those in it.

        Args:
            num_permutations: Permutations sampled; each asks for some `num_features` + 2 ablations of both texts.
            seed: Seed of the permutations.

        Raises:
            ConfigError: Fewer than 4 permutations are asked for.
        """
        num_players = len(self.features) + 2
        return ShapleyWaterfall(
            self.features, sampled_shapley(self, num_players, num_permutations=num_permutations, seed=seed)
        )


class _SideGame:
    """Reward of one text by which groups of features, and whether the error (the last player), are in place."""

    def __init__(self, engine: EffectEngine, text: Encoded, groups: Sequence[Sequence[int]]) -> None:
        self.engine, self.text, self.groups = engine, text, groups
        clean, fired = engine.read(text)
        self.reads = {True: (clean, fired), False: (engine.without_error(clean, [text]), fired)}
        self.base = float(engine.emptied([text])[0, 2])

    def __call__(self, sets: Bool[np.ndarray, "set player"]) -> Float[np.ndarray, " set"]:
        rewards = np.empty(len(sets))
        for error, read in self.reads.items():
            own = sets[:, -1] == error
            off = [
                {feature: 0.0 for group, is_in in zip(self.groups, row, strict=True) if not is_in for feature in group}
                for row in sets[own, :-1]
            ]
            rewards[own] = self.engine.set_rewards(self.text, off, read=read)
        rewards[~sets.any(axis=1)] = self.base  # taking all away one by one leaves dust, which a layer norm may blow up
        return rewards
