"""Reading and replacing the residual stream after a block, for one forward at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rmviz.models.reward_model import RewardModel


@contextmanager
def reading(block: nn.Module) -> Iterator[list[Tensor]]:
    """A list that each forward of the block appends its output residual to, (text, position, d_in)."""
    kept: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, args, output: kept.append(_residual(output)))
    try:
        yield kept
    finally:
        handle.remove()


@contextmanager
def replacing(block: nn.Module, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, the block hands on `edit(residual)` in place of its residual; the rest of a tuple output stays."""
    handle = block.register_forward_hook(lambda module, args, output: _with_residual(output, edit(_residual(output))))
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def residuals(
    rm: RewardModel, batch: dict[str, Tensor], hookpoint: str
) -> tuple[Float[Tensor, "text position d_in"], Float[Tensor, " text"]]:
    """The clean residual after a block, and the rewards, from one forward.

    Raises:
        ModelError: The model has no such hookpoint.
    """
    with reading(rm.block(hookpoint)) as kept:
        rewards = rm.rewards(batch)
    return kept[0], rewards


def _residual(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple | list) else output


def _with_residual(output: Any, residual: Tensor) -> Any:
    if isinstance(output, tuple | list):
        return type(output)([residual, *output[1:]])
    return residual
