"""What to do with a probe: take its report along, patch the model, probe on."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from rmviz.probes.export import page
from rmviz.ui import export, job_drafts, probe_tables, router
from rmviz.ui.probe_tables import Probed
from rmviz.ui.words import counted, shortened

MAX_PATCHED = 20
"""Features that are put into a draft of a patched model at most."""

_KINDS = {"euphemism": "Euphemism test", "spec": "Spec check", "bias": "Bias battery", "tokens": "One-token replies"}


def steps(probe: Probed, item: str | None) -> None:
    """Buttons: the report as a file, and drafts on the Train page."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        export.file_button(
            "Report (HTML)", f"{probe.artifact.name}.html", "text/html", lambda: _page(probe), "probe-html"
        )
        export.json_button("JSON", {"artifact": probe.artifact.id, **probe.info}, probe.artifact.name, "probe-json")
        carriers = probe_tables.carriers(probe, item)[:MAX_PATCHED] if item else []
        if carriers and st.button(
            "Patch the model", icon=":material/healing:", type="tertiary", key="probe-patch",
            help=f"Opens the Train page with {counted(len(carriers), 'feature')} to switch off.",
        ):  # fmt: skip
            names = ", ".join(map(str, carriers))
            _draft(
                "model.patch",
                {"sae": probe.info["sae"], "features": names, "name": f"without {shortened(str(item), 30)}"},
            )
        if st.button("Probe again with changes", icon=":material/content_copy:", type="tertiary", key="probe-again"):
            _draft(f"probe.{probe.what}", probe.artifact.config | {"name": ""})
        with st.popover("Another probe", icon=":material/add:", type="tertiary"):
            start({name: probe.info[name] for name in ("sae", "dataset") if probe.info.get(name)})


def start(values: Mapping[str, Any]) -> None:
    """A button for each kind of probe: it opens the Train page with a draft."""
    for what, title in _KINDS.items():
        if st.button(title, key=f"start-{what}", icon=":material/science:"):
            _draft(f"probe.{what}", values)


def title_of(what: str) -> str:
    """What to call a kind of probe."""
    return _KINDS.get(what, what)


def _draft(kind: str, values: Mapping[str, Any]) -> None:
    job_drafts.fill(kind, values)
    router.go("train", {"kind": kind})


def _page(probe: Probed) -> bytes:
    return page(probe.artifact).encode("utf-8", "replace")
