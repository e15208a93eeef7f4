"""The one table from job kind to the function that does it; nothing heavy is imported before a job starts."""

import os
from importlib import import_module
from typing import Any

from rmviz.configs.files import config_of, read_config
from rmviz.errors import ConfigError
from rmviz.jobs.progress import Listener
from rmviz.jobs.queue import launch
from rmviz.jobs.records import CONFIG, read_job
from rmviz.jobs.run import RUNNER, Task, run_job
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report

TASKS: dict[str, str] = {
    "data.add": "rmviz.data.add:run",
    "data.ratings": "rmviz.data.rate:run",
    "data.repair": "rmviz.ablation.repair:run",
    "data.pink_elephants": "rmviz.elephants.job:run",
    "model.add": "rmviz.models.register:run",
    "model.patch": "rmviz.sae.patch_job:run",
    "data.preferences": "rmviz.training.gold_labels:run",
    "train.reward": "rmviz.training.reward:run",
    "train.sft": "rmviz.training.sft:run",
    "train.dpo": "rmviz.training.dpo:run",
    "train.kto": "rmviz.training.kto:run",
    "train.rloo": "rmviz.training.rloo:run",
    "train.ppo": "rmviz.training.ppo:run",
    "train.rest": "rmviz.training.rest:run",
    "train.best_of_n": "rmviz.training.rest:run_best_of_n",
    "train.rso": "rmviz.training.rso:run",
    "train.ensemble": "rmviz.training.ensemble:run",
    "sae.train": "rmviz.sae.train:run",
    "effects": "rmviz.ablation.scan:run",
    "features": "rmviz.features.index:run",
    "label.features": "rmviz.labels.job:run",
    "compare": "rmviz.compare.job:run",
    "train.crosscoder": "rmviz.crosscoder.job:run",
    "train.ilql": "rmviz.training.ilql:run",
    "map": "rmviz.qdaif.job:run",
    "map_rescore": "rmviz.qdaif.rescore:run",
    "probe.euphemism": "rmviz.probes.euphemism:run",
    "probe.margins": "rmviz.probes.margins:run",
    "probe.spec": "rmviz.probes.spec:run",
    "probe.bias": "rmviz.probes.bias:run",
    "probe.tokens": "rmviz.probes.tokens:run",
    "world.data": "rmviz.world.data:run",
    "world.policy": "rmviz.world.policy:run",
    "world.organism": "rmviz.sae.organism_job:run",
    "task.data": "rmviz.training.task_data:run",
    "task.policy": "rmviz.training.task_policy:run",
    "data.mcts": "rmviz.training.mcts_job:run",
    "recipe": "rmviz.recipes.job:run",
    "train.iterated": "rmviz.recipes.iterated:run_job",
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
    if isinstance(config, dict):
        config = config_of(kind, config)
    return run_job(kind, config, workspace, task_of(kind), listener)


def work(workspace: Workspace, key: str, listener: Listener | None = None) -> Artifact:
    """Do a job that was launched: what its runner starts, in a process of its own.

    Raises:
        NotFoundError: There is no such job.
        ConfigError: Another process is running it, or its settings cannot be read.
    """
    job = read_job(workspace.job_folder(key), progress=False)
    kind, config = read_config((job.folder / CONFIG).read_bytes())
    artifact = run_job(kind, config, workspace, task_of(kind), listener, key=key, detached=True)
    if more := follow_up(artifact, workspace):
        if os.environ.get(RUNNER):  # the queue is elsewhere: the same machine of the cluster goes on
            execute(*more, workspace, listener)
        else:
            launch(*more, workspace)
    return artifact


def follow_up(artifact: Artifact, workspace: Workspace) -> tuple[str, dict[str, Any]] | None:
    """What the settings of a finished job ask to be done with its result: a kind and its settings."""
    settings = artifact.config
    if artifact.kind == "reward_model" and settings.get("compare"):
        dataset = workspace.resolve(settings["compare"], "dataset")
        split = "heldout" if dataset.metrics.get("num_heldout") else "all"
        models = f"{artifact.metrics['patched']}, {artifact.id}"
        name = f"{artifact.name} on {dataset.name}"
        return "compare", {"models": models, "dataset": dataset.id, "split": split, "name": name}
    if artifact.kind == "dataset" and settings.get("retrain"):
        model = next(one for one in map(workspace.resolve, artifact.parents) if one.kind == "reward_model")
        return "train.reward", {**model.config, "dataset": artifact.id, "name": f"{model.name} on {artifact.name}"}
    return None


def task_of(kind: str) -> Task:
    """The function that does a kind of job; it is imported when it is called."""
    if kind not in TASKS:
        raise ConfigError(f"no job kind {kind!r}; there are {', '.join(TASKS)}")

    def task(config: Any, workspace: Workspace, report: Report) -> Artifact:
        module, function = TASKS[kind].split(":")
        return getattr(import_module(module), function)(config, workspace, report)

    return task
