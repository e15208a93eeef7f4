"""Iterated RLHF against a gold reward, beside standard RLHF with as many labels and as many steps.

Each round's labels, proxy and policy are artifacts of jobs of their own. Source of the design: Gao et al. 2022
(arXiv:2210.10760) for gold and proxy; Bai et al. 2022 (arXiv:2204.05862, section 4.5) for iterating.
"""

import shlex
import time
from dataclasses import dataclass, replace
from typing import Any

from rmviz.configs.base import to_dict
from rmviz.configs.command import command_line
from rmviz.configs.iterated import IteratedConfig
from rmviz.configs.models import RewardConfig
from rmviz.configs.rl import BestOfNConfig, PPOConfig, PreferencesConfig, RestConfig
from rmviz.configs.trl_policies import DPOConfig
from rmviz.configs.world import TaskDataConfig, TaskPolicyConfig
from rmviz.jobs.elapsed import elapsed
from rmviz.models.formats import FormatName
from rmviz.recipes.counted import Counted, Execute
from rmviz.recipes.iterated_report import Arm, experiment_of
from rmviz.recipes.measure import Meter
from rmviz.recipes.proxies import looked_into, num_looks
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import keep_experiment
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(space: Workspace, execute: Execute, report: Report, num_seeds: int, seed: int) -> Artifact:
    """The recipe: iterated against standard RLHF on the planted world, whose true reward is the gold one."""
    config = IteratedConfig(
        policy="small-world-lm", dataset="world-prompts", gold="truth:world", name="iterated", num_seeds=num_seeds, seed=seed
    )  # fmt: skip
    step = Counted(execute, report, 2 + num_jobs(config))
    policy = step(
        "task.policy", TaskPolicyConfig(task="world", name=config.policy, num_steps=900, batch_size=32, seed=seed)
    )
    prompts = step("task.data", TaskDataConfig(task="world", name=config.dataset, num_pairs=1500, seed=seed))
    config = replace(config, policy=policy.id, dataset=prompts.id)
    return iterate(config, space, step, f"rmviz recipe iterated --seeds {num_seeds} --seed {seed}")


def iterate(config: IteratedConfig, space: Workspace, step: Counted, command: str) -> Artifact:
    """Run both arms for every seed, measure every policy, and keep what was found."""
    start, report = time.monotonic(), step.report
    loop = _Loop(config, space, step)
    arms = [arm for seed in range(config.seed, config.seed + config.num_seeds) for arm in loop.arms(seed)]
    insights = looked_into(config, space, step, arms[1].proxies) if config.co_evolution else None
    experiment = experiment_of(config, arms, insights, step.links, elapsed(report, start), command)
    step.end()
    return keep_experiment(space, experiment, name=config.name or "iterated", key=report.key, config=to_dict(config))


def num_jobs(config: IteratedConfig) -> int:
    """Jobs that `iterate` does."""
    a_seed = 3 * (1 + config.num_rounds) + (4 if config.kl_off_steps else 0)
    return config.num_seeds * a_seed + (num_looks(config) if config.co_evolution else 0)


