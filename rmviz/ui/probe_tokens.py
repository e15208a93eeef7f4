"""One-token replies: the rewards of all tokens, the highest and the lowest by the feature that decides them, the search."""

import zlib
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.probes import feature_colours, token_bars, token_histogram, visible
from rmviz.plots.tokens import escaped
from rmviz.ui import export, pickers, probe_item, probe_tables, style
from rmviz.ui.probe_tables import Probed
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import SIGN, counted, number, plain, shortened

NUM_ENDS = 25
MAX_ROWS = 20_000
TOKEN = "_probe-token"
"""Session key: id of the token that is open. The URL's `token` follows it."""

_SHOWN = {"all": "All", "ordinary": "Without special tokens", "special": "Special tokens"}


def tokens(probe: Probed) -> None:
    """Figures, ends and the searchable table."""
    table = probe_tables.table(probe.artifact, "tokens")
    info = probe.info
    _headline(probe, table)
    source = probe.artifact.id
    st.plotly_chart(token_histogram(table), key=f"tokens-{source}")
    st.caption(plain(caption("probe_tokens", n_tokens=int(info["num_tokens"]), seed=probe.seed, source=source)))
    known = table[np.isfinite(table["reward"]) & ~table["special"]]
    ends = known.head(NUM_ENDS), known.tail(NUM_ENDS).iloc[::-1]
    colours = feature_colours(pd.concat(ends)["feature"])
    for column, end, title in zip(st.columns(2), ends, ("Highest rewards", "Lowest rewards"), strict=True):
        figure = token_bars(end, colours, float(info["reward_mean"]), title)
        column.plotly_chart(figure, key=f"{title}-{source}")
    _legend(probe, colours)
    st.caption(plain(caption("probe_token_ends", n_tokens=2 * NUM_ENDS, source=source)))
    _search(probe, table)


def _headline(probe: Probed, table: pd.DataFrame) -> None:
    info = probe.info
    best, worst = (str(probe.artifact.metrics.get(name, "")) for name in ("best", "worst"))
    skipped = f"{info['num_too_long']:,} were too long" if info["num_too_long"] else ""
    st.html(
        style.figures(
            [
                ("tokens", f"{info['num_tokens']:,}", f"{info['num_special']:,} special"),
                ("prompts", f"{info['num_prompts']:,}", skipped or "rewards are averaged over them"),
                ("mean reward", number(info["reward_mean"], signed=True), f"sd {number(info['reward_std'])}"),
                ("highest", escaped(shortened(visible(best), 24)), number(table["reward"].max(), signed=True)),
                ("lowest", escaped(shortened(visible(worst), 24)), number(table["reward"].min(), signed=True)),
                ("tokens with effects", f"{info['num_explained']:,}", "highest and lowest"),
            ]
        )
    )
    with st.expander(f"{counted(len(info['prompts']), 'prompt')}: what the tokens answer"):
        for prompt in info["prompts"]:
            st.html(f'<div class="rm-text">{escaped(str(prompt)[:4000])}</div>')


def _legend(probe: Probed, colours: dict[int, str]) -> None:
    words = probe.words
    chips = "".join(
        f'<span class="rm-chip"><span style="color:{colour}">■</span> {feature} '
        f'<span class="muted">{escaped(shortened(words.get(feature, ""), 30))}</span></span>'
        for feature, colour in colours.items()
    )
    if chips:
        st.html(
            f'<div class="rm">{chips}<span class="rm-chip"><span class="muted">■</span> other features</span></div>'
        )


