"""ReST, and its simplest case, imitation of the best of n: draw replies, learn from the good ones, draw anew."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmviz.configs.rl import BestOfNConfig, RestConfig
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.grow import Group, above, best, contrasts, grown
from rmviz.training.improve import Run, batches, contrast, imitation, opened_run, require_some
from rmviz.training.loop import Loop
from rmviz.types import Report

Learn = Callable[[list[Any]], dict[str, float]]


def run(config: RestConfig, workspace: Workspace, report: Report) -> Artifact:
    """Grow and improve in turn, the threshold rising with each improvement of a draw.

    Metrics: those of the watch, and `reward_drawn`, the mean reward of the last draw.

    Source: Gulcehre et al. 2023 (arXiv:2308.08998); thresholds as percentiles of each prompt's replies.
    """
    total = config.num_grow * config.num_improve * config.num_steps
    job = opened_run(config, workspace, report, total, "rest")
    loop = Loop(report, total, job.policy.model, learning_rate=config.learning_rate, seed=config.seed)
    percentiles = np.linspace(config.start_percentile, config.end_percentile, config.num_improve)

    def chosen(groups: Sequence[Group], grow: int, improve: int) -> list[Any]:
        percentile = float(percentiles[improve])
        if config.improve == "sft":
            return above(groups, percentile)
        return contrasts(groups, percentile, np.random.default_rng([config.seed, grow, improve]))

    def learn(rows: list[Any]) -> dict[str, float]:
        return imitation(job, loop, rows) if config.improve == "sft" else contrast(job, loop, rows, config.beta)

    return _grow_and_improve(job, loop, config.num_improve, chosen, learn)


def run_best_of_n(config: BestOfNConfig, workspace: Workspace, report: Report) -> Artifact:
    """Imitate the best of n replies to each prompt; metrics as of `run`."""
    total = config.num_grow * config.num_steps
    job = opened_run(config, workspace, report, total, "best-of-n")
    loop = Loop(report, total, job.policy.model, learning_rate=config.learning_rate, seed=config.seed)
    return _grow_and_improve(job, loop, 1, lambda groups, *_: best(groups), lambda rows: imitation(job, loop, rows))


def _grow_and_improve(
    job: Run,
    loop: Loop,
    num_improve: int,
    chosen: Callable[[Sequence[Group], int, int], list[Any]],
    learn: Learn,
) -> Artifact:
    config, size = job.config, job.config.num_steps
    drawn, phase, stream = 0.0, -1, iter(())
    job.watched(0)
    for step in loop.steps():
        if step // size != phase:
            phase = step // size
            grow, improve = divmod(phase, num_improve)
            groups = _draw(job, grow)
            drawn = float(np.mean([reward for group in groups for reward in group.rewards]))
            rows = chosen(groups, grow, improve)
            require_some(rows, "reply")
            stream = batches(rows, config.batch_size, config.seed, phase)
            for _ in range(step - phase * size):
                next(stream)
        figures = learn(next(stream))
        looked = job.watched(step + 1)
        loop.tell({**figures, "reward_drawn": drawn, **looked}, always=bool(looked))
    return job.keep(loop.num_steps, {"reward_drawn": drawn})


def _draw(job: Run, grow: int) -> list[Group]:
    config = job.config
    return grown(
        job.policy, job.scorer, job.draw_prompts(grow, config.draw_prompts), job.report.folder / f"grow-{grow}.json",
        samples_per_prompt=config.samples_per_prompt, max_new_tokens=config.max_new_tokens,
        temperature=config.temperature, seed=config.seed * 10_007 + grow,
    )  # fmt: skip
