"""The frame of our own training methods: one step after the other, checked, told, saved and taken up again."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from rmviz.errors import ModelError
from rmviz.jobs.progress import CheckpointClock
from rmviz.types import Report
from rmviz.world.policy import load_checkpoint, save_checkpoint

_CHECKPOINT = "training.safetensors"
_TOLD_EVERY = 0.5
_WARMUP = 0.05


class Loop:
    """Runs numbered steps; a run that is broken off goes on from its last checkpoint, to the same result.

    All that a method must remember between steps is in `module`: what is no weight stands there as a buffer. What a step
    draws depends on the seed and the step's number alone: torch is seeded anew before each.
    """

    def __init__(
        self, report: Report, num_steps: int, module: nn.Module, *, learning_rate: float, seed: int, clip: float = 1.0
    ) -> None:
        """Take up where an earlier try ended.

        Args:
            report: Where progress is told and checkpoints lie.
            num_steps: Steps in all.
            module: What is trained, with all that must survive.
            learning_rate: Peak of AdamW's; it rises over the first twentieth and falls to 0.
            seed: Of all draws.
            clip: Largest norm of the gradient.
        """
        self.report, self.num_steps, self.module = report, num_steps, module
        self._rate, self._seed, self._clip = learning_rate, seed, clip
        self._weights = [weight for weight in module.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=learning_rate, weight_decay=0.0)
        self._path = report.folder / _CHECKPOINT
        report.folder.mkdir(parents=True, exist_ok=True)
        self.start = load_checkpoint(self._path, module, self._optimizer)
        """Steps that an earlier try has done."""
        self.step = self.start
        self._clock, self._told = CheckpointClock(), 0.0

    def steps(self) -> Iterator[int]:
        """The numbers of the steps that are left; after each one a checkpoint may be saved."""
        for step in range(self.start, self.num_steps):
            self.step = step
            torch.manual_seed((self._seed * 1_000_003 + step) % 2**63)
            yield step
            if self.step + 1 < self.num_steps and self._clock.due():
                with self._clock.saving():
                    save_checkpoint(self._path, self.module, self._optimizer, self.step + 1)

    def update(self, loss: Tensor) -> float:
        """One step of the optimizer down this loss; the gradient's norm before it is clipped.

        Raises:
            ModelError: The loss or its gradient is not a number any more.
        """
        if not bool(torch.isfinite(loss)):
            raise ModelError(diverged("loss", self.step + 1, self.num_steps, self._rate))
        self._optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self._weights, self._clip))
        if not math.isfinite(norm):
            raise ModelError(diverged("gradient", self.step + 1, self.num_steps, self._rate))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * schedule(self.step, self.num_steps)
        self._optimizer.step()
        return norm

    def tell(self, metrics: Mapping[str, float], *, always: bool = False) -> None:
        """Tell the figures of this step, at most twice a second."""
        now = time.monotonic()
        if always or now - self._told >= _TOLD_EVERY or self.step + 1 == self.num_steps:
            self._told = now
            self.report(self.step + 1, self.num_steps, metrics)


def diverged(what: str, step: int, num_steps: int, learning_rate: float) -> str:
    """What to say where the loss (or its gradient) is not a number any more."""
    return (
        f"the {what} is not a number any more at step {step} of {num_steps}; training stopped at the last good checkpoint. "
        f"Lower learning_rate (now {learning_rate:g}), or check the rewards and the data"
    )


def schedule(step: int, num_steps: int) -> float:
    """Learning rate as a share of its peak: a straight rise over the first twentieth, then a straight fall to 0."""
    rise = max(1, round(_WARMUP * num_steps))
    return (step + 1) / rise if step < rise else (num_steps - step) / max(1, num_steps - rise)


def mixed(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Arithmetic in bfloat16 where it is asked for, or the device has it.

    Raises:
        ModelError: bfloat16 is asked for on a GPU that does not have it.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16) if in_bfloat16(precision, device) else nullcontext()


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether arithmetic is in bfloat16: where it is asked for, or auto finds a GPU that has it.

    Raises:
        ModelError: It is asked for on a GPU that does not have it.
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" and device.type == "cuda" and not able:
        raise ModelError("this GPU has no bfloat16; choose precision float32")
    return precision == "bfloat16" or (precision == "auto" and able)
