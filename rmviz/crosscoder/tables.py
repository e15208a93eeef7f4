"""The tables of a crosscoder, put together from its shards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.ablation.rows import placed
from rmviz.ablation.summary import summary
from rmviz.crosscoder.model import cosines
from rmviz.crosscoder.norms import classes, relative_norm
from rmviz.crosscoder.scan import ANY, NUM_EXAMPLES, SIDES
from rmviz.errors import DataError
from rmviz.features.words import joined, log_odds, top_words
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table

_NUM_WORDS = 5
_ENDS = ("", "_low", "_high", "_q")


def save_tables(
    folder: Path,
    shards: Sequence[Path],
    joint: SparseAutoencoder,
    norms: np.ndarray,
    noise: float,
    *,
    num_resamples: int,
    seed: int,
) -> tuple[pd.DataFrame, list[float]]:
    """Write features.parquet, examples.parquet and texts.parquet; the features, and each model's standard deviation.

    Effects are in standard deviations of their own model's rewards, since the models' units mean nothing to each other.

    Raises:
        DataError: One model gives no finite reward, or the same reward to every text.
    """
    texts = pd.concat([load_table(shard / "texts.parquet") for shard in shards], ignore_index=True)
    words = pd.concat([load_table(shard / "words.parquet") for shard in shards], ignore_index=True)
    table = _words(words.groupby(["feature", "word"])["count"].sum().reset_index())
    at = table["feature"].to_numpy(int)
    relative = relative_norm(norms)
    table = table.assign(
        relative=relative[at], norm_first=norms[at, 0], norm_second=norms[at, 1], cosine=cosines(joint.W_dec)[at]
    )
    table["class"] = classes(table["relative"].to_numpy(), noise)
    spreads = []
    for name in SIDES:
        scored = texts.rename(columns={f"reward_{name}": "reward"})
        good = scored["reward"][np.isfinite(scored["reward"])]
        if not len(good) or not good.std(ddof=0) > 0:
            raise DataError(
                f"the {name} model gives {'all texts one reward' if len(good) else 'no finite reward'}, so no feature has "
                "an effect to compare; check the model, or take other texts"
            )
        spreads.append(float(good.std(ddof=0)))
        found = summary(
            [shard / f"rows-{name}.parquet" for shard in shards], scored, num_resamples=num_resamples, seed=seed
        )
        found = found.set_index("feature").reindex(at)
        for end in _ENDS:
            scale = 1.0 if end == "_q" else spreads[-1]
            table[f"effect_{name}{end}"] = found[f"mean_effect{end}"].to_numpy(float) / scale
        if name == SIDES[0]:
            table["num_texts"] = found["num_texts"].fillna(0).to_numpy(int)
    save_table(table, folder / "features.parquet")
    save_table(texts, folder / "texts.parquet")
    examples = pd.concat([load_table(shard / "examples.parquet") for shard in shards], ignore_index=True)
    examples = examples.sort_values(["feature", "activation"], ascending=[True, False], kind="stable")
    examples = examples.groupby("feature").head(NUM_EXAMPLES).reset_index(drop=True)
    rows = pd.concat(
        [load_table(shard / "rows-first.parquet", columns=["text_id", "feature", "effect"]) for shard in shards]
    )
    examples = examples.merge(rows, on=["text_id", "feature"], how="left").merge(
        texts[["text_id", "pair_id", "side", "reward_first"]].rename(columns={"reward_first": "reward"}), on="text_id"
    )
    save_table(examples, folder / "examples.parquet")
    return table, spreads


def placed_rows(shards: Sequence[Path], folder: Path) -> None:
    """Every (text, feature) with its effect in either model, as the artifact keeps it."""
    (folder / "rows").mkdir()
    for name in SIDES:
        for number, shard in enumerate(shards):
            placed(shard / f"rows-{name}.parquet", folder / "rows" / f"{name}-{number:05d}.parquet")


def firing_rows(artifact: Artifact, side: str) -> pd.DataFrame:
    """text_id, feature, max_activation and effect of every text on which a feature fires, in one model."""
    names = [name for name in sorted(artifact.files) if name.startswith(f"rows/{side}-")]
    columns = ["text_id", "feature", "max_activation", "effect"]
    return pd.concat([load_table(artifact.path(name), columns=columns) for name in names], ignore_index=True)


def _words(counts: pd.DataFrame) -> pd.DataFrame:
    """One row per feature that fires: the words it fires on by log-odds, and the share of tokens on which it does."""
    base = counts[counts["feature"] == ANY].set_index("word")["count"]
    total = int(base.sum())
    rows: list[dict[str, Any]] = []
    for feature, own in counts[counts["feature"] != ANY].groupby("feature"):
        here = own["count"].to_numpy(int)
        scores = log_odds(here, int(here.sum()), base.loc[own["word"]].to_numpy(), total)
        best = top_words(scores, here, _NUM_WORDS)
        rows.append(
            {"feature": feature, "words": joined(own["word"].iloc[best].tolist()), "density": here.sum() / total}
        )
    return pd.DataFrame(rows, columns=["feature", "words", "density"])
