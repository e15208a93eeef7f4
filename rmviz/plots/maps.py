"""Heat maps whose cells can be clicked: a table to draw, and the Vega-Lite specification that draws it.

A click changes the table alone, never the specification, so a browser keeps the figure that is there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rmviz.plots.style import NEGATIVE, NEUTRAL, POSITIVE

CELL = "cell"
"""Name of the selection that a click makes, and of the field that it gives."""

SEQUENTIAL = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""Viridis, which reads the same in grey and to colour-blind eyes; high is yellow."""

DIVERGING = (NEGATIVE, "#dee2e6", POSITIVE)
"""Blue below zero, orange above."""

_DARK, _LIGHT = "#16191b", "#ffffff"
_WIDTH, _HEIGHT = 420, 360  # pixels that the cells of a figure share
_WIDEST, _TALLEST, _SMALLEST = 96, 52, 12
_ROOM_FOR_TEXT, _ROOM_FOR_COUNT = (40, 18), 34
_GAP = 0.04


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What colours mean; maps that are compared share one."""

    low: float
    high: float
    diverging: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        return 0.5 if self.high <= self.low else min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @property
    def decimals(self) -> int:
        """Decimals with which the largest value has two digits or more."""
        largest = max(abs(self.low), abs(self.high))
        return min(6, max(2, 1 - math.floor(math.log10(largest)))) if largest > 0 else 2


def common_scale(values: Sequence[np.ndarray], *, diverging: bool = False) -> Scale:
    """The scale on which all values can be drawn; a diverging one has 0 in its middle."""
    known = np.concatenate([np.asarray(some, float).ravel() for some in values]) if values else np.zeros(0)
    known = known[np.isfinite(known)]
    if not len(known):
        return Scale(low=-1.0 if diverging else 0.0, high=1.0, diverging=diverging)
    if diverging:
        end = float(np.abs(known).max()) or 1.0
        return Scale(low=-end, high=end, diverging=True)
    return Scale(low=float(known.min()), high=float(known.max()))


def map_cells(cells: pd.DataFrame, value: str, scale: Scale, *, chosen: int = -1, count: str = "draws") -> pd.DataFrame:
    """What `map_figure` draws, one row per cell.

    Args:
        cells: cell, row, column, the value, the counts and, where there is one, `thin`.
        value: Column that the colour shows; NaN where nothing is known.
        scale: What colours mean.
        chosen: Cell that is set off.
        count: Column that says on how much a cell rests.
    """
    values, counts = cells[value].astype(float).tolist(), cells[count].tolist()
    known = np.isfinite(values)
    thin = cells["thin"].to_numpy(bool) if "thin" in cells else np.zeros(len(cells), bool)
    look = {"signed": scale.diverging, "decimals": scale.decimals}
    shown = [figure(v, value, **look) if ok else "" for v, ok in zip(values, known, strict=True)]
    rests = [f"n = {n:,}" if n or ok else "empty" for n, ok in zip(counts, known, strict=True)]
    return pd.DataFrame(
        {
            "cell": cells["cell"].to_numpy(int),
            "row": cells["row"].astype(str),
            "column": cells["column"].astype(str),
            "value": [v if ok else None for v, ok in zip(values, known, strict=True)],
            "shown": shown,
            "rests": rests,
            "bright": [bool(ok and _is_bright(scale, v)) for v, ok in zip(values, known, strict=True)],
            "known": known,
            "hatched": known & thin,
            "chosen": cells["cell"].to_numpy(int) == chosen,
            "says": [
                _says(*words) for words in zip(cells["row"], cells["column"], shown, rests, thin.tolist(), strict=True)
            ],
        }
    )


def map_figure(
    rows: Sequence[str],
    columns: Sequence[str],
    scale: Scale,
    *,
    names: tuple[str, str] = ("", ""),
    title: str = "",
    unit: str = "",
    clickable: bool = True,
    small: bool = False,
) -> dict[str, Any]:
    """A Vega-Lite specification for `map_cells`: coloured cells with their figures, thin ones hatched.

    Args:
        rows: Labels from top to bottom.
        columns: Labels from left to right; one empty label for a map with one axis.
        scale: What colours mean.
        names: Names of the row axis and of the column axis.
        title: What stands above.
        unit: What the colour bar measures; no bar when empty.
        clickable: Whether a click chooses a cell.
        small: Whether several figures share the width of a page.
    """
    width, height = cell_size(len(rows), len(columns), small=small)
    layers = [_base(clickable), _coloured(scale, unit), _hatch(width, height)]
    if width >= _ROOM_FOR_TEXT[0] and height >= _ROOM_FOR_TEXT[1]:
        layers += _texts(width, height)
    has_columns = list(columns) != [""]
    x_axis = {"title": names[1] or None, "labelAngle": 0 if width >= 50 else -40, "orient": "top", "labelLimit": 120}
    return {
        "width": {"step": width},
        "height": {"step": height},
        **({"title": {"text": title, "anchor": "start", "fontSize": 13, "limit": 420}} if title else {}),
        "encoding": {
            "y": _axis("row", rows, {"title": names[0] or None, "labelLimit": 130}),
            "x": _axis("column", columns, x_axis if has_columns else None),
        },
        "layer": [*layers, _outline()],
    }


def cell_size(num_rows: int, num_columns: int, *, small: bool = False) -> tuple[float, float]:
    """Pixels of a cell, so that a map fits its place; those of large maps stay large enough to click."""
    share = 0.62 if small else 1.0
    width = max(_SMALLEST, min(_WIDEST * (1.6 if num_columns == 1 else 1), share * _WIDTH / num_columns))
    return width, max(_SMALLEST, min(_TALLEST, share * _HEIGHT / num_rows, width))


def figure(value: float, name: str, *, signed: bool = False, decimals: int = 2) -> str:
    """A cell's value as it stands in the cell: a count, a share, or a number with some decimals."""
    if not math.isfinite(value):
        return "–"
    if name in ("draws", "num_poems", "num_fired", "count"):
        return f"{int(value):,}"
    if name in ("right_share", "share"):
        return f"{100 * value:.0f} %"
    text = f"{value:{'+' if signed else ''}.{decimals}f}" if abs(value) < 1000 else f"{value:.3g}"
    return text.replace("-", "−") if float(value) != 0 else "0"


