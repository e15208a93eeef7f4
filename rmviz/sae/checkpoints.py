"""Checkpoints of a training run: whole or not there, checked before they are used, the newest two kept."""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rmviz.store.artifact import write_json

_TENSORS, _FACTS = "state.safetensors", "facts.json"
_KEPT = 2
_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, flush it, rename it there, and drop older ones but one."""
    beside, place = folder / f".{os.getpid()}", folder / f"step-{step:010d}"
    if place.exists():
        return
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, beside / _TENSORS)
        with (beside / _TENSORS).open("rb") as file:
            os.fsync(file.fileno())
            digest = file_digest(file, "sha256").hexdigest()
        write_json(beside / _FACTS, {"step": step, "sha256": digest, **facts})
        beside.rename(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    for old in sorted(folder.glob("step-*"))[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole; None when there is none."""
    for place in sorted(folder.glob("step-*"), reverse=True):
        try:
            facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
            with (place / _TENSORS).open("rb") as file:
                if file_digest(file, "sha256").hexdigest() != facts["sha256"]:
                    raise ValueError("its content is not what was written")
            return load_file(place / _TENSORS), facts
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.warning("the checkpoint %s is damaged (%s); the one before it is used", place, error)
    return None
