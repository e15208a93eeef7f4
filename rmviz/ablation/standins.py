"""Stand-ins for blocks of a model, and a view of the model that has them; the model itself is never touched."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rmviz.ablation.caches import KeysReady, ReadLayer, SilentLayer, cache_of

_CACHES = {"past_key_values", "layer_past", "past_key_value"}


class StandIn(nn.Module):
    """In the place of a block: answers for its attributes, so that a model may ask for them."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def __getattr__(self, name: str) -> Any:
        """What the stand-in lacks is the block's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


class Through(StandIn):
    """Runs nothing: hands its input on, in the shape that the block returns."""

    def __init__(self, block: nn.Module, *, as_tuple: bool) -> None:
        super().__init__(block)
        self.as_tuple = as_tuple

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The input."""
        return (hidden, None) if self.as_tuple else hidden


class Source(StandIn):
    """Hands on the residual that was prepared for it; `run` lets the block run first, for models that count on it."""

    def __init__(self, block: nn.Module, *, as_tuple: bool, run: bool = False) -> None:
        super().__init__(block)
        self.as_tuple, self.run = as_tuple, run
        self.residual: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The prepared residual."""
        if self.run:
            self.block(*args, **kwargs)
        return (self.residual, None) if self.as_tuple else self.residual


class Tap(StandIn):
    """Runs the block and keeps its residual; as a leaf, so that gradients end there, or another in its place, when asked for."""

    def __init__(self, block: nn.Module, *, leaf: bool = False, instead: Tensor | None = None) -> None:
        super().__init__(block)
        self.leaf, self.instead = leaf, instead
        self.residual: Tensor | None = None
        self.as_tuple = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's own output, or with the other residual."""
        output = self.block(*args, **kwargs)
        self.as_tuple = isinstance(output, tuple | list)
        residual = output[0] if self.as_tuple else output
        if self.instead is not None:
            residual = self.instead
        if self.leaf:
            residual = residual.detach().requires_grad_()
        if residual is not (output[0] if self.as_tuple else output):
            output = (residual, *output[1:]) if self.as_tuple else residual
        self.residual = residual
        return output


class ReadOnly(StandIn):
    """Runs the last block for the position that the head reads, and no other.

    The block runs twice: until its keys and values of all positions are known (then the cache entry stops it), and again with
    the read position as its only query. What it returns is that one position, seen at every position, so that
    whatever position the head picks is the right one.
    """

    def __init__(
        self, block: nn.Module, index: int, layer: ReadLayer, reads: Int[Tensor, " row"] | int, *, causal: bool
    ) -> None:
        super().__init__(block)
        self.index, self.layer, self.reads, self.causal = index, layer, reads, causal
        self.signature = inspect.signature(block.forward)

    @staticmethod
    def fits(block: nn.Module) -> bool:
        """Whether the block takes a cache at all."""
        return bool(_CACHES & set(inspect.signature(block.forward).parameters))

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The read position of each row, (row, position, d_in) with equal positions."""
        given = self._arguments(hidden, *args, **kwargs)
        name = next(name for name in self.signature.parameters if name in _CACHES)
        if given.get(name) is None:
            given[name] = cache_of([*[SilentLayer()] * self.index, self.layer])
        try:
            self.block(hidden, **given)
        except KeysReady:
            pass
        else:
            raise RuntimeError(f"{type(self.block).__name__} does not use the cache that it takes")
        length = hidden.shape[1]
        if isinstance(self.reads, Tensor):
            self.reads = self.reads.to(hidden.device)
        given = {name: self._at_reads(value, length) for name, value in given.items()}
        if self.causal and given.get("attention_mask") is None and not self._reads_last(length):
            given["attention_mask"] = self._mask(hidden)
        output = self.block(self._at_reads(hidden, length), **given)
        if isinstance(output, tuple | list):
            return (output[0].expand(-1, length, -1), *output[1:])
        return output.expand(-1, length, -1)

    def _arguments(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        bound = self.signature.bind(*args, **kwargs).arguments
        _, *names = bound
        given = {
            name: bound[name]
            for name in names
            if self.signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD
        }
        rest = [name for name in names if name not in given]
        return given | (bound[rest[0]] if rest else {})

    def _at_reads(self, value: Any, length: int) -> Any:
        """Whatever has one entry per position, cut down to the read position of each row."""
        if isinstance(value, tuple | list):
            return type(value)(self._at_reads(part, length) for part in value)
        if not isinstance(value, Tensor) or value.ndim not in (2, 3, 4):
            return value
        axis = 2 if value.ndim == 4 else 1
        if value.shape[axis] != length:
            return value
        if isinstance(self.reads, int):
            return value.narrow(axis, self.reads, 1)
        rows = torch.arange(len(self.reads), device=value.device)
        value = value.expand(len(self.reads), *value.shape[1:])
        return (value[rows, :, self.reads] if axis == 2 else value[rows, self.reads]).unsqueeze(axis)

    def _reads_last(self, length: int) -> bool:
        return isinstance(self.reads, int) and self.reads == length - 1

    def _mask(self, hidden: Tensor) -> Tensor:
        """Additive mask (row or 1, 1, 1, key), where the model left it out, counting on causal attention over all positions."""
        assert self.layer.keys is not None
        reads = torch.as_tensor(self.reads, device=hidden.device).reshape(-1, 1, 1, 1)
        unseen = torch.arange(self.layer.keys.shape[2], device=hidden.device) > self.layer.length + reads
        return torch.zeros_like(unseen, dtype=hidden.dtype).masked_fill(unseen, torch.finfo(hidden.dtype).min)


def view_with(model: nn.Module, blocks: nn.ModuleList, stand_ins: Sequence[nn.Module]) -> nn.Module:
    """A view of a model whose list of blocks is another; everything else is shared, and the model stays as it is."""
    replacement = nn.ModuleList(stand_ins)
    replacement.training = blocks.training

    def seen(module: nn.Module) -> nn.Module:
        if module is blocks:
            return replacement
        children = {name: seen(child) for name, child in module._modules.items() if child is not None}
        if all(children[name] is module._modules[name] for name in children):
            return module
        clone = copy.copy(module)
        clone._modules = {**module._modules, **children}
        clone.__dict__.pop("forward", None)  # accelerate binds a forward to the module it was made for
        return clone

    return seen(model)
