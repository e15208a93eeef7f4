"""Which feature of one SAE is which of another: by when they fire, and by where their decoders point."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy import sparse
from torch import Tensor

from rmviz.activations.rows import rows_of
from rmviz.errors import DataError
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Text

_CELLS = 4_000_000  # of a correlation matrix at once
_ROWS_PER_WIDTH = 2  # a frame fitted on fewer rows than this many times its width fits anything
EFFECT = ("mean_effect", "mean_effect_low", "mean_effect_high")


def matched_features(
    workspace: Workspace, first: Artifact, second: Artifact, texts: Sequence[Text], *, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Every alive feature of two SAEs with the one of the other SAE that fires most alike, and both effects.

    Where both models read the same tokens, features are compared token by token, else by their strongest activation in
    each text. The directions of decoders are compared after the second model's residual stream was turned onto the
    first one's (orthogonal Procrustes on the same tokens), where the widths agree and the tokens suffice.

    Returns:
        A table, `feature_first` and `feature_second` (−1: none), `correlation`, `cosine`, `status` (`matched`: each is
        the other's best; `shared`: alike, but one of them is more like another; `only first`, `only second`: no more
        alike than chance), and of each side `effect_…`, `effect_…_low`, `effect_…_high` in standard deviations of its
        model's rewards, `moved` (second − first; NaN for features of one side only). And how it was done.

    Raises:
        DataError: No text can be read by both models.

    Source: Schönemann 1966 (the orthogonal Procrustes problem).
    """
    sides = [_side(workspace, effects) for effects in (first, second)]
    encoded = [_encoded(rm, texts) for rm, _, _ in sides]
    both = [i for i in range(len(texts)) if encoded[0][i] is not None and encoded[1][i] is not None]
    if not both:
        raise DataError("no text can be read by both models, so their features cannot be matched")
    pairs = [(encoded[0][i], encoded[1][i]) for i in both]
    same = all(a.ids == b.ids and a.feature_positions == b.feature_positions for a, b in pairs)  # type: ignore[union-attr]
    acts, streams = [], []
    for (rm, sae, _), own in zip(sides, encoded, strict=True):
        matrix, stream = _activations(rm, sae, [own[i] for i in both], by_token=same)  # type: ignore[misc]
        acts.append(matrix)
        streams.append(stream)
    alive = [table["feature"].to_numpy(int) for _, _, table in sides]
    acts = [matrix[:, features] for matrix, features in zip(acts, alive, strict=True)]
    best = best_matches(acts[0], acts[1])
    noise = chance_correlation(acts[0], acts[1], seed)
    cosines, frame = None, ""
    if not same:
        frame = "the models read other tokens, so there is no shared frame for directions"
    elif sides[0][1].d_in != sides[1][1].d_in:
        frame = f"the models have other widths ({sides[0][1].d_in} and {sides[1][1].d_in})"
    elif len(streams[0]) < _ROWS_PER_WIDTH * sides[0][1].d_in:
        frame = f"{len(streams[0])} tokens are too few to fit a frame of width {sides[0][1].d_in}"
    fit = None
    if not frame:
        turn, fit = shared_frame(streams[0], streams[1])
        decoders = [sae.W_dec[torch.tensor(f)].cpu() for (_, sae, _), f in zip(sides, alive, strict=True)]
        cosines = (decoders[0], decoders[1] @ turn)
    table = _table(best, noise, alive, cosines, [_effects(side[2]) for side in sides])
    info = {
        "first": first.id, "second": second.id, "by": "token" if same else "text", "num_texts": len(both),
        "num_units": int(acts[0].shape[0]), "noise": noise if np.isfinite(noise) else None,
        "frame_fit": fit if fit is not None and np.isfinite(fit) else None, "no_cosine": frame,
    }  # fmt: skip
    return table, info


