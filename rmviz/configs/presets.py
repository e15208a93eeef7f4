"""Sizes to start from: what to set for a first try, for a laptop, and for one GPU; everything else stays as it is."""

from collections.abc import Mapping
from typing import Any

from rmviz.configs.base import from_dict, to_dict
from rmviz.configs.kinds import KINDS
from rmviz.errors import ConfigError

LABELS = {"tiny": "Tiny", "laptop": "Laptop", "gpu": "One GPU"}
"""Presets from small to large, and what to call them."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "data.add": {"tiny": {"limit": 500}, "laptop": {"limit": 20_000}, "gpu": {"limit": 0}},
    "data.pink_elephants": {
        "tiny": {"num_conversations": 200, "plans_per_pair": 2},
        "laptop": {"num_conversations": 2_000, "plans_per_pair": 4},
        "gpu": {"num_conversations": 200_000, "plans_per_pair": 50},
    },
    "model.add": {"tiny": {"max_length": 64}, "laptop": {"max_length": 256}, "gpu": {"max_length": 0}},
    "train.reward": {
        "tiny": {"num_pairs": 256, "max_length": 64, "batch_size": 8, "num_checkpoints": 1},
        "laptop": {"num_pairs": 8_000, "max_length": 128, "batch_size": 16, "num_checkpoints": 2},
        "gpu": {"num_pairs": 0, "max_length": 512, "batch_size": 64, "num_checkpoints": 4},
    },
    "train.ensemble": {
        "tiny": {"num_pairs": 256, "max_length": 64, "batch_size": 8, "num_members": 3},
        "laptop": {"num_pairs": 4_000, "max_length": 128, "batch_size": 16, "num_members": 4},
        "gpu": {"num_pairs": 0, "max_length": 512, "batch_size": 64, "num_members": 8},
    },
    "train.sft": {
        "tiny": {"num_prompts": 256, "batch_size": 8, "max_new_tokens": 16, "num_watched": 16},
        "laptop": {"num_prompts": 8_000, "batch_size": 32, "max_new_tokens": 64, "num_watched": 64},
        "gpu": {"num_prompts": 0, "batch_size": 64, "max_new_tokens": 256, "num_watched": 256},
    },
    "train.dpo": {
        "tiny": {"num_prompts": 256, "batch_size": 8, "max_new_tokens": 16, "num_watched": 16},
        "laptop": {"num_prompts": 4_000, "batch_size": 32, "max_new_tokens": 64, "num_watched": 64},
        "gpu": {"num_prompts": 0, "batch_size": 64, "max_new_tokens": 256, "num_watched": 256},
    },
    "train.kto": {
        "tiny": {"num_prompts": 256, "batch_size": 8, "max_new_tokens": 16, "num_watched": 16},
        "laptop": {"num_prompts": 4_000, "batch_size": 32, "max_new_tokens": 64, "num_watched": 64},
        "gpu": {"num_prompts": 0, "batch_size": 128, "max_new_tokens": 256, "num_watched": 256},
    },
    "train.rloo": {
        "tiny": {"num_steps": 20, "batch_size": 16, "max_new_tokens": 16, "num_watched": 16},
        "laptop": {"num_steps": 100, "batch_size": 32, "max_new_tokens": 64, "num_watched": 64},
        "gpu": {"num_steps": 1_000, "batch_size": 128, "max_new_tokens": 256, "num_watched": 256},
    },
    "sae.train": {
        "tiny": {"d_sae": 128, "k": 8, "num_tokens": 50_000, "batch_size": 512, "dead_after": 20_000},
        "laptop": {"d_sae": 2_048, "k": 32, "num_tokens": 2_000_000, "batch_size": 2_048, "dead_after": 200_000},
        "gpu": {"d_sae": 16_384, "k": 64, "num_tokens": 50_000_000, "batch_size": 4_096, "dead_after": 2_000_000},
    },
    "effects": {
        "tiny": {"num_pairs": 20, "shard_size": 16, "max_tokens": 2_048, "num_resamples": 200},
        "laptop": {"num_pairs": 250, "shard_size": 64, "max_tokens": 8_192, "num_resamples": 1_000},
        "gpu": {"num_pairs": 2_000, "shard_size": 256, "max_tokens": 65_536, "num_resamples": 1_000},
    },
    "features": {
        "tiny": {"num_bins": 4, "per_bin": 1, "context": 12},
        "laptop": {"num_bins": 10, "per_bin": 2, "context": 24},
        "gpu": {"num_bins": 10, "per_bin": 4, "context": 32},
    },
    "compare": {
        "tiny": {"num_pairs": 100, "shard_size": 32, "max_tokens": 2_048},
        "laptop": {"num_pairs": 2_000, "shard_size": 256, "max_tokens": 8_192},
        "gpu": {"num_pairs": 0, "shard_size": 1_024, "max_tokens": 65_536},
    },
    "train.crosscoder": {
        "tiny": {"d_sae": 128, "k": 4, "num_tokens": 50_000, "batch_size": 512, "dead_after": 20_000, "num_pairs": 20},
        "laptop": {
            "d_sae": 2_048,
            "k": 32,
            "num_tokens": 2_000_000,
            "batch_size": 2_048,
            "dead_after": 200_000,
            "num_pairs": 250,
        },
        "gpu": {
            "d_sae": 16_384,
            "k": 64,
            "num_tokens": 50_000_000,
            "batch_size": 4_096,
            "dead_after": 2_000_000,
            "num_pairs": 2_000,
        },
    },
    "recipe": {"tiny": {"num_seeds": 2}, "laptop": {"num_seeds": 5}, "gpu": {"num_seeds": 10}},
    "map": {
        "tiny": {"num_attempts": 200, "num_initial": 50, "batch_size": 25, "num_resamples": 200},
        "laptop": {"num_attempts": 2_500, "num_initial": 250, "batch_size": 50, "num_resamples": 1_000},
        "gpu": {"num_attempts": 25_000, "num_initial": 1_000, "batch_size": 250, "num_resamples": 2_000},
    },
    "map_rescore": {"tiny": {"per_cell": 3}, "laptop": {"per_cell": 20}, "gpu": {"per_cell": 200}},
    "probe.euphemism": {
        "tiny": {"num_pairs": 100, "shard_size": 16, "max_tokens": 2_048, "num_resamples": 200},
        "laptop": {"num_pairs": 500, "shard_size": 64, "max_tokens": 8_192, "num_resamples": 1_000},
        "gpu": {"num_pairs": 0, "shard_size": 256, "max_tokens": 65_536, "num_resamples": 1_000},
    },
    "probe.margins": {
        "tiny": {"num_pairs": 50, "shard_size": 8, "max_tokens": 2_048, "num_resamples": 200},
        "laptop": {"num_pairs": 500, "shard_size": 32, "max_tokens": 8_192, "num_resamples": 1_000},
        "gpu": {"num_pairs": 0, "shard_size": 128, "max_tokens": 65_536, "num_resamples": 1_000},
    },
    "probe.spec": {
        "tiny": {"num_pairs": 100, "shard_size": 16, "max_tokens": 2_048, "num_resamples": 200},
        "laptop": {"num_pairs": 500, "shard_size": 64, "max_tokens": 8_192, "num_resamples": 1_000},
        "gpu": {"num_pairs": 0, "shard_size": 256, "max_tokens": 65_536, "num_resamples": 1_000},
    },
    "probe.bias": {
        "tiny": {"num_pairs": 40, "shard_size": 16, "max_tokens": 2_048, "num_resamples": 200},
        "laptop": {"num_pairs": 200, "shard_size": 64, "max_tokens": 8_192, "num_resamples": 1_000},
        "gpu": {"num_pairs": 2_000, "shard_size": 256, "max_tokens": 65_536, "num_resamples": 1_000},
    },
    "probe.tokens": {
        "tiny": {"num_explained": 20, "shard_size": 512, "max_tokens": 2_048},
        "laptop": {"num_explained": 200, "shard_size": 2_048, "max_tokens": 8_192},
        "gpu": {"num_explained": 0, "shard_size": 8_192, "max_tokens": 65_536},
    },
    "train.ppo": {
        "tiny": {"num_steps": 10, "num_replies": 32, "max_new_tokens": 16, "num_looks": 2, "num_watched": 16},
        "laptop": {"num_steps": 60, "num_replies": 128, "max_new_tokens": 64, "num_looks": 8, "num_watched": 64},
        "gpu": {"num_steps": 300, "num_replies": 512, "max_new_tokens": 256, "num_looks": 20, "num_watched": 256},
    },
    "train.ilql": {
        "tiny": {"num_steps": 20, "batch_size": 8, "max_new_tokens": 16, "num_looks": 2, "num_watched": 16},
        "laptop": {"num_steps": 800, "batch_size": 32, "max_new_tokens": 64, "num_looks": 8, "num_watched": 64},
        "gpu": {"num_steps": 5_000, "batch_size": 128, "max_new_tokens": 256, "num_looks": 20, "num_watched": 256},
    },
    "train.rest": {
        "tiny": {"num_grow": 1, "num_improve": 2, "num_steps": 10, "draw_prompts": 32, "max_new_tokens": 16},
        "laptop": {"num_grow": 3, "num_improve": 3, "num_steps": 60, "draw_prompts": 256, "max_new_tokens": 64},
        "gpu": {"num_grow": 4, "num_improve": 4, "num_steps": 200, "draw_prompts": 2_048, "max_new_tokens": 256},
    },
    "train.best_of_n": {
        "tiny": {"num_steps": 10, "draw_prompts": 32, "samples_per_prompt": 4, "max_new_tokens": 16},
        "laptop": {"num_steps": 120, "draw_prompts": 256, "samples_per_prompt": 16, "max_new_tokens": 64},
        "gpu": {"num_steps": 400, "draw_prompts": 2_048, "samples_per_prompt": 16, "max_new_tokens": 256},
    },
    "train.rso": {
        "tiny": {"num_steps": 10, "draw_prompts": 32, "samples_per_prompt": 8, "max_new_tokens": 16},
        "laptop": {"num_steps": 120, "draw_prompts": 256, "samples_per_prompt": 32, "max_new_tokens": 64},
        "gpu": {"num_steps": 400, "draw_prompts": 2_048, "samples_per_prompt": 64, "max_new_tokens": 256},
    },
    "train.iterated": {
        "tiny": {"num_rounds": 2, "budget": 100, "num_steps": 10, "draw_prompts": 32, "num_seeds": 1},
        "laptop": {"num_rounds": 3, "budget": 900, "num_steps": 60, "draw_prompts": 128, "num_seeds": 3},
        "gpu": {"num_rounds": 4, "budget": 20_000, "num_steps": 300, "draw_prompts": 1_024, "num_seeds": 3},
    },
    "data.preferences": {
        "tiny": {"num_pairs": 100, "max_new_tokens": 16},
        "laptop": {"num_pairs": 1_000, "max_new_tokens": 64},
        "gpu": {"num_pairs": 20_000, "max_new_tokens": 256},
    },
    "task.data": {"tiny": {"num_pairs": 200}, "laptop": {"num_pairs": 2_000}, "gpu": {"num_pairs": 20_000}},
    "task.policy": {
        "tiny": {"num_steps": 100, "batch_size": 16, "d_model": 16, "num_blocks": 1},
        "laptop": {"num_steps": 500, "batch_size": 64, "d_model": 64, "num_blocks": 2},
        "gpu": {"num_steps": 3_000, "batch_size": 256, "d_model": 128, "num_blocks": 4},
    },
    "data.mcts": {
        "tiny": {"num_problems": 32, "num_simulations": 8, "shard_size": 16},
        "laptop": {"num_problems": 512, "num_simulations": 32, "shard_size": 128},
        "gpu": {"num_problems": 20_000, "num_simulations": 128, "shard_size": 1_024},
    },
    "world.data": {"tiny": {"num_pairs": 500}, "laptop": {"num_pairs": 6_000}, "gpu": {"num_pairs": 40_000}},
    "world.policy": {
        "tiny": {"num_steps": 200, "batch_size": 4, "d_model": 16, "num_blocks": 1},
        "laptop": {"num_steps": 800, "batch_size": 32, "d_model": 128, "num_blocks": 4},
        "gpu": {"num_steps": 5_000, "batch_size": 128, "d_model": 256, "num_blocks": 6},
    },
    "world.organism": {"tiny": {"num_texts": 50}, "laptop": {"num_texts": 200}, "gpu": {"num_texts": 2_000}},
}
"""By job kind and preset, the settings that it changes. A kind without an entry has no presets."""


def with_preset(kind: str, preset: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a kind with a preset laid over them.

    Args:
        kind: The job kind.
        preset: A key of `LABELS`.
        values: Settings so far, as plain values; those that the preset does not name stay.

    Raises:
        ConfigError: The kind has no such preset.
    """
    presets = PRESETS.get(kind, {})
    if preset not in presets:
        raise ConfigError(f"{kind} has no preset {preset!r}; it has {', '.join(presets) or 'none'}")
    return {**values, **presets[preset]}


def preset_config(kind: str, preset: str, **required: Any) -> Any:
    """The config that a preset makes of the defaults and the settings that have none.

    Raises:
        ConfigError: The kind has no such preset, or a setting without a default is not given.
    """
    return from_dict(KINDS[kind], with_preset(kind, preset, required))


def preset_of(kind: str, config: Any) -> str:
    """The preset whose settings a config has; empty where there is none."""
    values = to_dict(config)
    fits = (p for p, changes in PRESETS.get(kind, {}).items() if changes.items() <= values.items())
    return next(fits, "")
