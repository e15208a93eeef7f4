"""Settings of the probe that rewards every token as the whole reply."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.base import at_least, often, parent


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Reward every token of the vocabulary as the whole reply to a prompt; say which features decide the extremes."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model is probed."""

    dataset: str = parent("dataset", optional=True)
    """Id or name of the dataset that prompts are drawn from, when none are given; without either, tokens stand without a prompt."""

    prompts: str = often("")
    """Prompts of your own, with `||` between them, as in `How are you? || Tell me a joke.`; rewards are averaged over them."""

    num_prompts: int = often(1)
    """Prompts drawn from the dataset, of those that the model can read whole."""

    num_explained: int = 200
    """Highest and lowest tokens, this many each, whose features are ablated one by one; 0 takes the whole vocabulary."""

    name: str = ""
    """What to call the result."""

    split: Literal["heldout", "train", "all"] = "heldout"
    """Which part of the dataset prompts are drawn from."""

    shard_size: int = 2048
    """Tokens per shard: what is lost at most when a probe is interrupted."""

    max_tokens: int = 8192
    """Tokens in memory at once; lower it when memory runs out."""

    seed: int = 0
    """Seed of the draw of prompts."""

    def __post_init__(self) -> None:
        at_least(self, num_prompts=1, num_explained=0, shard_size=1, max_tokens=1)


def prompt_list(prompts: str) -> tuple[str, ...]:
    """The prompts of a setting, without those that are blank or there twice."""
    return tuple(dict.fromkeys(part.strip() for part in prompts.split("||") if part.strip()))
