"""Which device and dtype a model gets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rmviz.errors import ModelError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_HEADROOM = 0.9
"""Share of a GPU's free memory that weights may take."""


def choose_device(device: str) -> torch.device:
    """The device asked for, or the best there is.

    Raises:
        ModelError: No such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"there is no device {device!r} on this machine; use auto, cpu, cuda or mps") from error
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype asked for; bfloat16 on CUDA devices that have it, else float32, when auto.

    Raises:
        ModelError: No such dtype.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if dtype not in _DTYPES:
        raise ModelError(f"dtype must be auto, {', '.join(_DTYPES)}, got {dtype!r}")
    return _DTYPES[dtype]


def placement(device: torch.device, num_bytes: int) -> dict[str, Any]:
    """Arguments that spread a model over all GPUs when its weights exceed one GPU's free memory.

    Raises:
        ModelError: All GPUs together are too small.
    """
    if device.type != "cuda" or num_bytes <= _HEADROOM * torch.cuda.mem_get_info(device)[0]:
        return {}
    free = {i: int(_HEADROOM * torch.cuda.mem_get_info(i)[0]) for i in range(torch.cuda.device_count())}
    if num_bytes > sum(free.values()):
        raise ModelError(
            f"the model needs {num_bytes / 1e9:.1f} GB, and the GPUs have {sum(free.values()) / 1e9:.1f} GB free; "
            "free some, or choose device cpu"
        )
    return {"device_map": "auto", "max_memory": free}


@contextmanager
def unmixed() -> Iterator[None]:
    """While open, arithmetic is in the precision of weights and inputs, though autocast may be on around it."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield
