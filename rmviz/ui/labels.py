"""Labels on the Features page: what a feature is called, what that is worth, and the fields to call it otherwise."""

from pathlib import Path

import streamlit as st

from rmviz.errors import RmvizError
from rmviz.labels.judge import score_of_columns
from rmviz.labels.read import HAND, Label, labels_csv, labels_from_csv
from rmviz.labels.score import LabelScore
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.hand_labels import LONGEST_LABEL, LONGEST_NOTE, hand_labels, new_label, set_labels
from rmviz.ui import export, names, router
from rmviz.ui.words import counted, number, percent, plain

DIRECTIONS = {"": "claims nothing", "raises": "raises the reward", "lowers": "lowers the reward"}
_SAID, _IMPORTED = "_label-said", "_labels-imported"


def heading(label: Label | None) -> str:
    """HTML: the label behind a feature's number, and who says so."""
    if label is None:
        return ""
    return f' · {escaped(label.label)} <span class="rm-chip muted" style="vertical-align:middle">{escaped(label.source)}</span>'


def told(features: Artifact, feature: int, label: Label | None) -> None:
    """What the label is worth on texts that it was not made from."""
    if label is None:
        return
    effects = next((one for one in router.workspace().list("effects") if one.id in features.parents), None)
    if label.source == HAND:
        try:
            score = names.score_of(effects, feature, label) if effects else None
        except RmvizError as error:
            st.caption(plain(f"The label cannot be scored: {error}."))
            return
        parts = _sentences(score, label) if score else []
        judge = f"{_judge('words')} Whoever gave it may have seen some of these texts."
    else:
        parts, judge = _kept_sentences(label), f"{_judge(str(label.score['judge']))} From {label.artifact}."
        if label.score.get("problem"):
            parts.append(f"The language model gave no label ({label.score['problem']}), so these are words.")
    st.caption(plain(" ".join([*parts, judge])))


def editor(features: Artifact, feature: int, label: Label | None) -> None:
    """The fields in which a label is given by hand, changed or taken away."""
    sae, root = names.sae_of(features), router.workspace().root
    with st.popover("Label" if label is None else "Change the label", icon=":material/label:"):
        if router.is_read_only():
            st.caption("The workspace is read-only, so labels can be looked at but not changed.")
            return
        by_hand = hand_labels(root, sae).get(feature)
        stamp = f"{sae}-{feature}-{by_hand.time if by_hand else 0}"  # a label changed elsewhere gets fields of its own
        with st.form(f"label-{stamp}", border=False):
            st.text_input(
                "Label", by_hand.label if by_hand else "", max_chars=LONGEST_LABEL, key=f"label-text-{stamp}",
                placeholder=label.label if label else "what it fires on, in a few words",
            )  # fmt: skip
            current = list(DIRECTIONS).index(by_hand.direction if by_hand else "")
            st.selectbox(
                "Where it fires, it", list(DIRECTIONS), current, format_func=lambda one: DIRECTIONS[one],
                key=f"label-direction-{stamp}", help="A claim is scored by the sign of the exact effects.",
            )  # fmt: skip
            st.text_area(
                "Note", by_hand.note if by_hand else "", max_chars=LONGEST_NOTE, key=f"label-note-{stamp}", height=80
            )
            with st.container(horizontal=True):
                st.form_submit_button("Save", type="primary", on_click=_save, args=(root, sae, feature, stamp))
                st.form_submit_button(
                    "Take away", disabled=by_hand is None, on_click=_take_away, args=(root, sae, feature)
                )
        if said := st.session_state.pop(_SAID, ""):
            st.caption(plain(said))


def _save(root: Path, sae: str, feature: int, stamp: str) -> None:
    text, direction, note = (
        str(st.session_state.get(f"label-{name}-{stamp}") or "") for name in ("text", "direction", "note")
    )
    try:
        set_labels(root, sae, {feature: new_label(text, direction, note)})
    except RmvizError as error:
        st.session_state[_SAID] = f"The label was not kept: {error}."


def _take_away(root: Path, sae: str, feature: int) -> None:
    try:
        set_labels(root, sae, {feature: None})
    except RmvizError as error:
        st.session_state[_SAID] = f"The label was not taken away: {error}."


def popover(features: Artifact) -> None:
    """All labels of an SAE: how many, how good, in and out as CSV, and the job that proposes more."""
    workspace, sae = router.workspace(), names.sae_of(features)
    known = names.labels(sae)
    with st.popover("Labels", icon=":material/label:"):
        by_hand = hand_labels(workspace.root, sae)
        st.caption(f"{counted(len(known), 'feature')} labelled, {len(by_hand)} by hand.")
        made = next((one for one in workspace.list("labels") if sae in one.parents), None)
        if made is not None:
            figures = made.metrics
            st.caption(
                plain(
                    f"{made.name}: {counted(int(figures['num_features']), 'feature')}, mean balanced accuracy "
                    f"{number(figures['balanced_accuracy'])} on held-out texts (0.5 is chance; with the labels shuffled among "
                    f"features {number(figures['shuffled_balanced_accuracy'])}), sign of the effect right in "
                    f"{percent(figures['sign_agreement'])}."
                )
            )
        effects = features.parents[0] if features.parents else ""
        link = {"kind": "label.features", "effects": effects}
        router.page_link("train", "Propose and score labels", link, ":material/rocket_launch:")
        export.file_button(
            "Labels by hand as CSV", f"labels-{sae}.csv", "text/csv", lambda: labels_csv(by_hand).encode(), "labels-csv"
        )
        if not router.is_read_only():
            _importer(sae)


def _importer(sae: str) -> None:
    key = f"labels-import-{sae}"
    st.file_uploader(
        "Take labels from a CSV with feature, label, direction, note",
        type="csv",
        key=key,
        on_change=_taken,
        args=(key, sae),
    )
    if said := st.session_state.pop(_IMPORTED, ""):
        st.caption(plain(said))


def _taken(key: str, sae: str) -> None:
    file = st.session_state.get(key)
    if file is None:
        return
    workspace = router.workspace()
    try:
        found = labels_from_csv(file.getvalue().decode("utf-8", "replace"), workspace.resolve(sae, "sae"))
        set_labels(workspace.root, sae, found)
        st.session_state[_IMPORTED] = f"{counted(len(found), 'label')} taken over."
    except RmvizError as error:
        st.session_state[_IMPORTED] = f"Nothing was taken over: {error}."


def _judge(name: str) -> str:
    """What says from the label whether the feature fires on a text."""
    if name == "words":
        return "The judge: a text is said to fire when it holds one of the label's words."
    return f"The judge: {name}, asked of each text whether a feature with this label fires on it."


def _sentences(score: LabelScore, label: Label) -> list[str]:
    """A score in words, with its intervals and n."""
    accuracy, sign = score.balanced_accuracy, score.sign_agreement
    parts = [
        f"It tells firing from silent texts with balanced accuracy {number(accuracy.value)} "
        f"[{number(accuracy.low)}, {number(accuracy.high)}] (0.5 is chance; {score.num_firing} firing and "
        f"{score.num_silent} silent texts kept aside)."
        if accuracy.n
        else "There are not both firing and silent texts to score it on."
    ]
    if sign.n:
        parts.append(
            f"“{DIRECTIONS[label.direction].capitalize()}” has the sign of the exact effect in {percent(sign.value)} "
            f"[{percent(sign.low)}, {percent(sign.high)}] of {counted(sign.n, 'text')} in which it fires."
        )
    return parts


def _kept_sentences(label: Label) -> list[str]:
    return _sentences(score_of_columns(label.score), label)
