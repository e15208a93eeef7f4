"""What should not matter, ranked by what it costs: the spec check and the bias battery."""

from collections.abc import Sequence

import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.probes import gap_bars
from rmviz.ui import export, pickers, probe_item, probe_tables
from rmviz.ui.probe_tables import Probed
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import counted, plain

ITEM = "_probe-item"
"""Session key: the item that is open. The URL's `item` follows it."""

_MEANING = (
    "**matters**: the gap differs from 0 at a false discovery rate of 5 % and is at least {tolerance:g} sd of the rewards. "
    "**does not matter**: the whole interval is smaller than that. **open**: neither can be said with these texts. "
    "**no texts**: nothing could be compared. **not seen**: the model reads the same tokens with and without."
)


def ranking(probe: Probed) -> None:
    """The ranked items as a table and as bars; below, the item that is open."""
    table = probe_tables.table(probe.artifact, "verdicts")
    tolerance = float(probe.info["tolerance"])
    num_matter = int((table["verdict"] == "matters").sum())
    st.markdown(
        f"**{num_matter} of {len(table)} {'edits' if probe.what == 'bias' else 'items'} matter** to this reward model by "
        f"{tolerance:g} standard deviations of the rewards or more."
    )
    left, right = st.columns([13, 8], gap="medium")
    names = [str(name) for name in table["item"]]
    with left:
        _table(probe, names)
        st.caption(_MEANING.format(tolerance=tolerance))
        export.table_buttons(table, f"{probe.artifact.name}-verdicts", "probe-verdicts")
    with right:
        if table["gap"].notna().any():
            st.plotly_chart(gap_bars(table, probe.std, tolerance), key=f"gaps-{probe.artifact.id}")
        source, count = probe.artifact.id, int(table["num_texts"].sum())
        st.caption(plain(caption("probe_gaps", n_texts=count, seed=probe.seed, source=source)))
    chosen = _chosen(names)
    st.subheader(plain(chosen), anchor=False)
    row = table.iloc[names.index(chosen)]
    if int(row["num_texts"]):
        probe_item.item(probe, chosen)
    else:
        counts = probe.info["counts"][chosen]
        st.info(
            f"The model reads the same tokens with and without, in all {counted(counts['num_cut_away'], 'text')}: it cannot have "
            "this bias, or the edits stand in what is cut."
            if counts["num_cut_away"]
            else "No text could be compared: choose other words, more pairs, or another split.",
            icon=":material/search_off:",
        )


def _chosen(names: Sequence[str]) -> str:
    """The item that is open, from a click or a link; the first one else."""
    wanted = pickers.arrived("item")
    if wanted is not None:
        if wanted not in names:
            st.warning(f"This probe has no item “{plain(wanted[:80])}”; the first is shown.")
        st.session_state[ITEM] = wanted
    if st.session_state.get(ITEM) not in names:
        st.session_state[ITEM] = names[0]
    chosen = str(st.session_state[ITEM])
    pickers.keep_in_url("item", None if chosen == names[0] else chosen)
    return chosen


def _choose(item: str | None) -> None:
    st.session_state[ITEM] = item


def _table(probe: Probed, names: list[str]) -> None:
    table = probe_tables.table(probe.artifact, "verdicts")
    key = f"verdicts-{probe.artifact.id}"
    column = st.column_config
    extra = ["d_z", "words_added"] if probe.what == "bias" else []
    share = {
        "share": 100 * table["share"],
        "share_low": 100 * table["share_low"],
        "share_high": 100 * table["share_high"],
    }
    st.dataframe(
        table.assign(**share), key=key, hide_index=True, lazy=False, height=min(35 * (len(table) + 1) + 3, 580),
        selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, names, st.session_state.get(ITEM))),
        column_order=["rank", "item", "verdict", "gap_in_std", "gap", "q", *extra[:1], "share", "num_texts", *extra[1:],
                      "gap_low", "gap_high", "share_low", "share_high"],
        column_config={
            "rank": column.NumberColumn("", width=34, format="%d"),
            "item": column.TextColumn("edit" if probe.what == "bias" else "words", width=112),
            "verdict": column.TextColumn("verdict", width=104),
            "gap_in_std": column.NumberColumn("gap, sd", width=64, format="%+.2f", help="In sd of the rewards."),
            "gap": column.NumberColumn("gap", width=72, format="%+.3g", help="Reward with − reward without, mean."),
            "gap_low": column.NumberColumn("low", width=72, format="%+.3g"),
            "gap_high": column.NumberColumn("high", width=72, format="%+.3g"),
            "q": column.NumberColumn("q", width=52, format="%.3f", help="Benjamini–Hochberg, over these items."),
            "d_z": column.NumberColumn("d_z", width=54, format="%+.2f", help="Cohen's d of paired differences."),
            "share": column.NumberColumn("share", width=60, format="%.0f %%", help="Of the gap, carried by its features."),
            "share_low": column.NumberColumn("low ", width=56, format="%.0f %%"),
            "share_high": column.NumberColumn("high ", width=56, format="%.0f %%"),
            "num_texts": column.NumberColumn("texts", width=52, format="%d"),
            "words_added": column.NumberColumn("words", width=58, format="%+.1f", help="Words that the edit adds, mean."),
        },
    )  # fmt: skip
