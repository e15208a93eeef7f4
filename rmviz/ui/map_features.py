"""The SAE features that fire on a poem: asked of the backend, listed by effect, shown on the tokens."""

from collections.abc import Sequence

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.ui import bench, cached, live, pickers, readings
from rmviz.ui.words import SIGN, counted, number, plain, shortened

_ROWS = 8
_NAME = "Poem"


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
        answer = live.features(model.id, sae.id, str(artifact.config.get("prompt") or ""), text, "map-poem")
    made = [a for a in artifacts if a.kind == "features" and sae.id in a.parents]
    words = cached.words_of_features(made[0] if made else None)
    rows = bench.active_features([_NAME], [answer], words).head(_ROWS)
    if rows.empty:
        st.info("No feature fires on this poem.", icon=":material/search_off:")
        return
    ids = [int(feature) for feature in rows["feature"]]
    effects = dict(zip(ids, rows["effect"].tolist(), strict=True))
    picked = st.selectbox(
        "Feature shown on the tokens", ids, key="map-feature",
        format_func=lambda f: f"{f} · {number(effects.get(f), signed=True)} · {shortened(words.get(f, ''), 40)}",
    )  # fmt: skip
    readings.tokens_by_feature([_NAME], [answer], int(picked) if picked in effects else ids[0])
    st.caption(
        f"{counted(answer.num_rows, 'feature')} of {plain(sae.name)} fire; the {len(ids)} with the largest effects on "
        f"this poem can be chosen. {SIGN}"
    )
