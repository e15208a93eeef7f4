"""The job that trains an SAE: texts in, SAELens files and a report card out, resumable to the bit."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rmviz.activations.stream import ActivationStream
from rmviz.configs.base import to_dict
from rmviz.configs.sae import SAEConfig
from rmviz.data.load import dataset_pairs, dataset_texts
from rmviz.errors import DataError, ModelError
from rmviz.jobs.interrupts import deferred_interrupt
from rmviz.jobs.progress import CheckpointClock
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.sae.checkpoints import load_checkpoint, save_checkpoint
from rmviz.sae.files import save_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.report_card import report_card
from rmviz.sae.trainer import StepFigures, TopKTrainer, Trainer
from rmviz.sae.whitening import Whitening, folded, whitening
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Report

REPORT_SECONDS = 0.5
_MAP = ("mean", "forward", "backward")
_SAMPLE_ROWS = 200_000
_CARD_PAIRS = 300
_log = logging.getLogger(__name__)


def run(config: SAEConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train an SAE, fold the whitening in, compute its report card, and keep it.

    Raises:
        ModelError: No such hookpoint, activations that are constant or not finite, or training that diverges.
        DataError: There are no texts to train on.
    """
    model, dataset = workspace.resolve(config.model, "reward_model"), workspace.resolve(config.dataset, "dataset")
    rm = from_artifact(model)
    hookpoint = config.hookpoint or default_hookpoint(rm)
    rm.block(hookpoint)
    texts = dataset_texts(dataset, config.split)
    if not texts:
        raise DataError(
            f"the dataset {dataset.name} has no texts in its {config.split} split; use another split, or add data"
        )
    num_steps = -(-config.num_tokens // config.batch_size)
    report(0, num_steps * config.batch_size)
    stream = ActivationStream(
        rm, texts, hookpoint, batch_size=config.batch_size, seed=config.seed,
        progress=at_most_every(REPORT_SECONDS, lambda rows: report(0, num_steps * config.batch_size, {"rows_read": rows})),
    )  # fmt: skip
    trainer, map = trained(config, stream, num_steps, report, device=rm.device)
    sae = folded(trainer.result(), map)
    sae.hookpoint, sae.model_fingerprint = hookpoint, rm.fingerprint
    dead_share = float(trainer.dead().float().mean())
    held_out = dataset_pairs(dataset, "heldout", _CARD_PAIRS) or dataset_texts(dataset, "heldout", _CARD_PAIRS)
    card = report_card(rm, sae, held_out or texts[:_CARD_PAIRS], dead_share=dead_share)
    metrics = {
        **{name: card[name] for name in _SHOWN},
        "num_alive": sae.d_sae - int(trainer.dead().sum()), "d_in": sae.d_in, "d_sae": sae.d_sae, "k": sae.k, "hookpoint": hookpoint,
        "architecture": config.architecture, "num_tokens": num_steps * config.batch_size, "num_sinks": sum(stream.sinks.values()),
        "num_nonfinite": sum(stream.nonfinite.values()), "nonfinite_texts": list(stream.nonfinite)[:20], "warnings": card["warnings"],
    }  # fmt: skip
    name = config.name or f"{rm.name} {hookpoint}"
    with workspace.create(
        "sae", name=name, key=report.key, config=to_dict(config), parents=(model.id, dataset.id)
    ) as draft:
        write_sae(draft.folder, sae, card, rm, training={name: to_dict(config)[name] for name in _TRAINING})
        draft.metrics |= metrics
    return draft.kept


_SHOWN = ("fvu", "l0", "dead_share", "cosine", "splice_spearman", "splice_margin_r2", "splice_pair_accuracy")
_TRAINING = (
    "architecture",
    "num_tokens",
    "batch_size",
    "learning_rate",
    "normalize",
    "aux_coefficient",
    "dead_after",
    "seed",
)


def write_sae(
    folder: Path, sae: SparseAutoencoder, card: dict[str, Any], rm: RewardModel, *, training: dict[str, Any]
) -> None:
    """The files of an SAE artifact."""
    metadata = {
        "model_name": rm.source or rm.name,
        "hook_name": module_path(rm.model, rm.block(sae.hookpoint)),
        "rmviz_training": training,
    }
    save_sae(folder / "sae", sae, metadata=metadata)
    write_json(folder / "report_card.json", card)


def trained(
    config: SAEConfig,
    stream: ActivationStream,
    num_steps: int,
    report: Report,
    *,
    device: torch.device | str = "cpu",
    fit: Callable[..., Whitening] = whitening,
    make: "Callable[..., Trainer] | None" = None,
) -> tuple[Trainer, Whitening]:
    """A trainer that has taken `num_steps` steps, and the map its activations went through; resumes from `report.folder`.

    Args:
        config: Settings.
        stream: Where activations come from.
        num_steps: Steps in all, those before an interruption included.
        report: Told about progress; its folder holds the checkpoints.
        device: Where the trainer works.
        fit: What fits the map, as `whitening` does.
        make: What makes the trainer, as `make_trainer` does.

    Raises:
        ModelError: The activations are constant, or the loss is not finite; the last good checkpoint stays.
    """
    found, make = load_checkpoint(report.folder), make or make_trainer
    if found is None:
        sample = stream.sample(_SAMPLE_ROWS)
        map = fit(sample, config.normalize)
        trainer = make(config, mean=map(sample).mean(0), num_steps=num_steps, device=device)
        step = 0
    else:
        tensors, facts = found
        map = Whitening(*(tensors[f"map.{name}"] for name in _MAP), variance=float(facts["variance"]))
        trainer = make(config, mean=torch.zeros_like(map.mean), num_steps=num_steps, device=device)
        trainer.load_state({name: tensor for name, tensor in tensors.items() if not name.startswith("map.")})
        step = int(facts["step"])
        stream.seek(facts["position"])
        _log.info("training goes on from step %d", step)
    stream.map_with(map)

    def save() -> None:
        tensors = trainer.state()
        weights = [tensor for name, tensor in tensors.items() if name.startswith(("weights.", "sae."))]
        if all(bool(tensor.isfinite().all()) for tensor in weights):
            facts = {"position": stream.position, "variance": map.variance}
            save_checkpoint(report.folder, step, tensors | {f"map.{name}": getattr(map, name) for name in _MAP}, facts)

    meter = Meter(report, num_steps, config.batch_size, map.variance, step)
    clock = CheckpointClock()
    with deferred_interrupt() as asked:
        try:
            while step < num_steps:
                x = stream.batch().to(device)
                figures = trainer.step(x, learning_rate(config.learning_rate, step, num_steps))
                step += 1
                meter.add(step, figures, trainer)
                if asked.is_set():
                    raise KeyboardInterrupt
                if clock.due():
                    with clock.saving():
                        save()
        except KeyboardInterrupt:
            if meter.step == step:
                save()
            raise
    return trainer, map


def make_trainer(
    config: SAEConfig, *, mean: Float[Tensor, " d_in"], num_steps: int, device: torch.device | str = "cpu"
) -> Trainer:
    """The trainer of an architecture; its b_dec starts at the mean of what it will see."""
    d_in = len(mean)
    if config.architecture in ("topk", "batchtopk"):
        return TopKTrainer(
            d_in=d_in, d_sae=config.d_sae, k=config.k, mean=mean, batchwise=config.architecture == "batchtopk",
            aux_coefficient=config.aux_coefficient, dead_after=config.dead_after, seed=config.seed, device=device,
        )  # fmt: skip
    from rmviz.sae.lens_trainer import SAELensTrainer

    return SAELensTrainer(config, d_in=d_in, num_steps=num_steps, mean=mean, device=device)


def learning_rate(peak: float, step: int, num_steps: int) -> float:
    """A short linear warm-up, the peak, and a linear decay over the last fifth."""
    warm_up = max(1, num_steps // 50)
    return peak * min(1.0, (step + 1) / warm_up, (num_steps - step) / max(1.0, 0.2 * num_steps))


def default_hookpoint(rm: RewardModel) -> str:
    """After a third of the blocks."""
    return rm.hookpoints[rm.num_blocks // 3]


def module_path(model: nn.Module, block: nn.Module) -> str:
    """Where the block lies in the Hugging Face model, the way SAELens names hooks of such models."""
    return next(name for name, module in model.named_modules() if module is block)


class Meter:
    """Collects figures on the device and reports them now and then."""

    def __init__(self, report: Report, num_steps: int, batch_size: int, variance: float, step: int = 0) -> None:
        """Start at a step; `variance` is the total variance of a row."""
        self._report, self._total, self._batch_size, self._variance = (
            report,
            num_steps * batch_size,
            batch_size,
            variance,
        )
        self.step = self._reported = step
        self._sums = [0.0, 0.0, 0.0]
        self._time = time.monotonic()

    def add(self, step: int, figures: StepFigures, trainer: Trainer) -> None:
        """Count one step, and report if it is time.

        Raises:
            ModelError: The loss is not finite.
        """
        self.step = step
        values = (figures.loss, figures.squared_error, figures.num_active)
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]
        now = time.monotonic()
        if now - self._time < REPORT_SECONDS and step * self._batch_size < self._total:
            return
        loss, squared_error, num_active = (float(value) for value in self._sums)
        rows = (step - self._reported) * self._batch_size
        if not loss < float("inf"):
            raise ModelError(
                f"training diverged: the loss at step {step} is not finite; lower learning_rate (the last good checkpoint is kept, "
                "but a new learning rate starts anew)"
            )
        self._report(
            step * self._batch_size, self._total,
            {
                "loss": loss / (step - self._reported), "fvu": squared_error / rows / self._variance, "l0": num_active / rows,
                "dead_share": float(trainer.dead().float().mean()), "rows_per_second": rows / max(now - self._time, 1e-9),
            },
        )  # fmt: skip
        self._reported, self._time, self._sums = step, now, [0.0, 0.0, 0.0]


def at_most_every(seconds: float, act: Callable[[int], None]) -> Callable[[int], None]:
    """The act, left out where it was done less than so long ago."""
    last = [float("-inf")]

    def maybe(number: int) -> None:
        if time.monotonic() - last[0] >= seconds:
            last[0] = time.monotonic()
            act(number)

    return maybe
