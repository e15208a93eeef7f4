"""What single features do to pair accuracy, from their exact effects; and what an SAE's splice does. Pure tables."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from rmviz.compare.statistics import accuracy_difference, changed, mcnemar
from rmviz.estimates import NOTHING, Estimate, accuracy


def accuracy_effects(texts: pd.DataFrame, rows: Iterable[pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Pair accuracy with each feature − without it, for every feature that fires on a pair.

    The margin without a feature is margin − effect on the chosen text + effect on the rejected one: exact, since the effects
    are. Pairs with a text that could not be scored are left out.

    Args:
        texts: text_id, pair_id, side, reward of every scanned text.
        rows: Parts of the rows text_id, feature, effect; a text may stand in one part only.
        seed: Seed of the bootstrap over pairs.

    Returns:
        feature, effect (of accuracy, −1 to 1), low, high, p (exact McNemar test of righted against wronged pairs), q
        (Benjamini–Hochberg over all features that fire), num_righted (pairs that the feature makes right), num_wronged,
        num_ties (pairs that become or stop being ties), num_pairs (n), num_firing (pairs on which it fires); largest |effect|
        first, then by how many pairs it moves.
    """
    scored = texts[np.isfinite(texts["reward"]) & texts["side"].isin(["chosen", "rejected"])]
    sign = scored["side"].map({"chosen": 1.0, "rejected": -1.0}).to_numpy(float)
    pairs = pd.DataFrame({"pair": scored["pair_id"], "sign": sign, "margin": sign * scored["reward"].to_numpy(float)})
    whole = pairs.groupby("pair", sort=False).agg(n=("sign", "size"), balance=("sign", "sum"), margin=("margin", "sum"))
    margin = whole.loc[(whole["n"] == 2) & (whole["balance"] == 0), "margin"]
    place = pd.Series(np.arange(len(margin)), index=margin.index)
    of_text = pd.DataFrame({"text_id": scored["text_id"], "at": scored["pair_id"].map(place), "sign": sign}).dropna()
    of_text = of_text.set_index("text_id")
    parts = []
    for part in rows:
        known = part[part["text_id"].isin(of_text.index)]
        own = of_text.loc[known["text_id"]]
        moved = own["sign"].to_numpy() * known["effect"].to_numpy(float)
        parts.append(
            pd.DataFrame({"feature": known["feature"].to_numpy(), "at": own["at"].to_numpy(int), "moved": moved})
        )
    columns = [
        "feature",
        "effect",
        "low",
        "high",
        "p",
        "q",
        "num_righted",
        "num_wronged",
        "num_ties",
        "num_pairs",
        "num_firing",
    ]
    if not parts or not len(margin):
        return pd.DataFrame(columns=columns)
    effects = pd.concat(parts, ignore_index=True).groupby(["feature", "at"])["moved"].sum().reset_index()
    values = margin.to_numpy(float)
    lines: list[dict[str, Any]] = []
    for feature, own in effects.groupby("feature"):
        without = values.copy()
        without[own["at"].to_numpy()] -= own["moved"].to_numpy()
        found = accuracy_difference(without, values, seed)
        before, after = np.sign(without), np.sign(values)
        lines.append(
            {"feature": int(feature), "effect": found.value, "low": found.low, "high": found.high,  # type: ignore[arg-type]
             "num_righted": int(((before < 0) & (after > 0)).sum()), "num_wronged": int(((before > 0) & (after < 0)).sum()),
             "num_ties": int(((before == 0) != (after == 0)).sum()), "num_pairs": found.n, "num_firing": len(own)}
        )  # fmt: skip
    table = pd.DataFrame(lines)
    p = mcnemar(table["num_righted"].to_numpy(), table["num_wronged"].to_numpy())
    table = table.assign(p=p, q=false_discovery_control(p))[columns]
    size = table["num_righted"] + table["num_wronged"] + table["num_ties"]
    return table.iloc[np.lexsort((-size.to_numpy(), -table["effect"].abs().to_numpy()))].reset_index(drop=True)


def clean_accuracy(texts: pd.DataFrame) -> Estimate:
    """Pair accuracy of the scanned pairs as they are."""
    sides = texts.pivot_table(index="pair_id", columns="side", values="reward", aggfunc="first")
    if not {"chosen", "rejected"} <= set(sides):
        return NOTHING
    return accuracy((sides["chosen"] - sides["rejected"]).to_numpy(float))


def splice_change(card: Mapping[str, Any], seed: int = 0) -> Estimate:
    """Accuracy with an SAE's reconstruction in place of the residual − accuracy without, on the pairs of its report card.

    Cards of older SAEs do not say how many pairs changed side; then the interval is not known.
    """
    before, after = card.get("clean_pair_accuracy"), card.get("splice_pair_accuracy")
    if before is None or after is None:
        return NOTHING
    counts = card.get("splice_steps")
    if not counts:
        return Estimate(after - before, np.nan, np.nan, int(card.get("num_pairs") or 0))
    return changed(np.asarray(counts, int), seed)
