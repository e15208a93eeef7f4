"""Replies over time: the same prompts at every look, to be read side by side."""

import zlib

import pandas as pd
import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import diff, export, links, pickers, policy_tables, style
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import counted, number, plain, shortened

ORDERS = {
    "text": "As asked", "reward": "Proxy rose most", "reward-down": "Proxy fell most", "gold-down": "Gold fell most",
    "gap": "Proxy above gold", "kl": "Furthest from the start", "length": "Grew longest",
}  # fmt: skip
"""Orders of the prompts; a gap and a change are of the last look."""

MARKS = {"before": "Words new since the look before", "first": "Words new since the first look", "none": "No marks"}
PROMPT = "_policy-prompt"
"""Session key: the prompt that is open, by its place."""

PER_PAGE = 25
_SIDE_BY_SIDE = 3
_GAP = (
    "Proxy − gold at the last look, each in standard deviations over all replies of the run: high where they disagree."
)


def samples(artifact: Artifact) -> None:
    """The list of prompts, and every reply to the one that is open."""
    table = policy_tables.changes(artifact)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        orders = {name: title for name, title in ORDERS.items() if name.split("-")[0] in table}
        order = pickers.choice("Order", orders, "order", "text", label_visibility="collapsed")
        query = st.text_input(
            "Search", key="policy-q", bind="query-params", live=True, placeholder="words in a prompt or a reply",
            icon=":material/search:", width=260, label_visibility="collapsed",
        )  # fmt: skip
    shown = ordered(matching(artifact, table, query or ""), order)
    if shown.empty:
        st.info("No prompt and no reply matches; search less.", icon=":material/search_off:")
        return
    pages = -(-len(shown) // PER_PAGE)
    stamp = zlib.crc32(repr((artifact.id, order, query)).encode())
    left, right = st.columns([6, 8], gap="medium")
    with left:
        page = min(st.pagination(pages, key=f"policy-page-{stamp}"), pages) if pages > 1 else 1
        chosen = _list(shown.iloc[(page - 1) * PER_PAGE : page * PER_PAGE], f"{stamp}-{page}", table)
        export.table_buttons(policy_tables.samples(artifact), f"{artifact.name}-replies", "policy-replies")
    with right:
        replies(artifact, chosen)


def matching(artifact: Artifact, table: pd.DataFrame, query: str) -> pd.DataFrame:
    """The prompts that hold every word of a search, in themselves or in a reply to them."""
    words = query.casefold().split()
    if not words:
        return table
    every = policy_tables.samples(artifact)
    texts: dict[int, str] = {}
    for text, prompt, reply in zip(every["text"], every["prompt"], every["reply"], strict=True):
        texts[int(text)] = f"{texts.get(int(text), prompt)}\n{reply}"
    found = [text for text, whole in texts.items() if all(word in whole.casefold() for word in words)]
    return table[table["text"].isin(found)]


def ordered(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Prompts in one of `ORDERS`."""
    name, _, down = order.partition("-")
    name = name if name in table else "text"
    up = bool(down) or name == "text"
    return table.sort_values(name, ascending=up, kind="stable", ignore_index=True)


def _list(shown: pd.DataFrame, stamp: str, table: pd.DataFrame) -> int:
    """The prompts of one page; the place of the one that is open."""
    ids = [int(text) for text in shown["text"]]
    wanted = pickers.arrived("prompt")
    if wanted is not None:
        if wanted.isdecimal() and int(wanted[:9]) in set(table["text"]):
            st.session_state[PROMPT] = int(wanted[:9])
        else:
            st.warning(f"This run has no prompt “{plain(wanted[:40])}”; it counts them from 0 to {len(table) - 1}.")
    column, key = st.column_config, f"policy-prompts-{stamp}"
    moves = {"reward": "proxy", "gold": "gold", "gap": "gap", "kl": "KL", "length": "length"}
    st.dataframe(
        shown.assign(prompt=[shortened(text, 160) for text in shown["prompt"]]),
        key=key, hide_index=True, lazy=False, height=min(35 * len(shown) + 38, 620), selection_mode=ROW_CLICK,
        on_select=lambda: _open(clicked(key, ids, st.session_state.get(PROMPT))),
        column_order=["prompt", *(name for name in moves if name in shown)],
        column_config={
            "prompt": column.TextColumn("prompt", width=150),
            **{
                name: column.NumberColumn(
                    title, width=58, format="%+.3g", help=_GAP if name == "gap" else f"{title}: last look − first look."
                )
                for name, title in moves.items()
            },
        },
    )  # fmt: skip
    st.caption(f"{counted(len(table), 'prompt')}. Figures are last look − first look. Click a row to read its replies.")
    chosen = st.session_state.get(PROMPT)
    chosen = int(str(chosen)) if chosen in set(table["text"]) else ids[0]
    pickers.keep_in_url("prompt", str(chosen))
    return chosen


def _open(text: int | None) -> None:
    st.session_state[PROMPT] = text


def replies(artifact: Artifact, text: int) -> None:
    """The replies to one prompt at the chosen looks, with their figures; what is new is marked."""
    every = policy_tables.samples(artifact)
    own = every[every["text"] == text].reset_index(drop=True)
    at = [int(step) for step in own["step"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        marks = pickers.choice("Marks", MARKS, "marks", "before", label_visibility="collapsed")
    picked = st.multiselect(
        "Looks", at, default=_some(at), format_func=lambda step: f"step {step:,}", key=f"policy-looks-{artifact.id}",
        persist_state="session",
    )  # fmt: skip
    looks = sorted(picked) or _some(at)
    st.html(f'<div class="rm-text"><span class="prompt">{escaped(str(own["prompt"].iloc[0]))}</span></div>')
    rows = [own.iloc[at.index(step)] for step in looks]
    for start in range(0, len(rows), _SIDE_BY_SIDE):
        for box, place in zip(
            st.columns(_SIDE_BY_SIDE), range(start, min(start + _SIDE_BY_SIDE, len(rows))), strict=False
        ):
            other = {"before": rows[place - 1] if place else None, "first": rows[0] if place else None}.get(marks)
            box.html(_reply(rows[place], None if other is None else str(other["reply"])))
    first, last = str(rows[0]["reply"]), str(rows[-1]["reply"])
    reward = str(artifact.config.get("reward") or "")
    if reward.startswith("reward-model-"):
        links.playground(
            str(own["prompt"].iloc[0]), first, last, reward, "First and last of these in the Playground",
            sae=str(artifact.config.get("sae") or ""),
        )  # fmt: skip


def _some(at: list[int]) -> list[int]:
    """First, middle and last look."""
    return sorted({at[0], at[len(at) // 2], at[-1]})


def _reply(row: pd.Series, other: str | None) -> str:
    """HTML of one reply over its figures; all text is escaped."""
    names = {"reward": "proxy", "gold": "gold", "kl": "KL", "length": "tokens"}
    told = [
        f'{title} <b class="{style.sign_class(float(row[name])) if name in ("reward", "gold") else ""}">'
        f"{number(float(row[name]), signed=name in ('reward', 'gold'))}</b>"
        for name, title in names.items()
        if name in row and pd.notna(row[name])
    ]
    told += [] if "ended" not in row or bool(row["ended"]) else ["cut"]
    text = str(row["reply"])
    marked = escaped(text) if other is None else diff.marked_difference(text, other)
    body = marked if text.strip() else "<i>(empty)</i>"
    head = f'<div class="rm"><b>step {int(row["step"]):,}</b> <span class="muted">{" · ".join(told)}</span></div>'
    return f'{head}<div class="rm-text">{body}</div>'
