"""The Playground: type, pair or change a text, see its reward and features, change features and watch the reward."""

from collections.abc import Sequence

import streamlit as st

from rmviz.backend.wire import AblateAnswer, FeaturesAnswer, ReadText, ReplacedError
from rmviz.errors import RmvizError
from rmviz.store.artifact import Artifact
from rmviz.ui import active, bench, cached, diff, drafts, frame, links, live, others, pickers, readings
from rmviz.ui.edited import Edited
from rmviz.ui.words import counted, plain, shortened

COLOURS = {"change": "Reward change", "feature": "One feature", "edit": "What the edit changes"}


@frame.fragment
def play(model: Artifact, sae: Artifact | None, artifacts: list[Artifact]) -> None:
    """Everything below the pickers; it runs by itself, so a toggle does not run the page."""
    edited = Edited(sae.id if sae else "")
    drafts.take_link()
    edited.take_link()
    made_from = sae.id if sae else model.id
    scans = [a for a in artifacts if a.kind == "effects" and made_from in a.parents]
    draft, more = _form(scans, [a for a in artifacts if a.kind == "reward_model"], model)
    if not draft.texts:
        st.info("Type a reply, or take an example from the data, then press **Read**.", icon=":material/edit:")
        return
    if draft.mode == "edit":
        _changes(draft)
    with st.spinner("The model reads (the first time, it is loaded)"):
        answers = _answers(model, sae, draft)
    _marks(answers)
    found = [answer for answer in answers if isinstance(answer, FeaturesAnswer)]
    edits = _edits(model, sae, draft, found, edited) if sae and found else []
    if sae is None:
        _read(draft, answers, edits, model, more, artifacts, {})
        st.info(
            "This model has no SAE yet, so its features cannot be seen. Train one with `rmviz sae train`.",
            icon=":material/lightbulb:",
        )
    else:
        features = next((a for a in artifacts if a.kind == "features" and sae.id in a.parents), None)
        if draft.mode == "pair" and len(found) == 2:
            links.take_draft_apart(draft, model.id, sae.id)
        left, right = st.columns([10, 9], gap="medium")
        with left:
            _read(draft, answers, edits, model, more, artifacts, cached.words_of_features(features))
        with right:
            bench.bench(sae, features, draft, found, edited)
    kept = [drafts.keep_link(draft), edited.keep_link()]
    if not all(kept):
        st.caption(drafts.TOO_LONG)


def _form(scans: list[Artifact], models: Sequence[Artifact], model: Artifact) -> tuple[drafts.Draft, list[Artifact]]:
    with st.container(horizontal=True, vertical_alignment="center"):
        mode = pickers.choice("What to read", drafts.MODES, "mode", "text", label_visibility="collapsed")
        draft = drafts.current(mode)  # a text that begins to be changed becomes the base here
        more = others.picked(models, model)
        if scans:
            st.button(
                "Example from the data", icon=":material/casino:", type="tertiary", key="example",
                on_click=drafts.fill_example, args=(scans[0], mode),
            )  # fmt: skip
        if mode == "edit":
            st.button("Take this as the base", icon=":material/push_pin:", type="tertiary", key="take-base",
                      on_click=drafts.take_base, help="Later changes are compared with the text as it is now.")  # fmt: skip
            st.button("Back to the base", icon=":material/settings_backup_restore:", type="tertiary", key="back-to-base",
                      on_click=drafts.back_to_base, disabled=not draft.comparison)  # fmt: skip
    fields = [("Prompt", drafts.PROMPT, "What was asked. Leave it empty for a text that answers nothing.")]
    fields.append(("Reply A" if mode == "pair" else "Reply", drafts.FIRST, ""))
    fields += [("Reply B", drafts.SECOND, "")] if mode == "pair" else []
    with st.form("texts", border=False):
        for column, (label, key, placeholder) in zip(st.columns(len(fields)), fields, strict=True):
            column.text_area(label, key=key, height=110, placeholder=placeholder, persist_state="session")
        st.form_submit_button("Read", type="primary", icon=":material/play_arrow:", help="Ctrl-Enter in a field, too.")
    return drafts.current(mode), more


