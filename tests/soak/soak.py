"""Kill workers at random moments, resume, and hold the result against that of an unbroken run.

`python tests/soak/soak.py --kills 200` prints one JSON line of counts last.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from rmviz.configs.files import config_of
from rmviz.errors import RmvizError
from rmviz.jobs import queue
from rmviz.jobs.records import Job, list_jobs, read_job
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace

KINDS = (
    "data.add",
    "world.data",
    "world.policy",
    "world.organism",
    "train.reward",
    "train.ensemble",
    "model.add",
    "sae.train",
    "effects",
    "features",
    "map",
    "map_rescore",
    "compare",
    "probe.euphemism",
    "probe.spec",
    "model.patch",
    "probe.bias",
    "probe.tokens",
    "probe.margins",
    "label.features",
    "data.repair",
    "data.ratings",
    "train.crosscoder",
    "data.mcts",
    "data.pink_elephants",
    "train.sft",
    "train.dpo",
    "train.kto",
    "train.rloo",
    "train.ilql",
    "task.data",
    "task.policy",
    "data.preferences",
    "train.ppo",
    "train.rest",
    "train.best_of_n",
    "train.rso",
    "recipe",
    "train.iterated",
)
COMPOSED = ("recipe", "train.iterated")
"""Kinds whose steps are jobs of their own. The second run would find those of the first, so it gets a workspace as it was."""

EXACT = ("dataset", "effects", "features")
"""Kinds of artifact whose files must be equal to the bit; weights must be equal to 1e-6."""

PATIENCE = 240.0


def configs(space: Workspace, folder: Path) -> dict[str, dict[str, Any]]:
    """A small config per kind; each parent must be there before its child is launched."""
    data = folder / "pairs.jsonl"
    if not data.exists():
        rows = [{"prompt": f"say {i}", "chosen": f"well {i} " * 3, "rejected": f"no {i}"} for i in range(20_000)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def first(kind: str, name: str) -> Artifact | None:
        return next((a for a in reversed(space.list(kind)) if a.name == name), None)

    def ref(kind: str, name: str) -> str:
        found = first(kind, name)
        return found.id if found else ""

    rm = first("reward_model", "rm")
    scanned = {
        "sae": ref("sae", "sae"), "dataset": ref("dataset", "pairs"), "split": "all", "num_pairs": 100, "shard_size": 4,
        "num_resamples": 100,
    }  # fmt: skip
    probed = scanned | {"maker": "world"}
    policy = {
        "policy": ref("policy", "lm"), "dataset": ref("dataset", "pairs"), "num_prompts": 200, "batch_size": 8,
        "max_new_tokens": 12, "num_watched": 8, "num_looks": 3, "gold": "truth:world",
    }  # fmt: skip
    rewarded = policy | {"reward": ref("reward_model", "rm")}
    return {
        "data.add": {"source": str(data), "name": "added"},
        "world.data": {"num_pairs": 1500, "name": "pairs"},
        "world.policy": {"num_steps": 60, "batch_size": 4, "d_model": 16, "num_blocks": 2, "name": "lm"},
        "world.organism": {"num_texts": 20},
        "train.reward": {
            "dataset": ref("dataset", "pairs"), "base": ref("policy", "lm"), "name": "rm", "num_pairs": 400, "batch_size": 8,
        },
        "train.ensemble": {
            "dataset": ref("dataset", "pairs"), "base": ref("policy", "lm"), "name": "ensemble", "num_pairs": 300,
            "batch_size": 8, "num_members": 2,
        },
        "model.add": {"source": str(rm.folder / "model") if rm else "", "name": "registered"},
        "sae.train": {
            "model": ref("reward_model", "rm"), "dataset": ref("dataset", "pairs"), "name": "sae", "hookpoint": "layers.0",
            "d_sae": 64, "k": 4, "num_tokens": 60_000, "batch_size": 256,
        },
        "effects": {
            "sae": ref("sae", "sae"), "dataset": ref("dataset", "pairs"), "name": "effects", "num_pairs": 60, "shard_size": 4,
            "num_resamples": 100,
        },
        "features": {"effects": ref("effects", "effects"), "name": "features"},
        "map": {
            "model": ref("reward_model", "rm"), "policy": ref("policy", "lm"), "name": "map", "judge": "asked",
            "num_attempts": 300, "num_initial": 60, "batch_size": 20, "max_new_tokens": 16, "num_resamples": 100,
        },
        "map_rescore": {
            "map": ref("map", "map"), "model": ref("reward_model", "registered"), "name": "rescored",
        },
        "compare": {
            "models": f"{ref('reward_model', 'rm')}, {ref('reward_model', 'registered')}", "dataset": ref("dataset", "pairs"),
            "name": "compared", "num_pairs": 200, "shard_size": 10,
        },
        "probe.euphemism": probed | {"name": "euphemism", "topic": "animals"},
        "probe.spec": probed | {"name": "spec", "topics": "animals, music, charity"},
        "model.patch": {"sae": ref("sae", "sae"), "features": "1, 5=0.5", "name": "patched"},
        "probe.bias": scanned | {"name": "bias", "biases": "padding, typos, word order"},
        "probe.tokens": {"sae": ref("sae", "sae"), "name": "tokens", "num_explained": 20, "shard_size": 100},
        "probe.margins": scanned | {"name": "margins"},
        "label.features": {"effects": ref("effects", "effects"), "name": "labels", "num_features": 10, "shard_size": 2},
        "data.repair": {
            "sae": ref("sae", "sae"), "dataset": ref("dataset", "pairs"), "features": "1, 5", "name": "repaired",
            "shard_size": 20,
        },
        "data.ratings": {"source": ref("dataset", "pairs"), "name": "rated", "apart": True},
        "train.crosscoder": {
            "first": ref("reward_model", "rm"), "second": ref("reward_model", "registered"),
            "dataset": ref("dataset", "pairs"), "hookpoint": "layers.0", "d_sae": 64, "k": 4, "num_tokens": 30_000,
            "batch_size": 256, "name": "crosscoder",
        },
        "data.mcts": {
            "policy": ref("policy", "lm"), "reward": "truth:world", "dataset": ref("dataset", "pairs"), "num_problems": 40,
            "num_simulations": 6, "max_new_tokens": 12, "shard_size": 4, "name": "searched",
        },
        "data.pink_elephants": {"num_conversations": 1_200, "shard_size": 50, "name": "elephants"},
        "task.data": {"task": "knapsack", "num_pairs": 1500, "name": "packings"},
        "task.policy": {"task": "knapsack", "num_steps": 150, "batch_size": 8, "d_model": 16, "num_blocks": 1, "name": "packer"},
        "data.preferences": {
            "policy": ref("policy", "lm"), "dataset": ref("dataset", "pairs"), "gold": "truth:world", "num_pairs": 600,
            "max_new_tokens": 12, "name": "labelled",
        },
        "train.ppo": rewarded | {"name": "ppo", "num_steps": 20, "num_replies": 16},
        "train.rest": rewarded | {"name": "rest", "num_steps": 10, "num_grow": 2, "num_improve": 2, "draw_prompts": 16},
        "train.best_of_n": rewarded | {"name": "best", "num_steps": 30, "num_grow": 2, "draw_prompts": 16},
        "train.rso": rewarded | {"name": "rso", "num_steps": 40, "draw_prompts": 16},
        "train.sft": policy | {"name": "sft"},
        "train.dpo": policy | {"name": "dpo"},
        "train.kto": policy | {"name": "kto"},
        "train.rloo": policy | {"name": "rloo", "reward": ref("reward_model", "rm"), "num_steps": 30},
        "train.ilql": {
            "policy": ref("policy", "lm"), "dataset": ref("dataset", "pairs"), "reward_source": "reward", "reward": "truth:world",
            "shaping": "token", "num_prompts": 100, "num_steps": 60, "batch_size": 8, "max_new_tokens": 16, "num_watched": 8,
            "num_looks": 3, "name": "led",
        },
        "recipe": {"name": "knapsack", "num_seeds": 1, "effort": 0.1},
        "train.iterated": {
            "policy": ref("policy", "lm"), "dataset": ref("dataset", "pairs"), "gold": "truth:world", "num_rounds": 2,
            "num_seeds": 1, "budget": 120, "num_steps": 4, "draw_prompts": 16, "samples_per_prompt": 2, "max_new_tokens": 12,
            "num_measured": 16, "kl_off_steps": 3, "co_evolution": False, "name": "iterated",
        },
    }  # fmt: skip


class Soak:
    """Counts of what was killed and how it came back."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Work in a folder."""
        self.folder = folder
        self.space = Workspace(folder / "space")
        self.random = random.Random(seed)
        self.counts = {
            "kills": 0,
            "kinds": 0,
            "damaged": 0,
            "stuck": 0,
            "unequal": 0,
            "noticed_late": 0,
            "integrity": 0,
        }
        self.wholes: dict[str, tuple[Artifact, float]] = {}
        self.spaces = [self.space]

    def unbroken(self, kind: str) -> None:
        """The result of an unbroken run, and how long it took."""
        if kind in COMPOSED:
            _copied(self.space.root, self._before(kind))
        start = time.monotonic()
        job = queue.launch(kind, config_of(kind, configs(self.space, self.folder)[kind]), self.space)
        job = self._until(job, lambda job: not job.active)
        if job.state != "succeeded":
            raise RmvizError(f"the unbroken run of {kind} {job.state}: {job.error}")
        self.wholes[kind] = (self.space.resolve(job.artifact), time.monotonic() - start)
        self.counts["kinds"] += 1

    def broken(self, kind: str, kills: int) -> int:
        """One more run of a kind with up to `kills` kills in it; how many hit it alive."""
        whole, seconds = self.wholes[kind]
        space = self.space
        if kind in COMPOSED:
            space = Workspace(_copied(self._before(kind), self.folder / f"space-{len(self.spaces)}"))
            self.spaces.append(space)
        job = queue.launch(kind, config_of(kind, configs(space, self.folder)[kind]), space, again=True)
        done = 0
        while job.state != "succeeded":
            if done < kills:
                done += self._kill(job, self.random.uniform(0.1, 0.9) * seconds)
            job = self._until(job, lambda job: not job.active)
            if job.active:
                self.counts["stuck"] += 1
                queue.cancel(job, space)
                return done
            if job.state == "succeeded":
                break
            job = queue.resume(job, space)
        self.counts["kills"] += done
        other = space.resolve(job.artifact)
        self._check(whole, other)
        if kind in COMPOSED:
            self._check_steps(whole, other, space)
        return done

    def _before(self, kind: str) -> Path:
        """The workspace as it was before the unbroken run of a kind."""
        return self.folder / f"before-{kind}"

    def _kill(self, job: Job, wait: float) -> int:
        """SIGKILL its process group after a while; 1 if it was alive."""
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and read_job(job.folder).active:
            time.sleep(0.02)
        now = read_job(job.folder)
        while now.state == "queued" and time.monotonic() < deadline + PATIENCE:
            time.sleep(0.02)
            now = read_job(job.folder)
        if now.state != "running":
            return 0
        try:
            os.killpg(now.pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        killed = time.monotonic()
        now = self._until(now, lambda job: not job.active, 20)
        self.counts["noticed_late"] += now.active or time.monotonic() - killed > 10
        return 1

    def _until(self, job: Job, true: Any, seconds: float = PATIENCE) -> Job:
        deadline = time.monotonic() + seconds
        job = read_job(job.folder)
        while not true(job) and time.monotonic() < deadline:
            time.sleep(0.05)
            job = read_job(job.folder)
        return job

    def _check(self, whole: Artifact, other: Artifact) -> None:
        """Equal to the unbroken result, and undamaged."""
        try:
            other.verify()
        except RmvizError as error:
            self.counts["damaged"] += 1
            sys.stderr.write(f"damaged: {error}\n")
        if different := differences(whole, other):
            self.counts["unequal"] += 1
            sys.stderr.write(f"{whole.kind} {other.id}: {', '.join(different)} differ\n")

    def _check_steps(self, whole: Artifact, other: Artifact, space: Workspace) -> None:
        """What its steps made is equal too, one by one."""
        if len(whole.parents) != len(other.parents):
            self.counts["unequal"] += 1
            sys.stderr.write(f"{other.id} has {len(other.parents)} parents, not {len(whole.parents)}\n")
        for one, again in zip(whole.parents, other.parents, strict=False):
            self._check(self.space.resolve(one), space.resolve(again))

    def integrity(self) -> None:
        """Each catalogue is sound, nothing waits or runs, no half result is visible."""
        for space in self.spaces:
            with sqlite3.connect(space.catalogue.file) as connection:
                self.counts["integrity"] += connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
            self.counts["stuck"] += sum(job.active for job in list_jobs(space))
            for artifact in space.catalogue.on_disk():
                try:
                    artifact.verify()
                except RmvizError:
                    self.counts["damaged"] += 1


def _copied(root: Path, place: Path) -> Path:
    """A copy of what was made in a workspace, without its jobs, its queue and its catalogue, which is built anew."""
    shutil.copytree(root, place, ignore=shutil.ignore_patterns("jobs", "catalogue.*", ".drafts"))
    return place


def differences(one: Artifact, other: Artifact) -> list[str]:
    """Names of the files that differ: in their bytes, or by more than 1e-6 for weights."""
    if set(one.files) != set(other.files):
        return sorted(set(one.files) ^ set(other.files))
    different = [name for name in one.files if one.files[name] != other.files[name]]
    return [name for name in different if one.kind in EXACT or not _close(one.path(name), other.path(name))]


def _close(one: Path, other: Path) -> bool:
    """Whether tensors agree to 1e-6, and measured figures to 1e-5; names and ids may differ."""
    if one.suffix == ".safetensors":
        a, b = load_file(one), load_file(other)
        return a.keys() == b.keys() and all(np.allclose(a[name], b[name], rtol=0, atol=1e-6) for name in a)
    if one.suffix == ".json":
        return _alike(json.loads(one.read_text()), json.loads(other.read_text()))
    if one.suffix == ".parquet":  # of maps: how long a poem took is no part of the result
        a, b = (pd.read_parquet(path).drop(columns="seconds", errors="ignore") for path in (one, other))
        return a.equals(b)
    return False


_APART = ("seconds", "id", "name", "created", "command", "_name_or_path")
"""What two runs of the same job may write otherwise."""

_ID = re.compile(r"\b[a-z_]+-[0-9a-f]{8}\b")
"""Ids of artifacts, which are new each time."""


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(key in _APART or _alike(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-5, atol=1e-5, equal_nan=True))
    if isinstance(a, str) and isinstance(b, str):
        return _ID.sub("", a) == _ID.sub("", b)
    return a == b


def soak(kills: int, seed: int = 0, kinds: tuple[str, ...] = KINDS, folder: Path | None = None) -> dict[str, int]:
    """Kill `kills` times over all kinds; the counts."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["RMVIZ_CHECKPOINT_SECONDS"] = "0.5"
    home = folder or Path(tempfile.mkdtemp(prefix="rmviz-soak-"))
    run = Soak(home, seed)
    try:
        for kind in kinds:
            run.unbroken(kind)
            sys.stderr.write(f"unbroken {kind}: {run.wholes[kind][1]:.1f} s\n")
        number = 0
        while run.counts["kills"] < kills and number < 4 * kills:
            kind = kinds[number % len(kinds)]
            done = run.broken(kind, min(run.random.randint(1, 3), kills - run.counts["kills"]))
            number += 1
            sys.stderr.write(f"{kind}: {done} kills  {json.dumps(run.counts)}\n")
        run.integrity()
        return run.counts
    finally:
        for space in run.spaces:
            for job in list_jobs(space):
                if job.active:
                    queue.cancel(job, space)
        if folder is None:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    given = parser.parse_args()
    kinds = tuple(kind for some in given.kinds for kind in some.split(","))
    sys.stdout.write(json.dumps(soak(given.kills, given.seed, kinds)) + "\n")
