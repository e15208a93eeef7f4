"""What checkpoints cost: seconds spent in saving, as a share of a 30 s interval, for each kind that trains.

`python tests/soak/checkpoints.py --base FOLDER` trains a reward model from a base model of your own on planted pairs and
prints one JSON line last; without it a small planted model is trained, and an SAE on it.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

INTERVAL = 30.0


class Clock:
    """Seconds spent in a function, call by call."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seconds: list[float] = []

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, watched."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - start)

        return watched

    def figures(self, parts: int = 1) -> dict[str, float]:
        """Mean seconds of a checkpoint that takes `parts` calls, and its share of the interval."""
        mean = sum(self.seconds) / max(len(self.seconds), 1) * parts
        return {"checkpoints": len(self.seconds) / parts, "seconds": mean, "overhead": mean / INTERVAL}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", default="", help="folder of a base model; default: a planted one")
    options.add_argument("--pairs", type=int, default=600)
    chosen = options.parse_args()
    os.environ["RMVIZ_CHECKPOINT_SECONDS"] = "1"
    from rmviz.configs.models import RewardConfig
    from rmviz.configs.sae import SAEConfig
    from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
    from rmviz.sae import train as sae_train
    from rmviz.store.workspace import Workspace
    from rmviz.training import progress
    from rmviz.training.trainers import RewardTrainer
    from rmviz.worker import execute
    from rmviz.world import policy

    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="rmviz-checkpoints-") as folder:
        space = Workspace(Path(folder))
        execute("world.data", WorldDataConfig(name="world", num_pairs=max(chosen.pairs, 1000)), space)
        if not chosen.base:
            clock = Clock()
            policy.save_checkpoint = clock.timed(policy.save_checkpoint)
            execute("world.policy", WorldPolicyConfig(name="lm", num_steps=60), space)
            found["world.policy"] = clock.figures()
        clock = Clock()
        RewardTrainer._save_checkpoint = clock.timed(RewardTrainer._save_checkpoint)
        progress.mark_complete = clock.timed(progress.mark_complete)
        config = RewardConfig(
            dataset="world",
            base=chosen.base or "lm",
            name="rm",
            num_pairs=chosen.pairs,
            batch_size=8,
            num_checkpoints=1,
        )
        execute("train.reward", config, space)
        found["train.reward"] = clock.figures(parts=2)
        clock = Clock()
        sae_train.save_checkpoint = clock.timed(sae_train.save_checkpoint)
        execute("sae.train", SAEConfig(model="rm", dataset="world", hookpoint="layers.0", d_sae=2048), space)
        found["sae.train"] = clock.figures()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
