"""Settings of a workspace's job queue: how many jobs run at once, and where."""

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rmviz.errors import ConfigError
from rmviz.store.artifact import write_json
from rmviz.store.workspace import writing

Runner = Literal["local", "ray", "slurm"]
RUNNERS: tuple[Runner, ...] = ("local", "ray", "slurm")
FILE = "settings.json"


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """How jobs of a workspace are run."""

    slots: int = 0
    """Jobs that run at once on this machine; 0: one per GPU, or one where there is none."""

    grace: float = 3.0
    """Seconds that a cancelled job has to save and end before it is killed."""

    runner: Runner = "local"
    """Where jobs run unless their launch says otherwise."""

    ray_address: str = ""
    """Ray's dashboard address, http://host:8265; RMVIZ_RAY_ADDRESS when empty."""

    tensorboard: bool = False
    """Write each job's figures as TensorBoard events too."""

    wandb_project: str = ""
    """Send each job's figures to this Weights & Biases project too."""

    def __post_init__(self) -> None:
        if self.slots < 0 or self.grace < 0:
            raise ConfigError(f"slots and grace must be at least 0, got {self.slots} and {self.grace}")
        if self.runner not in RUNNERS:
            raise ConfigError(f"runner must be one of {', '.join(RUNNERS)}, got {self.runner!r}")

    @property
    def num_slots(self) -> int:
        """Jobs at once on this machine."""
        return self.slots or max(1, len(gpu_names()))

    @property
    def address(self) -> str:
        """Where Ray is."""
        return self.ray_address or os.environ.get("RMVIZ_RAY_ADDRESS", "")


def read_settings(root: Path) -> QueueSettings:
    """The settings of a workspace; the defaults where there are none that can be read."""
    try:
        values = json.loads((root / FILE).read_text(encoding="utf-8"))
        return QueueSettings(**{name: values[name] for name in QueueSettings.__annotations__ if name in values})
    except (OSError, ValueError, TypeError):
        return QueueSettings()


def write_settings(root: Path, settings: QueueSettings) -> None:
    """Keep the settings; the queue follows within a second."""
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / FILE, asdict(settings))


@cache
def gpu_names() -> tuple[str, ...]:
    """The GPUs of this machine, as its driver lists them."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
