"""The work of a probe in shards: rewards and effects of every case, then the gaps with the chosen features off."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.opened import SAEScan, opened_engine
from rmviz.ablation.plan import EffectRows
from rmviz.configs.map import feature_list
from rmviz.configs.probes import GIVEN, BiasConfig, EuphemismConfig, ProbeConfig
from rmviz.data.load import dataset_texts
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.probes.asked import Rewrites
from rmviz.probes.biases import BATTERY, same
from rmviz.probes.cases import probed_cases, probed_texts
from rmviz.probes.figures import directed_features, halves, measured_on, own_features
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report, Text


@dataclass(frozen=True)
class ProbeScan(SAEScan):
    """Shards of one probe: shard i holds the effects on some cases, shard n + i their gaps with features off.

    A set of features is chosen on the half of the data that it is not measured on.
    """

    config: ProbeConfig

    @cached_property
    def probed(self) -> tuple[pd.DataFrame, dict[str, dict[str, int]], list[str]]:
        """Cases, what was left out by item, and the names of the controls."""
        answers = self.rewrites.answers if self.rewrites else None
        return probed_cases(self.config, probed_texts(self.config, self.dataset), answers)

    @cached_property
    def rewrites(self) -> Rewrites | None:
        """What a language model is asked first, where it makes the edits."""
        config = self.config
        if isinstance(config, BiasConfig) or not config.asked:
            return None
        return Rewrites(self.root, config, self.folder / "rewrites")

    @cached_property
    def cases(self) -> pd.DataFrame:
        """Every case, with the half of the data that it belongs to."""
        table = self.probed[0]
        return table.assign(half=halves(table["unit"], self.config.seed))

    @cached_property
    def engine(self) -> EffectEngine:
        """Model and SAE; how rows are rerun is settled on the first shard's texts, whichever is made first."""
        engine = opened_engine(Workspace(self.root), self.sae, max_tokens=self.config.max_tokens)
        engine.settle(self.encoded(self.part(0))[0])
        return engine

    @property
    def estimated(self) -> bool:
        """Whether features are chosen by gradient × activation, and only the chosen ones measured: a battery is long."""
        return isinstance(self.config, BiasConfig)

    @property
    def num_shards(self) -> int:
        """Shards of each of the two stages."""
        return -(-len(self.cases) // self.config.shard_size)

    def part(self, number: int) -> pd.DataFrame:
        """The cases of one shard."""
        return self.cases.iloc[number * self.config.shard_size : (number + 1) * self.config.shard_size]

    def encoded(self, part: pd.DataFrame) -> tuple[list[Encoded], list[Encoded]]:
        """The texts of some cases with and without the words."""
        rm = self.__dict__["engine"].rm if "engine" in self.__dict__ else from_artifact(self.model)
        return tuple(
            rm.encode(
                [
                    Text(text_id=str(case), prompt=prompt, reply=reply)
                    for case, prompt, reply in zip(part.index, part["prompt"], part[column], strict=True)
                ]
            )
            for column in ("with_words", "without_words")
        )  # pyright: ignore[reportReturnType]

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """One shard of the first stage, or of the second."""
        if number >= self.num_shards:
            return self._make_ablated(number - self.num_shards, folder)
        part = self.part(number)
        sides = self.encoded(part)
        texts, places = _distinct(sides)
        rows, values = self.engine.scan(texts, first_order=self.estimated, exact=not self.estimated)
        with_words, without = (values[place] for place in places)
        same = places[0] == places[1]
        rewards = pd.DataFrame(
            {"case": part.index.to_numpy(), "reward_with": with_words, "reward_without": without, "cut_away": same}
        )
        save_table(rewards, folder / "rewards.parquet")
        effect = rows.first_order if self.estimated else rows.effect
        save_table(_carried(part.index.to_numpy(), texts, rows, effect, places), folder / "rows.parquet")
        gap = (with_words - without)[np.isfinite(with_words - without)]
        return {"mean_gap": float(gap.mean())} if len(gap) else {}

    def stage(self, name: str) -> pd.DataFrame:
        """A table of all shards: rewards and rows of the first stage, ablated (and measured rows) of the second."""
        start = self.num_shards if name in ("ablated", "measured") else 0
        files = [shard_folder(self.folder, start + i) / f"{name}.parquet" for i in range(self.num_shards)]
        return pd.concat([load_table(file) for file in files], ignore_index=True)

    def unedited_rewards(self, cases: pd.DataFrame) -> np.ndarray:
        """The reward of each text as it stands in the data; of a battery, texts that stand in no case so are scored here.

        Args:
            cases: item, text_id, reward_with and reward_without.
        """
        if not isinstance(self.config, BiasConfig):
            return cases.drop_duplicates("text_id")["reward_with"].to_numpy(float)
        plain = cases[[BATTERY[item].base is same for item in cases["item"]]].drop_duplicates("text_id")
        known, missing = plain["reward_without"].to_numpy(float), set(cases["text_id"]) - set(plain["text_id"])
        if not missing:
            return known
        config = self.config
        texts = dataset_texts(self.dataset, config.split, config.num_pairs, config.seed)
        scored = self.engine.rm.score([text for text in texts if text.text_id in missing])
        return np.concatenate([known, np.asarray(scored, float)])

    @cached_property
    def sets(self) -> dict[tuple[str, int], list[int]]:
        """By item and half: the features that are taken off in the cases of that half."""
        rewards = self.stage("rewards").set_index("case")
        gap = (rewards["reward_with"] - rewards["reward_without"]).astype(float)
        gap = gap[np.isfinite(gap)]
        rows = self.stage("rows").join(self.cases[["item", "half"]], on="case")
        rows = rows[rows["case"].isin(gap.index)]
        found, count = {}, self.config.num_features
        for item in self.cases["item"].unique():
            for half in (0, 1):
                chosen = rows[(rows["item"] == item) & (rows["half"] != half)]
                if isinstance(self.config, BiasConfig):
                    total = float(gap.loc[chosen["case"].unique()].sum())
                    found[item, half] = directed_features(chosen, total, count)
                else:
                    found[item, half] = own_features(chosen, count)
        if isinstance(self.config, EuphemismConfig) and self.config.features:
            found |= {(GIVEN, half): list(feature_list(self.config.features)) for half in (0, 1)}
        return found

    def measured_on(self, item: str) -> dict[int, list[int]] | None:
        """By half: the features of an item whose effects are measured on it; None where all are, on all of the data."""
        return measured_on({half: self.sets[item, half] for half in (0, 1)}) if self.estimated else None

    def ablations(self, item: str) -> list[str]:
        """Whose features are taken off in the cases of an item."""
        if not isinstance(self.config, EuphemismConfig):
            return [item]
        controls = self.probed[2]
        if item in controls:
            return []
        return [GIVEN if self.config.features else item, *controls]

    def _make_ablated(self, number: int, folder: Path) -> dict[str, float]:
        tables = [pd.DataFrame({"case": [], "features": [], "remaining": []})]
        for (item, half), part in self.part(number).groupby(["item", "half"]):
            names = self.ablations(str(item))
            if not names:
                continue
            groups = [self.sets[name, int(half)] for name in names]  # pyright: ignore[reportArgumentType]
            gaps = []
            for side in self.encoded(part):
                clean = self.engine.scan(side, features=[], first_order=False)[1]
                gaps.append(clean[:, None] - self.engine.group_effects(side, groups))
            remaining = gaps[0] - gaps[1]
            tables += [
                pd.DataFrame({"case": part.index, "features": name, "remaining": remaining[:, column]})
                for column, name in enumerate(names)
            ]
        table = pd.concat([one for one in tables if len(one)] or tables, ignore_index=True)
        save_table(
            table.astype({"case": "int64", "features": "str", "remaining": "float64"}), folder / "ablated.parquet"
        )
        if self.estimated:
            save_table(self._measured(number), folder / "measured.parquet")
        return {}

    def _measured(self, number: int) -> pd.DataFrame:
        """Exact effects of an item's features in the cases of a shard, each on the half that did not choose it."""
        tables = []
        for (item, half), part in self.part(number).groupby(["item", "half"]):
            texts, places = _distinct(self.encoded(part))
            chosen = set((self.measured_on(str(item)) or {})[int(half)])  # pyright: ignore[reportArgumentType]
            rows, _ = self.engine.scan(texts, features=chosen, first_order=False)
            tables.append(_carried(part.index.to_numpy(), texts, rows, rows.effect, places))
        return pd.concat(tables, ignore_index=True)


def scanned(scan: ProbeScan, report: Report) -> None:
    """Make the shards of both stages that are not there yet, after what a language model is asked first."""
    first = scan.rewrites.made(report) if scan.rewrites else 0
    count = scan.num_shards
    total = first + 2 * count
    report(first, total)
    for numbers in (range(count), range(count, 2 * count)):
        with closing(made_shards(scan, numbers, scan.folder)) as shards:
            for done, (_, figures) in enumerate(shards, start=first + numbers.start + 1):
                report(done, total, figures)


def _distinct(sides: Sequence[Sequence[Encoded]]) -> tuple[list[Encoded], list[np.ndarray]]:
    """The texts of several sides that the model reads differently, and where each side's texts stand among them."""
    places: dict[tuple, int] = {}
    texts: list[Encoded] = []
    for one in (one for side in sides for one in side):
        if places.setdefault(_read(one), len(places)) == len(texts):
            texts.append(one)
    return texts, [np.array([places[_read(one)] for one in side], int) for side in sides]


def _read(one: Encoded) -> tuple:
    return one.ids, one.token_types, one.feature_positions


def _carried(
    cases: np.ndarray, texts: Sequence[Encoded], rows: EffectRows, effect: np.ndarray, places: Sequence[np.ndarray]
) -> pd.DataFrame:
    """Each feature that fires on either text of a case: effect with − without the words, energies, and its first token."""
    table = pd.DataFrame(
        {
            "text": rows.text, "feature": rows.feature, "effect": effect.astype(float),
            "energy": np.square(rows.max_activation.astype(float)),
            "token": [texts[t].tokens[p].strip() for t, p in zip(rows.text, rows.first_position, strict=True)],
        }
    )  # fmt: skip
    one, other = (
        pd.DataFrame({"case": cases, "text": place}).merge(table, on="text").drop(columns="text") for place in places
    )
    both = one.merge(other, on=["case", "feature"], how="outer", suffixes=("_with", "_without"))
    both = both.sort_values(["case", "feature"], ignore_index=True)
    both["token"] = both["token_with"].fillna(both["token_without"]).astype(str)
    both = both.fillna({f"{part}_{side}": 0.0 for part in ("effect", "energy") for side in ("with", "without")})
    both["carried"] = both["effect_with"] - both["effect_without"]
    return both[["case", "feature", "carried", "energy_with", "energy_without", "token"]]
