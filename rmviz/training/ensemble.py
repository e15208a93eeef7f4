"""The ensemble job: reward models by the reward job itself, then what they say together."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rmviz.configs.base import to_dict
from rmviz.configs.ensemble import EnsembleConfig
from rmviz.configs.models import RewardConfig
from rmviz.data.load import dataset_pairs, dataset_texts
from rmviz.errors import DataError
from rmviz.estimates import Estimate, accuracy, correlation, mean, right, wilson
from rmviz.jobs.run import job_key
from rmviz.models.ensemble import RECORD, Scale, common_scales, conservative, on_scales
from rmviz.models.load import from_artifact
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.training import reward
from rmviz.training.heldout import MOST_HELDOUT
from rmviz.types import JSON, Pair, Report, Text

FIGURES = "figures.json"
"""File of an ensemble: `members`, `disagreement` by sort of texts, `errors` by disagreement."""

_BINS = 5


def run(config: EnsembleConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train the members, each a reward model of its own, and keep them as one.

    A member is what `train.reward` makes of the same settings: one that is there already is taken.

    Metrics: `accuracy` of the mean less the penalty on held-out pairs with its 95 % interval, `accuracy_mean` (no penalty),
    `accuracy_members` (their average), `disagreement` (mean standard deviation of the members on held-out texts, in units of
    the reward), `disagreement_other` (on the other texts), `error_correlation` (Spearman, of the members' disagreement on a
    pair's margin with their mean being wrong) with its interval, `unsure_correlation` (the same, of their disagreement over
    the size of the mean margin), `num_members`, `num_heldout`, `lambda`, `seed`.

    Raises:
        DataError: There is no held-out pair to set the members on one scale with.
    """
    dataset = workspace.resolve(config.dataset, "dataset")
    heldout = dataset_pairs(dataset, "heldout", MOST_HELDOUT, config.seed)
    if len(heldout) < 2:
        raise DataError(
            f"the dataset {dataset.name} has {len(heldout)} held-out pairs, and at least 2 are needed to measure how the "
            "members disagree; add it with heldout above 0"
        )
    members = [_member(config, number, workspace, report) for number in range(config.num_members)]
    texts = [text for pair in heldout for text in pair.texts]
    other = _other_texts(config, workspace, texts)
    scored = np.stack([_scored(member, [*texts, *other[1]]) for member in members])
    own, far = scored[:, : len(texts)], scored[:, len(texts) :]
    scales = common_scales(own.astype(np.float64))
    figures = ensemble_figures(members, heldout, own, far, scales, config.penalty, other[0])
    name = config.name or f"ensemble-{dataset.name}"
    parents = (dataset.id, *(member.id for member in members), *((config.other,) if config.other else ()))
    with workspace.create("ensemble", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        record = {"members": [member.id for member in members], "lambda": config.penalty,
                  "offsets": [s.offset for s in scales], "factors": [s.factor for s in scales]}  # fmt: skip
        write_json(draft.folder / RECORD, record)
        write_json(draft.folder / FIGURES, {name: figures[name] for name in ("members", "disagreement", "errors")})
        counts = {
            "num_members": len(members),
            "num_heldout": len(heldout),
            "lambda": config.penalty,
            "seed": config.seed,
        }
        draft.metrics |= counts | figures["metrics"]
    report(1, 1, {"accuracy": figures["metrics"]["accuracy"]})
    return draft.kept


def member_configs(config: EnsembleConfig) -> list[RewardConfig]:
    """The settings of each member's own training."""
    shared = {f.name: getattr(config, f.name) for f in fields(RewardConfig)}
    name = config.name or "ensemble"
    return [
        RewardConfig(**{**shared, "name": f"{name}-{number + 1}", "seed": config.seed + number})
        for number in range(config.num_members)
    ]


def ensemble_figures(
    members: Sequence[Artifact],
    pairs: Sequence[Pair],
    own: Float[np.ndarray, "member text"],
    far: Float[np.ndarray, "member other"],
    scales: Sequence[Scale],
    penalty: float,
    far_name: str,
) -> dict[str, Any]:
    """What an ensemble's page shows, from the members' rewards of the held-out texts and of texts unlike them.

    Returns:
        `members`: id, name, seed, accuracy with interval, offset and factor; `disagreement`: mean with interval and n, by
        sort of texts; `errors`: share of wrong pairs by fifths of disagreement; `metrics`.
    """
    laid = on_scales(own, scales)
    margins = laid[:, ::2] - laid[:, 1::2]
    doubt, centre = margins.std(0), margins.mean(0)
    paid = conservative(own, penalty, scales).astype(float)
    shares = [accuracy(own_margins) for own_margins in margins]
    whole, plain = accuracy(paid[::2] - paid[1::2]), accuracy(centre)
    wrong = 1 - right(centre)
    links = {
        "error": correlation(doubt, wrong),
        "unsure": correlation(doubt / np.maximum(np.abs(centre), 1e-12), wrong),
    }
    near, distant = mean(laid.std(0)), mean(on_scales(far, scales).std(0))
    return {
        "members": [
            {"id": one.id, "name": one.name, "seed": int(one.metrics["seed"]), **_interval("accuracy", share),
             "offset": scale.offset, "factor": scale.factor}
            for one, share, scale in zip(members, shares, scales, strict=True)
        ],
        "disagreement": [
            {"texts": name, **_interval("mean", figure)} for name, figure in (("held out", near), (far_name, distant))
        ],
        "errors": error_bins(doubt, wrong),
        "metrics": {
            "accuracy": whole.value, "accuracy_low": whole.low, "accuracy_high": whole.high, "accuracy_mean": plain.value,
            "accuracy_members": float(np.mean([share.value for share in shares])),
            "disagreement": near.value, "disagreement_other": distant.value,
            **{f"{name}_correlation{end}": value if np.isfinite(value) else None for name, link in links.items()
               for end, value in (("", link.value), ("_low", link.low), ("_high", link.high))},
        },
    }  # fmt: skip


def error_bins(doubt: Float[np.ndarray, " pair"], wrong: Float[np.ndarray, " pair"]) -> list[dict[str, JSON]]:
    """Share of wrong pairs in each fifth of disagreement: `doubt` (its mean there), `wrong`, `low`, `high` (95 %), `n`."""
    rows: list[dict[str, JSON]] = []
    for places in np.array_split(np.argsort(doubt, kind="stable"), min(_BINS, len(doubt))):
        share = float(wrong[places].mean())
        low, high = wilson(share, len(places))
        rows.append({"doubt": float(doubt[places].mean()), "wrong": share, "low": low, "high": high, "n": len(places)})
    return rows


def _interval(name: str, figure: Estimate) -> dict[str, JSON]:
    return {name: figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _member(config: EnsembleConfig, number: int, workspace: Workspace, report: Report) -> Artifact:
    own = member_configs(config)[number]
    key = job_key("train.reward", own)
    part = _Part(report, key, report.folder / f"member-{number + 1}", number, config.num_members)
    return workspace.by_key(key) or reward.run(own, workspace, part)


@dataclass(frozen=True)
class _Part:
    """The report of one member's training within the ensemble's."""

    whole: Report
    key: str
    folder: Path
    number: int
    of: int

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        self.whole(self.number * total + step, self.of * total, {**(metrics or {}), "member": float(self.number + 1)})


def _scored(member: Artifact, texts: Sequence[Text]) -> Float[np.ndarray, " text"]:
    return from_artifact(member).score(texts)


def _other_texts(config: EnsembleConfig, workspace: Workspace, texts: Sequence[Text]) -> tuple[str, list[Text]]:
    """Texts unlike the training data, and what to call them."""
    if config.other:
        other = workspace.resolve(config.other, "dataset")
        return other.name, dataset_texts(other, "all", MOST_HELDOUT, config.seed)
    return "words in random order", [shuffled(text, config.seed) for text in texts]


def shuffled(text: Text, seed: int) -> Text:
    """The text with the words of its reply in random order."""
    words = text.reply.split()
    random.Random(f"{seed} {text.text_id}").shuffle(words)
    return Text(text_id=text.text_id, prompt=text.prompt, reply=" ".join(words))
