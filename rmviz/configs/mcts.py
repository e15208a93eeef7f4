"""Settings of preference data from tree search."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, ceiling, often, parent, require
from rmviz.configs.models import Format
from rmviz.configs.policies import REWARD_KINDS, check_judges

PairsFrom = Literal["siblings", "depths", "paths"]


@dataclass(frozen=True, kw_only=True)
class MctsConfig:
    """Search a policy's replies by Monte Carlo tree search, or sample two a problem, and write the preferences as pairs."""

    policy: str = parent("policy", external=True)
    """Id or name of the policy, a folder, or a hub id of a causal language model."""

    reward: str = parent(*REWARD_KINDS, external=True)
    """What pays for finished replies: a reward model, an ensemble, the exact reward truth:TASK (truth:knapsack), or a language
    model that is asked for scores: judge:MODEL (a policy, a folder or a hub id), or judge:MODEL@http://host:8000/v1 on an
    OpenAI-compatible server, whose key is read from OPENAI_API_KEY."""

    dataset: str = parent("dataset", optional=True)
    """Whose prompts are the problems; those of the task truth:TASK, drawn anew, when empty."""

    name: str = ""
    """What to call the dataset."""

    method: Literal["mcts", "two_samples"] = often("mcts")
    """mcts searches a tree for each problem; two_samples draws two replies to each, the base case."""

    num_problems: int = often(512)
    """Problems; fewer where max_calls ends it, or the dataset has fewer prompts."""

    max_calls: int = 0
    """Most calls of the policy (next-token distributions) over all problems; 0 sets no bound."""

    max_requests: int = ceiling(0)
    """Ask the server of a judge at most this often in all, retries and earlier tries of the job included; 0: as often as
    needed. A job that stops there goes on when it is given more."""

    num_simulations: int = often(32)
    """Simulations of each tree."""

    top_k: int = 8
    """Likeliest tokens that may follow at each node."""

    c_puct: float = 1.0
    """How much the policy's priors and rare visits count beside the values found."""

    pairs: PairsFrom = often("siblings")
    """siblings: nodes that differ in one token; depths: nodes of different depths; paths: finished replies."""

    min_visits: int = 2
    """Least visits of both nodes of a pair; finished replies need one."""

    min_gap: float = 0.1
    """Least difference of value between the two sides, in units of the reward."""

    pairs_per_problem: int = 4
    """Most pairs of one tree, those of the widest gap; 0 takes all."""

    num_trees: int = 100
    """Trees kept whole, to be looked at: those of the first problems."""

    max_new_tokens: int = 32
    """Longest reply, in tokens."""

    temperature: float = 1.0
    """Of priors and of the replies that are drawn."""

    format: Format = "auto"
    """How prompts are laid out; as the policy was kept when auto."""

    shard_size: int = 128
    """Problems that are searched side by side, and done again at most after an interruption; draws depend on it."""

    heldout: float = 0.1
    """Share of prompts kept out of training."""

    seed: int = 0
    """Seed of problems and of all draws."""

    def __post_init__(self) -> None:
        at_least(
            self, num_problems=1, max_calls=0, max_requests=0, num_simulations=2, top_k=2, c_puct=0, min_visits=1, min_gap=0,
            pairs_per_problem=0, num_trees=0, max_new_tokens=1, shard_size=1,
        )  # fmt: skip
        check_judges(self.reward)
        require(self.temperature > 0, f"temperature must be above 0, got {self.temperature}")
        require(0 < self.heldout < 1, f"heldout must be a share between 0 and 1, got {self.heldout}")
        require(self.format != "segments", "a policy has no format segments; use transcript, chat or plain")
