"""What leaves the Maps page: figures, tables, and a page that stands alone; each is made when it is asked for."""

import pandas as pd
import streamlit as st

from rmviz.qdaif.export import figure, page
from rmviz.store.artifact import Artifact
from rmviz.ui import export


def popover(artifact: Artifact, cells: pd.DataFrame, value: str, by: str) -> None:
    """Buttons for a map as it is shown: the figure as SVG, PNG or a page of its own, and the tables behind it.

    Args:
        artifact: The map.
        cells: Its cells, filed as they are shown.
        value: What they show.
        by: How they are filed.
    """
    name = f"{artifact.name}-{value}-{by}"
    with st.popover("Export", icon=":material/download:"):
        st.caption("The figure, with ticks, labels, n and seed")
        with st.container(horizontal=True, gap="small"):
            export.file_button("SVG", f"{name}.svg", "image/svg+xml", lambda: svg(artifact, cells, value), "map-svg")
            export.file_button("PNG", f"{name}.png", "image/png", lambda: png(artifact, cells, value), "map-png")
            export.file_button(
                "HTML page", f"{name}.html", "text/html", lambda: html(artifact, cells, value), "map-html"
            )
        st.caption("Its cells")
        export.table_buttons(cells, f"{name}-cells", "map-cells")
        st.caption("All attempts of all runs, with their texts")
        export.file_button(
            "Parquet", f"{artifact.name}.parquet", "application/octet-stream",
            lambda: artifact.path("attempts.parquet").read_bytes(), "map-attempts",
        )  # fmt: skip


def svg(artifact: Artifact, cells: pd.DataFrame, value: str) -> bytes:
    """The figure as SVG."""
    return figure(artifact, cells, value).svg().encode("utf-8", "replace")


def png(artifact: Artifact, cells: pd.DataFrame, value: str) -> bytes:
    """The figure as PNG."""
    return figure(artifact, cells, value).png()


def html(artifact: Artifact, cells: pd.DataFrame, value: str) -> bytes:
    """A page with the figure, the means and the best poems, which stands alone."""
    return page(artifact, cells, value).encode("utf-8", "replace")
