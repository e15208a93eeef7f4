"""Settings of the jobs that bring reward models in, or make them."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from rmviz.configs.base import at_least, parent, require

Format = Literal["auto", "transcript", "segments", "chat", "plain"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Register a reward model that lives in a folder or on the hub, by reference."""

    source: str
    """A folder with config.json and safetensors weights, or a Hugging Face model id."""

    name: str = ""
    """What to call the model; the last part of its source when empty."""

    revision: str = ""
    """Commit or tag of a hub model; its commit of today is pinned when empty."""

    format: Format = "auto"
    """How prompt and reply become one input: transcript (Human:/Assistant:), segments (a tokenizer pair), chat (the
    model's template) or plain; guessed when auto."""

    max_length: int = 0
    """Longest input in tokens (longer ones lose their start); the model's own limit, at most 2048, when 0."""

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "source must name a folder or a hub model, got nothing")
        at_least(self, max_length=0)


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """Make a reward model in which some features are off or scaled, in every text that it reads."""

    sae: str = parent("sae")
    """Id or name of the SAE; its reward model is patched."""

    name: str = ""
    """What to call the patched model."""

    features: str = ""
    """Features to change, as in `3, 17, 204=0.5`; a number after = is that feature's own scale."""

    scale: float = 0.0
    """Factor of each activation: 0 switches a feature off, 1 leaves it as it is."""

    compare: str = parent("dataset", optional=True)
    """Id or name of a dataset on whose pairs the original and the patched model are compared afterwards; none when empty."""

    def __post_init__(self) -> None:
        require(isfinite(self.scale), f"scale must be a finite number, got {self.scale}")
        feature_scales(self.features, self.scale)


def feature_scales(features: str, scale: float) -> dict[int, float]:
    """The scale of each feature in `3, 17, 204=0.5`; those without a number of their own get `scale`.

    Raises:
        ConfigError: It is written otherwise.
    """
    scales: dict[int, float] = {}
    for entry in features.replace(",", " ").split():
        number, given, own = entry.partition("=")
        try:
            scales[int(number) if number.isdecimal() else -1] = float(own) if given else scale
        except ValueError:
            scales[-1] = 0.0
    wrong = f"features must be numbers, as in `3, 17, 204=0.5`, got {features[:80]!r}"
    require(-1 not in scales and all(map(isfinite, scales.values())), wrong)
    return scales


def step_list(steps: str) -> tuple[int, ...]:
    """The steps in `10, 50, 200`, ascending, each once.

    Raises:
        ConfigError: It is written otherwise.
    """
    words = steps.replace(",", " ").split()
    right = all(word.isascii() and word.isdigit() and 0 < len(word) < 12 and int(word) > 0 for word in words)
    require(right, f"keep_at must be steps from 1 on, as in `10, 50, 200`, got {steps[:80]!r}")
    return tuple(sorted({int(word) for word in words}))


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """Fine-tune a reward model on preference pairs (Bradley–Terry)."""

    dataset: str = parent("dataset")
    """Id or name of the dataset; its training split is used, its held-out split measured."""

    base: str = parent("policy", "reward_model", external=True)
    """Id or name of a policy or reward model in the workspace, a folder, or a hub id."""

    name: str = ""
    """What to call the reward model."""

    format: Format = "auto"
    """How prompt and reply become one input; guessed from the base when auto."""

    max_length: int = 128
    """Longest input in tokens; longer ones lose their start."""

    num_pairs: int = 0
    """Train on at most this many pairs; 0 takes all."""

    num_epochs: float = 1.0
    """Passes over the training pairs."""

    batch_size: int = 32
    """Pairs per step."""

    num_processes: int = 1
    """Processes that share each step's pairs: one per GPU (or CPU processes), on one machine."""

    learning_rate: float = 5e-5
    """Peak learning rate of AdamW."""

    num_checkpoints: int = 2
    """Checkpoints kept as reward models of their own, evenly spaced; the last is the result."""

    keep_at: str = ""
    """Further steps whose checkpoint is kept, as in `10, 50, 200`."""

    center_rewards: float = 0.01
    """Weight of the penalty that keeps the mean reward near zero (0: none)."""

    label_smoothing: float = 0.0
    """Share of labels taken to be flipped, from 0 to below 0.5: the loss then stops paying for ever larger margins."""

    margin_column: str = ""
    """Column of the data that says by how much the chosen reply is better (rating_margin, after `rmviz data ratings`): the
    reward difference that is asked for. Missing values count as 0; no margins when empty."""

    weigh: Literal["pairs", "replies"] = "pairs"
    """pairs counts each pair alike. replies divides a pair's weight by K − 1 where its prompt has K replies, so that the
    replies of a long ranking count no more than those of a short one."""

    resample: bool = False
    """Whether to draw the training pairs anew with replacement, by the seed (a bootstrap, for ensembles)."""

    lora_rank: int = 0
    """Rank of the low-rank updates trained in place of the weights, merged into them when kept; 0 trains all weights."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the training arithmetic; the weights stay float32. auto takes bfloat16 on GPUs that have it."""

    seed: int = 0
    """Seed of the head, the order of pairs and dropout."""

    def __post_init__(self) -> None:
        at_least(self, lora_rank=0)
        step_list(self.keep_at)
        require(
            0 <= self.label_smoothing < 0.5,
            f"label_smoothing must be a share of labels from 0 to below 0.5, got {self.label_smoothing}",
        )
        at_least(self, max_length=8, num_pairs=0, batch_size=1, num_processes=1, num_checkpoints=1, center_rewards=0)
        require(
            self.batch_size % self.num_processes == 0,
            f"batch_size must be a multiple of num_processes, got {self.batch_size} and {self.num_processes}",
        )
        require(self.num_epochs > 0, f"num_epochs must be above 0, got {self.num_epochs}")
        require(self.learning_rate > 0, f"learning_rate must be above 0, got {self.learning_rate}")
