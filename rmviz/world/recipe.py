"""What `rmviz demo` makes, in order, with sizes at which the planted truth is found with margin."""

from typing import Any

from rmviz.configs.effects import EffectsConfig, FeaturesConfig
from rmviz.configs.models import RewardConfig
from rmviz.configs.sae import SAEConfig
from rmviz.configs.world import OrganismConfig, WorldDataConfig, WorldPolicyConfig

HOOKPOINT = "layers.0"
"""Where the demo's SAE reads: after the first block features follow topics best (of three blocks tried)."""


def demo_configs(seed: int = 0) -> list[tuple[str, str, Any]]:
    """Name, job kind and config of each step; configs name the artifacts of earlier steps."""
    return [
        ("organism", "world.organism", OrganismConfig(seed=seed)),
        (
            "organism-effects",
            "effects",
            EffectsConfig(
                name="organism-effects",
                sae="organism-sae",
                dataset="organism-texts",
                split="all",
                num_pairs=0,
                seed=seed,
            ),
        ),
        (
            "organism-features",
            "features",
            FeaturesConfig(name="organism-features", effects="organism-effects", seed=seed),
        ),
        ("world", "world.data", WorldDataConfig(name="world", num_pairs=8000, seed=seed)),
        ("world-lm", "world.policy", WorldPolicyConfig(name="world-lm", seed=seed)),
        (
            "world-rm",
            "train.reward",
            RewardConfig(
                name="world-rm",
                dataset="world",
                base="world-lm",
                format="transcript",
                max_length=128,
                batch_size=16,
                learning_rate=1e-3,
                num_epochs=1.0,
                num_checkpoints=2,
                seed=seed,
            ),
        ),
        (
            "world-sae",
            "sae.train",
            SAEConfig(
                name="world-sae",
                model="world-rm",
                dataset="world",
                hookpoint=HOOKPOINT,
                d_sae=768,
                k=2,
                num_tokens=3_300_000,
                batch_size=2048,
                dead_after=100_000,
                seed=seed,
            ),
        ),
        (
            "world-effects",
            "effects",
            EffectsConfig(name="world-effects", sae="world-sae", dataset="world", num_pairs=250, seed=seed),
        ),
        ("world-features", "features", FeaturesConfig(name="world-features", effects="world-effects", seed=seed)),
    ]
