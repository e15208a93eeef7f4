"""A crosscoder: which features both of its models have, which only one, what they do, and the texts that fire them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.crosscoder.norms import KIND, ranked
from rmviz.plots.captions import caption
from rmviz.plots.crosscoder import norm_effects, norm_histogram
from rmviz.plots.tokens import escaped, examples_html
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.ui import empty, export, pickers, router, style
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import SIGN, counted, interval, number, percent, plain, q_value

SHOWN = {"first": "Only first", "second": "Only second", "shared": "Shared"}
FEATURE = "_crosscoder-feature"
"""Session key: the feature that is open. The URL's `feature` follows it, and sets it when a link arrives."""


def of_pair(artifacts: Sequence[Artifact], first: str, second: str) -> Artifact | None:
    """The newest crosscoder on these two models, whichever of them comes first."""
    return next(
        (one for one in artifacts if one.metrics.get("what") == KIND and {first, second} <= set(one.parents)), None
    )


def missing(first: str, second: str, dataset: str) -> None:
    """Say that there is none of these models, and the command that trains one."""
    st.info(
        "There is no crosscoder on these two models. One dictionary for both tells which features only one of them has; "
        "they must share architecture, tokenizer and format.",
        icon=":material/lightbulb:",
    )
    words = ("train", "crosscoder", first, second, dataset)
    st.code(empty.command(router.workspace(), *words), language="bash", wrap_lines=True)


def view(artifact: Artifact) -> None:
    """Figures, the features of a class by |effect|, and the one that was clicked."""
    info, table = _information(artifact, artifact.id), _features(artifact, artifact.id)
    names = [str(model["name"]) for model in info["models"]]
    _headline(info, table, names)
    left, right = st.columns(2, gap="medium")
    source, seed = artifact.id, int(info["seed"])
    with left:
        figure = norm_histogram(table["relative"].tolist(), info["null"], info["bound"], *names)
        st.plotly_chart(figure, key=f"norms-{source}")
        st.caption(plain(caption("crosscoder_norms", n_features=len(table), seed=seed, source=source)))
    with right:
        st.plotly_chart(norm_effects(table, info["bound"], *names), key=f"norm-effects-{source}")
        words = caption("crosscoder_effects", n_features=len(table), n_texts=int(info["num_texts"]), source=source)
        st.caption(plain(words))
    show = pickers.choice("Show", SHOWN, "show", "first", label_visibility="collapsed")
    which = show if show == "shared" else f"only {show}"
    shown = ranked(table, which)
    if shown.empty:
        st.info(
            f"No feature is {which}: no relative norm lies beyond {number(0.5 + info['bound'])} or "
            f"{number(0.5 - info['bound'])} on that side.",
            icon=":material/search_off:",
        )
        return
    left, right = st.columns([7, 5], gap="medium")
    with left:
        _table(artifact, shown, show)
    with right:
        _chosen(artifact, table, names)


def _headline(info: dict[str, Any], table: pd.DataFrame, names: Sequence[str]) -> None:
    counts = table["class"].value_counts()
    noise, bound = info["noise"], info["bound"]
    items = [
        ("only first", f"{int(counts.get('only first', 0)):,}", escaped(names[0])),
        ("only second", f"{int(counts.get('only second', 0)):,}", escaped(names[1])),
        ("shared", f"{int(counts.get('shared', 0)):,}", "features"),
        ("hookpoint", escaped(str(info["hookpoint"])), "of both models"),
        ("noise of r", f"± {number(noise)}", f"n = {counted(info['null_num_features'], 'feature')} of one model twice"),
        ("exclusive beyond", f"½ ± {number(bound)}", "twice the noise, at least ⅙"),
    ]
    st.html(style.figures(items))
    if names[0] == names[1]:
        st.warning("Both models have the same name; the first is the one that was named first.")
    st.caption(
        "One dictionary for both models: a feature fires by both models' activations and has a decoder in each. Relative norm "
        "r = |A| / (|A| + |B|), each model's activations normalised apart. Only first: A's decoder is at least twice as long "
        "as B's, and by more than twice what chance makes of one model beside itself. "
        f"{plain(SIGN)} It is measured in each model alone, in standard deviations of its rewards."
    )


