"""What stands in the Train page's forms: one draft per job kind, filled from a preset, a file, a link or another job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from rmviz.configs.base import parent_lists, parents, to_dict
from rmviz.configs.files import config_of, read_config
from rmviz.configs.kinds import KINDS
from rmviz.configs.presets import with_preset
from rmviz.errors import ConfigError, RmvizError
from rmviz.jobs.records import list_jobs
from rmviz.store.workspace import Workspace
from rmviz.ui import pickers
from rmviz.ui.forms import default_values, fits_form, widget_key

DEFAULT_KIND = "train.reward"
KIND = "train-kind"
"""Session key of the kind that is shown."""

MAX_FILE = 1_000_000
_DRAFTS, _SAID = "_job-drafts", "_job-drafts-said"


@dataclass(frozen=True)
class JobDraft:
    """First values of a kind's form; each new filling is a new generation, with widgets of its own."""

    values: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0


def draft_of(kind: str) -> JobDraft:
    """The draft of a kind; its defaults where nothing was filled in yet."""
    return _drafts().get(kind) or JobDraft(default_values(kind))


def form_key(kind: str) -> str:
    """Where the session keys of a kind's widgets begin."""
    return f"form-{kind}-{draft_of(kind).generation}"


def current(kind: str) -> dict[str, Any]:
    """What stands in a kind's form now, changes by hand included."""
    key = form_key(kind)
    return {name: st.session_state.get(widget_key(key, name), value) for name, value in draft_of(kind).values.items()}


def fill(kind: str, values: Mapping[str, Any]) -> None:
    """Put values into a kind's form, in place of what stands there."""
    generation = draft_of(kind).generation + 1
    _drafts()[kind] = JobDraft({**default_values(kind), **values}, generation)


def apply_preset(kind: str, preset: str) -> None:
    """Lay a preset over what stands in the form."""
    fill(kind, with_preset(kind, preset, current(kind)))


def reset(kind: str) -> None:
    """Every setting back to its default; parents and name stay."""
    kept = {name: current(kind)[name] for name in (*parents(KINDS[kind]), "name") if name in draft_of(kind).values}
    fill(kind, kept)


def load(text: bytes) -> None:
    """Fill a form from a config file and show its kind; what is wrong with the file is said on the next run."""
    try:
        if len(text) > MAX_FILE:
            raise ConfigError(f"a config file has at most {MAX_FILE:,} bytes; this one has {len(text):,}")
        kind, config = _read(text)
        fits_form(to_dict(config))
    except ConfigError as error:
        st.session_state[_SAID] = str(error)
        return
    fill(kind, to_dict(config))
    show(kind)


def _read(text: bytes) -> tuple[str, Any]:
    try:
        return read_config(text)
    except RecursionError:
        raise ConfigError("a config file is one flat JSON object; this one is nested too deep") from None


def said() -> str:
    """What the last filling had to say, once."""
    return st.session_state.pop(_SAID, "")


def show(kind: str) -> None:
    """Choose the kind that the page shows."""
    st.session_state[KIND] = kind
    pickers.keep_in_url("kind", kind)


def take_link(workspace: Workspace) -> None:
    """Follow what the URL brings: a kind, parents for it, or a job whose config is to be copied."""
    wanted = pickers.arrived("kind")
    if wanted in KINDS:
        st.session_state[KIND] = wanted
    elif wanted is not None:
        st.session_state[_SAID] = f"there is no job kind “{wanted[:60]}”; there are {', '.join(KINDS)}"
    if (key := st.query_params.get("copy")) is not None:
        del st.query_params["copy"]
        _copy(workspace, key)
    kind = st.session_state.get(KIND)
    if kind not in KINDS:
        kind = st.session_state[KIND] = DEFAULT_KIND
    named = (*parents(KINDS[kind]), *parent_lists(KINDS[kind]))
    given = {name: st.query_params.pop(name) for name in named if name in st.query_params}
    if given:
        fill(kind, current(kind) | given)
    pickers.keep_in_url("kind", kind)


def _copy(workspace: Workspace, key: str) -> None:
    job = next((job for job in list_jobs(workspace) if job.key == key), None)
    try:
        if job is None:
            raise ConfigError(f"there is no job called {key[:120]} whose settings could be copied")
        config = config_of(job.kind, dict(job.config))
        fits_form(to_dict(config))
    except RmvizError as error:
        st.session_state[_SAID] = str(error)
        return
    fill(job.kind, to_dict(config))
    show(job.kind)


def _drafts() -> dict[str, JobDraft]:
    return st.session_state.setdefault(_DRAFTS, {})