def _says(row: str, column: str, shown: str, rests: str, thin: bool) -> str:
    """A cell in words, for those who cannot see its colour."""
    place = ", ".join(part for part in (row, column) if part)
    few = ", too few draws to compare" if thin and shown else ""
    return f"{place}: {shown or 'no figure'} ({rests}{few})"


def _is_bright(scale: Scale, value: float) -> bool:
    """Whether dark text reads better than white on the colour of a value."""
    share = scale.share(value)
    stops = DIVERGING if scale.diverging else SEQUENTIAL
    place = share * (len(stops) - 1)
    i = min(int(place), len(stops) - 2)
    mixed = [a + (b - a) * (place - i) for a, b in zip(_rgb(stops[i]), _rgb(stops[i + 1]), strict=True)]
    light = 0.2126 * mixed[0] ** 2.2 + 0.7152 * mixed[1] ** 2.2 + 0.0722 * mixed[2] ** 2.2
    return light > 0.24


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _axis(field: str, labels: Sequence[str], axis: dict[str, Any] | None) -> dict[str, Any]:
    look = {"domain": False, "ticks": False, "grid": False, "labelPadding": 6, "titlePadding": 8}
    look |= {"labelFlush": False, "labelBound": False, "labelOverlap": False}
    return {
        "field": field,
        "type": "nominal",
        "sort": list(labels),
        "scale": {"domain": list(labels), "paddingInner": _GAP, "paddingOuter": 0},
        "axis": {**look, **axis} if axis is not None else None,
    }


