"""The first block after the hookpoint, run only where the residual changed, as far as it works position by position.

Projections to queries, keys and values (and a parallel MLP) read each position alone, so where nothing fires they give what
they gave in the clean pass. Which modules these are is found by changing one position and looking at what changes.
"""

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from rmviz.ablation.standins import StandIn

MOST_CHANGED = 0.5
"""Above this share of changed positions a module runs on all of them: that costs less than picking them out."""


class Recorder(StandIn):
    """Keeps what a module was given and what it returned, if that is one tensor each."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__(block)
        self.calls: list[tuple[Tensor, Tensor] | None] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own output."""
        output = self.block(*args, **kwargs)
        plain = len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and isinstance(output, Tensor)
        self.calls.append((args[0], output) if plain else None)
        return output


@dataclass
class Changed:
    """Which positions of a batch of rows differ from the clean pass: `places` are unique, in the flattened rows."""

    texts: Int[Tensor, " row"]
    begin: int
    end: int
    places: Int[Tensor, " place"]


class Patch(StandIn):
    """Runs a module at the changed positions only; elsewhere its output is the clean one."""

    def __init__(self, block: nn.Module, clean: Float[Tensor, "text position width"], changed: Changed) -> None:
        super().__init__(block)
        self.clean, self.changed = clean, changed

    def forward(self, hidden: Tensor) -> Tensor:
        """The module's output at all positions."""
        changed = self.changed
        flat = hidden.flatten(0, 1)
        if len(changed.places) > MOST_CHANGED * len(flat):
            return self.block(hidden)
        output = self.clean[:, changed.begin : changed.end].index_select(0, changed.texts.to(self.clean.device))
        places = changed.places.to(hidden.device)
        new = self.block(flat.index_select(0, places).unsqueeze(0))[0]
        output.view(-1, output.shape[-1]).index_copy_(0, places, new)
        return output


def rebuilt(block: nn.Module, wrap: Callable[[str, nn.Module], nn.Module], path: str = "") -> nn.Module:
    """A copy of a block that shares all weights, with each of its submodules as `wrap(path, submodule)` gives it."""
    children = {
        name: wrap(f"{path}{name}", rebuilt(child, wrap, f"{path}{name}."))
        for name, child in block._modules.items()
        if child is not None
    }
    if not children:
        return block
    clone = copy.copy(block)
    clone._modules = {**block._modules, **children}
    return clone


def recorded(block: nn.Module, names: Collection[str] | None = None) -> tuple[nn.Module, dict[str, Recorder]]:
    """A copy of the block whose weighty submodules (all, or those named) are recorded."""
    recorders: dict[str, Recorder] = {}

    def wrap(path: str, module: nn.Module) -> nn.Module:
        if (path in names) if names is not None else _is_weighty(module):
            recorders[path] = module = Recorder(module)
        return module

    return rebuilt(block, wrap), recorders


def patched(block: nn.Module, outputs: dict[str, Tensor], changed: Changed) -> nn.Module:
    """A copy of the block whose submodules with clean outputs run at the changed positions only."""
    return rebuilt(block, lambda path, module: Patch(module, outputs[path], changed) if path in outputs else module)


def position_wise(before: dict[str, Recorder], after: dict[str, Recorder], position: int) -> tuple[str, ...]:
    """Outermost submodules whose output differs between two passes at one position only, where the residual was changed."""
    found: list[str] = []
    for name in before:  # children come before their parents
        calls = before[name].calls, after[name].calls
        if len(calls[0]) != 1 or len(calls[1]) != 1 or calls[0][0] is None or calls[1][0] is None:
            continue
        if all(_same_elsewhere(a, b, position) for a, b in zip(calls[0][0], calls[1][0], strict=True)):
            found = [other for other in found if not other.startswith(f"{name}.")] + [name]
    return tuple(found)


def _same_elsewhere(a: Tensor, b: Tensor, position: int) -> bool:
    if a.ndim != 3 or a.shape != b.shape or a.shape[0] != 2 or a.shape[1] <= position:
        return False
    moved = (a - b).abs().amax(-1)
    size = float(moved.max())
    moved[:, position] = 0
    return size > 0 and float(moved.max()) <= 1e-4 * size


def _is_weighty(module: nn.Module) -> bool:
    return any(parameter.ndim >= 2 for parameter in module.parameters())


def can_be_copied(block: nn.Module) -> bool:
    """Whether nothing is bound to the very modules of the block (accelerate's hooks are)."""
    return not any("forward" in module.__dict__ or hasattr(module, "_hf_hook") for module in block.modules())
