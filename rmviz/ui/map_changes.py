"""Difference maps and ablated maps: three panels with a sentence each, and the poems of a cell with both rewards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.configs.axes import Grid
from rmviz.plots import maps as plots
from rmviz.plots.poems import place, rescored_html
from rmviz.plots.tokens import escaped
from rmviz.qdaif.read import grid_from
from rmviz.qdaif.sentences import change_sentence, ends_sentence
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, empty, export, map_figure, map_link, pickers, router
from rmviz.ui.words import SIGN, counted, plain

PAGE = 5
_SD = "standard deviations"


@dataclass(frozen=True)
class Panel:
    """One of three heat maps: the figure of its cells, its title, and what it says."""

    column: str
    title: str
    sentence: str
    unit: str = _SD
    diverging: bool = True


def changes(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """The comparison that is chosen among those of this map."""
    found = [one for one in artifacts if one.kind == "comparison" and artifact.id in one.parents]
    if not found:
        _nothing(artifact)
        return
    chosen = pickers.artifact_picker("Comparison", found, "comparison", help="What was scored again, newest first.")
    assert chosen is not None, "there is at least one"
    info, cells, poems = cached.comparison(chosen)
    names = {one.id: one.name for one in artifacts}
    grid = grid_from(info["axes"])
    panels = ablation_panels(info, cells) if info["what"] == "ablation" else difference_panels(info, cells, names)
    worth = cells[panels[-1].column].abs()
    cell = map_link.take_cell(grid, worth)
    _panels(chosen, grid, cells, panels, cell)
    st.caption(plain(_rests(chosen, info, names)) + "  \n**Click a cell** of any panel to read its poems.")
    export.table_buttons(cells, f"{chosen.name}-cells", "comparison-cells")
    _poems(chosen, info, poems, grid, cell, names)


def difference_panels(info: dict[str, Any], cells: pd.DataFrame, names: dict[str, str]) -> list[Panel]:
    """What two reward models make of the same poems, and what two searches found."""
    first, second = (shorter(names.get(info[f"model_{side}"], side)) for side in "ab")
    changed = Panel(
        "model_changed", "The model changed",
        change_sentence(cells, "model_changed", f"On the same poems, {second} − {first}", _SD),
    )  # fmt: skip
    if not info.get("other_map"):
        return [
            Panel("a", first, ends_sentence(cells, "a", f"Mean of the poems as {first} sees them")),
            Panel("b", second, ends_sentence(cells, "b", f"Mean of the poems as {second} sees them")),
            changed,
        ]
    return [
        changed,
        Panel("search_changed", "The search changed", change_sentence(
            cells, "search_changed", "The second search's elite − the first's, valued by the mean of both models", _SD)),
        Panel("own_changed", "Both together", change_sentence(
            cells, "own_changed", f"The second elite as {second} sees it − the first as {first} sees it", _SD)),
    ]  # fmt: skip


def ablation_panels(info: dict[str, Any], cells: pd.DataFrame) -> list[Panel]:
    """The best of each cell with the features and without, and what the features pay."""
    features = ", ".join(map(str, info["features"]))
    return [
        Panel("best", "With the features", ends_sentence(cells, "best", "Best reward as it is"), "reward", False),
        Panel("best_ablated", "Without", ends_sentence(cells, "best_ablated", f"Best reward without {features}"), "reward", False),
        Panel("effect", "What the features pay", change_sentence(
            cells, "effect", f"Mean effect of {shorter(features)} on the poems of a cell", "of reward"), "effect on the reward"),
    ]  # fmt: skip


def shorter(name: str) -> str:
    """A name that fits into a sentence."""
    return name if len(name) <= 40 else f"{name[:39]}…"


def _panels(chosen: Artifact, grid: Grid, cells: pd.DataFrame, panels: Sequence[Panel], cell: int) -> None:
    scales = {
        diverging: plots.common_scale(
            [cells[p.column].to_numpy(float) for p in panels if p.diverging == diverging], diverging=diverging
        )
        for diverging in (False, True)
    }
    for column, panel in zip(st.columns(3, gap="medium"), panels, strict=True):
        with column:
            scale = scales[panel.diverging]
            drawn = plots.map_cells(cells, panel.column, scale, chosen=cell, count="num_poems")
            unit = panel.unit
            key = f"change-{chosen.id}-{panel.column}"
            map_figure.heat_map(drawn, grid, scale, key, title=panel.title, unit=unit, small=True, click=True)
            st.markdown(plain(panel.sentence))


def _rests(chosen: Artifact, info: dict[str, Any], names: dict[str, str]) -> str:
    if info["what"] == "ablation":
        sae = names.get(info["sae"], info["sae"])
        fired = counted(int(chosen.metrics.get("num_fired", 0)), "poem")
        return (
            f"Rewards with features {', '.join(map(str, info['features']))} of {sae} and without, exact; they fire on "
            f"{fired} of {chosen.metrics.get('num_poems', 0):,}, the others change by exactly 0. {SIGN} {chosen.id}."
        )
    first, second = (names.get(info[f"model_{side}"], side) for side in "ab")
    return (
        f"Rewards of {first} (first) and {second} (second), each standardised over all poems; positive (orange): more for "
        f"the second. n: the cell's poems, the best of each map. {chosen.id}."
    )


def _poems(
    chosen: Artifact, info: dict[str, Any], poems: pd.DataFrame, grid: Grid, cell: int, names: dict[str, str]
) -> None:
    """The poems of the open cell, the most changed first."""
    labels = grid.labels(cell)
    st.html(
        f'<h3 style="margin:.6rem 0 0"><bdi>{escaped(place(labels[0], labels[1] if len(labels) > 1 else ""))}</bdi></h3>'
    )
    some, sides, change = _ranked(info, poems[poems["cell"] == cell], poems, names)
    if some.empty:
        st.info("No poem of this cell was scored again.", icon=":material/search_off:")
        return
    pages = -(-len(some) // PAGE)
    page = st.pagination(pages, key=f"changed-{chosen.id}-{cell}") if pages > 1 else 1
    for rank, row in enumerate(some.iloc[(page - 1) * PAGE : page * PAGE].to_dict("records"), (page - 1) * PAGE + 1):
        st.html(rescored_html({str(k): v for k, v in row.items()}, rank, sides, change))
    st.caption(f"{counted(len(some), 'poem')}, by how much changed.")
    export.table_buttons(some, f"{chosen.name}-cell-{cell}", "comparison-poems")


def _ranked(
    info: dict[str, Any], some: pd.DataFrame, poems: pd.DataFrame, names: dict[str, str]
) -> tuple[pd.DataFrame, list[tuple[str, str]], tuple[str, str]]:
    if info["what"] == "ablation":
        order = some["effect"].abs().sort_values(ascending=False, kind="stable").index
        return some.loc[order], [("reward", "with"), ("ablated", "without")], ("effect", "effect")
    known = np.isfinite(poems["reward_a"]) & np.isfinite(poems["reward_b"])
    moments = {
        side: (poems.loc[known, f"reward_{side}"].mean(), poems.loc[known, f"reward_{side}"].std(ddof=0))
        for side in "ab"
    }
    first, second = ((some[f"reward_{s}"] - moments[s][0]) / (moments[s][1] or 1.0) for s in "ab")
    some = some.assign(change=second - first)
    order = some["change"].abs().sort_values(ascending=False, kind="stable").index
    sides = [(f"reward_{side}", shorter(names.get(info[f"model_{side}"], side))) for side in "ab"]
    return some.loc[order], sides, ("change", "change in standard deviations")


def _nothing(artifact: Artifact) -> None:
    st.info("The poems of this map have not been scored again yet.", icon=":material/lightbulb:")
    workspace = router.workspace()
    empty.show_steps(
        [
            ("Score them by another reward model, or against another map:",
             empty.command(workspace, "map", "diff", artifact.id, "OTHER_MAP_OR_MODEL")),
            ("Score them with some features switched off:",
             empty.command(workspace, "map", "ablate", artifact.id, "SAE", "3,17,204")),
        ]
    )  # fmt: skip
    link = {"kind": "map_rescore", "map": artifact.id}
    router.page_link("train", "Or fill in the form", link, ":material/rocket_launch:")
