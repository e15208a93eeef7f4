"""The SAE features that fire on a poem: asked of the backend, listed by effect, shown on the tokens."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import active, cached, drafts, live, pickers, readings, style
from rmviz.ui.words import SIGN, counted, number, plain, shortened

_ROWS = 8


def model_of(artifact: Artifact, artifacts: Sequence[Artifact]) -> Artifact | None:
    """The reward model of a map, if it is still here."""
    return next((a for a in artifacts if a.kind == "reward_model" and a.id in artifact.parents), None)


def features_of_poem(artifact: Artifact, text: str, artifacts: Sequence[Artifact]) -> None:
    """What fires on a poem of a map, with exact effects, and where."""
    model = model_of(artifact, artifacts)
    saes = pickers.descendants(artifacts, model.id, "sae") if model else []
    if model is None or not saes:
        what = "The map's reward model is not in this workspace any more." if model is None else (
            f"{plain(model.name)} has no SAE yet; train one with `rmviz sae train`, then its features can be seen here."
        )  # fmt: skip
        st.info(what, icon=":material/lightbulb:")
        return
    sae = saes[0]
    with st.spinner("The model reads the poem (the first time, it is loaded)"):
        draft = drafts.Draft("text", str(artifact.config.get("prompt") or ""), text)
        answer = live.features(model.id, sae.id, draft.prompt, text, "map-poem")
    made = [a for a in artifacts if a.kind == "features" and sae.id in a.parents]
    words = cached.words_of_features(made[0] if made else None)
    rows = active.active_features([answer], words).head(_ROWS)
    if rows.empty:
        st.info("No feature fires on this poem.", icon=":material/search_off:")
        return
    ids = [int(feature) for feature in rows["feature"]]
    effects = dict(zip(ids, rows["effect"].tolist(), strict=True))
    picked = st.selectbox(
        "Feature shown on the tokens", ids, key="map-feature",
        format_func=lambda f: f"{f} · {number(effects.get(f), signed=True)} · {shortened(words.get(f, ''), 40)}",
    )  # fmt: skip
    st.html(features_table(rows))
    readings.tokens_by_feature(draft, [answer], int(picked) if picked in effects else ids[0])
    st.caption(
        f"{counted(answer.num_rows, 'feature')} of {plain(sae.name)} fire; the {len(ids)} with the largest effects on "
        f"this poem can be chosen. {SIGN}"
    )


def features_table(rows: pd.DataFrame) -> str:
    """HTML: the features of one text, what each fires on, its effect and its strongest activation."""
    lines = [
        f"<tr><td>{int(row['feature'])}</td><td>{escaped(shortened(str(row['top_tokens']), 60))}</td>"
        f'<td><span class="{style.sign_class(row["effect"])}">{number(row["effect"], signed=True)}</span></td>'
        f"<td>{number(row['max_activation'])}</td><td>{int(row['tokens'])}</td></tr>"
        for row in rows.to_dict("records")
    ]
    head = "<tr><th>feature</th><th>fires on</th><th>effect</th><th>max act</th><th>tokens</th></tr>"
    return f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table></div>'
