"""The ILQL job: what each token of replies that are there already is worth, and a policy led by it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rmviz.configs.ilql import IlqlConfig
from rmviz.models.policy import Policy
from rmviz.models.policy_files import keep_policy, load_policy, trainable, without_guide
from rmviz.models.value_heads import Guide, ValueHeads, sizes_of
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.training.ilql_data import Episode, Episodes, episodes
from rmviz.training.ilql_losses import Estimates, Steps, Weights, ilql_loss, neutral_loss
from rmviz.training.loop import Loop, mixed
from rmviz.training.prompts import run_prompts
from rmviz.training.rewards import opened_scorer
from rmviz.training.sources import parents_of, policy_source
from rmviz.training.watch import LOOKS, SAMPLES, PolicyWatch, opened_watch
from rmviz.types import Report

SWEEP, SWEPT = "sweep.parquet", "sweep_samples.parquet"
"""Figures by β, and the replies behind them."""

BETAS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_GROUP = 8
"""Steps whose replies are drawn together and sorted by length, so that little is padded."""


def run(config: IlqlConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train heads and language model on the replies, watch the led policy, sweep β, and keep all of it.

    Metrics: those of the watch at the config's β, `num_texts`, `num_same` (pairs left out as the same on both sides),
    `reward_mean_data` and `reward_std_data` (of the replies learnt from), and the losses of the last step.

    Raises:
        DataError: There is nothing to learn from.
        ModelError: The policy cannot be loaded, or training diverged.
    """
    dataset = workspace.resolve(config.dataset, "dataset")
    start = policy_source(workspace, config.policy)
    options = {"format": config.format, "max_length": config.max_length, "dtype": "float32", "seed": config.seed}
    reference = without_guide(load_policy(start, **options))
    policy = trainable(load_policy(start, lora_rank=config.lora_rank, **options))
    scorer = opened_scorer(config.reward, workspace) if config.reward else None
    # who sees only the training prompts' replies still is watched on held-out prompts
    _, watched = run_prompts(
        dataset, policy, config.num_prompts, config.num_watched, config.max_new_tokens, config.seed
    )
    data = episodes(
        config, policy, dataset, scorer if config.reward_source == "reward" else None,
        lambda done: report(0, config.num_steps, {"texts_ready": float(done)}),
    )  # fmt: skip
    heads = ValueHeads(*sizes_of(policy.model), seed=config.seed).to(policy.device)
    guide = policy.guide = Guide(heads, beta=config.beta, top_k=config.top_k).attach(policy.model)
    watch = opened_watch(config, policy, reference, watched, workspace, report.folder, config.num_steps, scorer)
    losses = _train(config, policy, guide, data, watch, report)
    guide.beta = config.beta
    sweep = _Sweep(config, policy, reference, watch, report)

    def attach(folder: Path) -> None:
        watch.attach(folder)
        sweep.attach(folder)

    metrics = {
        "num_texts": len(data.rows), "num_same": data.num_same, "reward_mean_data": data.reward_mean,
        "reward_std_data": data.reward_std, "steps": config.num_steps, "seed": config.seed, "beta": config.beta,
        **losses, **watch.summary(),
    }  # fmt: skip
    return keep_policy(
        workspace, policy, name=config.name or f"{reference.name}-ilql", key=report.key, config=config,
        parents=parents_of(config, workspace), metrics=metrics, attach=attach,
    )  # fmt: skip


def _train(
    config: IlqlConfig, policy: Policy, guide: Guide, data: Episodes, watch: PolicyWatch, report: Report
) -> dict[str, float]:
    """Train in place; the losses of the last step."""
    weights = Weights(
        tau=config.tau, gamma=config.gamma, cql=config.cql_weight, behaviour=config.behaviour_weight,
        behaviour_beta=config.behaviour_beta,
    )  # fmt: skip
    module = nn.ModuleDict({"model": policy.model, "heads": guide.heads})
    loop = Loop(report, config.num_steps, module, learning_rate=config.learning_rate, seed=config.seed)
    policy.model.train()
    told: dict[str, float] = {}
    for step in loop.steps():
        looked = _look(watch, policy, guide, config.beta, step)
        guide.beta = 0.0
        rows = _drawn(data.rows, config.batch_size, config.seed, step)
        with mixed(config.precision, policy.device):
            loss, parts = batch_loss(policy, guide, rows, weights, shared=config.shared)
        norm = loop.update(loss)
        guide.heads.follow(config.polyak)
        told = {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}, "grad_norm": norm}
        loop.tell({**told, **looked}, always=bool(looked))
    policy.model.eval()
    looked = _look(watch, policy, guide, config.beta, config.num_steps)
    report(config.num_steps, config.num_steps, {**told, **looked})
    return {name: told[name] for name in ("q_loss", "v_loss", "cql_loss", "behaviour_loss") if name in told}


