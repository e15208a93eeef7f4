"""A policy: what it became while it was trained, in figures, curves, replies and drifting features."""

import re
from collections.abc import Sequence

import streamlit as st

from rmviz.configs.kinds import KINDS
from rmviz.configs.policies import PolicyRun
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.looks import change_of, is_watched
from rmviz.ui import (
    empty,
    frame,
    ilql,
    pickers,
    policy_curves,
    policy_drift,
    policy_samples,
    policy_tables,
    router,
    style,
)
from rmviz.ui.words import counted, interval, number, percent, plain, shortened

MEASURES = {
    "reward": ("Proxy reward", "mean reward of the replies by what it was trained for"),
    "gold": ("Gold reward", "mean reward by what was only watched: it says whether the proxy still means something"),
    "kl_reply": ("KL per reply", "nats by which the policy differs from its start along a whole reply"),
    "kl": ("KL per token", "the same per token of the replies"),
    "entropy": ("Entropy", "nats of uncertainty per token; near 0 it writes one reply only"),
    "length": ("Length", "mean tokens of a reply"),
    "ended": ("Ended", "share of replies that end by themselves; the rest were cut"),
    "distinct_1": ("Distinct words", "different words / words of all replies; falls as replies grow alike"),
    "distinct_2": ("Distinct pairs", "different pairs of neighbouring words / pairs"),
    "self_bleu": ("Self-BLEU", "how much of each reply stands in the others, 0 to 1; rises as replies grow alike"),
}
"""Figures of a look: title and meaning."""

_SAMPLED = {"reward": "reward", "gold": "gold", "kl_reply": "kl", "length": "length", "ended": "ended"}
_VIEWS = {"rewards": "Rewards and KL", "samples": "Replies", "drift": "Features that drift", "beta": "β after training"}
_SHORT = ("reward", "gold", "kl_reply", "entropy", "length", "distinct_2", "self_bleu")
_SWEEP = "sweep.parquet"
_ID = re.compile(r"(policy|reward-model|ensemble|dataset|sae)-[0-9a-f]{8}")


def nothing(workspace: Workspace) -> None:
    """Say that there is no policy, and what makes one."""
    st.info(
        "No policy is here yet. A policy is a language model that is trained to please a reward; its run is watched, and "
        "read here.",
        icon=":material/lightbulb:",
    )
    empty.show_steps(
        [
            ("Pretrain a small one, train it and see what came of it:", empty.command(workspace, "recipe", "knapsack")),
            ("Or build the planted world, whose language model can be trained:", empty.command(workspace, "demo")),
        ]
    )
    training_links({})


def training_links(params: dict[str, str]) -> None:
    """Links to the forms of the jobs that train policies."""
    with st.container(horizontal=True):
        for kind in (kind for kind, config in KINDS.items() if issubclass(config, PolicyRun)):
            router.page_link("train", kind, {"kind": kind, **params}, ":material/model_training:")


@frame.fragment
def browse(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Where it came from, its figures, then the view that was chosen."""
    origin(artifact, artifacts)
    if not is_watched(artifact):
        card(artifact)
        return
    shown = {name: title for name, title in _VIEWS.items() if name != "beta" or _SWEEP in artifact.files}
    view = pickers.choice("View", shown, "view", "rewards", label_visibility="collapsed")
    if view != "rewards":
        headline(artifact)
    match view:
        case "samples":
            policy_samples.samples(artifact)
        case "drift":
            policy_drift.drift(artifact, artifacts)
        case "beta":
            ilql.beta_view(artifact)
        case _:
            figures(artifact, artifacts)
            policy_curves.curves(artifact, artifacts)


def origin(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Links to what it was made of, and to its job; what is gone, or lives elsewhere, is named."""
    named = {one.id: one for one in artifacts}
    config = artifact.config
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        for field, title, page, param in (
            ("policy", "from", "policies", "policy"), ("reward", "reward", "playground", "model"),
            ("gold", "gold", "playground", "model"), ("dataset", "data", "data", "dataset"), ("sae", "SAE", "playground", "sae"),
        ):  # fmt: skip
            ref = str(config.get(field) or "")
            if not ref:
                continue
            found = named.get(ref)
            if found is None:
                gone = " (not in this workspace)" if _ID.fullmatch(ref) else ""
                words = policy_tables.scorer_name(ref, artifacts)
                st.caption(plain(f"{title} {shortened(words, 50)}{gone}"), width="content")
            elif found.kind == "ensemble":
                st.caption(plain(f"{title} {found.name}"), width="content")
            else:
                icon = ":material/arrow_back:"
                router.page_link(page, f"{title} {plain(shortened(found.name, 40))}", {param: found.id}, icon)
        if artifact.key:
            router.page_link("jobs", "its job", {"job": artifact.key}, ":material/checklist:")


def card(artifact: Artifact) -> None:
    """A policy that was not watched: its figures, and what can be done with it."""
    items = [
        (escaped(name.replace("_", " ")), number(float(value)), "")
        for name, value in artifact.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    if items:
        st.html(style.figures(items))
    st.info(
        "This policy was pretrained, or brought in: no run of it was watched, so there are no replies over time to read. "
        "Train it for a reward, and its run is shown here.",
        icon=":material/lightbulb:",
    )
    training_links({"policy": artifact.id})


def headline(artifact: Artifact) -> None:
    """The figures in one line, before → after."""
    table = policy_tables.looks(artifact)
    there = [name for name in _SHORT if name in table and table[name].notna().any()]
    pairs = {name: (float(table[name].iloc[0]), float(table[name].iloc[-1])) for name in there}
    items = [(MEASURES[name][0], number(after), f"from {number(before)}") for name, (before, after) in pairs.items()]
    st.html(style.figures(items))


def figures(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Every figure at the first look and at the last, the paired change with its interval, and what it means."""
    table, samples = policy_tables.looks(artifact), policy_tables.samples(artifact)
    at = policy_tables.steps(artifact)
    config = artifact.config
    lines = []
    for name, (title, meaning) in MEASURES.items():
        if name not in table or table[name].isna().all():
            continue
        before, after = float(table[name].iloc[0]), float(table[name].iloc[-1])
        form = percent if name == "ended" else number
        column = _SAMPLED.get(name)
        ends = ""
        if column in samples and len(at) > 1:
            change = change_of(samples, str(column), at[0], at[-1])
            ends = interval(change.low, change.high)
        whose = (
            f" ({shortened(policy_tables.scorer_name(str(config[name]), artifacts), 40)})" if config.get(name) else ""
        )
        lines.append(
            f"<tr><td>{title}</td><td class='num'>{form(before)}</td><td class='num'><b>{form(after)}</b></td>"
            f"<td class='num'>{number(after - before, signed=True)} <span class='muted'>{ends}</span></td>"
            f"<td class='muted'>{escaped(meaning + whose)}</td></tr>"
        )
    head = "<tr><th></th><th>before</th><th>after</th><th>change [95 %]</th><th></th></tr>"
    st.html(f'<div class="rm"><table class="rm-table">{head}{"".join(lines)}</table></div>')
    prompts = int((samples["step"] == at[0]).sum())
    st.caption(
        f"The same {counted(prompts, 'prompt')} with the same seed at {counted(len(at), 'look')}, from step {at[0]:,} to step "
        f"{at[-1]:,}. Change = after − before; intervals are Student's over prompts, paired; one run, seed "
        f"{config.get('seed', 0)}: what another seed would do is not in them."
    )