@dataclass
class _Loop:
    """One run of the experiment."""

    config: IteratedConfig
    space: Workspace
    step: Counted

    def arms(self, seed: int) -> list[Arm]:
        """The standard arm, the iterated one, and what PPO makes of a proxy of few labels with and without KL."""
        config = self.config
        meter = Meter(self.space, config, seed, self.step.report.folder)
        standard = self._arm("standard", meter, seed, rounds=1)
        iterated = self._arm("iterated", meter, seed, rounds=config.num_rounds)
        return [standard, iterated, *self._kl_off(meter, seed)]

    def _arm(self, name: str, meter: Meter, seed: int, rounds: int) -> Arm:
        config = self.config
        arm = Arm(name=name, seed=seed, points=[meter.start()])
        policy, labels, proxy = config.policy, "", ""
        for number in range(1, rounds + 1):
            title = f"{config.name or 'iterated'} {name} s{seed} r{number}"
            shared = config.budget // rounds + (config.budget % rounds if number == rounds else 0)
            labels = self._labels(
                f"{title} labels", policy, shared, 100 * seed + number, earlier=labels if config.proxy == "all" else ""
            )
            base = proxy if config.proxy == "continued" and proxy else config.policy
            model = self.step("train.reward", self._reward(labels, base, f"{title} proxy", seed, meter.format))
            proxy = model.id
            arm.proxies.append(model)
            improved = self.step(*self._improved(policy, proxy, labels, f"{title} policy", 100 * seed + number, rounds))
            policy = improved.id
            arm.policies.append(improved)
            arm.points.append(meter.point(improved, model, labels=config.budget * number // rounds))
        return arm

    def _labels(self, name: str, policy: str, num_pairs: int, seed: int, earlier: str = "") -> str:
        config = self.config
        return self.step(
            "data.preferences",
            PreferencesConfig(
                policy=policy, dataset=config.dataset, gold=config.gold, name=name, num_pairs=num_pairs, earlier=earlier,
                noise=config.noise, max_new_tokens=config.max_new_tokens, seed=seed,
            ),
        ).id  # fmt: skip

    def _reward(self, labels: str, base: str, name: str, seed: int, form: FormatName) -> RewardConfig:
        config = self.config
        return RewardConfig(
            dataset=labels, base=base, name=name, format=form, max_length=192, batch_size=16,
            num_epochs=config.reward_epochs, learning_rate=config.reward_rate, num_checkpoints=1, seed=seed,
        )  # fmt: skip

    def _improved(self, policy: str, proxy: str, labels: str, name: str, seed: int, rounds: int) -> tuple[str, Any]:
        """The job that improves a policy, its draws of its own; one round of the standard arm does as much as all of the other."""
        config = self.config
        repeats = config.num_rounds // rounds
        shared: dict[str, Any] = {
            "policy": policy, "dataset": config.dataset, "gold": config.gold, "name": name, "num_looks": 1, "num_watched": 16,
            "learning_rate": config.learning_rate, "max_new_tokens": config.max_new_tokens, "seed": seed, "batch_size": 32,
        }  # fmt: skip
        drawn: dict[str, Any] = {"draw_prompts": config.draw_prompts, "samples_per_prompt": config.samples_per_prompt}
        if config.method == "dpo":
            size = float(self.space.resolve(labels, "dataset").metrics["num_train"])
            epochs = config.num_steps * repeats * shared["batch_size"] / size
            return "train.dpo", DPOConfig(**{**shared, "dataset": labels, "num_epochs": epochs})
        if config.method == "ppo":
            return "train.ppo", self._ppo(shared | {"reward": proxy}, config.num_steps * repeats, config.kl_coef)
        if config.method == "rest":
            return "train.rest", RestConfig(
                **shared,
                **drawn,
                reward=proxy,
                num_grow=repeats,
                num_improve=2,
                num_steps=max(1, config.num_steps // 2),
            )
        return "train.best_of_n", BestOfNConfig(
            **shared, **drawn, reward=proxy, num_grow=repeats, num_steps=config.num_steps
        )

    def _ppo(self, shared: dict[str, Any], num_steps: int, kl_coef: float) -> PPOConfig:
        config = self.config
        return PPOConfig(**shared, num_steps=num_steps, num_replies=config.draw_prompts, kl_coef=kl_coef, num_epochs=2)

    def _kl_off(self, meter: Meter, seed: int) -> list[Arm]:
        """PPO against one proxy of few labels, once held near where it starts and once not."""
        config, arms = self.config, []
        if not config.kl_off_steps:
            return []
        title = f"{config.name or 'iterated'} few labels s{seed}"
        labels = self._labels(f"{title} labels", config.policy, config.kl_off_labels, 100 * seed)
        proxy = self.step("train.reward", self._reward(labels, config.policy, f"{title} proxy", seed, meter.format))
        for name, coef in (("ppo with KL", config.kl_coef), ("ppo without KL", 0.0)):
            settings = self._ppo(
                {
                    "policy": config.policy, "dataset": config.dataset, "gold": config.gold, "reward": proxy.id,
                    "name": f"{config.name or 'iterated'} {name} s{seed}", "num_looks": 8, "num_watched": 64,
                    "learning_rate": config.learning_rate, "max_new_tokens": config.max_new_tokens, "seed": seed,
                },
                config.kl_off_steps, coef,
            )  # fmt: skip
            artifact = self.step("train.ppo", settings)
            point = meter.point(artifact, proxy, labels=config.kl_off_labels)
            arms.append(Arm(name=name, seed=seed, points=[meter.start(), point], proxies=[proxy], policies=[artifact]))
        return arms


def run_job(config: IteratedConfig, workspace: Workspace, report: Report) -> Artifact:
    """The job `train.iterated`."""
    from rmviz.recipes.job import stepwise

    command = shlex.join(command_line("train.iterated", config, workspace.root))
    with stepwise(workspace, report) as (steps, step):
        return iterate(config, workspace, Counted(step, steps, num_jobs(config)), command)
