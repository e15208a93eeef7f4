"""Rerunning a reward model from a hookpoint on, with changed residuals, through the model's own blocks."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rmviz.ablation.caches import KeptLayer, KeysValues, PrefixLayer, ReadLayer, SilentLayer, cache_of
from rmviz.ablation.patching import Changed, Recorder, can_be_copied, patched, position_wise, recorded
from rmviz.ablation.plan import Edits, batches
from rmviz.ablation.standins import ReadOnly, Source, Tap, Through, view_with
from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel

CPU_BATCH = 2048
"""Positions rerun at once on a CPU: larger batches leave its caches and lose speed."""

WASTE = 8
"""A batch is closed when more than one position in this many would run in vain."""

Reach = Literal["suffix", "whole", "full"]


@dataclass(frozen=True)
class Method:
    """How much of the model a rerun runs: from the first change on, the later blocks, or all blocks."""

    reach: Reach
    read_only: bool = False
    """The last block runs for the read position only."""
    patched: tuple[str, ...] = ()
    """Modules of the first later block that run at the changed positions only."""

    def described(self, rm: RewardModel, hookpoint: str) -> str:
        """In words."""
        if rm.hookpoints.index(hookpoint) == rm.num_blocks - 1 and self.reach != "full":
            return f"{self.reach}: after {hookpoint}, the last block, only the head is left"
        if self.reach == "full":
            return (
                f"full: all blocks of {rm.family} run again, because no shorter way gave its rewards on the first texts"
            )
        last = ", the last block at the read position only" if self.read_only else ""
        if self.patched:
            last += f", {' and '.join(self.patched)} of the first of them at changed positions only"
        if self.reach == "suffix":
            return f"suffix: blocks after {hookpoint}, from the first change on, over the clean keys and values of what stands before{last}"
        why = "its cache does not fit" if rm.causal else "an encoder's positions see each other"
        return f"whole: blocks after {hookpoint}, at all positions, because {why}{last}"


@dataclass
class Clean:
    """One clean pass over a batch of texts, padded on the right."""

    batch: dict[str, Tensor]
    lengths: np.ndarray
    reads: np.ndarray
    """Position that the head reads, per text."""
    residual: Tensor
    """(text, position, d_in) at the hookpoint."""
    rewards: Tensor
    as_tuple: bool
    keys_values: dict[int, KeysValues]
    """Of each later block, for causal models."""
    outputs: dict[str, Tensor]
    """Of the modules of the first later block that can be patched."""

    @property
    def num_bytes(self) -> int:
        """Memory of the residuals, keys, values and outputs."""
        pairs = (tensor for pair in self.keys_values.values() for tensor in pair)
        return sum(t.numel() * t.element_size() for t in (self.residual, *pairs, *self.outputs.values()))


class Rerun:
    """Clean and changed passes of one model from one hookpoint on. It holds no state of a pass, so threads may share it."""

    def __init__(self, rm: RewardModel, hookpoint: str, method: Method, *, max_tokens: int) -> None:
        self.rm, self.method, self.max_tokens = rm, method, max_tokens
        self.index = rm.hookpoints.index(hookpoint)
        self.is_last = self.index == rm.num_blocks - 1
        self.blocks = list(rm.blocks)
        self.reads_residual = self.is_last and method.reach != "full"
        self.with_cache = rm.causal and method.reach == "suffix" and not self.is_last

    def clean(self, encoded: Sequence[Encoded], *, leaf: bool = False, instead: Tensor | None = None) -> Clean:
        """Run texts as they are; with `leaf` (and gradients enabled) the rewards can be differentiated by the residual.

        With `instead` (text, position, d_in) all is as if the texts had that residual at the hookpoint.
        """
        batch = self.rm.collate(encoded, side="right")
        reads = self.rm.read_positions(batch)
        tap = Tap(self.blocks[self.index], leaf=leaf, instead=instead)
        blocks = [*self.blocks[: self.index], tap, *self.blocks[self.index + 1 :]]
        layers: list[SilentLayer] = [SilentLayer() if i <= self.index else KeptLayer() for i in range(len(blocks))]
        if self.method.read_only and not self.is_last:
            layers[-1] = self._read_only(blocks, reads, ReadLayer(None, None, 0))
        recorders: dict[str, Recorder] = {}
        if self.method.patched:
            blocks[self.index + 1], recorders = recorded(blocks[self.index + 1], self.method.patched)
        rewards = self._forward(blocks, batch, reads, layers, 0)
        assert tap.residual is not None
        kept = {
            i: (layer.keys.detach(), layer.values.detach())
            for i, layer in enumerate(layers)
            if self.with_cache and layer.keys is not None and layer.values is not None
        }
        lengths = np.array([len(e.ids) for e in encoded], np.int64)
        outputs = {name: call[1].detach() for name, one in recorders.items() for call in one.calls if call is not None}
        return Clean(batch, lengths, reads.cpu().numpy(), tap.residual, rewards, tap.as_tuple, kept, outputs)

    def position_wise(self, clean: Clean, position: int) -> tuple[str, ...]:
        """Modules of the first later block that read each position alone, found by changing one position of two texts."""
        if self.index + 2 >= len(self.blocks) or not can_be_copied(self.blocks[self.index + 1]):
            return ()
        seen = []
        turned = clean.residual.clone()
        turned[:, position] = turned[:, position].flip(
            -1
        )  # a norm must not undo the change, as it would a change of length
        for residual in (clean.residual, turned):
            blocks = self._blocks(residual, clean.as_tuple)
            blocks[self.index + 1], recorders = recorded(blocks[self.index + 1])
            self._forward(blocks, clean.batch, torch.from_numpy(clean.reads), [SilentLayer() for _ in blocks], 0)
            seen.append(recorders)
        return position_wise(seen[0], seen[1], position)

    def clean_and_gradient(self, encoded: Sequence[Encoded]) -> tuple[Clean, Tensor]:
        """The clean pass, and the gradient of each text's reward by its residual."""
        with torch.inference_mode(False), torch.enable_grad():
            clean = self.clean(encoded, leaf=True)
            (gradient,) = torch.autograd.grad(clean.rewards.sum(), clean.residual)
        clean.residual, clean.rewards = clean.residual.detach(), clean.rewards.detach()
        return clean, gradient

    def gradient(self, clean: Clean, residual: Tensor) -> Tensor:
        """The gradient of each text's reward by another residual (text, position, d_in) in the place of its own."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = residual.clone().requires_grad_()
            blocks = self._blocks(leaf, clean.as_tuple)
            rewards = self._forward(
                blocks, clean.batch, torch.from_numpy(clean.reads), [SilentLayer() for _ in blocks], 0
            )
            return torch.autograd.grad(rewards.sum(), leaf)[0]

    def reaches(self, clean: Clean, text: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Mask of the changes that can reach the reward: none can that stands after what the head reads."""
        if self.reads_residual:
            return position == clean.reads[text]
        return position <= clean.reads[text] if self.rm.causal else np.ones(len(position), bool)

    @torch.inference_mode()
    def rewards(self, clean: Clean, edits: Edits, decoder: Tensor) -> np.ndarray:
        """Reward of each row of edits: its text with the residual changed.

        Args:
            clean: The texts' clean pass by this same rerun.
            edits: Rows in any order, each with at least one entry.
            decoder: W_dec in the residual's dtype.
        """
        stops = clean.reads + 1 if self.rm.causal else clean.lengths
        first = edits.first if self.with_cache else np.zeros(len(edits), np.int64)
        length = stops[edits.text]
        if self.reads_residual:
            first, length = np.zeros_like(first), np.ones_like(length)
        order = np.lexsort((length, first))
        edits, first, length = edits.taken(order), first[order], length[order]
        budget = min(self.max_tokens, CPU_BATCH) if clean.residual.device.type == "cpu" else self.max_tokens
        found: list[Tensor] = []
        for start, stop in batches(first, length, budget, waste=budget // WASTE):
            some = edits.slice(start, stop)
            if self.reads_residual:
                found.append(self._at_reads(clean, some, decoder))
            else:
                found.append(self._span(clean, some, decoder, int(first[start]), int(length[start:stop].max())))
        rewards = np.empty(len(edits), np.float32)
        rewards[order] = torch.cat(found).cpu().numpy() if found else np.zeros(0, np.float32)
        return rewards

    def _span(self, clean: Clean, edits: Edits, decoder: Tensor, begin: int, end: int) -> Tensor:
        """Positions `begin` to `end` of each row, through the later blocks."""
        device = clean.residual.device
        texts = torch.from_numpy(edits.text).to(device)
        residual = clean.residual[:, begin:end].index_select(0, texts)
        places = edits.row * (end - begin) + edits.position - begin
        _add(residual, places, edits, decoder)
        blocks = self._blocks(residual, clean.as_tuple)
        if clean.outputs:
            changed = Changed(texts, begin, end, torch.from_numpy(np.unique(places)).to(device))
            blocks[self.index + 1] = patched(blocks[self.index + 1], clean.outputs, changed)
        layers: list[SilentLayer] = [
            PrefixLayer(clean.keys_values.get(i), texts, begin) if i > self.index else SilentLayer(begin)
            for i in range(len(blocks))
        ]
        reads = torch.from_numpy(clean.reads[edits.text] - begin).to(device)
        if self.method.read_only:
            layers[-1] = self._read_only(blocks, reads, ReadLayer(clean.keys_values.get(len(blocks) - 1), texts, begin))
        batch = {
            name: value[:, begin:end].index_select(0, texts.to(value.device)) for name, value in clean.batch.items()
        }
        if self.with_cache:  # positions after the read one cannot be seen by it, so none need be masked
            batch["attention_mask"] = batch["attention_mask"].new_ones(len(texts), end)
        return self._forward(blocks, batch, reads, layers, begin)

    def _at_reads(self, clean: Clean, edits: Edits, decoder: Tensor) -> Tensor:
        """After the last block only final norm and head remain, and only the read position counts."""
        texts, reads = torch.from_numpy(edits.text), torch.from_numpy(clean.reads[edits.text])
        residual = clean.residual[texts.to(clean.residual.device), reads.to(clean.residual.device)].unsqueeze(1)
        _add(residual, edits.row, edits, decoder)
        batch = {
            name: value[texts.to(value.device), reads.to(value.device)].unsqueeze(1)
            for name, value in clean.batch.items()
        }
        return self._forward(self._blocks(residual, clean.as_tuple), batch, torch.zeros_like(reads), [], 0)

    def _blocks(self, residual: Tensor, as_tuple: bool) -> list[nn.Module]:
        """The model's blocks, with stand-ins up to the hookpoint."""
        full = self.method.reach == "full"
        source = Source(self.blocks[self.index], as_tuple=as_tuple, run=full)
        source.residual = residual
        before = (
            self.blocks[: self.index]
            if full
            else [Through(block, as_tuple=as_tuple) for block in self.blocks[: self.index]]
        )
        return [*before, source, *self.blocks[self.index + 1 :]]

    def _read_only(self, blocks: list[nn.Module], reads: Tensor, layer: ReadLayer) -> ReadLayer:
        """Put the read-only stand-in in the last block's place."""
        same = bool((reads == reads[0]).all())
        blocks[-1] = ReadOnly(
            self.blocks[-1], len(blocks) - 1, layer, int(reads[0]) if same else reads, causal=self.rm.causal
        )
        return layer

    def _forward(
        self, blocks: list[nn.Module], batch: dict[str, Tensor], reads: Tensor, layers: list[SilentLayer], begin: int
    ) -> Tensor:
        """Rewards, float32, from a view of the model that has these blocks."""
        seen = copy.copy(self.rm)
        seen.base = view_with(self.rm.base, self.rm.blocks, blocks)
        given: dict[str, Any] = {}
        if self.with_cache:
            positions = torch.arange(begin, begin + batch["input_ids"].shape[1], device=self.rm.device)
            given = {"past_key_values": cache_of(layers), "use_cache": True, "position_ids": positions.unsqueeze(0)}
        hidden = seen.hidden_states(batch, **given)
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.rm.head(hidden[rows, reads.to(hidden.device)]).squeeze(-1).float()


def _add(residual: Tensor, place: np.ndarray, edits: Edits, decoder: Tensor) -> None:
    """Add each entry's `coefficient * decoder[feature]` at its place of the flattened residual, in the residual's dtype."""
    device = residual.device
    directions = decoder.index_select(0, torch.from_numpy(edits.feature).to(device))
    directions.mul_(torch.from_numpy(edits.coefficient).to(device, residual.dtype).unsqueeze(1))
    residual.view(-1, residual.shape[-1]).index_add_(0, torch.from_numpy(place).to(device), directions)
