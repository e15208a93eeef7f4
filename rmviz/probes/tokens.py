"""One-token replies: every token of the vocabulary as the whole reply to a prompt, ranked by its reward."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.opened import SAEScan, opened_engine
from rmviz.configs.base import to_dict
from rmviz.configs.tokens import TokensConfig
from rmviz.errors import DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.encoding import Encoded
from rmviz.probes.token_replies import Slot, shown_token, slots, vocabulary
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report

MOST_FEATURES = 5
"""Features kept of each explained token."""


@dataclass(frozen=True)
class TokenScan(SAEScan):
    """Shards of one probe: first the rewards of some tokens each, then the effects of what fires on the explained ones."""

    config: TokensConfig

    @cached_property
    def engine(self) -> EffectEngine:
        """Model and SAE, settled on the first tokens."""
        engine = opened_engine(Workspace(self.root), self.sae, max_tokens=self.config.max_tokens)
        found, _ = slots(self.config, engine.rm, self.dataset if self.config.dataset else None)
        tokens, special = vocabulary(engine.rm)
        engine.settle([found[0].with_token(token, special=False) for token in tokens if token not in special][:16])
        return engine

    @cached_property
    def slots(self) -> tuple[list[Slot], int]:
        """The prompts, and how many of the dataset's were too long."""
        return slots(self.config, self.engine.rm, self.dataset if self.config.dataset else None)

    @cached_property
    def vocabulary(self) -> tuple[list[int], frozenset[int]]:
        """All token ids, and the special ones."""
        return vocabulary(self.engine.rm)

    @property
    def num_shards(self) -> int:
        """Shards of rewards."""
        return -(-len(self.vocabulary[0]) // self.config.shard_size)

    @property
    def num_explained_shards(self) -> int:
        """Shards of effects."""
        return -(-len(self.explained) // self.config.shard_size)

    @cached_property
    def rewards(self) -> pd.DataFrame:
        """token_id, prompt (its number) and reward of all tokens."""
        return self._joined("rewards", range(self.num_shards))

    @cached_property
    def explained(self) -> list[int]:
        """The tokens whose features are ablated: those of the highest and lowest mean rewards, or all."""
        means = self.rewards.groupby("token_id")["reward"].mean()
        order = means[np.isfinite(means)].sort_values(ascending=False, kind="stable").index.to_list()
        count = self.config.num_explained
        return order if not 0 < 2 * count < len(order) else order[:count] + order[-count:]

    def effects(self) -> pd.DataFrame:
        """token_id, feature, effect of every feature that fires on an explained token: the mean over all prompts."""
        first = self.num_shards
        rows = self._joined("effects", range(first, first + self.num_explained_shards))
        sums = rows.groupby(["token_id", "feature"], as_index=False)["effect"].sum()
        return sums.assign(effect=sums["effect"] / len(self.slots[0]))

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """One shard of rewards, or of effects."""
        size, first = self.config.shard_size, self.num_shards
        if number < first:
            tokens = self.vocabulary[0][number * size : (number + 1) * size]
            parts = [
                pd.DataFrame({"token_id": tokens, "prompt": prompt, "reward": self._rewards(slot, tokens)})
                for prompt, slot in enumerate(self.slots[0])
            ]
            table = pd.concat(parts, ignore_index=True)
            save_table(table, folder / "rewards.parquet")
            finite = table["reward"][np.isfinite(table["reward"])]
            return {"mean_reward": float(finite.mean())} if len(finite) else {}
        tokens = self.explained[(number - first) * size : (number - first + 1) * size]
        parts = []
        for slot in self.slots[0]:
            rows, _ = self.engine.scan(self._replies(slot, tokens), first_order=False)
            of_token = np.array(tokens, np.int64)[rows.text]
            parts.append(
                pd.DataFrame({"token_id": of_token, "feature": rows.feature, "effect": rows.effect.astype(float)})
            )
        save_table(pd.concat(parts, ignore_index=True), folder / "effects.parquet")
        return {}

    def _replies(self, slot: Slot, tokens: Sequence[int]) -> list[Encoded]:
        special = self.vocabulary[1]
        return [slot.with_token(token, special=token in special) for token in tokens]

    def _rewards(self, slot: Slot, tokens: Sequence[int]) -> np.ndarray:
        return self.engine.scan(self._replies(slot, tokens), features=[], first_order=False)[1].astype(float)

    def _joined(self, name: str, numbers: range) -> pd.DataFrame:
        files = [shard_folder(self.folder, number) / f"{name}.parquet" for number in numbers]
        return pd.concat([load_table(file) for file in files], ignore_index=True)


def run(config: TokensConfig, workspace: Workspace, report: Report) -> Artifact:
    """Reward every token as a reply; ablate what fires on the highest and the lowest, one feature at a time.

    A feature's effect on a token is the reward with it − the reward without it on that token alone; what fires on the prompt is
    left as it is.

    Raises:
        DataError: A prompt is longer than the model reads, or no reward is a finite number.
        ModelError: SAE and model do not fit.
    """
    scan = TokenScan(workspace.root, config, report.folder)
    for count in (
        lambda: range(scan.num_shards),
        lambda: range(scan.num_shards, scan.num_shards + scan.num_explained_shards),
    ):
        numbers = count()
        total = numbers.stop + (-(-2 * config.num_explained // config.shard_size) if not numbers.start else 0)
        report(numbers.start, max(total, 1))
        with closing(made_shards(scan, numbers, scan.folder)) as shards:
            for done, (_, figures) in enumerate(shards, start=numbers.start + 1):
                report(done, max(total, done), figures)
    found, too_long = scan.slots
    effects = scan.effects()
    table = token_table(scan.rewards, effects).assign(
        token=lambda t: [shown_token(scan.engine.rm, token) for token in t["token_id"]],
        special=lambda t: t["token_id"].isin(scan.vocabulary[1]),
    )
    known = table[np.isfinite(table["reward"])]
    if known.empty:
        raise DataError("no token has a reward that is a finite number; try dtype float32, or get the weights again")
    parents = (scan.sae.id, scan.model.id, *([scan.dataset.id] if config.dataset else []))
    name = config.name or f"one-token replies, {scan.model.name}"
    ordinary = known[~known["special"]]
    with workspace.create("probe", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        save_table(table, draft.folder / "tokens.parquet")
        save_table(strongest(effects), draft.folder / "token_features.parquet")
        facts = {
            "what": "tokens", "num_tokens": len(table), "num_special": int(table["special"].sum()),
            "num_without_reward": len(table) - len(known), "num_prompts": len(found), "num_too_long": too_long,
            "num_explained": len(scan.explained), "reward_mean": float(known["reward"].mean()),
            "reward_std": float(known["reward"].std(ddof=0)),
        }  # fmt: skip
        places = {"model": scan.model.id, "sae": scan.sae.id, "hookpoint": scan.engine.sae.hookpoint}
        places |= {"dataset": scan.dataset.id if config.dataset else "", "method": scan.engine.method}
        write_json(draft.folder / "probe.json", facts | places | {"prompts": [slot.prompt for slot in found]})
        ends = ordinary if len(ordinary) else known
        draft.metrics |= facts | {"best": str(ends["token"].iloc[0]), "worst": str(ends["token"].iloc[-1])}
    return draft.kept


def token_table(rewards: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """One row per token, highest reward first; tokens without a finite reward last.

    Args:
        rewards: token_id, prompt, reward.
        effects: token_id, feature, effect of the explained tokens.

    Returns:
        rank, token_id, reward (mean over prompts), reward_low and reward_high (lowest and highest over prompts), z (standard
        deviations from the mean token), and the feature with the largest |effect| with its effect (−1 and NaN where none is known).
    """
    grouped = rewards.groupby("token_id")["reward"]
    table = pd.DataFrame(
        {"reward": grouped.apply(lambda values: values.mean(skipna=False)), "reward_low": grouped.min(),
         "reward_high": grouped.max()}
    ).reset_index()  # fmt: skip
    table["reward"] = table["reward"].where(np.isfinite(table["reward"]))
    spread = table["reward"].std(ddof=0)
    table["z"] = (table["reward"] - table["reward"].mean()) / spread if spread > 0 else np.nan
    first = strongest(effects).drop_duplicates("token_id")
    table = table.merge(first[["token_id", "feature", "effect"]], on="token_id", how="left")
    table["feature"] = table["feature"].fillna(-1).astype("int64")
    table = table.sort_values(["reward", "token_id"], ascending=[False, True], ignore_index=True)
    return table.assign(rank=np.arange(1, len(table) + 1))


def strongest(effects: pd.DataFrame) -> pd.DataFrame:
    """The features with the largest |effect| on each token, strongest first."""
    order = effects.assign(size=effects["effect"].abs()).sort_values(
        ["token_id", "size", "feature"], ascending=[True, False, True], kind="stable"
    )
    return order.groupby("token_id").head(MOST_FEATURES).drop(columns="size").reset_index(drop=True)
