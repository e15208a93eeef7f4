"""The job that pretrains a small language model on a task's prompts and unskilled replies."""

import math
import random

import numpy as np

from rmviz.configs.world import TaskPolicyConfig
from rmviz.models.formats import layout
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report
from rmviz.world.policy import pretrained, texts_loss
from rmviz.world.tasks import Task, task_named

_NUM_HELDOUT, _NUM_SAMPLED = 256, 256


def run(config: TaskPolicyConfig, workspace: Workspace, report: Report) -> Artifact:
    """Pretrain the language model and keep it; an interrupted run goes on from its last checkpoint and ends the same.

    Metrics: `loss` (nats per token) and `perplexity` on texts it has not seen; `reward`, the mean exact reward of replies
    that it draws, beside `unskilled`, that of the replies it learnt from.
    """
    task = task_named(config.task)
    tokenizer = task.tokenizer()
    model = pretrained(
        config, tokenizer, report, lambda rng: task_text(task, rng, tokenizer), max_length=task.max_length
    )
    name = config.name or f"{config.task}-lm"
    policy = Policy(model, tokenizer, format=task.format, max_length=task.max_length, name=name)
    rng = random.Random("held out")
    loss = texts_loss(model, tokenizer, [task_text(task, rng, tokenizer) for _ in range(_NUM_HELDOUT)])
    metrics = {"loss": loss, "perplexity": math.exp(loss), **_rewards(task, policy)}
    report(config.num_steps, config.num_steps, metrics)
    return keep_policy(
        workspace, policy, name=name, key=report.key, config=config, parents=(),
        metrics={**metrics, "num_steps": config.num_steps, "seed": config.seed},
    )  # fmt: skip


def task_text(task: Task, rng: random.Random, tokenizer: object) -> str:
    """A prompt and an unskilled reply, laid out as one text."""
    prompt = task.prompt(rng)
    return layout(prompt, task.reply(prompt, rng), task.format, tokenizer).text  # type: ignore[arg-type]


def _rewards(task: Task, policy: Policy) -> dict[str, float]:
    rng = random.Random("sampled")
    prompts = [task.prompt(rng) for _ in range(_NUM_SAMPLED)]
    room = max(len(policy.encode(prompt, task.reply(prompt, rng)).reply) for prompt in prompts) + 4
    replies = policy.sample(prompts, seed=0, max_new_tokens=min(room, policy.max_length // 2))
    return {
        "reward": float(np.mean([task.reward(reply.prompt, reply.text) for reply in replies])),
        "unskilled": float(np.mean([task.reward(prompt, task.reply(prompt, rng)) for prompt in prompts])),
    }
