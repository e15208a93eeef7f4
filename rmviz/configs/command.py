"""The command line that runs a config: what `rmviz.cli_flags` reads, written."""

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from rmviz.configs.base import required
from rmviz.configs.kinds import KINDS

GROUPS = {
    "data": "Preference pairs and texts.",
    "model": "Reward models that exist already.",
    "train": "Make models.",
    "sae": "Sparse autoencoders.",
    "task": "Tasks whose true reward is known: their data, and small language models that know them.",
}
"""Groups of commands: each kind that begins so has a command in its group."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "effects": ("effects",),
    "features": ("features",),
    "label.features": ("label", "features"),
    "compare": ("compare",),
    "map": ("map", "run"),
    "probe.euphemism": ("probe", "euphemism"),
    "probe.margins": ("margins",),
    "probe.spec": ("probe", "spec"),
    "probe.bias": ("probe", "bias"),
    "probe.tokens": ("probe", "tokens"),
    "recipe": ("recipe",),
} | {
    kind: (group, verb.replace("_", "-"))
    for kind in KINDS
    for group, _, verb in [kind.partition(".")]
    if group in GROUPS
}
"""The command of each kind that has one of its own, after `rmviz`. The other kinds are launched from a file."""


def command_line(
    kind: str, config: Any, workspace_root: Path | str, *, queue: bool = False, runner: str = "", again: bool = False
) -> list[str]:
    """The words of the command that runs a config; only settings that differ from their defaults are named.

    Args:
        kind: The job kind.
        config: Its config.
        workspace_root: The workspace's folder.
        queue: Whether the job is left to the queue; a config that only a file can say always is.
        runner: Where it is to run, if not where the workspace's settings say.
        again: Whether to run it once more although it was run.
    """
    place = ["--runner", runner] if runner else []
    once_more = ["--again"] if again else []
    root = ["--workspace", str(workspace_root)]
    options = _options(config) if kind in COMMANDS else None
    if options is None:
        return ["rmviz", "jobs", "launch", config_file_name(kind), *place, *once_more, *root]
    given = [str(getattr(config, f.name)) for f in fields(config) if required(f)]
    queued = ["--queue"] if queue and not place and not once_more else []
    words = [*options, *queued, *place, *once_more, *root]
    verb = ["rmviz", *COMMANDS[kind], *(str(getattr(config, f.name)) for f in fields(config) if f.metadata.get("verb"))]
    if any(word.startswith("-") for word in given):
        return [*verb, *words, "--", *given]
    return [*verb, *given, *words]


def config_file_name(kind: str) -> str:
    """What the file of a config is called when it is saved."""
    return f"{kind}.json"


def _options(config: Any) -> list[str] | None:
    """The options that say how a config differs from the defaults; None where no option can say it."""
    words: list[str] = []
    for f in fields(config):
        value = getattr(config, f.name)
        if required(f) or f.metadata.get("verb") or value == _default(f):
            continue
        flag = f"--{f.name.replace('_', '-')}"
        if value is None or value == ():
            return None
        for one in value if isinstance(value, tuple) else (value,):
            words += _option(flag, one)
    return words


def _option(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    text = repr(value) if isinstance(value, float) else str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _default(f: "Field[Any]") -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()
