"""The Playground: type a text or a pair, see its reward and features, switch features off and watch the reward."""

import streamlit as st

from rmviz.backend.wire import FeaturesAnswer, ReadText
from rmviz.store.artifact import Artifact
from rmviz.ui import bench, drafts, frame, links, live, pickers, readings
from rmviz.ui.words import counted, plain


@frame.fragment
def play(model: Artifact, sae: Artifact | None, effects: list[Artifact], features: Artifact | None) -> None:
    """Everything below the pickers; it runs by itself, so a toggle does not run the page."""
    drafts.take_link(effects)
    draft = _form(effects)
    if not draft.texts:
        st.info("Type a reply, or take an example from the data, then press **Read**.", icon=":material/edit:")
        return
    with st.spinner("The model reads (the first time, it is loaded)"):
        answers = _answers(model, sae, draft)
    _marks(answers)
    if sae is None:
        readings.rewards([name for name, _, _ in draft.texts], answers, [])
        readings.curves([name for name, _, _ in draft.texts], answers, [])
        st.info(
            "This model has no SAE yet, so its features cannot be seen. Train one with `rmviz sae train`.",
            icon=":material/lightbulb:",
        )
        return
    found = [answer for answer in answers if isinstance(answer, FeaturesAnswer)]
    names = [name for name, _, _ in draft.texts]
    if len(found) == 2:
        links.take_draft_apart(draft, model.id, sae.id)
    bench.bench(model, sae, features, draft, names, found)
    if not drafts.keep_link(draft):
        st.caption("The texts are too long for a link; the address holds the models and the features only.")


def _form(effects: list[Artifact]) -> drafts.Draft:
    with st.container(horizontal=True, vertical_alignment="center"):
        mode = pickers.choice("What to read", drafts.MODES, "mode", "text", label_visibility="collapsed")
        if effects:
            st.button(
                "Example from the data",
                icon=":material/casino:",
                type="tertiary",
                on_click=drafts.fill_example,
                args=(effects[0],),
                key="example",
            )
    pair = mode == "pair"
    fields = [("Prompt", drafts.PROMPT, "What was asked. Leave it empty for a text that answers nothing.")]
    fields.append(("Reply A" if pair else "Reply", drafts.FIRST, ""))
    fields += [("Reply B", drafts.SECOND, "")] if pair else []
    with st.form("texts", border=False):
        for column, (label, key, placeholder) in zip(st.columns(len(fields)), fields, strict=True):
            column.text_area(label, key=key, height=110, placeholder=placeholder, persist_state="session")
        st.form_submit_button("Read", type="primary", icon=":material/play_arrow:", help="Ctrl-Enter in a field, too.")
    return drafts.current(mode)


def _answers(model: Artifact, sae: Artifact | None, draft: drafts.Draft) -> list[ReadText]:
    if sae is None:
        return [live.prefixes(model.id, prompt, reply, f"prefixes-{name}") for name, prompt, reply in draft.texts]
    return [live.features(model.id, sae.id, prompt, reply, f"features-{name}") for name, prompt, reply in draft.texts]


def _marks(answers: list[ReadText]) -> None:
    """What the reader should know of how the texts were read."""
    for warning in dict.fromkeys(answer.off_format for answer in answers if answer.off_format):
        st.warning(f"Off-format: {plain(warning)}", icon=":material/format_clear:")
    for answer in answers:
        if answer.num_cut:
            length = counted(answer.info.max_length, "token")
            st.warning(
                f"✂ The first {counted(answer.num_cut, 'token')} were cut: the model reads {length} at most.",
                icon=":material/content_cut:",
            )
    info = answers[0].info
    st.caption(
        plain(
            f"{info.name} · {info.family} · format {info.format} ({info.format_reason}) · {info.device}, {info.dtype}"
        )
    )
