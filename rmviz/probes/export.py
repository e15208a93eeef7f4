"""A probe as a page that stands alone: it can be handed to the makers of the reward model. Every text is escaped."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.errors import ConfigError
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

_EXAMPLES, _FEATURES, _ENDS = 3, 8, 40
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#212529}"
    "pre{white-space:pre-wrap;border-left:3px solid #ced4da;padding-left:.8rem;margin:.4rem 0;font:inherit}"
    "table{border-collapse:collapse}td,th{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #e9ecef}"
    "td:first-child,th:first-child{text-align:left}small{color:#6c757d}.matters{color:#c92a2a;font-weight:600}"
)
_SIGN = (
    "Gap: reward of a reply with the words (or the edit) − reward of the same reply without; positive: they raise the reward. Intervals "
    "are 95 % bootstrap intervals over pairs. Share: what is gone of the gap when features are ablated together; "
    "they were chosen on the other half of the pairs."
)
_CHOSEN = (
    " What one feature carries, its interval and q (of the features chosen) come from the half that did not choose it."
)


def export(artifact: Artifact, to: Path) -> None:
    """Write a probe as one `.html` file.

    Raises:
        ConfigError: The ending is another, or the file cannot be written.
    """
    if artifact.metrics.get("what") == "margins":
        raise ConfigError("margins are not written as a page; the Margins page exports their tables")
    if to.suffix.lower() != ".html":
        raise ConfigError(f"a probe is written as .html, got {to.suffix or 'no ending'!r}")
    try:
        to.write_text(page(artifact), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write {to}: {error.strerror or error}; choose a file in a folder you can write to"
        ) from error


def page(artifact: Artifact) -> str:
    """The page: what was asked, the answer, through which features, on which texts."""
    info = artifact.read_json("probe.json")
    if info["what"] == "tokens":
        return _page(artifact, _tokens(artifact, info), _origin(artifact, info))
    cases, features = (load_table(artifact.path(f"{name}.parquet")) for name in ("cases", "features"))
    if info["what"] in ("spec", "bias"):
        table = load_table(artifact.path("verdicts.parquet")).sort_values("rank")
        lead = "<p>What should not matter, and whether it does; the gravest first.</p>" + _verdicts(table)
        items = table.loc[table["num_texts"] > 0, "item"].tolist()
    else:
        lead, items = _answer(info), [info["topic"]]
    sections = "".join(_section(str(item), info["counts"][item], cases, features) for item in items)
    sign = _SIGN + (_CHOSEN if info["what"] == "bias" else "")
    return _page(artifact, f"{lead}<p><small>{sign}</small></p>{sections}", _origin(artifact, info))


def _page(artifact: Artifact, body: str, origin: str) -> str:
    title = escape(artifact.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>{body}"
        f"<p><small>{origin}</small></p></body></html>\n"
    )


def _tokens(artifact: Artifact, info: dict[str, Any]) -> str:
    """The highest and the lowest tokens of a vocabulary, beside the feature that decides each."""
    table = load_table(artifact.path("tokens.parquet"))
    known = table[np.isfinite(table["reward"]) & ~table["special"]]
    prompts = "".join(f"<pre>{escape(str(prompt))}</pre>" for prompt in info["prompts"])
    parts = [
        f"<p>Every token of the vocabulary as the whole reply, n = {info['num_tokens']} tokens ({info['num_special']} special), "
        f"mean reward {_number(info['reward_mean'])}, standard deviation {_number(info['reward_std'])}; the mean over "
        f"{info['num_prompts']} prompts:</p>{prompts}<p>Effect = reward with the feature − reward without it, ablated on that token "
        "alone; the feature with the largest |effect| is named.</p>"
    ]
    for title, some in (("Highest", known.head(_ENDS)), ("Lowest", known.tail(_ENDS).iloc[::-1])):
        rows = "".join(
            f"<tr><td>{escape(repr(str(one['token'])))}</td><td>{one['rank']}</td><td>{_number(one['reward'])}</td>"
            f"<td>{_number(one['z'])}</td><td>{one['feature'] if one['feature'] >= 0 else '–'}</td>"
            f"<td>{_number(one['effect'])}</td></tr>"
            for one in some.to_dict("records")
        )
        head = "<th>token</th><th>rank</th><th>reward</th><th>z</th><th>feature</th><th>effect</th>"
        parts.append(f"<h2>{title} rewards</h2><table><tr>{head}</tr>{rows}</table>")
    return "".join(parts)


def _verdicts(table: pd.DataFrame) -> str:
    rows = "".join(
        f"<tr><td>{escape(str(one.item))}{_says(one)}</td><td{' class=matters' if one.verdict == 'matters' else ''}>"
        f"{escape(str(one.verdict))}</td><td>{_number(one.gap)}</td><td>{_interval(one.gap_low, one.gap_high)}</td>"
        f"<td>{_number(one.gap_in_std)}</td><td>{_number(one.q)}</td><td>{_number(one.share)}</td>"
        f"<td>{_interval(one.share_low, one.share_high)}</td><td>{one.num_texts}</td></tr>"
        for one in table.itertuples()
    )
    return (
        "<table><tr><th>words</th><th>verdict</th><th>mean gap</th><th>interval</th><th>in standard deviations</th><th>q</th>"
        f"<th>share of its features</th><th>interval</th><th>texts</th></tr>{rows}</table>"
    )


def _says(one: Any) -> str:
    """What an edit does, where the table says it."""
    return f"<br><small>{escape(str(one.says))}</small>" if hasattr(one, "says") else ""


def _answer(info: dict[str, Any]) -> str:
    gap = f"{_number(info['gap'])} ({_interval(info['gap_low'], info['gap_high'])})"
    lines = [
        f"Mean gap between replies that speak of {escape(info['topic'])} and the same replies in other words: {gap}, "
        f"n = {info['num_texts']} texts of {info['num_units']} pairs.",
        f"With its features off {_number(info.get('remaining'))} of it remains, so they carry "
        f"{_number(info.get('share'))} ({_interval(info.get('share_low'), info.get('share_high'))}) of it; the features of "
        f"{escape(info['control']) or 'a control topic'} carry {_number(info['control_share'])}.",
        f"The two wordings are alike by {_number(info['similarity_mean'])} on average, at least "
        f"{_number(info['similarity_min'])} ({escape(str(info.get('similarity', 'share of the words that stays')))}).",
    ]
    return "".join(f"<p>{line}</p>" for line in lines)


def _section(item: str, counts: dict[str, int], cases: pd.DataFrame, features: pd.DataFrame) -> str:
    own = cases[(cases["item"] == item) & cases["gap"].notna()]
    shown = own.reindex(own["gap"].abs().sort_values(ascending=False, kind="stable").index).head(_EXAMPLES)
    examples = "".join(
        f"<p>Gap {_number(one.gap)}, alike by {_number(one.similarity)} <small>{escape(str(one.text_id))}"
        f"</small></p><pre>{escape(str(one.prompt))}</pre><pre>{escape(str(one.with_words))}</pre>"
        f"<pre>{escape(str(one.without_words))}</pre>"
        for one in shown.itertuples()
    )
    rows = "".join(
        f"<tr><td>{one.feature}</td><td>{escape(str(one.token))}</td><td>{_number(one.carried)}</td>"
        f"<td>{_interval(one.carried_low, one.carried_high)}</td><td>{_number(one.q)}</td><td>{one.num_texts}</td></tr>"
        for one in features[features["item"] == item].head(_FEATURES).itertuples()
    )
    left_out = ", ".join(
        f"{count} {name.removeprefix('num_').replace('_', ' ')}"
        for name, count in counts.items()
        if name != "num_holding"
    )
    return (
        f"<h2>{escape(item)}</h2><p>{counts['num_holding']} replies were looked at or hold the words; left out: {left_out}.</p>"
        "<table><tr><th>feature</th><th>fires first on</th><th>carried of the gap</th><th>interval</th><th>q</th><th>texts</th>"
        f"</tr>{rows}</table><h3>Largest gaps: prompt, reply, and the reply without</h3>{examples}"
    )


def _origin(artifact: Artifact, info: dict[str, Any]) -> str:
    seed = artifact.config.get("seed", 0)
    parts = (
        artifact.id,
        info["model"],
        info["sae"],
        info["hookpoint"],
        info["dataset"],
        f"seed {seed}",
        info["method"],
    )
    return escape(" · ".join(map(str, parts)))


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) and np.isfinite(value) else "–"


def _interval(low: Any, high: Any) -> str:
    return f"{_number(low)} to {_number(high)}"