def _base(clickable: bool) -> dict[str, Any]:
    """Every cell in grey: it takes the clicks and says what it is; what is known is drawn above it."""
    shown = [("says", "cell")]
    layer: dict[str, Any] = {
        "mark": {"type": "rect", "fill": NEUTRAL, "opacity": 0.14, **({"cursor": "pointer"} if clickable else {})},
        "encoding": {
            "tooltip": [{"field": field, "type": "nominal", "title": title} for field, title in shown],
            "description": {"field": "says"},
        },
    }
    if clickable:
        select = {"type": "point", "fields": ["cell"], "on": "click", "toggle": False, "clear": False}
        layer["params"] = [{"name": CELL, "select": select}]
    return layer


def _coloured(scale: Scale, unit: str) -> dict[str, Any]:
    domain = [scale.low, scale.high] if scale.high > scale.low else [scale.low - 1, scale.low + 1]
    if scale.diverging:
        domain.insert(1, 0.0)
    place = {"orient": "bottom", "direction": "horizontal", "gradientLength": 180, "gradientThickness": 10}
    legend = {"title": unit, "format": ".3~g", "titleLimit": 200, **place} if unit else None
    stops = list(DIVERGING if scale.diverging else SEQUENTIAL)
    look = {"range": stops, "domain": domain, "interpolate": "rgb", "clamp": True}
    if not scale.diverging:  # a colour for every fifth of the range
        look["domain"] = np.linspace(domain[0], domain[-1], len(stops)).tolist()
    return {
        "transform": [{"filter": "datum.known"}],
        "mark": {"type": "rect"},
        "encoding": {"color": {"field": "value", "type": "quantitative", "scale": look, "legend": legend}},
    }


def _hatch(width: float, height: float) -> dict[str, Any]:
    """Slanted lines over a cell whose figure rests on too few draws."""
    side = width * (1 - _GAP)
    size = {"shape": hatching(height / width, 0.16 if width >= 40 else 0.7), "size": side * side, "strokeWidth": 1.3}
    ink = {"condition": {"test": "datum.bright", "value": _DARK}, "value": _LIGHT}
    return {
        "transform": [{"filter": "datum.hatched"}],
        "mark": {"type": "point", "filled": False, "opacity": 0.34, **size},
        "encoding": {"stroke": ink},
    }


def hatching(aspect: float, every: float = 0.16) -> str:
    """Slanted lines clipped to a box of width 2 around the origin, as an SVG path.

    Args:
        aspect: Height of the box for a width of 1.
        every: Distance from line to line.
    """
    lines, start = [], -1.0 - 2 * aspect + every
    while start < 1.0:  # from (start, aspect), at the bottom, up to (start + 2 aspect, -aspect)
        low, high = max(-1.0, start), min(1.0, start + 2 * aspect)
        lines.append(f"M{low:.3f},{aspect - (low - start):.3f}L{high:.3f},{aspect - (high - start):.3f}")
        start += every
    return "".join(lines)


def _texts(width: float, height: float) -> list[dict[str, Any]]:
    """The figure of each cell, and below it the number that it rests on where there is room."""
    size = max(10, min(15, width / 5.2, height / 2.2))
    has_count = height >= _ROOM_FOR_COUNT
    ink = {"color": {"condition": {"test": "datum.bright", "value": _DARK}, "value": _LIGHT}}
    texts = [
        {
            "transform": [{"filter": "datum.known"}],
            "mark": {"type": "text", "fontSize": size, "fontWeight": 600, "dy": -6 if has_count else 0},
            "encoding": {"text": {"field": "shown", "type": "nominal"}, **ink},
        }
    ]
    if has_count:
        counted = {"text": {"field": "rests", "type": "nominal"}, **ink}
        small = {"type": "text", "fontSize": 10}
        texts.append(
            {
                "transform": [{"filter": "datum.known"}],
                "mark": {**small, "dy": 10, "opacity": 0.85},
                "encoding": counted,
            }
        )
        grey = {**counted, "color": {"value": NEUTRAL}}
        texts.append({"transform": [{"filter": "!datum.known"}], "mark": small, "encoding": grey})
    return texts


def _outline() -> dict[str, Any]:
    return {
        "transform": [{"filter": "datum.chosen"}],
        "mark": {"type": "rect", "fill": None, "stroke": "#e64980", "strokeWidth": 3, "cornerRadius": 2},
    }
