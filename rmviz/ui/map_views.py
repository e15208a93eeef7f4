"""Views of a map beside its cells: how it came about, what its rows and columns say, and whether labels are right."""

import pandas as pd
import streamlit as st

from rmviz.plots import map_curves
from rmviz.plots import maps as plots
from rmviz.plots.confusion import confusion_cells
from rmviz.plots.tokens import escaped
from rmviz.qdaif.read import MapTables, cells_after
from rmviz.qdaif.sentences import confusion_sentence, lowest_sentence, p_value
from rmviz.store.artifact import Artifact
from rmviz.ui import export, map_figure, map_link, pickers
from rmviz.ui.words import counted, interval, number, plain

_AFTER = "map-after"


def history(artifact: Artifact, tables: MapTables) -> None:
    """The map as it was after any number of attempts, and the curves of the search beside its baselines."""
    value, by = map_figure.shown("then", "best")
    total = len(tables.attempts)
    count = _after(total)
    final, name = tables.filed(by), map_figure.VALUES[value]
    n, few = int(final["n"].iloc[0]), int(artifact.config.get("min_draws", 1))
    shown = cells_after(tables.attempts, tables.grid, count, by, n=n, min_draws=few)
    # the colours of the whole history are those of its end, so that a cell that stays keeps its colour
    scale = plots.common_scale([final[value].to_numpy(float)])
    left, right = st.columns([11, 10], gap="medium")
    with left:
        drawn = plots.map_cells(shown, value, scale)
        map_figure.heat_map(
            drawn, tables.grid, scale, f"history-{artifact.id}-{value}-{by}", unit=name.lower(),
            alt=f"{name} of every cell after {count:,} attempts",
        )  # fmt: skip
        filled = int(shown["draws"].gt(0).sum())
        st.caption(
            f"{name} after {counted(count, 'attempt')} of {total:,}: {filled} of {counted(len(shown), 'cell')} have poems. "
            f"Colours are those of the finished map. {plain(artifact.id)}."
        )
        export.table_buttons(shown, f"{artifact.name}-after-{count}", "map-history")
    with right:
        _curves(artifact, tables, count)


def _after(total: int) -> int:
    """How many attempts had been made, by the slider or by the URL."""
    wanted = pickers.arrived("after")
    if wanted is not None:
        fits = 1 <= map_link.whole_number(wanted) <= total
        if not fits:
            st.warning(f"The search made {total:,} attempts, so there is no map after “{plain(wanted[:60])}”.")
        st.session_state[_AFTER] = int(wanted) if fits else total
    st.session_state[_AFTER] = min(max(1, int(st.session_state.get(_AFTER, total))), total)
    if total == 1:
        return 1
    count = st.slider("After this many attempts", 1, total, key=_AFTER, help="The map as it was then.")
    pickers.keep_in_url("after", None if count == total else str(count))
    return int(count)


def _curves(artifact: Artifact, tables: MapTables, upto: int) -> None:
    bands = tables.bands
    methods = [method for method in map_curves.METHODS if method in set(bands["method"])]
    runs = int(bands["runs"].max())
    for measure in map_curves.MEASURES:
        points = map_curves.band_points(bands, measure)
        spec = map_curves.band_figure(
            methods, measure, upto=upto, legend=measure == "coverage" and len(methods) > 1, below=measure == "best"
        )
        st.vega_lite_chart(points, spec, key=f"band-{artifact.id}-{measure}")
    several = f"means over {runs} runs with 95 % bootstrap intervals" if runs > 1 else "one run, so without intervals"
    more = "" if len(methods) > 1 else " Baselines stand beside it when the search was run with `baselines`."
    offset = number(float(artifact.read_json("map.json")["qd_score_offset"]), signed=True)
    st.caption(
        f"Coverage: share of cells with an elite. QD score: sum over elites of the reward above {offset}. Each line: {several}, "
        f"from seed {plain(str(artifact.metrics.get('seed')))} on.{more}"
    )
    export.table_buttons(bands, f"{artifact.name}-curves", "map-curves")


def means(artifact: Artifact, tables: MapTables) -> None:
    """Whether a row or a column is the lowest: a sentence, a figure and the numbers for each axis."""
    for column, (side, some) in zip(st.columns(2, gap="large"), tables.means.groupby("side", sort=False), strict=False):
        with column:
            _axis_means(artifact, str(side), some)
    runs = len(artifact.read_json("map.json")["own_runs"])
    st.caption(
        f"Mean over cells of the expected best at n = {tables.n}, by the cell that the judge found, over {counted(runs, 'run')} "
        f"of the search; whiskers: 95 % bootstrap intervals over draws. p: how often chance alone would put a label that "
        f"low, when labels are shuffled within each line of the other axis; adjusted after Holm. {plain(artifact.id)}."
    )
    export.table_buttons(tables.means, f"{artifact.name}-means", "map-means")


def _axis_means(artifact: Artifact, side: str, some: pd.DataFrame) -> None:
    axis = str(some["axis"].iloc[0])
    st.markdown(f"#### {plain(axis[:1].upper() + axis[1:])}")
    st.markdown(f"**{plain(lowest_sentence(some))}**")
    points = map_curves.mean_points(some)
    figure = map_curves.mean_figure(points["label"].tolist(), axis)
    st.vega_lite_chart(points, figure, key=f"means-{artifact.id}-{side}")
    lines = [
        f"<tr><td><bdi>{escaped(str(row['label']))}</bdi></td><td>{number(row['mean'], signed=True)}</td>"
        f"<td>{interval(row['low'], row['high'])}</td><td>{row['num_cells']}</td>"
        + "".join(f"<td>{p_value(row[p]).removeprefix('= ')}</td>" for p in ("p_lowest", "p_adjusted"))
        + "</tr>"
        for row in points.to_dict("records")
    ]
    head = "<tr><th></th><th>mean</th><th>95 % interval</th><th>cells</th><th>p lowest</th><th>adjusted</th></tr>"
    st.html(f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table></div>')


def labels(artifact: Artifact, tables: MapTables) -> None:
    """How often the label asked for is the one that the judge found, by axis."""
    axes = tables.grid.axes
    for number_, (column, axis) in enumerate(zip(st.columns(2, gap="large"), axes, strict=False)):
        with column, st.container(key=f"rm-map-labels-{number_}"):
            st.markdown(f"#### {plain(axis.name[:1].upper() + axis.name[1:])}")
            st.markdown(f"**{plain(confusion_sentence(tables.confusion, axis.name))}**")
            counts, rows, columns = confusion_cells(tables.confusion, axis.name, axis.labels)
            scale = plots.Scale(low=0.0, high=1.0)
            spec = plots.map_figure(rows, columns, scale, names=("asked", "judged"), unit="share", clickable=False)
            st.vega_lite_chart(counts, spec, key=f"confusion-{artifact.id}-{axis.name}", width="content")
    judge = plain(str(artifact.config.get("judge", "")))
    st.caption(
        f"Each row: where the poems asked for with a label landed, as shares of the row; n: poems. Judge: {judge}. "
        f"Empty texts and refusals are left out. {plain(artifact.id)}."
    )
    export.table_buttons(tables.confusion, f"{artifact.name}-labels", "map-labels")
