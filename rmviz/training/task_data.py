"""The job that writes a task's preference pairs."""

from collections.abc import Iterator

from rmviz.configs.base import to_dict
from rmviz.configs.world import TaskDataConfig
from rmviz.data.add import keep_dataset
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Report
from rmviz.world.tasks import Task, task_named, task_pair

_REPORT_EVERY = 500


def run(config: TaskDataConfig, workspace: Workspace, report: Report) -> Artifact:
    """Draw the pairs and keep them as a dataset; each depends on seed and number alone."""
    task = task_named(config.task)
    artifact = keep_dataset(
        workspace, _reported(task, config, report), name=config.name or config.task, key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed,
    )  # fmt: skip
    report(config.num_pairs, config.num_pairs)
    return artifact


def _reported(task: Task, config: TaskDataConfig, report: Report) -> Iterator[Pair]:
    for number in range(config.num_pairs):
        if number % _REPORT_EVERY == 0:
            report(number, config.num_pairs)
        yield task_pair(task, number, config.seed, config.temperature)
