"""The job that makes preference data by tree search, or from two samples a problem: pairs as a dataset, trees beside them."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from rmviz.configs.base import to_dict
from rmviz.configs.mcts import MctsConfig
from rmviz.configs.policies import TRUTH
from rmviz.data.keep import keep_dataset
from rmviz.errors import ConfigError, DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.policy import Policy
from rmviz.models.policy_files import load_policy
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.training.judge import Judge
from rmviz.training.mcts import search
from rmviz.training.prompts import distinct_prompts
from rmviz.training.rewards import Scorer, opened_scorer, unjudged
from rmviz.training.sources import parents_of, policy_source
from rmviz.training.tree_pairs import TREES, TreePair, pairs_of, sampled_pair, tree_pairs, tree_rows
from rmviz.training.tree_policy import TreePolicy
from rmviz.types import Pair, Report
from rmviz.world.tasks import Task, task_named

_GREEDY = 10**6
"""Number of the draw that decides nothing: greedy replies."""


def run(config: MctsConfig, workspace: Workspace, report: Report) -> Artifact:
    """Search or sample, and keep the preferences as a dataset; problems done in whole shards survive an interruption.

    Metrics: policy_calls, num_problems, and the mean reward of the best reply found, of one sample and of the greedy reply,
    which is drawn for comparison alone and not counted; of a judge, how many replies it judged, and to how many of them
    (unjudged) it gave no score.

    Raises:
        DataError: No preference was found, or max_calls is too few for a single problem.
    """
    blocks = Blocks(workspace.root, config, report.folder)
    problems, num_shards = _searched(blocks, report)
    pairs = blocks.pairs(num_shards, len(problems))
    first = next(pairs, None)
    if first is None:
        raise DataError(
            f"no preference was found in {len(problems)} problems: no two replies differ by min_gap {config.min_gap:g} or "
            "more; lower min_gap or min_visits, or search longer"
        )
    parents = parents_of(config, workspace)
    figures = {
        "policy_calls": int(problems["calls"].sum()),
        "num_problems": len(problems),
        **{name: float(problems[name].mean()) for name in ("best", "sampled", "greedy")},
    }
    figures |= {name: int(problems[name].sum()) for name in ("judged", "unjudged") if name in problems}
    if "optimum" in problems:
        figures["best_of_optimum"] = float((problems["best"] / problems["optimum"]).mean())
    artifact = keep_dataset(
        workspace, chain([first], pairs), name=config.name or f"{config.method} pairs", key=report.key,
        config=to_dict(config), heldout=config.heldout, seed=config.seed, parents=parents,
        attach=lambda folder: {**figures, "num_trees": blocks.keep_trees(folder, num_shards, len(problems))},
    )  # fmt: skip
    report(num_shards, num_shards, {name: float(value) for name, value in figures.items()})
    return artifact


def _searched(blocks: "Blocks", report: Report) -> tuple[pd.DataFrame, int]:
    """A row for each problem within max_calls, and how many shards hold them."""
    most, total = blocks.config.max_calls, blocks.num_shards
    done: dict[int, pd.DataFrame] = {}
    report(0, total)
    with closing(made_shards(blocks, range(total), blocks.folder)) as shards:
        for number, figures in shards:
            done[number] = load_table(shard_folder(blocks.folder, number) / "problems.parquet")
            report(len(done), total, figures)
            whole = next(i for i in range(total + 1) if i not in done)
            if most and sum(done[i]["calls"].sum() for i in range(whole)) >= most:
                break
    whole = next(i for i in range(total + 1) if i not in done)
    problems = pd.concat([done[i] for i in range(whole)], ignore_index=True)
    if most:
        within = problems["calls"].cumsum() <= most
        if not within.any():
            raise DataError(
                f"max_calls is {most:,}, and the first problem alone takes {problems['calls'][0]:,} calls of the policy; "
                "allow more, or lower num_simulations"
            )
        problems = problems[within]
    return problems, whole


@dataclass(frozen=True)
class Blocks:
    """Shards of problems; each process opens policy and reward anew."""

    root: Path
    config: MctsConfig
    folder: Path

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without what is heavy."""
        return type(self), (self.root, self.config, self.folder)

    @cached_property
    def policy(self) -> Policy:
        """What proposes tokens."""
        return load_policy(policy_source(Workspace(self.root), self.config.policy), format=self.config.format)

    @cached_property
    def scorer(self) -> Scorer:
        """What pays."""
        return opened_scorer(
            self.config.reward, Workspace(self.root), max_requests=self.config.max_requests,
            counted=self.folder / "requests",
        )  # fmt: skip

    @cached_property
    def task(self) -> Task | None:
        """The task whose exact reward pays, if one does."""
        return task_named(self.config.reward.removeprefix(TRUTH)) if self.config.reward.startswith(TRUTH) else None

    @cached_property
    def given(self) -> list[str] | None:
        """The prompts of the dataset, if one is named.

        Raises:
            DataError: It has none in its training split.
        """
        if not self.config.dataset:
            return None
        dataset = Workspace(self.root).resolve(self.config.dataset, "dataset")
        prompts = distinct_prompts(dataset, "train", self.config.num_problems, self.config.seed)
        if not prompts:
            raise DataError(f"the dataset {dataset.name} has no prompts in its training split; choose another")
        return prompts

    @property
    def num_problems(self) -> int:
        """Problems in all."""
        return len(self.given) if self.given else self.config.num_problems

    @property
    def num_shards(self) -> int:
        """Shards in all."""
        return -(-self.num_problems // self.config.shard_size)

    def prompts(self, number: int) -> list[str]:
        """The problems of a shard."""
        start = number * self.config.shard_size
        places = range(start, min(start + self.config.shard_size, self.num_problems))
        if self.given:
            return [self.given[place] for place in places]
        if self.task is None:
            raise ConfigError(
                "a reward model or a judge needs a dataset whose prompts are continued; give one with --dataset"
            )
        return [self.task.prompt(random.Random(f"problem {self.config.seed} {place}")) for place in places]

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Search the problems of a shard: what came of each, their pairs, and the trees that are kept."""
        config, prompts = self.config, self.prompts(number)
        player = TreePolicy(self.policy, self.scorer, prompts, config, seed=config.seed * 100_003 + number)
        start = number * config.shard_size
        found = _trees(player, start, folder) if config.method == "mcts" else _two_samples(player)
        greedy = player.values(list(enumerate(player.sampled(0.0, _GREEDY))))
        rows = []
        for place, (prompt, one) in enumerate(zip(prompts, found, strict=True)):
            row: dict[str, float] = {
                "problem": start + place,
                "calls": one.calls,
                "best": one.best,
                "sampled": one.sampled,
                "greedy": greedy[place],
            }
            optimum = self.task.best(prompt) if self.task else None
            row |= {} if optimum is None else {"optimum": optimum}
            if isinstance(self.scorer, Judge):
                verdicts = [why for (asked, _), why in self.scorer.judged.items() if asked == prompt]
                row |= {"judged": len(verdicts), "unjudged": sum(map(bool, verdicts))}
            rows.append(row)
        table = pd.DataFrame(rows)
        save_table(table, folder / "problems.parquet")
        pairs = [
            self._row(player, start + place, pair)
            for place, one in enumerate(found)
            for pair in _told_apart(player, place, one.pairs)
        ]
        save_table(pd.DataFrame(pairs, columns=_COLUMNS), folder / "pairs.parquet")
        return {
            "best": float(table["best"].mean()),
            "sampled": float(table["sampled"].mean()),
            "pairs": float(len(pairs)),
        }

    def _row(self, player: TreePolicy, problem: int, pair: TreePair) -> list[Any]:
        place = problem % self.config.shard_size
        sides = [(getattr(pair.chosen, name), getattr(pair.rejected, name)) for name in _SIDE]
        return [
            problem, player.prompts[place], player.text(place, pair.chosen.reply), player.text(place, pair.rejected.reply),
            *chain.from_iterable(sides),
        ]  # fmt: skip

    def pairs(self, num_shards: int, num_problems: int) -> Iterator[Pair]:
        """The pairs of the first problems."""
        for number in range(num_shards):
            table = load_table(shard_folder(self.folder, number) / "pairs.parquet")
            table = table[table["tree"] < num_problems]
            rank = table.groupby("tree").cumcount()
            for row, place in zip(table.to_dict("records"), rank, strict=True):
                extra: dict[str, Any] = {
                    name: row[name] for name in _COLUMNS if name not in ("prompt", "chosen", "rejected")
                }
                facts = self.task.facts(row["prompt"], row["chosen"]) if self.task else {}
                yield Pair(
                    pair_id=f"{pairs_of(row['tree'])}{place}", prompt=row["prompt"], chosen=row["chosen"],
                    rejected=row["rejected"], extra={**facts, **extra},
                )  # fmt: skip

    def keep_trees(self, folder: Path, num_shards: int, num_problems: int) -> int:
        """Write the trees that are kept into one file; how many there are."""
        files = [shard_folder(self.folder, number) / TREES for number in range(num_shards)]
        tables = [load_table(file) for file in files if file.exists()]
        if not tables:
            return 0
        table = pd.concat(tables, ignore_index=True)
        table = table[table["tree"] < num_problems]
        save_table(table, folder / TREES, row_group_size=2048)
        return int(table["tree"].nunique())


_SIDE = ("node", "value", "visits", "depth", "paid")
_COLUMNS = [
    "tree",
    "prompt",
    "chosen",
    "rejected",
    *(f"{name}_{side}" for name in _SIDE for side in ("chosen", "rejected")),
]


@dataclass(frozen=True)
class _Found:
    """What came of one problem."""

    calls: int
    best: float
    sampled: float
    pairs: list[TreePair]


def _trees(player: TreePolicy, start: int, folder: Path) -> list[_Found]:
    config = player.config
    trees = search(len(player.prompts), player, num_simulations=config.num_simulations, c_puct=config.c_puct)
    kept = [
        {"tree": start + place, **row, "token": player.name_of(row["token"]) if row["depth"] else "",
         "reply": player.text(place, row["reply"]), "prompt": player.prompts[place]}
        for place, tree in enumerate(trees[: max(0, config.num_trees - start)])
        for row in tree_rows(tree)
    ]  # fmt: skip
    if kept:
        save_table(pd.DataFrame(kept), folder / TREES)
    return [
        _Found(
            tree.calls, tree.best.paid, tree.root.paid,
            tree_pairs(
                tree, config.pairs, min_visits=config.min_visits, min_gap=config.min_gap, limit=config.pairs_per_problem
            ),
        )
        for tree in trees
    ]  # fmt: skip


def _two_samples(player: TreePolicy) -> list[_Found]:
    sides = [player.sampled(player.config.temperature, draw) for draw in range(2)]
    values = [player.values(list(enumerate(side))) for side in sides]
    found = []
    for replies, paid in zip(zip(*sides, strict=True), zip(*values, strict=True), strict=True):
        pair = sampled_pair(replies, paid, player.config.min_gap)
        found.append(_Found(sum(map(len, replies)), max(paid), paid[0], [pair] if pair else []))
    return found


def _told_apart(player: TreePolicy, place: int, pairs: list[TreePair]) -> Iterator[TreePair]:
    """Without those that read the same, or whose two sides do, or of which a judge gave a side no score."""
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        texts = player.text(place, pair.chosen.reply), player.text(place, pair.rejected.reply)
        scored = not unjudged(player.scorer, [player.prompts[place]] * 2, texts).any()
        if texts[0] != texts[1] and texts not in seen and scored:
            seen.add(texts)
            yield pair
