"""The RLOO job (and GRPO): a policy trained by TRL for a reward that is paid as the inspector would score the reply."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from rmviz.configs.trl_policies import RLOOConfig
from rmviz.models.policy import Policy
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.policy_job import Method, Opened, Rows, followed, ordered, trained
from rmviz.training.rewards import Scorer, paid
from rmviz.training.trainers import GRPOArguments, GRPOTrainer, RLOOArguments, RLOOTrainer
from rmviz.types import Report


def run(config: RLOOConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train a policy for a reward and keep it; see `trained` for what is common to all methods.

    Metrics: `num_prompts`. While it trains, figures named `train_…` are those of the replies that it learns from; the loss is
    0 by construction, and not told.
    """
    return trained(METHOD, config, workspace, report, f"{__name__}:follow")


def follow(config: RLOOConfig, workspace: Workspace, folder: Path) -> None:
    """Train as one of several processes."""
    followed(METHOD, config, workspace, folder)


def _rows(run: Opened) -> Rows:
    config: RLOOConfig = run.config
    order = ordered(len(run.prompts), config.num_steps, config.batch_size // config.num_generations, config.seed)
    table = Dataset.from_dict({"prompt": [run.prompts[place] for place in order]})
    return Rows(table, config.num_steps, {"num_prompts": len(run.prompts)})


def _trainer(run: Opened, rows: Rows, arguments: dict[str, Any], tokenizer: Any, callbacks: list[Any]) -> Any:
    config: RLOOConfig = run.config
    scorers = {"reward": run.scorer, "gold": run.gold}
    payers = [payer(name, scorer, run.policy) for name, scorer in scorers.items() if scorer]
    makers: dict[str, tuple[Any, Any]] = {"rloo": (RLOOTrainer, RLOOArguments), "grpo": (GRPOTrainer, GRPOArguments)}
    make, make_arguments = makers[config.method]
    options = {
        **arguments,
        "beta": 0.0,  # the reference is handed in below
        "num_generations": config.num_generations,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "shuffle_dataset": False,
        "reward_weights": [1.0, 0.0][: len(payers)],
        **({"loss_type": "grpo"} if config.method == "grpo" else {}),
    }
    trainer = make(
        model=run.policy.model,
        reward_funcs=payers,
        args=make_arguments(**options),
        processing_class=tokenizer,
        train_dataset=rows.dataset,
        callbacks=callbacks,
    )
    trainer.read_as(run.policy, run.reference, config.beta)
    return trainer


def payer(name: str, scorer: Scorer, policy: Policy) -> Callable[..., list[float]]:
    """A scorer as the trainer calls it: it is given the reply's words, never the policy's tokens."""

    def pay(*, prompts: Sequence[str], completion_ids: Sequence[Sequence[int]], **more: Any) -> list[float]:
        return paid(
            scorer, prompts, [policy.text_of(*one) for one in zip(prompts, completion_ids, strict=True)]
        ).tolist()

    pay.__name__ = name
    return pay


SHOWN = {
    "rewards/reward/mean": "train_reward",
    "rewards/gold/mean": "train_gold",
    "reward_std": "train_spread",
    "kl": "train_kl",
    "entropy": "train_entropy",
    "completions/mean_length": "train_length",
    "completions/clipped_ratio": "train_cut",
}
METHOD = Method(kind="train.rloo", rows=_rows, trainer=_trainer, shown=SHOWN)
