"""What all jobs share that train a policy."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.asking import check_server
from rmviz.configs.base import at_least, often, parent, require
from rmviz.configs.models import Format
from rmviz.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]
REWARD_KINDS = ("reward_model", "ensemble")
TRUTH = "truth:"
"""How the name of an exact reward begins: `truth:knapsack`."""

JUDGE = "judge:"
"""How the name of a language model that judges begins: `judge:MODEL`, or `judge:MODEL@http://host:8000/v1` on a server."""


def judge_named(ref: str) -> tuple[str, str]:
    """The language model that `judge:MODEL@SERVER` names, and its server; empty where it is on this machine.

    Raises:
        ConfigError: It names no model, or its server is no address.
    """
    model, at, server = ref.removeprefix(JUDGE).partition("@")
    wanted = "a judge is judge:MODEL or judge:MODEL@http://host:8000/v1"
    require(bool(model.strip()), f"{wanted}, got no model")
    if at:
        try:
            check_server(server)
        except ConfigError as error:
            raise ConfigError(f"{wanted}: {error}") from None
    return model.strip(), server


def check_judges(*refs: str) -> None:
    """Check those of these rewards that are judges.

    Raises:
        ConfigError: One names no model, or its server is no address.
    """
    for ref in refs:
        if ref.startswith(JUDGE):
            judge_named(ref)


@dataclass(frozen=True, kw_only=True)
class PolicyRun:
    """One run that trains a policy on the prompts, or pairs, of a dataset."""

    policy: str = parent("policy", external=True)
    """Id or name of the policy to start from, a folder, or a hub id of a causal language model."""

    dataset: str = parent("dataset")
    """Id or name of the dataset; its training split is used, prompts of its held-out split are watched."""

    name: str = ""
    """What to call the trained policy."""

    gold: str = parent(*REWARD_KINDS, external=True, optional=True)
    """What is watched beside the reward and never trained on: a reward model, an ensemble, or truth:TASK (truth:world)."""

    sae: str = parent("sae", optional=True)
    """SAE of a reward model: how its features drift on the replies is watched; none when empty."""

    num_prompts: int = 0
    """Use at most this many prompts (or pairs); 0 takes all."""

    learning_rate: float = often(1e-4)
    """Peak learning rate of AdamW."""

    batch_size: int = 32
    """Texts (or pairs) per step."""

    max_new_tokens: int = 64
    """Longest reply, in tokens."""

    temperature: float = 1.0
    """Of the replies that are drawn."""

    lora_rank: int = 0
    """Rank of low-rank updates that are trained in place of the weights; 0 trains all weights."""

    precision: Precision = "auto"
    """Of the arithmetic: auto takes bfloat16 on GPUs that have it, else float32."""

    format: Format = "auto"
    """How prompts are laid out; as the policy was kept when auto."""

    max_length: int = 0
    """Longest prompt and reply in tokens; the policy's own when 0."""

    num_looks: int = 8
    """How often the policy is watched: evenly over the run, before it and after it."""

    num_watched: int = 64
    """Held-out prompts that are answered at each look."""

    seed: int = 0
    """Seed of all draws."""

    def __post_init__(self) -> None:
        at_least(
            self, num_prompts=0, batch_size=1, max_new_tokens=1, temperature=0, lora_rank=0, max_length=0, num_looks=1,
            num_watched=2, learning_rate=0,
        )  # fmt: skip
        check_judges(self.gold, getattr(self, "reward", ""))
        require(self.format != "segments", "a policy has no format segments; use transcript, chat or plain")


@dataclass(frozen=True, kw_only=True)
class RewardedRun(PolicyRun):
    """One run that trains a policy for a reward."""

    reward: str = parent(*REWARD_KINDS, external=True)
    """What is trained for: a reward model, an ensemble (mean − λ·std), the exact reward truth:TASK (truth:knapsack), or a
    language model that is asked for scores, judge:MODEL or judge:MODEL@SERVER."""
