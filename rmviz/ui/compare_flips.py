"""The pairs that changed side, those that moved furthest first; both texts are one click away."""

import zlib

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.ui import compare_tables, diff, export, pickers, router, style
from rmviz.ui.compare_tables import Compared
from rmviz.ui.edited import MAX_LINK
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import counted, number, plain, shortened

CHANGES = {"all": "All", "gained": "Gained", "lost": "Lost"}
MAX_ROWS = 5000
PAIR = "_compared-pair"
"""Session key: the pair that is open. The URL's `pair` follows it, and sets it when a link arrives."""

_EXCERPT = 160


def flips(compared: Compared) -> None:
    """The list of flips, and below it the pair that was clicked."""
    table = compare_tables.flips(compared)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        change = pickers.choice("Change", CHANGES, "change", "all", label_visibility="collapsed")
        query = st.text_input(
            "Search", key="flip-q", bind="query-params", live=True, placeholder="words in a prompt or a reply",
            icon=":material/search:", width=260, label_visibility="collapsed",
        )  # fmt: skip
    shown = table if change == "all" else table[table["change"] == change]
    for word in (query or "").casefold().split():
        texts = shown["prompt"] + "\n" + shown["chosen"] + "\n" + shown["rejected"]
        shown = shown[texts.str.casefold().str.contains(word, regex=False)]
    if shown.empty:
        why = (
            "No pair changed side from the first model to the second."
            if table.empty
            else "No flip matches; search less."
        )
        st.info(why, icon=":material/search_off:")
    else:
        _table(compared, shown)
    if shown.empty and table.empty:
        return
    chosen_pair(compared, "Click a row to read both texts.")


def choose(pair_id: str | None) -> None:
    """Open a pair."""
    st.session_state[PAIR] = pair_id


def chosen_pair(compared: Compared, otherwise: str) -> None:
    """The pair that is open, from a click or from a link; a hint where there is none."""
    pairs = compare_tables.pairs(compared.artifact)
    ids = pairs["pair_id"].tolist()
    wanted = pickers.arrived("pair")
    if wanted is not None:
        if wanted in ids:
            choose(wanted)
        else:
            st.warning(f"This comparison has no pair “{plain(wanted[:80])}”.")
    pair_id = st.session_state.get(PAIR)
    if pair_id not in ids:
        st.caption(otherwise)
        return
    pickers.keep_in_url("pair", str(pair_id))
    _pair(compared, pairs, ids.index(pair_id))


def _table(compared: Compared, shown: pd.DataFrame) -> None:
    listed = shown.head(MAX_ROWS)
    excerpts = {name: [shortened(text, _EXCERPT) for text in listed[name]] for name in ("prompt", "chosen", "rejected")}
    ids = listed["pair_id"].tolist()
    # positions mean other pairs when the filter changes
    key = f"flips-{compared.artifact.id}-{zlib.crc32(repr(ids).encode())}"
    column = st.column_config
    st.dataframe(
        listed.assign(**excerpts),
        key=key,
        hide_index=True,
        height=min(34 * len(listed) + 42, 360),
        row_height=34,
        lazy=False,
        selection_mode=ROW_CLICK,
        on_select=lambda: choose(clicked(key, ids, st.session_state.get(PAIR))),
        column_order=["change", "moved", "margin_first", "margin_second", "prompt", "chosen", "rejected", "pair_id"],
        column_config={
            "change": column.TextColumn(
                "change", width=76, help="gained: the second model ranks it as people did. lost: the first did."
            ),
            "moved": column.NumberColumn("moved", width=76, format="%+.2f", help="Second − first margin."),
            "margin_first": column.NumberColumn("first", width=76, format="%+.2f", help="Margin of the first model."),
            "margin_second": column.NumberColumn(
                "second", width=76, format="%+.2f", help="Margin of the second model."
            ),
            "prompt": column.TextColumn("prompt", width=220),
            "chosen": column.TextColumn("chosen reply", width=240),
            "rejected": column.TextColumn("rejected reply", width=240),
        },
    )
    rest = f"; the first {MAX_ROWS:,} are listed" if len(shown) > MAX_ROWS else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{counted(len(shown), 'pair')}{rest}, those that moved furthest first. Margin = chosen − rejected reward, in "
            "standard deviations of each model's rewards; below 0, the model disagrees with people.",
            width="content",
        )
        export.table_buttons(shown, f"{compared.artifact.name}-flips", "flips")


def _pair(compared: Compared, pairs: pd.DataFrame, place: int) -> None:
    """Both texts with what differs marked, and what every model says of them."""
    prompt, chosen, rejected = (str(pairs[name].iloc[place]) for name in ("prompt", "chosen", "rejected"))
    st.html(f"<h4 style='margin:.4rem 0 0'>{escaped(str(pairs['pair_id'].iloc[place]))}</h4>")
    _playground_link(compared, prompt, chosen, rejected)
    z, rank = (compare_tables.values(compared.artifact, name)[:, place] for name in ("z", "rank"))
    lines = []
    for model in dict.fromkeys([compared.first, compared.second, *range(compared.num_models)]):
        margin = z[model, 0] - z[model, 1]
        verdict = (
            "as people did" if margin > 0 else "tie" if margin == 0 else "wrong" if np.isfinite(margin) else "no number"
        )
        cells = [
            f"{number(z[model, side], signed=True)} <span class='muted'>rank {number(rank[model, side])}</span>"
            for side in (0, 1)
        ]
        cells.append(f'<span class="{style.sign_class(margin)}">{number(margin, signed=True)}</span>')
        lines.append(
            f"<tr><td>{escaped(compared.names[model])}</td>"
            + "".join(f'<td class="num">{cell}</td>' for cell in cells)
            + f"<td>{verdict}</td></tr>"
        )
    head = "<tr><th>model</th><th>chosen, z</th><th>rejected, z</th><th>margin, z</th><th>ranked</th></tr>"
    st.html(f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table></div>')
    for column, name, own, other in zip(
        st.columns(2), ("chosen", "rejected"), (chosen, rejected), (rejected, chosen), strict=True
    ):
        box = diff.text_box(prompt, diff.marked_difference(own, other))
        column.html(f'<div class="rm"><b>{name}</b></div>{box}')


def _playground_link(compared: Compared, prompt: str, chosen: str, rejected: str) -> None:
    if len(prompt) + len(chosen) + len(rejected) > MAX_LINK:
        st.caption("Too long for a link to the Playground; copy the texts there.")
        return
    model = str(compared.info["models"][compared.second]["id"])
    texts = {"prompt": prompt, "a": chosen, "b": rejected, "mode": "pair", "model": model}
    params = {name: text for name, text in texts.items() if text}
    router.page_link("playground", "Open in the Playground with the second model", params, ":material/tune:")
