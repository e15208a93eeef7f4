"""The look that Streamlit's theme cannot say: tighter page, token colours, small tables and figures."""

import plotly.graph_objects as go
import streamlit as st

from rmviz.plots.poems import POEM_CSS
from rmviz.plots.tokens import TOKEN_CSS

CSS = """<style>
:root { --rm-up: #c2410c; --rm-down: #1d63b8; --rm-act: #14a08f; }
.block-container { padding: 2.2rem 2.4rem 3rem; max-width: 1720px; }
[data-testid="stPopoverBody"] { max-width: 44rem; }
h1 { padding-top: 0; letter-spacing: -.01em; }
.rm { font-size: .92rem; line-height: 1.5; color: inherit; }
.rm .muted, .rm-muted { opacity: .66; }
.rm .up { color: var(--rm-up); font-weight: 600; } .rm .down { color: var(--rm-down); font-weight: 600; }
.rm .num { font-variant-numeric: tabular-nums; white-space: nowrap; }
.rm-figures { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin: .1rem 0 .3rem; }
.rm-figures div { min-width: 4.6rem; }
.rm-figures .k { display: block; font-size: .76rem; opacity: .66; }
.rm-figures .v { display: block; font-size: 1.16rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.rm-figures .s { display: block; font-size: .76rem; opacity: .66; font-variant-numeric: tabular-nums; }
table.rm-table { border-collapse: collapse; width: 100%; font-size: .86rem; margin: .2rem 0 .5rem; }
table.rm-table th { text-align: left; font-weight: 500; opacity: .66; padding: .18rem .8rem .18rem 0; }
table.rm-table td { padding: .18rem .8rem .18rem 0; font-variant-numeric: tabular-nums; vertical-align: top; }
table.rm-table th, table.rm-table td { border: 0;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
table.rm-table tr:last-child td { border-bottom: 0; }
.rm-chip { display: inline-block; padding: 0 .5em; margin: 0 .3em .2em 0; border-radius: 4px; font-size: .82rem;
  background: color-mix(in srgb, currentColor 8%, transparent); overflow-wrap: anywhere; }
.rm-text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem; line-height: 1.58;
  max-height: 34rem; overflow-y: auto;
  border: 1px solid color-mix(in srgb, currentColor 14%, transparent); border-radius: 6px; padding: .6rem .8rem; }
.rm-text ins { text-decoration: none; border-radius: 3px;
  background: color-mix(in srgb, var(--rm-act) 26%, transparent); }
.rm-text .prompt { opacity: .62; }
.rm-tokens { border: 0; padding: 0; max-height: 22rem; } .rm-tokens.rm-two { max-height: 36rem; }
.rm-shared { opacity: .72; border-left: 3px solid color-mix(in srgb, currentColor 22%, transparent); padding-left: .6rem;
  margin: 0 0 .5rem; }
.rm-examples .tk { white-space: normal; margin-bottom: .75rem; }
.rm-rewards .v { font-size: 1.5rem; } .rm-rewards .v .muted { font-size: 1rem; font-weight: 500; }
[class*="st-key-rm-map"] svg.marks { max-width: 100%; height: auto; }
[class*="st-key-rm-map"] [data-testid="stElementContainer"]:has(canvas.marks) { overflow-x: auto; }
pre.rm-log { margin: 0; padding: 0; background: none; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
[data-testid="stLayoutWrapper"]:has(> [class*="st-key-rm-sticky"]) { position: sticky; top: 3.6rem; }
</style>"""


def apply() -> None:
    """Put the style sheet into the page, with signs readable on its background."""
    css = CSS
    if st.context.theme.type == "dark":
        css = css.replace("--rm-up: #c2410c; --rm-down: #1d63b8", "--rm-up: #ff9a5c; --rm-down: #74b6ff", 1)
    st.html(css + TOKEN_CSS + POEM_CSS)


PLAIN_CHART = {"displayModeBar": False}
"""Plotly without its toolbar, for small figures."""


def compact(figure: go.Figure, height: int) -> go.Figure:
    """A figure for a narrow place: no line under its title, because the caption below says the same in full."""
    figure.update_layout(height=height, margin={"l": 48, "r": 8, "t": 44, "b": 40}, title_subtitle_text="")
    return figure


def figures(items: list[tuple[str, str, str]]) -> str:
    """HTML of some numbers side by side: name, value, what stands under it (all escaped by the caller's formats)."""
    cells = "".join(
        f'<div><span class="k">{k}</span><span class="v">{v}</span><span class="s">{s}</span></div>'
        for k, v, s in items
    )
    return f'<div class="rm rm-figures">{cells}</div>'


def sign_class(value: float | None) -> str:
    """`up` for what raises the reward, `down` for what lowers it."""
    return "muted" if not value else ("up" if value > 0 else "down")
