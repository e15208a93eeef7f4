"""Settings of the methods that improve a policy for a reward."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, parent, require
from rmviz.configs.policies import REWARD_KINDS, RewardedRun, check_judges


@dataclass(frozen=True, kw_only=True)
class PPOConfig(RewardedRun):
    """Train a policy by PPO: a clipped step, a learnt value, and a penalty for leaving the reference."""

    num_steps: int = often(60)
    """Rounds of drawing replies and learning from them."""

    num_replies: int = 128
    """Replies drawn in each round."""

    num_epochs: int = 4
    """Passes over the replies of a round."""

    kl_coef: float = often(0.05)
    """Price in reward of one nat that the policy leaves the reference by, per token (0: it may run away)."""

    kl_target: float = 0.0
    """Nats per reply to which the price adapts itself (Ziegler et al. 2019); it stays as it is when 0."""

    kl_horizon: int = 10_000
    """Replies over which an adapting price reacts."""

    gamma: float = 1.0
    """Discount per token."""

    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage (0: one step, 1: the whole reply)."""

    clip: float = 0.2
    """How far the ratio of new to old probability may leave 1 before the gain is cut."""

    value_clip: float = 0.2
    """How far a new value may leave the old one before its error counts as if it had not."""

    value_coef: float = 0.1
    """Weight of the value's loss."""

    whiten: bool = True
    """Give advantages of a round mean 0 and standard deviation 1."""

    standardise: bool = False
    """Divide rewards by their standard deviation over the first round."""

    eos_penalty: float = 0.0
    """Taken off the reward of a reply that does not end by itself."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            self, num_steps=1, num_replies=2, num_epochs=1, kl_coef=0, kl_target=0, kl_horizon=1, gamma=0, gae_lambda=0,
            clip=0, value_clip=0, value_coef=0,
        )  # fmt: skip
        require(max(self.gamma, self.gae_lambda) <= 1, "gamma and gae_lambda must be at most 1")
        require(
            self.temperature > 0,
            "temperature must be above 0: PPO learns from replies that are drawn, and at 0 every draw is the same",
        )


@dataclass(frozen=True, kw_only=True)
class RestConfig(RewardedRun):
    """Train a policy by ReST: draw replies, keep those above a rising threshold, learn from them, draw anew."""

    num_grow: int = often(3)
    """Times that replies are drawn from the policy as it is."""

    num_improve: int = often(3)
    """Times that it learns from each draw; the threshold rises with each."""

    num_steps: int = 60
    """Steps of each improvement."""

    samples_per_prompt: int = 8
    """Replies to each prompt in a draw."""

    draw_prompts: int = 256
    """Prompts of each draw."""

    start_percentile: float = 0.7
    """Share of a prompt's replies that the first threshold leaves out."""

    end_percentile: float = 0.95
    """Share that the last one leaves out."""

    improve: Literal["sft", "dpo"] = "sft"
    """How it learns: to write what is above the threshold (sft), or to prefer it to what is below (dpo)."""

    beta: float = 0.1
    """Weight of the distance to the reference in dpo."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_grow=1, num_improve=1, num_steps=1, samples_per_prompt=2, draw_prompts=1, beta=0)
        require(
            0 <= self.start_percentile <= self.end_percentile < 1,
            f"percentiles must rise from 0 to below 1, got {self.start_percentile} and {self.end_percentile}",
        )
        require(
            self.improve == "sft" or self.beta > 0,
            "beta must be above 0 where improve is dpo: at 0 its loss has no gradient and nothing is learnt",
        )


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(RewardedRun):
    """Train a policy to write what it would choose itself: the best of n replies to each prompt (expert iteration)."""

    num_grow: int = often(1)
    """Times that replies are drawn from the policy as it is."""

    num_steps: int = 120
    """Steps of each improvement."""

    samples_per_prompt: int = often(16)
    """Replies to each prompt, of which the best is learnt."""

    draw_prompts: int = 256
    """Prompts of each draw."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_grow=1, num_steps=1, samples_per_prompt=2, draw_prompts=1)


@dataclass(frozen=True, kw_only=True)
class RSOConfig(RewardedRun):
    """Train a policy by RSO: replies that rejection sampling leaves of many, paired by reward, then DPO."""

    num_steps: int = often(120)
    """Steps of DPO."""

    samples_per_prompt: int = 32
    """Replies drawn for each prompt."""

    kept_per_prompt: int = 8
    """Replies that rejection sampling leaves of them."""

    draw_prompts: int = 256
    """Prompts."""

    beta: float = often(0.5)
    """Temperature of the wanted policy: a reply is kept with probability exp((r − highest r) / beta)."""

    loss: Literal["sigmoid", "hinge"] = "sigmoid"
    """sigmoid as in DPO, or hinge as in SLiC."""

    gamma: float = 0.1
    """Weight of the distance to the reference in the loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_steps=1, samples_per_prompt=2, kept_per_prompt=2, draw_prompts=1)
        require(self.beta > 0, f"beta must be above 0, got {self.beta}")
        require(self.gamma > 0, "gamma must be above 0: at 0 the loss has no gradient and nothing is learnt")
        require(
            self.kept_per_prompt <= self.samples_per_prompt,
            f"kept_per_prompt must be at most samples_per_prompt, got {self.kept_per_prompt} and {self.samples_per_prompt}",
        )


@dataclass(frozen=True, kw_only=True)
class PreferencesConfig:
    """Draw pairs of replies from a policy and let a gold model say which is better, as people would."""

    policy: str = parent("policy", external=True)
    """Id or name of the policy that writes them, a folder, or a hub id."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose prompts are answered."""

    gold: str = parent(*REWARD_KINDS, external=True)
    """Who prefers: a reward model, an ensemble, or an exact reward truth:TASK."""

    earlier: str = parent("dataset", optional=True)
    """Id or name of a dataset whose pairs come first (all data so far); none when empty."""

    name: str = ""
    """What to call the dataset."""

    split: Literal["train", "heldout", "all"] = "train"
    """Whose prompts are answered."""

    num_pairs: int = often(1000)
    """Gold labels that are spent."""

    noise: float = often(0.0)
    """Share of labels that are turned round."""

    label_temperature: float = 0.0
    """Difference of gold reward that counts as one nat of preference (Bradley–Terry); the better always wins when 0."""

    temperature: float = 1.0
    """Of the replies."""

    max_new_tokens: int = 64
    """Longest reply, in tokens."""

    heldout: float = 0.1
    """Share of prompts whose pairs are kept out of training."""

    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        check_judges(self.gold)
        at_least(self, num_pairs=2, noise=0, label_temperature=0, temperature=0, max_new_tokens=1, heldout=0)
        require(self.noise <= 0.5, f"noise must be a share of at most 0.5, got {self.noise}")
        require(self.heldout < 1, f"heldout must be a share below 1, got {self.heldout}")
