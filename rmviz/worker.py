"""The one table from job kind to the function that does it; nothing heavy is imported before a job starts."""

from importlib import import_module
from typing import Any

from rmviz.configs.base import from_dict
from rmviz.configs.kinds import KINDS
from rmviz.errors import ConfigError
from rmviz.jobs.progress import Listener
from rmviz.jobs.run import run_job
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report

TASKS: dict[str, str] = {
    "data.add": "rmviz.data.add:run",
    "model.add": "rmviz.models.register:run",
    "train.reward": "rmviz.training.reward:run",
    "sae.train": "rmviz.sae.train:run",
    "effects": "rmviz.ablation.scan:run",
    "features": "rmviz.features.index:run",
    "world.data": "rmviz.world.data:run",
    "world.policy": "rmviz.world.policy:run",
    "world.organism": "rmviz.sae.organism_job:run",
}


def execute(kind: str, config: Any, workspace: Workspace, listener: Listener | None = None) -> Artifact:
    """Do one job in this process, or find that it is done; its artifact.

    Args:
        kind: A key of `TASKS`.
        config: Its config, or the config's fields as a dictionary.
        workspace: Where parents are found and the artifact is left.
        listener: Told about progress, beside the job's own folder.

    Raises:
        ConfigError: The kind does not exist, or the config does not fit it.
    """
    if kind not in TASKS:
        raise ConfigError(f"no job kind {kind!r}; there are {', '.join(TASKS)}")
    if isinstance(config, dict):
        config = from_dict(KINDS[kind], config)

    def task(config: Any, workspace: Workspace, report: Report) -> Artifact:
        module, function = TASKS[kind].split(":")
        return getattr(import_module(module), function)(config, workspace, report)

    return run_job(kind, config, workspace, task, listener)
