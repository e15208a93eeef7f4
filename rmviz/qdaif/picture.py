"""A map as a picture: shapes on a plane, written as SVG or drawn as PNG; no text of it is read as markup."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_STOPS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Stops of viridis, which reads the same in grey and to colour-blind eyes."""

_EMPTY, _INK, _SOFT = "#f1f3f5", "#212529", "#868e96"
_CELL = (92, 46)
_SCALE = 2  # pixels of a PNG per unit


@dataclass(frozen=True)
class Box:
    """A rectangle; `hatched` draws lines across it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    hatched: bool = False


@dataclass(frozen=True)
class Label:
    """A line of text; `anchor` says which of its ends is at x."""

    x: float
    y: float
    text: str
    size: int = 12
    anchor: str = "middle"
    colour: str = _INK


@dataclass
class Picture:
    """Shapes in drawing order."""

    width: float
    height: float
    shapes: list[Box | Label] = field(default_factory=list)

    def svg(self) -> str:
        """As an SVG document."""
        body = "".join(_svg(shape) for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" font-family="system-ui, sans-serif">'
            f'<defs><pattern id="thin" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            f'<line x1="0" y1="0" x2="0" y2="6" stroke="#ffffff" stroke-opacity="0.6" stroke-width="2"/></pattern></defs>'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{body}</svg>\n'
        )

    def png(self) -> bytes:
        """As a PNG, two pixels per unit."""
        image = Image.new("RGB", (round(self.width * _SCALE), round(self.height * _SCALE)), "white")
        draw = ImageDraw.Draw(image)
        for shape in self.shapes:
            if isinstance(shape, Box):
                _draw_box(draw, shape)
            else:
                place = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
                font = ImageFont.load_default(shape.size * _SCALE)
                text = "".join(c if c.isprintable() else " " for c in shape.text)
                draw.text((shape.x * _SCALE, shape.y * _SCALE), text, fill=shape.colour, font=font, anchor=place)
        buffer = BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()


def heat_map(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    notes: Sequence[str],
    hatched: np.ndarray,
    counts: np.ndarray,
    unit: str,
) -> Picture:
    """A heat map with ticks, the figure and the number of draws in each cell, and a colour bar.

    Args:
        values: One figure per cell, (row, column), NaN for none.
        rows: Labels from top to bottom.
        columns: Labels from left to right.
        title: What it is.
        notes: Lines under the title.
        hatched: Cells that rest on too few draws.
        counts: Draws of each cell.
        unit: What the colour bar measures.
    """
    width, height = _CELL
    left = 24 + 7 * max(len(_short(row)) for row in rows)
    top = 56 + 16 * len(notes)
    right, bottom = left + width * len(columns), top + height * len(rows)
    picture = Picture(max(right + 110, 24 + 6.4 * max(map(len, [*notes, title]))), bottom + 44)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    picture.shapes.append(Label(16, 26, title, 16, "start"))
    picture.shapes += [Label(16, 46 + 16 * i, note, 11, "start", _SOFT) for i, note in enumerate(notes)]
    for i, row in enumerate(rows):
        picture.shapes.append(Label(left - 8, top + height * (i + 0.5) + 4, _short(row), 12, "end"))
        for j in range(len(columns)):
            picture.shapes += _cell(
                values[i, j], int(counts[i, j]), left + width * j, top + height * i, (low, high), bool(hatched[i, j])
            )
    for j, column in enumerate(columns):
        picture.shapes.append(Label(left + width * (j + 0.5), bottom + 18, _short(column)))
    picture.shapes += _colour_bar(right + 24, top, bottom - top, low, high, unit)
    return picture


def colour(share: float) -> str:
    """The colour of a share from 0 to 1, as `#rrggbb`."""
    place = min(max(share, 0.0), 1.0) * (len(_STOPS) - 1)
    i = min(int(place), len(_STOPS) - 2)
    mixed = [round(a + (b - a) * (place - i)) for a, b in zip(_STOPS[i], _STOPS[i + 1], strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _cell(value: float, count: int, x: float, y: float, ends: tuple[float, float], thin: bool) -> list[Box | Label]:
    width, height = _CELL
    if not np.isfinite(value):
        mark = Label(x + width / 2, y + height / 2 + 4, f"n = {count}" if count else "empty", 10, colour=_SOFT)
        return [Box(x, y, width - 2, height - 2, _EMPTY), mark]
    share = (value - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5
    ink = "#ffffff" if share < 0.6 else _INK
    return [
        Box(x, y, width - 2, height - 2, colour(share), thin),
        Label(x + width / 2 - 1, y + height / 2, f"{value:.2f}", 13, colour=ink),
        Label(x + width / 2 - 1, y + height / 2 + 15, f"n = {count}", 9, colour=ink),
    ]


def _colour_bar(x: float, y: float, height: float, low: float, high: float, unit: str) -> list[Box | Label]:
    steps = 40
    part = height / steps
    boxes: list[Box | Label] = [
        Box(x, y + part * i, 14, part + 0.5, colour(1 - (i + 0.5) / steps)) for i in range(steps)
    ]
    ticks = [(high, y + 8), ((low + high) / 2, y + height / 2 + 4), (low, y + height)]
    return [*boxes, *(Label(x + 20, at, f"{value:.2f}", 10, "start") for value, at in ticks),
            Label(x - 4, y - 8, unit, 10, "start", _SOFT)]  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"


def _svg(shape: Box | Label) -> str:
    if isinstance(shape, Label):
        return (
            f'<text x="{shape.x:g}" y="{shape.y:g}" font-size="{shape.size}" text-anchor="{shape.anchor}" '
            f'fill="{shape.colour}">{escape(_printable(shape.text))}</text>'
        )
    place = f'x="{shape.x:g}" y="{shape.y:g}" width="{shape.width:g}" height="{shape.height:g}"'
    hatch = f'<rect {place} fill="url(#thin)"/>' if shape.hatched else ""
    return f'<rect {place} fill="{shape.fill}"/>{hatch}'


def _printable(text: str) -> str:
    """A text without the control characters that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in text)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box) -> None:
    x, y, width, height = (round(number * _SCALE) for number in (box.x, box.y, box.width, box.height))
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=box.fill)
    for start in range(x - height, x + width, 12) if box.hatched else ():
        low, high = max(start, x), min(start + height, x + width)
        draw.line((low, y + height - (low - start), high, y + height - (high - start)), fill="#ffffff", width=2)