def _changes(draft: drafts.Draft) -> None:
    """The text before and after, what differs marked."""
    (old_prompt, old), (prompt, new) = draft.base, (draft.prompt, draft.first)
    if not draft.changed:
        st.info(
            "Change a word, or take out or add a sentence, in the fields above, then press **Read**: the text as it is now "
            "stays the base.",
            icon=":material/edit:",
        )
        return
    with st.expander("What was changed", expanded=True, icon=":material/difference:"):
        sides = (("Before", old_prompt, prompt, old, new), ("After", prompt, old_prompt, new, old))
        for column, (name, own, other_prompt, reply, other) in zip(st.columns(2), sides, strict=True):
            above, below = diff.marked_difference(own, other_prompt), diff.marked_difference(reply, other)
            apart = "\n" if above and not own[-1:].isspace() and not reply[:1].isspace() else ""
            column.html(f'<div class="rm"><b>{name}</b></div>' + diff.marked_box(above, apart + below))


def _answers(model: Artifact, sae: Artifact | None, draft: drafts.Draft) -> list[ReadText]:
    if sae is None:
        return [live.prefixes(model.id, prompt, reply, f"prefixes-{name}") for name, prompt, reply in draft.texts]
    return [live.features(model.id, sae.id, prompt, reply, f"features-{name}") for name, prompt, reply in draft.texts]


def _edits(
    model: Artifact, sae: Artifact, draft: drafts.Draft, found: Sequence[FeaturesAnswer], edited: Edited
) -> list[AblateAnswer]:
    """The rewards under the edits; where these cannot be made, why: the bench is drawn, and they can be undone there."""
    try:
        return bench.edits_of(model, sae, draft, found, edited.now)
    except ReplacedError:
        raise
    except RmvizError as error:
        frame.problem(error)
        return []


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


def _read(
    draft: drafts.Draft,
    answers: Sequence[ReadText],
    edits: Sequence[AblateAnswer],
    model: Artifact,
    more: list[Artifact],
    artifacts: Sequence[Artifact],
    words: dict[int, str],
) -> None:
    """Rewards, coloured tokens and prefix curves, of this model and of those that read along."""
    readings.rewards(draft, answers, edits)
    lines = readings.curves_of(draft, answers, edits, model.name)
    if not more:
        _tokens(draft, answers, edits, words)
        readings.curves(draft, answers, lines)
        return
    names = others.short_names([model, *more])
    read_by = {model.id: list(answers)} | others.read(more, draft)
    models = [one for one in (model, *more) if one.id in read_by]
    known = others.spreads(models, artifacts)
    others.table(draft, models, read_by, known)
    _tokens(draft, answers, edits, words)
    by_z = others.axes(models, known) == "z"
    curves = {model.id: readings.curves_of(draft, answers, edits, names[model.id])}
    curves |= {one.id: readings.curves_of(draft, read_by[one.id], [], names[one.id]) for one in models if one != model}
    lines = [line for key, own in curves.items() for line in (others.standardised(own, known[key]) if by_z else own)]
    readings.curves(draft, answers, lines, standardised=by_z)


def _tokens(
    draft: drafts.Draft, answers: Sequence[ReadText], edits: Sequence[AblateAnswer], words: dict[int, str]
) -> None:
    found = [answer for answer in answers if isinstance(answer, FeaturesAnswer)]
    options = dict(COLOURS) if edits else {name: label for name, label in COLOURS.items() if name != "edit"}
    shows = pickers.arrived("show")
    if shows is not None and shows.isascii() and shows.isdigit():
        st.session_state["pg-show"] = int(shows[:9])
        st.session_state[pickers.choice_key("colour")] = "feature"
        pickers.keep_in_url("show", shows)
    if not found:
        readings.tokens_by_change(draft, answers)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = pickers.choice("Colour tokens by", options, "colour", "change")
        feature = None
        if colour == "feature":
            rows = active.active_features(found, words, draft.comparison)
            feature = _feature_picker([int(f) for f in rows["feature"]], words) if len(rows) else None
    if feature is not None:
        readings.tokens_by_feature(draft, found, feature)
    elif colour == "edit" and edits:
        readings.tokens_by_edit(draft, answers, edits)
    else:
        readings.tokens_by_change(draft, answers)


def _feature_picker(features: list[int], words: dict[int, str]) -> int:
    if st.session_state.get("pg-show") not in features:
        st.session_state["pg-show"] = features[0]
    picked = st.selectbox(
        "Feature", features, key="pg-show", format_func=lambda f: f"{f} · {shortened(words.get(f, ''), 40)}"
    )
    pickers.keep_in_url("show", str(picked))
    return int(picked)
