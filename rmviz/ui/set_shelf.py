"""Features changed together: groups that the page tells, and named sets that the workspace keeps and jobs can take."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from rmviz.backend.wire import FeaturesAnswer
from rmviz.errors import ConfigError, RmvizError
from rmviz.features.sets import (
    HIGH,
    LOW,
    MOST_VALUE,
    Edit,
    Edits,
    FeatureSet,
    delete_set,
    off_list,
    patch_list,
    rename_set,
    save_set,
    saved_sets,
    scales_of,
    values_of,
    written_edits,
)
from rmviz.store.artifact import Artifact
from rmviz.ui import active, drafts, job_drafts, router
from rmviz.ui.edited import Edited
from rmviz.ui.words import counted, plain, shortened

_SAID = "_set-said"
JOBS: dict[str, tuple[str, str, Callable[[Edits], str]]] = {
    "model.patch": ("Patch the model", ":material/healing:", patch_list),
    "map_rescore": ("Score a map without them", ":material/grid_off:", off_list),
}
"""Job kinds that take a set of features: what their button says, and how they want the set written."""


def groups(
    sae: Artifact,
    draft: drafts.Draft,
    answers: Sequence[FeaturesAnswer],
    rows: pd.DataFrame,
    found: pd.DataFrame | None,
    edited: Edited,
) -> None:
    """Change many features at once: all that raise, all that lower, those found, those on one token, a saved set."""
    with st.popover("Change a group", icon=":material/select_all:"):
        main = draft.comparison.column if draft.comparison else "effect"
        options: dict[str, list[int]] = {
            f"All that raise ({main})": active.raising(rows, main, 1),
            f"All that lower ({main})": active.raising(rows, main, -1),
        }
        if found is not None:
            options["Found by the search"] = [int(feature) for feature in found["feature"]]
        options["Firing on one token"] = []
        for one in _sets(sae):
            options[f"Set: {one.name}"] = list(one.edits)
        which = st.selectbox("Group", list(options), key="group-which")
        features = options[which]
        if which == "Firing on one token":
            features = active.firing_at(*_token_picker(draft, answers))
        edit = _edit_picker()
        st.button(
            f"Apply to {counted(len(features), 'feature')}", type="primary", key="group-apply", disabled=not features,
            on_click=lambda: edited.put(edited.now | dict.fromkeys(features, edit)),
        )  # fmt: skip


def _edit_picker() -> Edit:
    kinds = {"scale": "Scale", "value": "Set to a value"}
    kind = st.segmented_control(
        "What to do", list(kinds), format_func=lambda k: kinds[k], default="scale", key="group-kind", required=True
    )
    if kind == "value":
        value = st.number_input("Value", -MOST_VALUE, MOST_VALUE, 1.0, 0.5, key="group-value", help="At every token.")
        return Edit("value", value)
    scale = st.slider("Scale", LOW, HIGH, 0.0, 0.25, key="group-scale", format="×%.2f", help="0: off, 1: as it is.")
    return Edit("scale", scale)


def shelf(sae: Artifact, edited: Edited) -> None:
    """Save what is changed now under a name; take, rename, delete and hand over what was saved."""
    with st.popover("Sets", icon=":material/bookmarks:"):
        if said := st.session_state.pop(_SAID, ""):
            st.warning(plain(said))
        sets = _sets(sae)
        if edited.now and not router.is_read_only():
            _saver(sae, edited)
        elif not sets:
            st.caption("Switch some features off; then they can be kept here under a name.")
        picked = _picked(sets)
        if picked is not None:
            _saved(picked, edited)
        chosen = picked.edits if picked is not None else edited.now
        if chosen:
            _hand_over(sae, chosen)


def _picked(sets: Sequence[FeatureSet]) -> FeatureSet | None:
    by_id = {one.id: one for one in sets}
    if not by_id:
        return None
    if st.session_state.get("set-picked") not in by_id:
        st.session_state["set-picked"] = next(iter(by_id))
    picked = st.selectbox(
        "Saved sets", list(by_id), key="set-picked",
        format_func=lambda i: f"{by_id[i].name} · {counted(len(by_id[i].edits), 'feature')}" if i in by_id else "",
    )  # fmt: skip
    return by_id.get(picked)


def _saver(sae: Artifact, edited: Edited) -> None:
    name, button = st.columns([3, 2], vertical_alignment="bottom")
    name.text_input("Name for what is changed now", key="set-name", placeholder="politics")
    root = router.workspace().root
    button.button(
        f"Save {counted(len(edited.now), 'feature')}", key="set-save", width="stretch",
        on_click=lambda: _told(lambda: _save(root, sae, edited)),
    )  # fmt: skip


def _save(root: Path, sae: Artifact, edited: Edited) -> None:
    made = save_set(root, sae.id, str(st.session_state.get("set-name", "")), edited.now)
    st.session_state["set-name"] = ""
    st.session_state["set-picked"] = made.id


def _saved(picked: FeatureSet, edited: Edited) -> None:
    root = router.workspace().root
    with st.container(horizontal=True):
        st.button(
            "Take it", key="set-take", on_click=lambda: edited.put(picked.edits), help="In place of what is changed."
        )
        st.button("Add it", key="set-add", on_click=lambda: edited.put(edited.now | picked.edits))
        if router.is_read_only():
            return
        st.button("Delete", key="set-delete", on_click=lambda: _told(lambda: delete_set(root, picked.id)))
    key = f"set-rename-{picked.id}"
    st.text_input(
        "Rename", value=picked.name, key=key,
        on_change=lambda: _told(lambda: rename_set(root, picked.id, str(st.session_state[key]))),
    )  # fmt: skip


def _hand_over(sae: Artifact, edits: Edits) -> None:
    """The set as jobs take it, and the way to their forms."""
    st.caption("As it is written in the address:" if values_of(edits) else "As jobs and the command line take it:")
    words = written_edits(edits) if values_of(edits) else patch_list(edits) if scales_of(edits) else ""
    st.code(words, language=None, wrap_lines=True, height=90 if len(words) > 150 else "content")
    why: list[str] = []
    for kind, (label, icon, written) in JOBS.items():
        try:
            features = written(edits)
        except ConfigError as error:
            why.append(f"{kind}: {error}.")
            continue
        if st.button(label, icon=icon, key=f"set-{kind}", help=f"Opens the form of {kind} with these features."):
            job_drafts.fill(kind, {"sae": sae.id, "features": features})
            job_drafts.show(kind)
            router.go("train", {"kind": kind})
    for line in why:
        st.caption(plain(line))


def _token_picker(draft: drafts.Draft, answers: Sequence[FeaturesAnswer]) -> tuple[FeaturesAnswer, int]:
    places = [
        (text, position)
        for text, answer in enumerate(answers)
        for position, real in enumerate(answer.feature_positions)
        if real
    ]
    names = [name for name, _, _ in draft.texts]

    def words(place: tuple[int, int]) -> str:
        text, position = place
        where = f"{names[text]} · " if len(names) > 1 else ""
        return f"{where}{position} · {shortened(answers[text].tokens[position], 30) or '␣'}"

    text, position = st.selectbox("Token", places, format_func=words, key="group-token") or (0, -1)
    return answers[min(text, len(answers) - 1)], position


def _sets(sae: Artifact) -> list[FeatureSet]:
    found, problems = saved_sets(router.workspace().root, sae.id)
    for problem in problems:
        st.warning(plain(problem))
    return found


def _told(act: Callable[[], object]) -> None:
    """Do something in a callback; what goes wrong is said where the sets are."""
    try:
        act()
    except RmvizError as error:
        words = str(error)
        st.session_state[_SAID] = words[:1].upper() + words[1:]
