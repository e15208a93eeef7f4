"""What all job configs share: checks, plain dictionaries, and the meaning of each field."""

import ast
import inspect
import textwrap
import types
import typing
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from rmviz.errors import ConfigError

C = TypeVar("C")


def require(condition: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def at_least(config: Any, **bounds: float) -> None:
    """Check that each named field of a config is at least its bound."""
    for name, bound in bounds.items():
        value = getattr(config, name)
        require(value >= bound, f"{name} must be at least {bound}, got {value}")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def from_dict(kind: type[C], values: dict[str, Any]) -> C:
    """A config made from plain JSON values.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong type; all field names are listed.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    require(not unknown, f"unknown setting {', '.join(unknown)}; {kind.__name__} has {', '.join(known)}")
    missing = [name for name, f in known.items() if required(f) and name not in values]
    require(not missing, f"{kind.__name__} needs {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _coerced(name, value, hints[name]) for name, value in values.items()})


def parent(*kinds: str, external: bool = False, optional: bool = False) -> Any:
    """A field that names an artifact of one of these kinds (or, if `external`, a folder or a hub id).

    Args:
        kinds: Kinds of artifacts that it may name.
        external: Whether it may also name a folder or a hub id.
        optional: Whether it may be left empty; it must be given otherwise.
    """
    metadata = {"artifact": kinds, "external": external}
    return field(default="", metadata=metadata) if optional else field(metadata=metadata)


def often(default: Any) -> Any:
    """A field that people often change: forms show it before those that they fold away."""
    return field(default=default, metadata={"often": True})


def ceiling(default: Any) -> Any:
    """A field that bounds how far a job goes and changes nothing of its result: with another bound it is the same job."""
    return field(default=default, metadata={"ceiling": True})


def verb(default: Any) -> Any:
    """A field whose value is the last word of the command that runs its kind."""
    return field(default=default, metadata={"verb": True})


def also(flag: str, default: Any) -> Any:
    """A field that the command line also takes under a shorter flag."""
    return field(default=default, metadata={"also": flag, "often": True})


def parent_list(*kinds: str, optional: bool = False) -> Any:
    """A text field that names artifacts of these kinds, with commas between them."""
    metadata = {"artifacts": kinds}
    return field(default="", metadata=metadata) if optional else field(metadata=metadata)


def parent_lists(kind: type) -> dict[str, tuple[str, ...]]:
    """Which text fields of a config name several artifacts, and of which kinds."""
    return {f.name: f.metadata["artifacts"] for f in fields(kind) if "artifacts" in f.metadata}


def parents(kind: type) -> dict[str, tuple[str, ...]]:
    """Which fields of a config name artifacts, and of which kinds."""
    return {f.name: f.metadata["artifact"] for f in fields(kind) if "artifact" in f.metadata}


def required(f: "Field[Any]") -> bool:
    """Whether a field has no default."""
    return f.default is MISSING and f.default_factory is MISSING


def _coerced(name: str, value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        hint = next(option for option in options if option is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        options = typing.get_args(hint)
        require(value in options, f"{name} must be one of {', '.join(map(str, options))}, got {value!r}")
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    require(
        isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)),
        f"{name} must be {hint.__name__}, got {value!r}",
    )
    return value


@cache
def field_docs(kind: type) -> dict[str, str]:
    """The docstring under each field of a config and of those that it extends: the one source of form help and of CLI help."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for base in kind.__bases__:
        docs |= field_docs(base) if is_dataclass(base) else {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = " ".join(doc.split())
    return docs
