"""Settings of the jobs that train a policy with TRL's trainers."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, require
from rmviz.configs.policies import PolicyRun, RewardedRun

DPOLoss = Literal[
    "sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
    "apo_down", "discopop", "sigmoid_norm",
]  # fmt: skip
_SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")
"""Losses that read label_smoothing; TRL leaves it out of the others without a word."""


@dataclass(frozen=True, kw_only=True)
class TrainerRun(PolicyRun):
    """One run of a trainer that can use several processes."""

    num_processes: int = 1
    """Processes that share each step's texts: one per GPU (or CPU processes), on one machine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_processes=1)
        require(
            self.batch_size % self.num_processes == 0,
            f"batch_size must be a multiple of num_processes, got {self.batch_size} and {self.num_processes}",
        )


@dataclass(frozen=True, kw_only=True)
class EpochRun(TrainerRun):
    """One run over a dataset's replies."""

    num_epochs: float = often(1.0)
    """Passes over the training texts (or pairs)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_epochs > 0, f"num_epochs must be above 0, got {self.num_epochs}")


@dataclass(frozen=True, kw_only=True)
class SFTConfig(EpochRun):
    """Fine-tune a policy on the chosen replies (or texts) of a dataset."""

    learn_prompts: bool = False
    """Learn to write the prompts too; else the replies alone."""


@dataclass(frozen=True, kw_only=True)
class DPOConfig(EpochRun):
    """Train a policy on preference pairs, without a reward model (DPO and its kin)."""

    beta: float = often(0.1)
    """How strongly it is held to the policy that it starts from: higher stays closer."""

    loss_type: DPOLoss = "sigmoid"
    """sigmoid is DPO (Rafailov et al. 2023); ipo, hinge (SLiC, RSO), robust and the others as TRL defines them."""

    label_smoothing: float = 0.0
    """Share of pairs taken to be the wrong way round; for loss_type robust, exo_pair, aot and aot_unpaired."""

    sft_weight: float = 0.0
    """Weight of the language model's own loss on the chosen replies, added to the other (RPO, Pang et al. 2024): it keeps
    them likely where DPO alone makes both sides unlikely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0, f"beta must be above 0, got {self.beta}")
        at_least(self, sft_weight=0)
        require(
            0 <= self.label_smoothing < 0.5, f"label_smoothing must be from 0 to below 0.5, got {self.label_smoothing}"
        )
        require(
            not self.label_smoothing or self.loss_type in _SMOOTHED,
            f"loss_type {self.loss_type} takes no label_smoothing; use robust, or set it to 0",
        )
        require(
            self.loss_type != "exo_pair" or self.label_smoothing > 0,
            "loss_type exo_pair needs label_smoothing above 0; 0.001 is its authors' value",
        )


@dataclass(frozen=True, kw_only=True)
class KTOConfig(EpochRun):
    """Train a policy on replies that are wanted or unwanted, each by itself (KTO)."""

    beta: float = often(0.1)
    """How strongly it is held to the policy that it starts from: higher stays closer."""

    desirable_weight: float = 1.0
    """Weight of the losses on chosen replies."""

    undesirable_weight: float = 1.0
    """Weight of the losses on rejected replies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0, f"beta must be above 0, got {self.beta}")
        at_least(self, desirable_weight=0, undesirable_weight=0)
        require(
            self.batch_size // self.num_processes >= 2,
            f"batch_size must be at least 2 per process, got {self.batch_size}: the KL is estimated by swapping replies",
        )


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(TrainerRun, RewardedRun):
    """Train a policy for a reward: several replies to each prompt, each held against the others (RLOO or GRPO)."""

    method: Literal["rloo", "grpo"] = "rloo"
    """rloo: advantage over the mean of the other replies (Ahmadian et al. 2024); grpo: divided by their spread, too."""

    num_steps: int = often(100)
    """Steps; each draws batch_size replies."""

    num_generations: int = 4
    """Replies to each prompt, held against one another."""

    beta: float = often(0.05)
    """Weight of the KL to the policy that it starts from; 0 lets it go wherever the reward leads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_steps=1, num_generations=2, beta=0)
        require(self.temperature > 0, "temperature must be above 0: replies are drawn")
        require(
            self.batch_size % self.num_generations == 0,
            f"batch_size must be a multiple of num_generations, got {self.batch_size} and {self.num_generations}",
        )
