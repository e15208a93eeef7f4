"""What happens between training steps: reports, checkpoints to go on from, and a clean stop."""

import json
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rmviz.errors import ModelError
from rmviz.jobs.progress import CheckpointClock
from rmviz.store.artifact import file_table, write_json
from rmviz.training.distributed import agreed, wait_for_all
from rmviz.training.figures import even_steps
from rmviz.training.loop import diverged
from rmviz.training.watch import PolicyWatch
from rmviz.types import Report

_COMPLETE = "complete.json"
_SHOWN = ("loss", "accuracy", "margin", "learning_rate", "grad_norm")


class Progress(TrainerCallback):
    """Reports every step, saves every half minute, keeps checkpoints as results, stops when asked to."""

    def __init__(
        self,
        report: Report,
        stop: threading.Event,
        *,
        num_checkpoints: int,
        keep: Callable[[int], None],
        keep_at: Collection[int] = (),
    ) -> None:
        """Watch one training run.

        Args:
            report: Where progress is told.
            stop: Set by Ctrl-C; training then saves a checkpoint and ends.
            num_checkpoints: Checkpoints to keep as results, evenly spaced; the caller keeps the last.
            keep: Called with the step, for each but the last of them.
            keep_at: Further steps to keep.
        """
        self.report, self.stop, self.keep = report, stop, keep
        self.num_checkpoints, self.keep_at = num_checkpoints, keep_at
        self._clock, self._last_report = CheckpointClock(), time.monotonic()
        self._asked = self._last_report

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report, keep and save."""
        now = time.monotonic()
        if now - self._last_report >= 0.5 or state.global_step == state.max_steps:
            self._tell(state, {})
        kept = {*even_steps(state.max_steps, self.num_checkpoints), *self.keep_at} - {state.max_steps}
        if state.global_step in kept:
            self.keep(state.global_step)
        due = state.global_step < state.max_steps and self._clock.due()
        stop, due = agreed([self.stop.is_set(), due], args.device)
        control.should_save = control.should_save or stop or due
        if stop:
            self.stop.set()
            control.should_training_stop = True
        self._asked = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Tell the figures of this step.

        Raises:
            ModelError: The loss is not a number any more.
        """
        logs = logs or {}
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise ModelError(
                f"the loss is not a number any more at step {state.global_step} of {state.max_steps}; "
                f"lower learning_rate (now {args.learning_rate:g}), and check the base model's weights"
            )
        if "loss" in logs:  # the closing log of a run has none
            self._tell(state, {name: float(logs[name]) for name in _SHOWN if name in logs})
            if self.stop.is_set() and args.world_size == 1:
                control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the checkpoint as complete: the trainer writes its files one after another."""
        wait_for_all()  # each rank writes its own state of the random numbers
        if state.is_world_process_zero:
            mark_complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        self._clock.took(time.monotonic() - self._asked)

    def _tell(self, state: TrainerState, figures: dict[str, float]) -> None:
        self._last_report = time.monotonic()
        try:
            self.report(state.global_step, state.max_steps, figures)
        except KeyboardInterrupt:
            self.stop.set()


class PolicyProgress(Progress):
    """Progress of a policy: its looks are told as they are taken, and what is no number stops the run before it is saved."""

    def __init__(
        self, report: Report, stop: threading.Event, *, watch: PolicyWatch | None, shown: Mapping[str, str]
    ) -> None:
        """Watch one training run that logs every step.

        Args:
            report: Where progress is told.
            stop: Set by Ctrl-C; training then saves a checkpoint and ends.
            watch: Looks at the policy; only rank 0 has one.
            shown: Figures to tell: the trainer's name of each, and what it is called here.
        """
        super().__init__(report, stop, num_checkpoints=1, keep=lambda step: None)
        self._watch, self._renamed = watch, dict(shown)
        self._sums: dict[str, list[float]] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the policy before it is trained."""
        if self._watch and state.global_step == 0:
            self._tell(state, self._watch.look(0))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check this step, look at the policy, and tell the mean figures of the steps since the last telling.

        Raises:
            ModelError: The loss or its gradient is not a number any more.
        """
        logs = logs or {}
        if "loss" not in logs:  # the closing log of a run
            return
        for what, name in (("loss", "loss"), ("gradient", "grad_norm")):
            if not math.isfinite(float(logs.get(name, 0.0))):
                raise ModelError(diverged(what, state.global_step, state.max_steps, args.learning_rate))
        for name, shown in self._renamed.items():
            if logs.get(name) is not None:
                self._sums.setdefault(shown, []).append(float(logs[name]))
        looked = self._watch.look(state.global_step) if self._watch else {}
        every = min(10, max(1, round(state.max_steps / 100)))
        if looked or state.global_step % every == 0 or state.global_step == state.max_steps:
            means = {name: sum(values) / len(values) for name, values in self._sums.items()}
            self._sums.clear()
            self._tell(state, means | looked)
        if self.stop.is_set() and args.world_size == 1:
            control.should_save = control.should_training_stop = True


def mark_complete(folder: Path) -> None:
    """Note size and hash of every file of a finished checkpoint."""
    write_json(folder / _COMPLETE, file_table(folder))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below a folder that is complete and undamaged; None if there is none."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        if _intact(path):
            return path
    return None


def _intact(folder: Path) -> bool:
    try:
        wanted = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = file_table(folder)
    found.pop(_COMPLETE, None)
    return found == wanted
