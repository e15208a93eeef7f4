"""TensorBoard and Weights & Biases: further listeners to the same progress, where a workspace's settings ask for them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rmviz.errors import ConfigError
from rmviz.jobs.progress import Listener
from rmviz.jobs.settings import QueueSettings

TENSORBOARD = "tensorboard"
"""Folder of event files in a job's folder; `tensorboard --logdir WORKSPACE/jobs` shows all jobs."""


@contextmanager
def observed(
    folder: Path, kind: str, config: Mapping[str, Any], settings: QueueSettings, listener: Listener | None
) -> Iterator[Listener | None]:
    """A listener that tells the given one and those of the settings.

    Raises:
        ConfigError: A package that the settings need is not installed.
    """
    with ExitStack() as stack:
        listeners = [listener] if listener else []
        if settings.tensorboard:
            listeners.append(stack.enter_context(_tensorboard(folder / TENSORBOARD)))
        if settings.wandb_project:
            listeners.append(stack.enter_context(_wandb(folder, kind, config, settings.wandb_project)))

        def tell(kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> None:
            for one in listeners:
                one(kind, step, total, rate, metrics)

        yield tell if listeners else None


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Listener]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "the settings ask for TensorBoard, which is not installed: `pip install rmviz[tensorboard]`, "
            "or `rmviz jobs settings --no-tensorboard`"
        ) from error
    writer = SummaryWriter(str(folder))

    def tell(kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(f"{kind}/{name}", value, step)

    try:
        yield tell
    finally:
        writer.close()


@contextmanager
def _wandb(folder: Path, kind: str, config: Mapping[str, Any], project: str) -> Iterator[Listener]:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "the settings ask for Weights & Biases, which is not installed: `pip install rmviz[wandb]`, "
            "or `rmviz jobs settings --wandb-project ''`"
        ) from error
    run = wandb.init(
        project=project, id=folder.name, name=str(config.get("name") or folder.name), job_type=kind,
        config=dict(config), dir=str(folder), resume="allow",
        reinit="create_new",  # a recipe's own run stays open while its steps have theirs
    )  # fmt: skip

    def tell(kind: str, step: int, total: int, rate: float, metrics: Mapping[str, float]) -> None:
        run.log({**metrics, "rate": rate}, step=step)

    try:
        yield tell
    finally:
        run.finish()
