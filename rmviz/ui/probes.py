"""Probes: which one, what it says, and where there is none, how to start one."""

from collections.abc import Sequence

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import empty, frame, probe_item, probe_next, probe_ranking, probe_tables, probe_tokens
from rmviz.ui.probe_tables import Probed
from rmviz.ui.words import counted, plain


def nothing(workspace: Workspace, artifacts: Sequence[Artifact]) -> None:
    """Say that nothing has been probed, and what starts a probe."""
    newest = {kind: next((a for a in artifacts if a.kind == kind), None) for kind in ("sae", "dataset")}
    sae, dataset = newest["sae"], newest["dataset"]
    if sae is None or dataset is None:
        empty.nothing(workspace, "Nothing to probe yet: that takes a reward model with an SAE, and a dataset.")
        return
    st.info(
        "Nothing has been probed yet. A probe edits texts in ways that should not matter, and says what that costs and which "
        "features carry it.",
        icon=":material/lightbulb:",
    )
    st.write("Fill in a form:")
    with st.container(horizontal=True):
        probe_next.start({"sae": sae.id, "dataset": dataset.id})
    st.write("Or type a command:")
    probe = (sae.id, dataset.id)
    empty.show_steps(
        [
            ("Fifteen edits, from padding to typos.", empty.command(workspace, "probe", "bias", *probe)),
            (
                "One topic in other words.",
                empty.command(workspace, "probe", "euphemism", *probe, "--topic", "pregnancy"),
            ),
            ("All that should not matter.", empty.command(workspace, "probe", "spec", *probe)),
            ("Every token as the reply.", empty.command(workspace, "probe", "tokens", sae.id, "--dataset", dataset.id)),
        ]
    )


@frame.fragment
def browse(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """What the probe says, then what can be done with it."""
    probe = probe_tables.probed(artifact, artifacts)
    _origin(probe, artifacts)
    item = probe.info.get("topic")
    if probe.what in ("spec", "bias"):
        probe_ranking.ranking(probe)
        item = st.session_state.get(probe_ranking.ITEM)
    elif probe.what == "tokens":
        probe_tokens.tokens(probe)
    else:
        probe_item.item(probe, str(item))
    st.divider()
    st.markdown("**What next**")
    probe_next.steps(probe, item)


def _origin(probe: Probed, artifacts: Sequence[Artifact]) -> None:
    names = {artifact.id: artifact.name for artifact in artifacts}
    info = probe.info
    parts = [
        probe_next.title_of(probe.what),
        f"reward model {names.get(info['model'], info['model'])}",
        f"SAE {names.get(info['sae'], info['sae'])} at {info['hookpoint']}",
    ]
    if info.get("dataset"):
        parts.append(f"data {names.get(info['dataset'], info['dataset'])}, {probe.artifact.config.get('split', '')}")
    if probe.what == "euphemism":
        config = probe.artifact.config
        maker = config.get("maker", "words")
        parts.append(f"{info['topic']}, edited by {config['policy'] if maker == 'generator' else maker}")
    if probe.what != "tokens":
        parts.append(f"rewards vary by {probe.std:.3g} (sd)")
    st.caption(plain(" · ".join(parts)))
    if probe.what != "tokens" and (few := _few(probe)) is not None:
        st.warning(f"These figures rest on {counted(few, 'pair')} at most: too few to tell a small gap from none.")


def _few(probe: Probed) -> int | None:
    items = probe_tables.table(probe.artifact, "items")
    most = int(items["num_units"].max()) if len(items) else 0
    return most if most < 30 else None