def _search(probe: Probed, table: pd.DataFrame) -> None:
    st.markdown("**All tokens**")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        query = st.text_input(
            "Search", key="token-q", bind="query-params", live=True, placeholder="part of a token, or feature:12",
            icon=":material/search:", width=300, label_visibility="collapsed",
        )  # fmt: skip
        kind = pickers.choice("Show", _SHOWN, "show", "all", label_visibility="collapsed")
    shown = matching(table, query or "", kind)
    if shown.empty:
        st.info("No token matches; search less.", icon=":material/search_off:")
        return
    words = probe.words
    listed = shown.head(MAX_ROWS)
    listed = listed.assign(
        shown=[visible(str(token)) for token in listed["token"]],
        feature=listed["feature"].where(listed["feature"] >= 0),
        fires=[words.get(int(feature), "") for feature in listed["feature"]],
    )
    ids = [int(token) for token in listed["token_id"]]
    key = f"tokens-{probe.artifact.id}-{zlib.crc32(repr((query, kind)).encode('utf-8', 'replace'))}"
    column = st.column_config
    left, right = st.columns([2, 1], gap="medium")
    with left:
        st.dataframe(
            listed, key=key, hide_index=True, lazy=False, height=420, selection_mode=ROW_CLICK,
            on_select=lambda: _choose(clicked(key, ids, st.session_state.get(TOKEN))),
            column_order=["rank", "shown", "reward", "z", "feature", "effect", "fires", "special", "token_id", "reward_low",
                          "reward_high"],
            column_config={
                "rank": column.NumberColumn("rank", width=64, format="%d"),
                "shown": column.TextColumn("token", width=120, help="· marks a space."),
                "reward": column.NumberColumn("reward", width=76, format="%+.4g", help="Mean over the prompts."),
                "z": column.NumberColumn("z", width=60, format="%+.2f", help="sd from the mean token."),
                "reward_low": column.NumberColumn("lowest", width=76, format="%+.3g", help="Over the prompts."),
                "reward_high": column.NumberColumn("highest", width=76, format="%+.3g", help="Over the prompts."),
                "feature": column.NumberColumn("feature", width=66, format="%d"),
                "effect": column.NumberColumn("effect", width=72, format="%+.3g", help=f"On that token alone. {SIGN}"),
                "fires": column.TextColumn("fires on", width=130),
                "special": column.CheckboxColumn("special", width=60),
                "token_id": column.NumberColumn("id", width=64, format="%d"),
            },
        )  # fmt: skip
        rest = f"; the first {MAX_ROWS:,} are listed" if len(shown) > MAX_ROWS else ""
        st.caption(f"{counted(len(shown), 'token')}{rest}, highest reward first. Effects are known of the ends only.")
        export.table_buttons(shown, f"{probe.artifact.name}-tokens", "probe-tokens")
    with right:
        _token(probe, table, ids)


def matching(table: pd.DataFrame, query: str, kind: str) -> pd.DataFrame:
    """Tokens that hold the words of a query, or that a feature decides (`feature:12`)."""
    shown = table if kind == "all" else table[table["special"] == (kind == "special")]
    wanted = query.strip()
    name, _, feature = wanted.partition(":")
    if name == "feature" and feature.strip().isdecimal():
        return shown[shown["feature"] == int(feature.strip()[:9])]
    return shown[shown["token"].str.casefold().str.contains(wanted.casefold(), regex=False)] if wanted else shown


def _choose(token: Any) -> None:
    st.session_state[TOKEN] = token


def _token(probe: Probed, table: pd.DataFrame, listed: list[int]) -> None:
    """The features that fire on one token, strongest first."""
    wanted = pickers.arrived("token")
    if wanted is not None and wanted.isdecimal():
        _choose(int(wanted[:9]))
    chosen = st.session_state.get(TOKEN)
    known = table.set_index("token_id")
    if chosen not in known.index:
        chosen = listed[0]
    pickers.keep_in_url("token", None if chosen == listed[0] else str(chosen))
    row = {str(name): value for name, value in known.loc[chosen].to_dict().items()}
    st.html(
        f'<div class="rm"><b>{escaped(visible(str(row["token"])))}</b> <span class="muted">reward '
        f"{number(float(row['reward']), signed=True)}, rank {int(row['rank']):,} of {len(table):,}</span></div>"
    )
    own = probe_tables.table(probe.artifact, "token_features")
    own = own[own["token_id"] == chosen]
    if own.empty:
        st.caption(
            "Its features were not ablated: it is not among the highest and lowest tokens, or nothing fires on it."
        )
        return
    words = probe.words
    lines = "".join(
        f'<tr><td class="num">{line["feature"]}</td><td>{escaped(words.get(int(line["feature"]), ""))}</td>'
        f'<td class="num"><span class="{style.sign_class(line["effect"])}">{number(line["effect"], signed=True)}</span></td></tr>'
        for line in own.to_dict("records")
    )
    st.html(
        f'<div class="rm"><table class="rm-table"><tr><th>feature</th><th>fires on</th><th>effect</th></tr>{lines}</table></div>'
    )
    probe_item.feature_link(probe, int(own["feature"].iloc[0]))