def _table(artifact: Artifact, shown: pd.DataFrame, show: str) -> None:
    features = shown["feature"].tolist()
    column = st.column_config
    effect = "Mean effect over all texts in the {} model, in standard deviations of its rewards. " + SIGN
    st.dataframe(
        shown,
        key=f"crosscoder-{artifact.id}-{show}",
        hide_index=True,
        height=min(34 * len(shown) + 42, 420),
        row_height=34,
        lazy=False,
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(
            clicked(f"crosscoder-{artifact.id}-{show}", features, st.session_state.get(FEATURE))
        ),
        column_order=["feature", "words", "relative", "effect_first", "effect_second", "cosine", "num_texts"],
        column_config={
            "feature": column.NumberColumn("id", width=52, format="%d", pinned=True),
            "words": column.TextColumn("fires on", width=200, help="By log-odds against all tokens."),
            "relative": column.NumberColumn("r", width=58, format="%.2f", help="1: only the first model's."),
            "effect_first": column.NumberColumn("effect 1", width=76, format="%+.3g", help=effect.format("first")),
            "effect_second": column.NumberColumn("effect 2", width=76, format="%+.3g", help=effect.format("second")),
            "cosine": column.NumberColumn(
                "cosine", width=66, format="%.2f", help="Of its two decoders, each in its model's own coordinates."
            ),
            "num_texts": column.NumberColumn("texts", width=60, format="%d", help="In which it fires."),
        },
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{counted(len(shown), 'feature')}, the largest effect first. Click a row for its texts.", width="content"
        )
        export.table_buttons(shown, f"{artifact.name}-{show}", f"crosscoder-{show}")


def _choose(feature: int | None) -> None:
    st.session_state[FEATURE] = feature


def _chosen(artifact: Artifact, table: pd.DataFrame, names: Sequence[str]) -> None:
    """The feature that is open: its effects with intervals, and the texts in which it fires most strongly."""
    known = table["feature"].tolist()
    wanted = pickers.arrived("feature")
    if wanted is not None:
        number_ = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else -1
        if number_ in known:
            _choose(number_)
        else:
            st.warning(f"This crosscoder has no feature “{plain(wanted[:40])}” that fires.")
    feature = st.session_state.get(FEATURE)
    if feature not in known:
        return
    pickers.keep_in_url("feature", str(feature))
    row = table.iloc[known.index(feature)]
    st.html(
        f'<div class="rm"><b>Feature {int(row["feature"])}</b> <span class="muted">{escaped(str(row["words"]))}</span></div>'
    )
    lines = []
    for side, name in zip(("first", "second"), names, strict=True):
        value = float(row[f"effect_{side}"])
        cells = (
            f'<span class="{style.sign_class(value)}">{number(value, signed=True)}</span>',
            interval(row[f"effect_{side}_low"], row[f"effect_{side}_high"]),
            q_value(row[f"effect_{side}_q"]),
            number(float(row[f"norm_{side}"])),
        )
        lines.append(
            f"<tr><td>{escaped(name)}</td>" + "".join(f'<td class="num">{cell}</td>' for cell in cells) + "</tr>"
        )
    head = "<tr><th>model</th><th>effect</th><th>95 % interval</th><th>q</th><th>|decoder|</th></tr>"
    fires = f"fires in {counted(int(row['num_texts']), 'text')}, on {percent(row['density'])} of tokens"
    facts = f"{fires}; below, effect and reward of the first model in its own units"
    st.html(
        f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table><span class="muted">{facts}</span></div>'
    )
    with st.container(height=360, border=False):
        st.html(
            f'<div class="rm-examples">{examples_html(_examples(artifact, artifact.id, int(row["feature"])), css=False)}</div>'
        )


@st.cache_data(max_entries=8, show_spinner=False)
def _information(_artifact: Artifact, artifact_id: str) -> dict[str, Any]:
    return _artifact.read_json("crosscoder.json")


@st.cache_data(max_entries=4, show_spinner="Reading the crosscoder")
def _features(_artifact: Artifact, artifact_id: str) -> pd.DataFrame:
    return load_table(_artifact.path("features.parquet"))


@st.cache_data(max_entries=64, show_spinner=False)
def _examples(_artifact: Artifact, artifact_id: str, feature: int) -> list[dict[str, Any]]:
    """The texts of a feature; effect and reward are the first model's."""
    rows = load_table(_artifact.path("examples.parquet"), filters=[("feature", "==", feature)])
    lists = ("tokens", "acts")
    return [
        {str(name): list(value) if name in lists else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]
