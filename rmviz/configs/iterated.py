"""Settings of iterated RLHF against a gold reward."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, parent, require
from rmviz.configs.policies import REWARD_KINDS, check_judges


@dataclass(frozen=True, kw_only=True)
class IteratedConfig:
    """Iterated RLHF against a gold reward, beside standard RLHF with as many labels: which policy is worth more?"""

    policy: str = parent("policy")
    """Id or name of the policy to start from; proxies start from it too."""

    dataset: str = parent("dataset")
    """Id or name of the dataset whose prompts are answered; policies are measured on its held-out prompts."""

    gold: str = parent(*REWARD_KINDS, external=True)
    """Who stands in for people: a reward model, an ensemble, or an exact reward truth:TASK (truth:world)."""

    name: str = ""
    """What to call the experiment, and how the names of its models begin."""

    num_rounds: int = often(3)
    """Rounds of the iterated arm: label, train a proxy, improve the policy."""

    budget: int = often(900)
    """Gold labels that each arm may spend in all."""

    noise: float = often(0.0)
    """Share of labels that are turned round."""

    proxy: Literal["all", "fresh", "continued"] = often("all")
    """How a round's proxy comes about: anew on the labels of all rounds so far (all), anew on this round's alone (fresh), or
    from the last round's proxy on this round's labels (continued)."""

    method: Literal["best_of_n", "rest", "ppo", "dpo"] = often("best_of_n")
    """How a policy is improved by its proxy; dpo learns from the labels themselves."""

    reward_rate: float = 1e-3
    """Peak learning rate of the proxies."""

    reward_epochs: float = 2.0
    """Passes of a proxy over its labels."""

    learning_rate: float = 5e-4
    """Peak learning rate of the policies."""

    num_steps: int = 60
    """Steps of each round's improvement; the standard arm takes as many in all."""

    draw_prompts: int = 128
    """Prompts answered in each draw of best_of_n and rest; replies of each round of ppo."""

    samples_per_prompt: int = 8
    """Replies to each of them."""

    kl_coef: float = 0.05
    """Price of a nat per token in ppo."""

    max_new_tokens: int = 48
    """Longest reply, in tokens."""

    num_measured: int = 192
    """Held-out prompts that every policy answers when it is measured."""

    kl_off_steps: int = 60
    """Rounds of ppo against a proxy of few labels, once with kl_coef and once without any; 0 leaves that out."""

    kl_off_labels: int = 100
    """Labels of that proxy, which are beside the budget: the fewer, the more of it is wrong."""

    co_evolution: bool = True
    """Look into each round's proxy of the first seed: an SAE, its exact effects, their match over rounds, and maps."""

    num_seeds: int = often(3)
    """How often all is done anew; intervals are over seeds."""

    seed: int = 0
    """The first seed."""

    def __post_init__(self) -> None:
        check_judges(self.gold)
        at_least(
            self, num_rounds=1, budget=4, noise=0, num_steps=1, draw_prompts=2, samples_per_prompt=2, kl_coef=0,
            max_new_tokens=1, num_measured=4, kl_off_steps=0, kl_off_labels=4, num_seeds=1, seed=0,
        )  # fmt: skip
        require(self.noise <= 0.5, f"noise must be a share of at most 0.5, got {self.noise}")
        require(
            self.budget >= 4 * self.num_rounds,
            f"budget must be at least 4 labels a round, got {self.budget} for {self.num_rounds} rounds",
        )
        require(self.reward_epochs > 0, f"reward_epochs must be above 0, got {self.reward_epochs}")
