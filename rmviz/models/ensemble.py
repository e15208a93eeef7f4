"""Several reward models as one: their mean less a penalty for their disagreement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rmviz.errors import ModelError
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Text

RECORD = "ensemble.json"
_TOGETHER = 8 * 2**30
"""Bytes of weights up to which all members are held at once."""


@dataclass(frozen=True)
class Scale:
    """How the rewards of one member are laid beside those of the others: less `offset`, times `factor`."""

    offset: float = 0.0
    factor: float = 1.0


def common_scales(rewards: Float[np.ndarray, "member text"]) -> list[Scale]:
    """What gives each member mean 0, and the standard deviation that members have on average, on these texts.

    Reward models are free in their offset, and little bound in their scale: without this, members would seem to disagree.

    Source: Coste et al. 2024, section 4 (arXiv:2310.02743).
    """
    spreads = rewards.std(axis=1)
    unit = float(spreads.mean())
    return [
        Scale(float(own.mean()), unit / float(s) if s > 0 else 1.0) for own, s in zip(rewards, spreads, strict=True)
    ]


def ensemble_rewards(
    models: Sequence[RewardModel], texts: Sequence[Text], lam: float, scales: Sequence[Scale] = ()
) -> Float[np.ndarray, " text"]:
    """Mean over the models − λ · their standard deviation (population), of each text, float32.

    Args:
        models: The members.
        texts: What to score.
        lam: λ; 0 gives the mean.
        scales: One for each member; rewards are taken as they are without.
    """
    return conservative(np.stack([model.score(texts) for model in models]), lam, scales)


def conservative(
    rewards: Float[np.ndarray, "member text"], lam: float, scales: Sequence[Scale] = ()
) -> Float[np.ndarray, " text"]:
    """Mean − λ · standard deviation over members, float32."""
    laid = on_scales(rewards, scales)
    return (laid.mean(0) - lam * laid.std(0)).astype(np.float32)


def on_scales(rewards: Float[np.ndarray, "member text"], scales: Sequence[Scale]) -> Float[np.ndarray, "member text"]:
    """Each member's rewards, float64, on the scale that they share."""
    rewards = rewards.astype(np.float64)
    for row, scale in enumerate(scales):
        rewards[row] = (rewards[row] - scale.offset) * scale.factor
    return rewards


class Ensemble:
    """Scores as a reward model does: mean of its members − λ · their standard deviation."""

    def __init__(
        self, name: str, members: Sequence[Callable[[], RewardModel]], lam: float, scales: Sequence[Scale] = ()
    ) -> None:
        """Take members as what opens them; each is opened whenever it scores."""
        self.name, self.lam = name, lam
        self._members, self._scales = members, scales

    def member_rewards(self, texts: Sequence[Text]) -> Float[np.ndarray, "member text"]:
        """What each member gives each text, as it is."""
        return np.stack([member().score(texts) for member in self._members])

    def score(self, texts: Sequence[Text]) -> Float[np.ndarray, " text"]:
        """The reward of each text, float32, in order."""
        return conservative(self.member_rewards(texts), self.lam, self._scales)

    def disagreement(self, texts: Sequence[Text]) -> Float[np.ndarray, " text"]:
        """The members' standard deviation on each text, in units of the reward."""
        return on_scales(self.member_rewards(texts), self._scales).std(0)


def open_ensemble(artifact: Artifact, workspace: Workspace, *, together: bool | None = None) -> Ensemble:
    """The ensemble of an artifact.

    Args:
        artifact: An ensemble.
        workspace: Where its members are.
        together: Whether all members stay loaded, or each is loaded when it scores; by their size when None.

    Raises:
        NotFoundError: A member is gone.
        ModelError: The artifact is no ensemble.
    """
    if artifact.kind != "ensemble":
        raise ModelError(f"{artifact.name} is a {artifact.kind.replace('_', ' ')}, and an ensemble is needed")
    record = artifact.read_json(RECORD)
    members = [workspace.resolve(member, "reward_model") for member in record["members"]]
    scales = [Scale(offset, factor) for offset, factor in zip(record["offsets"], record["factors"], strict=True)]
    if together is None:
        together = sum(size for one in members for size, _ in one.files.values()) <= _TOGETHER
    opened: list[Callable[[], RewardModel]] = (
        [_held(from_artifact(member)) for member in members] if together else [_opening(member) for member in members]
    )
    return Ensemble(artifact.name, opened, record["lambda"], scales)


def _held(model: RewardModel) -> Callable[[], RewardModel]:
    return lambda: model


def _opening(member: Artifact) -> Callable[[], RewardModel]:
    return lambda: from_artifact(member)