def best_matches(
    first: sparse.csr_matrix, second: sparse.csr_matrix
) -> tuple[Int[np.ndarray, " a"], Float[np.ndarray, " a"], Int[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """For each feature of either side the one of the other side with the largest correlation; −1 and NaN for silent ones.

    Args:
        first: Activations (unit, a) of the first SAE.
        second: Activations (unit, b) of the second, on the same units.
    """
    n, num_first = first.shape
    num_second = second.shape[1]
    mean_a, sd_a = _moments(first)
    mean_b, sd_b = _moments(second)
    to_second, size_a = np.full(num_first, -1), np.full(num_first, np.nan)
    to_first, size_b = np.full(num_second, -1), np.full(num_second, -np.inf)
    if not num_first or not num_second:
        return to_second, size_a, to_first, np.full(num_second, np.nan)
    columns = first.T.tocsr()
    step = max(1, _CELLS // num_second)
    for low in range(0, num_first, step):
        part = slice(low, min(low + step, num_first))
        with np.errstate(divide="ignore", invalid="ignore"):
            product = np.asarray((columns[part] @ second).todense(), float) / n
            rho = (product - mean_a[part, None] * mean_b) / (sd_a[part, None] * sd_b)
        rho = np.where(np.isfinite(rho), rho, -np.inf)
        best = rho.argmax(axis=1)
        size = rho[np.arange(len(rho)), best]
        to_second[part] = np.where(np.isfinite(size), best, -1)
        size_a[part] = np.where(np.isfinite(size), size, np.nan)
        highest = rho.argmax(axis=0)
        size = rho[highest, np.arange(num_second)]
        better = size > size_b
        to_first[better], size_b[better] = highest[better] + low, size[better]
    return to_second, size_a, to_first, np.where(np.isfinite(size_b), size_b, np.nan)


def chance_correlation(first: sparse.csr_matrix, second: sparse.csr_matrix, seed: int = 0) -> float:
    """The largest correlation that 95 % of features reach when the units of one side are shuffled."""
    shuffled = second[np.random.default_rng(seed).permutation(second.shape[0])]
    sizes = best_matches(first, shuffled)[1]
    sizes = sizes[np.isfinite(sizes)]
    return float(np.quantile(sizes, 0.95)) if len(sizes) else float("nan")


def shared_frame(first: Float[Tensor, "row d"], second: Float[Tensor, "row d"]) -> tuple[Float[Tensor, "d d"], float]:
    """The rotation `R` for which `second @ R` lies nearest to `first`, and the share of variance that it explains.

    Both are centred, and one factor may scale the second; the share is R² of that fit.

    Source: Schönemann 1966.
    """
    a, b = (stream.double() - stream.double().mean(0) for stream in (first, second))
    left, singular, right = torch.linalg.svd(b.T @ a)
    total = float((a**2).sum() * (b**2).sum())
    return (left @ right).float(), float(singular.sum() ** 2 / total) if total > 0 else float("nan")


def _side(workspace: Workspace, effects: Artifact) -> tuple[Any, SparseAutoencoder, pd.DataFrame]:
    parents = [workspace.resolve(ref) for ref in effects.parents]
    rm = from_artifact(next(parent for parent in parents if parent.kind == "reward_model"))
    sae = load_sae_artifact(next(parent for parent in parents if parent.kind == "sae"))
    sae.check_fits(rm)
    table = load_table(effects.path("summary.parquet"), columns=["feature", *EFFECT])
    spread = float(effects.metrics.get("reward_std") or 0.0)
    scaled = table[list(EFFECT)] / spread if spread > 0 else table[list(EFFECT)] * np.nan
    return rm, sae.to(rm.device), table[["feature"]].join(scaled)


def _encoded(rm: Any, texts: Sequence[Text]) -> list[Encoded | None]:
    found: list[Encoded | None] = []
    for text in texts:
        try:
            found.append(rm.encode([text])[0])
        except DataError:
            found.append(None)
    return found


def _activations(
    rm: Any, sae: SparseAutoencoder, encoded: Sequence[Encoded], *, by_token: bool
) -> tuple[sparse.csr_matrix, Tensor]:
    """Activations (token, feature), or (text, feature) with the strongest of each text, and the residuals."""
    units, features, values, streams, done = [], [], [], [], 0
    for rows in rows_of(rm, encoded, sae.hookpoint):
        good = rows.h.isfinite().all(1)
        h = torch.where(good[:, None], rows.h, torch.zeros_like(rows.h))  # the row stays, so that both sides line up
        acts = sae.encode(h)
        fires = (acts.values > 0) & good.to(acts.values.device)[:, None]
        at, column = fires.nonzero(as_tuple=True)
        unit = at.cpu().numpy() + done if by_token else rows.text.cpu().numpy()[at.cpu().numpy()]
        units.append(unit)
        features.append(acts.indices[at, column].cpu().numpy())
        values.append(acts.values[at, column].float().cpu().numpy())
        streams.append(h.cpu())
        done += len(h)
    rows_, columns, data = (np.concatenate(parts) for parts in (units, features, values))
    size = (done if by_token else len(encoded), sae.d_sae)
    if not by_token:
        order = np.lexsort((-data, columns, rows_))
        rows_, columns, data = rows_[order], columns[order], data[order]
        first = np.ones(len(data), bool)
        first[1:] = (np.diff(rows_) != 0) | (np.diff(columns) != 0)
        rows_, columns, data = rows_[first], columns[first], data[first]
    return sparse.csr_matrix((data.astype(np.float64), (rows_, columns)), shape=size), torch.cat(streams)


def _moments(acts: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    mean = np.asarray(acts.mean(axis=0)).ravel()
    square = np.asarray(acts.multiply(acts).mean(axis=0)).ravel()
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def _effects(table: pd.DataFrame) -> np.ndarray:
    return table[list(EFFECT)].to_numpy(float)


def _table(
    best: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    noise: float,
    alive: Sequence[np.ndarray],
    decoders: tuple[Tensor, Tensor] | None,
    effects: Sequence[np.ndarray],
) -> pd.DataFrame:
    """One row per matched pair, and one per feature of either side that is in none."""
    to_second, size_a, to_first, size_b = best
    mutual = np.array([b >= 0 and to_first[b] == a for a, b in enumerate(to_second)], dtype=bool)
    paired: Bool[np.ndarray, " b"] = np.zeros(len(to_first), bool)
    paired[to_second[mutual & (size_a > noise)]] = True
    rows = [(a, b, size_a[a], _status(bool(mutual[a]), size_a[a], noise, "first")) for a, b in enumerate(to_second)]
    rows += [(to_first[b], b, size_b[b], _status(False, size_b[b], noise, "second")) for b in np.flatnonzero(~paired)]
    firsts, seconds = (np.array([row[side] for row in rows], int) for side in (0, 1))
    columns: dict[str, Any] = {
        "feature_first": _picked(alive[0], firsts), "feature_second": _picked(alive[1], seconds),
        "correlation": [row[2] for row in rows], "status": [row[3] for row in rows], "cosine": np.nan,
    }  # fmt: skip
    known = (firsts >= 0) & (seconds >= 0)
    if decoders is not None:
        unit = [torch.nn.functional.normalize(rows_.float(), dim=1).numpy() for rows_ in decoders]
        cosine = np.full(len(rows), np.nan)
        cosine[known] = (unit[0][firsts[known]] * unit[1][seconds[known]]).sum(1)
        columns["cosine"] = cosine
    for side, places, found in (("first", firsts, effects[0]), ("second", seconds, effects[1])):
        for column, end in enumerate(("", "_low", "_high")):
            columns[f"effect_{side}{end}"] = np.where(places >= 0, found[places, column], np.nan)
    table = pd.DataFrame(columns)
    both = table["status"].isin(["matched", "shared"])
    return table.assign(moved=(table["effect_second"] - table["effect_first"]).where(both))


def _status(mutual: bool, size: float, noise: float, side: str) -> str:
    if not size > noise:
        return f"only {side}"
    return "matched" if mutual else "shared"


def _picked(features: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.where(places >= 0, features[places], -1) if len(features) else np.full(len(places), -1)
