"""Settings of implicit Q-learning."""

import re
from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, parent, require
from rmviz.configs.policies import REWARD_KINDS, PolicyRun
from rmviz.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class IlqlConfig(PolicyRun):
    """Learn from replies that are there already what each token is worth, and lead sampling by it (implicit Q-learning)."""

    reward_source: Literal["sign", "reward"] = "sign"
    """sign pays chosen replies 1 and rejected ones −1; reward pays what the reward below scores."""

    reward: str = parent(*REWARD_KINDS, external=True, optional=True)
    """A reward model, an ensemble (mean − λ·std) or truth:TASK (truth:knapsack); only watched where signs are paid."""

    shaping: Literal["none", "token", "turn"] = "none"
    """Pay at once what the score of the text so far rises by (potential-based, the best policy stays the same): after every
    token, or after every turn of the environment; else all is paid with the last token."""

    standardise: bool = True
    """Scale rewards to mean 0 and standard deviation 1 over the data."""

    environment: str = ""
    """Regular expression of what others write within replies: those tokens are no actions. Empty: all are the policy's."""

    num_steps: int = often(800)
    """Training steps."""

    learning_rate: float = often(3e-4)
    """Peak learning rate of AdamW."""

    tau: float = often(0.8)
    """Expectile of V over actions: 0.5 values what was done, towards 1 the best of it."""

    gamma: float = 0.99
    """Discount per token."""

    cql_weight: float = 0.1
    """Weight of the loss that keeps Q of unseen tokens low."""

    behaviour_weight: float = 1.0
    """Weight of the language model's own loss on the replies."""

    behaviour_beta: float = 0.0
    """How much more a token counts in that loss the more it is worth (AWAC); 0 clones all replies alike."""

    polyak: float = 0.02
    """Share by which the target Q follow Q at each step."""

    shared: bool = True
    """Whether the losses of Q and V train the language model too; else its weights are behaviour cloning alone."""

    beta: float = often(16.0)
    """How much sampling follows Q − V; can be changed after training."""

    top_k: int = 20
    """Led sampling keeps to this many of the language model's likeliest tokens; 0 keeps all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, num_steps=1, cql_weight=0, behaviour_weight=0, behaviour_beta=0, beta=0, top_k=0)
        require(0 < self.tau < 1, f"tau must lie between 0 and 1, got {self.tau}")
        require(0 < self.gamma <= 1, f"gamma must lie above 0 and at most at 1, got {self.gamma}")
        require(0 < self.polyak <= 1, f"polyak must lie above 0 and at most at 1, got {self.polyak}")
        require(
            self.reward_source == "sign" or bool(self.reward),
            "reward_source reward needs a reward: name a reward model, an ensemble or truth:TASK",
        )
        require(
            self.reward_source == "reward" or self.shaping == "none",
            "shaping needs a score for unfinished replies: set reward_source to reward",
        )
        require(
            self.shaping != "turn" or bool(self.environment),
            "shaping by turn needs environment: the regular expression that finds the turns of others",
        )
        try:
            re.compile(self.environment)
        except re.error as error:
            raise ConfigError(f"environment is no regular expression: {error}") from error
