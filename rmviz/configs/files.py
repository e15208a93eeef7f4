"""Configs as files: JSON with the kind and a version beside the settings."""

import json
from typing import Any

from rmviz.configs.base import from_dict, to_dict
from rmviz.configs.kinds import KINDS
from rmviz.errors import ConfigError

VERSION = 1


def config_file(kind: str, config: Any) -> dict[str, Any]:
    """What a config's file holds."""
    return {"kind": kind, "version": VERSION, **to_dict(config)}


def read_config(text: str | bytes) -> tuple[str, Any]:
    """Kind and config of a config file's text.

    Raises:
        ConfigError: It is no such file, comes from a newer rmviz, or has an impossible setting.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"a config file is JSON with a kind and its settings; this is not: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ConfigError("a config file is one JSON object whose `kind` names a job kind; this has none")
    kind, version = values.pop("kind"), values.pop("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise ConfigError(
            f"this config file was written by a newer rmviz (format {version!r}, this one reads up to {VERSION}); upgrade rmviz"
        )
    return kind, config_of(kind, values)


def config_of(kind: str, values: dict[str, Any]) -> Any:
    """The config of a kind from plain values.

    Raises:
        ConfigError: There is no such kind, or the values do not fit it.
    """
    if kind not in KINDS:
        raise ConfigError(f"no job kind {kind!r}; there are {', '.join(KINDS)}")
    return from_dict(KINDS[kind], values)
