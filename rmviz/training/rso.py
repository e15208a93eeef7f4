"""RSO: rejection sampling from the policy towards the policy that the reward wants, then DPO on pairs of what is left."""

import numpy as np

from rmviz.configs.rl import RSOConfig
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.grow import Group, grown, tournament
from rmviz.training.improve import batches, contrast, opened_run, require_some
from rmviz.training.loop import Loop
from rmviz.training.losses import rejection_kept
from rmviz.types import Report


def run(config: RSOConfig, workspace: Workspace, report: Report) -> Artifact:
    """Draw, reject, pair by reward, and prefer; an interrupted run goes on and ends the same.

    Metrics: those of the watch; `reward_drawn` and `reward_kept`, mean rewards before and after rejection; `num_pairs`.

    Source: Liu et al. 2024 (arXiv:2309.06657).
    """
    job = opened_run(config, workspace, report, config.num_steps, "rso")
    loop = Loop(report, config.num_steps, job.policy.model, learning_rate=config.learning_rate, seed=config.seed)
    job.watched(0)
    groups = grown(
        job.reference, job.scorer, job.draw_prompts(0, config.draw_prompts), report.folder / "grow-0.json",
        samples_per_prompt=config.samples_per_prompt, max_new_tokens=config.max_new_tokens,
        temperature=config.temperature, seed=config.seed * 10_007,
    )  # fmt: skip
    rng = np.random.default_rng([config.seed, 1])
    kept = [_rejected(group, config, rng) for group in groups]
    pairs = tournament(kept, rng)
    require_some(pairs, "pair")
    drawn, left = (float(np.mean([r for group in some for r in group.rewards])) for some in (groups, kept))
    stream = batches(pairs, config.batch_size, config.seed, 0)
    for _ in range(loop.start):
        next(stream)
    for step in loop.steps():
        figures = contrast(job, loop, next(stream), config.gamma, config.loss)
        looked = job.watched(step + 1)
        loop.tell({**figures, **looked}, always=bool(looked))
    return job.keep(config.num_steps, {"reward_drawn": drawn, "reward_kept": left, "num_pairs": len(pairs)})


def _rejected(group: Group, config: RSOConfig, rng: np.random.Generator) -> Group:
    draws = rng.random(64 * len(group.rewards)).tolist()
    places = rejection_kept(list(group.rewards), config.beta, config.kept_per_prompt, draws)
    return Group(group.prompt, tuple(group.rows[i] for i in places), tuple(group.rewards[i] for i in places))