def _look(watch: PolicyWatch, policy: Policy, guide: Guide, beta: float, step: int) -> dict[str, float]:
    if step not in watch.steps:
        return {}
    guide.beta = beta if step else 0.0  # untrained heads lead nowhere: before training it is what it was
    training = policy.model.training
    policy.model.eval()
    with torch.random.fork_rng():
        found = watch.look(step)
    policy.model.train(training)
    return found


def batch_loss(
    policy: Policy, guide: Guide, rows: Sequence[Episode], weights: Weights, *, shared: bool = True
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of some replies, and its parts; with `shared` off the language model sees nothing of Q and V."""
    batch = policy.batch([row.tokens for row in rows])
    logits = policy.logits(batch)
    hidden = guide.hidden_states()[:, :-1]
    hidden = (hidden if shared else hidden.detach()).float()
    own, last = torch.zeros_like(batch.targets), torch.zeros_like(batch.targets)
    for place, row in enumerate(rows):
        steps = torch.from_numpy(row.tokens.start - 1 + np.flatnonzero(row.actions)).to(own.device)
        own[place, steps] = True
        last[place, steps[-1]] = True
    heads, acted = guide.heads, hidden[own]
    rewards = torch.from_numpy(np.concatenate([row.rewards for row in rows])).float().to(own.device)
    said = Estimates(
        logits=logits[own], q=heads.both_q(acted), target_q=heads.lower_q(acted), values=heads.values(acted)
    )
    loss, parts = ilql_loss(Steps(batch.ids[:, 1:][own], rewards, last[own]), said, weights)
    others = hidden[batch.targets & ~own]
    if len(others):
        loss = loss + neutral_loss(heads.both_q(others), heads.values(others))
    return loss, parts


def _drawn(rows: Sequence[Episode], batch_size: int, seed: int, step: int) -> list[Episode]:
    """The replies of one step: every reply once before any comes again, those of like length together."""
    group, number = divmod(step, _GROUP)
    places = np.arange(group * _GROUP * batch_size, (group + 1) * _GROUP * batch_size)
    orders = {
        turn: np.random.default_rng([seed, turn]).permutation(len(rows)) for turn in set((places // len(rows)).tolist())
    }
    drawn = [rows[orders[place // len(rows)][place % len(rows)]] for place in places.tolist()]
    drawn.sort(key=lambda row: len(row.tokens.ids))
    start = int(np.random.default_rng([seed, group, _GROUP]).permutation(_GROUP)[number]) * batch_size
    return drawn[start : start + batch_size]


class _Sweep:
    """The trained policy's answers to the watched prompts at every β; what an earlier try has measured is kept."""

    def __init__(
        self, config: IlqlConfig, policy: Policy, reference: Policy, watch: PolicyWatch, report: Report
    ) -> None:
        self.betas = sorted({*BETAS, config.beta})
        self._folder = report.folder / "sweep"
        self._looks = PolicyWatch(
            policy, reference, watch.prompts, watch.scorers, self._folder, num_steps=len(self.betas) - 1,
            num_looks=len(self.betas) - 1, max_new_tokens=config.max_new_tokens, temperature=config.temperature,
            seed=config.seed,
        )  # fmt: skip
        assert policy.guide is not None
        for place, beta in enumerate(self.betas):
            policy.guide.beta = beta
            self._looks.look(place)
            report(config.num_steps, config.num_steps, {"betas_swept": float(place + 1)})
        policy.guide.beta = config.beta

    def attach(self, folder: Path) -> None:
        """Write figures and replies, by β."""
        self._looks.attach(self._folder)
        for name, kept in ((LOOKS, SWEEP), (SAMPLES, SWEPT)):
            table = load_table(self._folder / name)
            table.insert(0, "beta", [self.betas[place] for place in table.pop("step")])
            save_table(table, folder / kept)
