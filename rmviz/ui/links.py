"""Links that several pages have: texts to the Playground, a pair to where it is taken apart."""

from collections.abc import Mapping

import streamlit as st

from rmviz.ui import router
from rmviz.ui.drafts import MAX_LINK, Draft, link_to_pair


def playground(
    prompt: str,
    first: str,
    second: str,
    model: str,
    label: str = "Open in the Playground",
    *,
    sae: str = "",
    source: tuple[str, str] | None = None,
) -> None:
    """One reply, or two, in the Playground; long ones by their dataset and row, where these are given."""
    texts = {"prompt": prompt, "a": first, "b": second}
    if source is None and sum(map(len, texts.values())) > MAX_LINK:
        st.caption("Too long for a link to the Playground; copy the texts there.", width="content")
        return
    params = link_to_pair(*source, texts) if source else texts
    params = {**params, "mode": "pair" if second else "text", "model": model, "sae": sae}
    router.page_link("playground", label, _given(params), ":material/tune:")


def take_apart(dataset: str, pair: str, model: str = "", sae: str = "") -> None:
    """A pair of a dataset taken apart."""
    params = {"dataset": dataset, "pair": pair, "model": model, "sae": sae}
    router.page_link("pair", "Take apart", _given(params), ":material/call_split:")


def take_draft_apart(draft: Draft, model: str, sae: str) -> None:
    """The Playground's pair taken apart: its texts stay in the session, and in the link while they are short."""
    texts = {"prompt": draft.prompt, "a": draft.first, "b": draft.second}
    short = sum(map(len, texts.values())) <= MAX_LINK
    params = {"from": "typed", "model": model, "sae": sae, **(texts if short else {})}
    router.page_link("pair", "Take apart", _given(params), ":material/call_split:")


def _given(params: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}
