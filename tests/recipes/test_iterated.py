"""Iterated RLHF: every round's labels, proxy and policy are made; what is done is found; figures follow from the points."""

import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from rmviz.configs.command import command_line
from rmviz.configs.iterated import IteratedConfig
from rmviz.errors import ConfigError
from rmviz.recipes import iterated
from rmviz.recipes.counted import Counted
from rmviz.recipes.iterated import iterate, num_jobs
from rmviz.recipes.iterated_report import Arm, experiment_of
from rmviz.recipes.measure import Point
from rmviz.store.experiments import read_experiment
from rmviz.store.workspace import Workspace
from rmviz.worker import execute

SMALL = {
    "gold": "truth:world", "name": "it", "num_rounds": 2, "budget": 24, "num_steps": 2, "draw_prompts": 8, "samples_per_prompt": 2,
    "num_measured": 8, "max_new_tokens": 8, "num_seeds": 1, "co_evolution": False, "kl_off_steps": 0,
}  # fmt: skip


class Reports:
    key = ""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, []

    def __call__(self, step, total, metrics=None) -> None:
        self.seen.append((step, total))


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Workspace:
    space = Workspace(tmp_path_factory.mktemp("iterated"))
    sizes = {"num_steps": 3, "batch_size": 4, "d_model": 16, "num_blocks": 1}
    execute("task.policy", {"task": "world", "name": "lm", **sizes}, space)
    execute("task.data", {"task": "world", "name": "prompts", "num_pairs": 60}, space)
    return space


@pytest.mark.slow
def test_both_arms_spend_the_same_and_what_is_done_is_found(space: Workspace, tmp_path: Path) -> None:
    config = IteratedConfig(policy=space.resolve("lm").id, dataset=space.resolve("prompts").id, **SMALL)  # pyright: ignore[reportArgumentType]
    done: Counter[str] = Counter()
    seeds = []

    def step(kind, settings):
        done[kind] += 1
        if kind == "train.best_of_n":
            seeds.append(settings.seed)
        return execute(kind, settings, space)

    report = Reports(tmp_path)
    experiment = read_experiment(iterate(config, space, Counted(step, report, num_jobs(config)), "again"))
    assert done == {"data.preferences": 3, "train.reward": 3, "train.best_of_n": 3}
    assert report.seen[-1] == (9, 9)
    assert len(set(seeds[1:])) == 2  # each round answers prompts of its own
    rounds = experiment.tables["rounds"]
    assert [(row["arm"], row["labels"]) for row in rounds] == [
        ("standard", 0), ("standard", 24), ("iterated", 0), ("iterated", 12), ("iterated", 24),
    ]  # fmt: skip
    labels = {one.name: one.metrics["labels"] for one in space.list("dataset") if "labels" in one.name}
    assert labels == {"it standard s0 r1 labels": 24, "it iterated s0 r1 labels": 12, "it iterated s0 r2 labels": 12}
    again = space.resolve("it iterated s0 r2 labels")
    assert again.metrics["num_pairs"] > 12  # with those of the round before
    before = len(space.list("policy"))
    iterate(config, space, Counted(step, Reports(tmp_path / "again"), num_jobs(config)), "again")
    assert len(space.list("policy")) == before


def test_with_and_without_kl_differ_in_nothing_else(space: Workspace, tmp_path: Path) -> None:
    changes = {"kl_off_steps": 1, "kl_off_labels": 6, "num_rounds": 1}
    config = IteratedConfig(policy=space.resolve("lm").id, dataset=space.resolve("prompts").id, **SMALL | changes)  # pyright: ignore[reportArgumentType]
    asked = []

    def step(kind, settings):
        asked.append((kind, settings))
        return execute(kind, settings, space)

    report = Reports(tmp_path)
    experiment = read_experiment(iterate(config, space, Counted(step, report, num_jobs(config)), "again"))
    assert report.seen[-1] == (len(asked), num_jobs(config))
    held, free = (settings for kind, settings in asked if kind == "train.ppo")
    assert free == replace(held, kl_coef=0.0, name=free.name) and held.kl_coef == config.kl_coef > 0
    proxy = space.resolve(held.reward, "reward_model")
    assert space.resolve(str(proxy.config["dataset"]), "dataset").metrics["labels"] == 6
    assert [(row["arm"], row["labels"]) for row in experiment.tables["rounds"]][-1] == ("ppo without KL", 6)
    assert {arm["name"]: arm["labels"] for arm in experiment.arms}["ppo with KL"] == 6


@pytest.mark.parametrize("seed", [0, 4])
def test_the_command_that_is_kept_repeats_it(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []
    with Workspace(tmp_path).create("policy", name="p") as draft:
        pass

    def kept(config, space, step, command):
        told.append(command)
        return draft.kept

    monkeypatch.setattr(iterated, "iterate", kept)
    iterated.run(Workspace(tmp_path), lambda kind, settings: draft.kept, Reports(tmp_path), 2, seed)
    config = IteratedConfig(
        policy="policy-1", dataset="dataset-1", gold="truth:world", budget=64, name="a b", seed=seed
    )
    iterated.run_job(config, Workspace(tmp_path), Reports(tmp_path))
    assert told[0] == f"rmviz recipe iterated --seeds 2 --seed {seed}"
    assert shlex.split(told[1]) == command_line("train.iterated", config, tmp_path) and "--budget 64" in told[1]


def point(**values: float) -> Point:
    return Point(**{"labels": 0, "gold": 0.0, "gold_gain": 0.0, "proxy_gain": 0.0, "kl": 0.0, "length": 5.0} | values)  # type: ignore[arg-type]


def test_what_is_said_follows_from_what_was_measured() -> None:
    config = IteratedConfig(policy="p", dataset="d", gold="truth:world", num_seeds=3)
    arms = []
    for seed in range(3):
        noise = 0.01 * seed
        arms += [
            Arm("standard", seed, [point(), point(gold=1.0 + noise)]),
            Arm("iterated", seed, [point(), point(gold=2.0 - noise)]),
            Arm("ppo with KL", seed, [point(), point(proxy_gain=1.0, gold_gain=1.0 - noise)]),
            Arm("ppo without KL", seed, [point(), point(proxy_gain=3.0, gold_gain=0.5)]),
        ]
    experiment = experiment_of(config, arms, None, [], 1.0, "again")
    figures = {one.name: one for one in experiment.figures}
    assert figures["gold_gain"].mean == pytest.approx(0.98)
    assert figures["gap_opened"].mean == pytest.approx(2.49)
    assert "leaves out 0" in experiment.found[0]
    assert "leaves out 0" in experiment.found[1]
    swapped = [
        Arm({"standard": "iterated", "iterated": "standard"}.get(a.name, a.name), a.seed, a.points) for a in arms
    ]
    turned = {one.name: one for one in experiment_of(config, swapped, None, [], 1.0, "again").figures}
    assert turned["gold_gain"].mean == pytest.approx(-0.98)


def test_too_few_labels_are_said() -> None:
    with pytest.raises(ConfigError, match="at least 4 labels a round, got 8 for 3 rounds"):
        IteratedConfig(policy="p", dataset="d", gold="truth:world", budget=8, num_rounds=3)
