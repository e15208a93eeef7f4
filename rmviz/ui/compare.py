"""Comparisons of reward models: which one, which two of its models, the key figures, and the view that was chosen."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from rmviz.configs.compare import ON_COMPARE
from rmviz.crosscoder.norms import KIND as CROSSCODER
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import (
    compare_accuracy,
    compare_features,
    compare_flips,
    compare_rewards,
    compare_splice,
    compare_steps,
    compare_tables,
    crosscoder,
    empty,
    frame,
    pickers,
    style,
)
from rmviz.ui.compare_tables import Compared
from rmviz.ui.words import counted, percent, plain

VIEWS = {
    "accuracy": "Accuracy",
    "flips": "Flips",
    "rewards": "Rewards",
    "calibration": "Calibration",
    "length": "Length",
    "features": "Features",
    "splice": "SAE",
    "crosscoder": "Crosscoder",
    "steps": "Steps",
}


def of_models(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The comparisons of reward models, and the crosscoders; those of maps have a page of their own."""
    return [one for one in artifacts if one.kind == "comparison" and one.metrics.get("what") in ON_COMPARE]


def nothing(workspace: Workspace, artifacts: Sequence[Artifact]) -> None:
    """Say that no comparison has been made, and the command that makes one."""
    newest = {kind: [a.id for a in artifacts if a.kind == kind] for kind in ("reward_model", "dataset")}
    models, datasets = newest["reward_model"], newest["dataset"]
    if len(models) < 2 or not datasets:
        empty.nothing(workspace, "Nothing to compare yet: that takes two reward models and a dataset of pairs.")
        if len(models) == 1:
            st.write("A training that keeps several checkpoints gives two models and more:")
            st.code(
                empty.command(workspace, "train", "reward", (datasets or ["DATASET"])[0], models[0]), language="bash"
            )
        return
    st.info("No reward models have been compared yet.", icon=":material/lightbulb:")
    words = ("compare", ",".join(reversed(models[:2])), datasets[0])
    empty.show_steps(
        [("Score the same pairs by two models (or more, with commas between them).", empty.command(workspace, *words))]
    )


@frame.fragment
def browse(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """The two models, the key figures, then the view that was chosen."""
    if artifact.metrics["what"] == CROSSCODER:
        crosscoder.view(artifact)
        return
    compared = _compared(artifact, compare_tables.information(artifact))
    _headline(compared)
    in_line = all(model["step"] is not None for model in compared.info["models"])
    shown = {name: title for name, title in VIEWS.items() if name != "steps" or in_line}
    view = pickers.choice("View", shown, "view", "accuracy", label_visibility="collapsed")
    match view:
        case "flips":
            compare_flips.flips(compared)
        case "rewards":
            compare_rewards.scatter(compared)
        case "calibration":
            compare_rewards.calibration(compared)
        case "length":
            compare_rewards.length(compared)
        case "features":
            compare_features.features(compared, artifacts)
        case "splice":
            compare_splice.splice(compared, artifacts)
        case "crosscoder":
            _crosscoder(compared, artifacts)
        case "steps":
            compare_steps.steps(compared, artifacts)
        case _:
            compare_accuracy.accuracy(compared)


def _crosscoder(compared: Compared, artifacts: Sequence[Artifact]) -> None:
    """The newest crosscoder on the two models, or how to make one."""
    first, second = (str(compared.info["models"][place]["id"]) for place in (compared.first, compared.second))
    found = crosscoder.of_pair(artifacts, first, second)
    if found is None:
        crosscoder.missing(first, second, str(compared.info["dataset"]))
    else:
        crosscoder.view(found)


def _compared(artifact: Artifact, info: Mapping[str, Any]) -> Compared:
    names = compare_tables.names_of(dict(info))
    ids = [str(model["id"]) for model in info["models"]]
    left, right = st.columns(2)
    with left:
        first = _model("First", ids, names, "first", 0, "The model that the other is held against.")
    with right:
        second = _model("Second", ids, names, "second", len(ids) - 1, "Differences are second − first.")
    if first == second:
        st.warning("The first and the second model are the same one: nothing differs. Choose another.")
    return Compared(artifact, dict(info), names, first, second)


def _model(label: str, ids: Sequence[str], names: Sequence[str], param: str, default: int, help: str) -> int:
    """One of the compared models, by its id in the URL."""
    key = pickers.choice_key(param)
    wanted = pickers.arrived(param)
    if wanted is not None:
        if wanted not in ids:
            st.warning(f"This comparison has no model “{plain(wanted[:80])}”; another is shown.")
        st.session_state[key] = wanted
    if st.session_state.get(key) not in ids:
        st.session_state[key] = ids[default]
    picked = st.selectbox(
        label, ids, format_func=lambda i: names[ids.index(i)], key=key, help=help, persist_state="session"
    )
    chosen = ids.index(picked) if picked in ids else default
    pickers.keep_in_url(param, None if chosen == default else ids[chosen])
    return chosen


def _headline(compared: Compared) -> None:
    table = compare_tables.models(compared)
    first, second = table.iloc[compared.first], table.iloc[compared.second]
    items = []
    for title, row in (("first: accuracy", first), ("second: accuracy", second)):
        under = f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}"
        items.append((title, percent(row["accuracy"]), f"{under}, n = {counted(int(row['n']), 'pair')}"))
    where = compare_tables.points_interval(second["difference_low"], second["difference_high"])
    items.append(
        ("second − first", compare_tables.points(second["difference"]), f"{where}, n = {int(second['num_common']):,}")
    )
    gained, lost = int(second["num_gained"]), int(second["num_lost"])
    items.append(("pairs that changed side", f"{gained + lost:,}", f"{gained:,} gained, {lost:,} lost"))
    missing, ties = int(first["num_missing"] + second["num_missing"]), int(first["num_ties"] + second["num_ties"])
    if missing:
        items.append(("left out", f"{missing:,}", "rewards that are no numbers"))
    if ties:
        items.append(("ties", f"{ties:,}", "count half"))
    cut = (compare_tables.values(compared.artifact, "num_cut")[[compared.first, compared.second]] > 0).sum()
    if cut:
        items.append(("cut", f"{int(cut):,}", "texts longer than a context"))
    st.html(style.figures(items))
    if not int(second["num_common"]):
        st.warning("There is no pair that both models give a finite reward; their difference cannot be told.")
    elif int(second["num_common"]) < 30:
        st.warning(f"These figures rest on {counted(int(second['num_common']), 'pair')}: too few to tell models apart.")
    st.caption(
        "Difference = accuracy of the second model − accuracy of the first, on the same pairs, with a 95 % bootstrap "
        "interval over pairs; chance is 50 %, a tie counts half."
    )
