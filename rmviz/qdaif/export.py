"""A map for elsewhere: as a figure, as the table of its attempts, or as a page that stands alone."""

import shutil
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from rmviz.errors import ConfigError
from rmviz.qdaif.attempts import COUNTED
from rmviz.qdaif.picture import Picture, heat_map
from rmviz.qdaif.view import cell_values
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

_POEMS = 5
"""Poems of each cell on the page."""

MEANINGS = {
    "best": "the highest reward found for each cell; it grows with the number of draws",
    "expected_best": "the reward expected of the best of n draws in each cell, so that cells compare",
    "median": "the median reward of each cell's draws",
    "q90": "the 90 % quantile of the rewards of each cell's draws",
    "draws": "how many poems fell into each cell",
    "right_share": "the share of poems asked for in each cell that the judge found there",
}
"""What each figure of a cell is, as the end of a sentence."""

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#212529}"
    "pre{white-space:pre-wrap;border-left:3px solid #ced4da;padding-left:.8rem;margin:.4rem 0 1rem;font:inherit}"
    "td,th{padding:.15rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"
    "small{color:#868e96}svg{max-width:100%;height:auto}"
)


def export(artifact: Artifact, to: Path, value: str = "expected_best", by: str = "judged") -> None:
    """Write a map to a file; its ending says what: `.svg`, `.png`, `.parquet` (all attempts) or `.html`.

    Raises:
        ConfigError: The ending is another, or there is no such figure.
    """
    cells = cell_values(artifact, value, by)
    match to.suffix.lower():
        case ".svg":
            to.write_text(figure(artifact, cells, value).svg(), encoding="utf-8")
        case ".png":
            to.write_bytes(figure(artifact, cells, value).png())
        case ".parquet":
            shutil.copyfile(artifact.path("attempts.parquet"), to)
        case ".html":
            to.write_text(page(artifact, cells, value), encoding="utf-8")
        case other:
            raise ConfigError(f"a map is written as .svg, .png, .parquet or .html, got {other or 'no ending'!r}")


def figure(artifact: Artifact, cells: pd.DataFrame, value: str) -> Picture:
    """The heat map of a map, with n, seed and where it comes from."""
    axes = artifact.read_json("map.json")["axes"]
    rows, columns = axes[0]["labels"], axes[1]["labels"] if len(axes) > 1 else [""]
    shape = (len(rows), len(columns))
    n = int(cells["n"].iloc[0])
    few = max(n, int(artifact.config.get("min_draws", 1)))
    names = " and ".join(axis["name"] for axis in axes)
    return heat_map(
        cells[value].to_numpy(float).reshape(shape), rows, columns,
        title=f"{artifact.name}: {value.replace('_', ' ')} by {names}",
        notes=[
            f"Each cell: {MEANINGS[value]}.",
            f"n = {n} draws where cells are compared; hatched cells have fewer than {few}. {artifact.metrics['num_attempts']:,} "
            f"poems, seed {artifact.metrics['seed']}, {artifact.id}.",
        ],
        hatched=cells["thin"].to_numpy(bool).reshape(shape), counts=cells["draws"].to_numpy(int).reshape(shape),
        unit=value.replace("_", " "),
    )  # fmt: skip


def page(artifact: Artifact, cells: pd.DataFrame, value: str) -> str:
    """A page with the figure, the means and each cell's best poems; every text of the data is escaped."""
    poems = best_poems(artifact, str(cells["by"].iloc[0]))
    sections = []
    for cell in cells.itertuples():
        some = poems[poems["cell"] == cell.cell]
        shown = "".join(
            f"<pre>{escape(str(p.text))}</pre><small>reward {p.reward:.3f}</small>" for p in some.itertuples()
        )
        heading = escape(f"{cell.column} {cell.row}".strip())
        sections.append(f"<h3>{heading}</h3><small>{cell.draws} draws</small>{shown or '<p>No poem.</p>'}")
    title = escape(artifact.name)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"{figure(artifact, cells, value).svg()}{_means(artifact)}<h2>The best poems of each cell</h2>"
        f"{''.join(sections)}</body></html>\n"
    )


def best_poems(artifact: Artifact, by: str, number: int = _POEMS) -> pd.DataFrame:
    """The best poems of each cell of the map's own run, filed by `judged` or `asked`: cell, text, reward."""
    own = artifact.read_json("map.json")["own_runs"][0]
    table = load_table(
        artifact.path("attempts.parquet"), columns=["text", by, "reward", "problem"], filters=[("run", "==", own)]
    ).rename(columns={by: "cell"})
    known = table[np.isfinite(table["reward"]) & table["problem"].isin(COUNTED)]
    return known.sort_values("reward", ascending=False, kind="stable").groupby("cell").head(number)


def _means(artifact: Artifact) -> str:
    rows = [
        f"<tr><td>{escape(f'{mean.axis} {mean.label}')}</td><td>{mean.mean:.3f}</td>"
        f"<td>{mean.low:.3f} to {mean.high:.3f}</td><td>{mean.p_lowest:.2g}</td><td>{mean.p_adjusted:.2g}</td></tr>"
        for mean in load_table(artifact.path("means.parquet")).sort_values("mean").itertuples()
    ]
    return (
        "<h2>Rows and columns, lowest first</h2><table><tr><th>label</th><th>mean expected best</th><th>95 % interval</th>"
        f"<th>p lowest</th><th>adjusted</th></tr>{''.join(rows)}</table>"
    )
