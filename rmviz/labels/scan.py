"""The work of labelling in shards: where the features fire in the half that labels are made from, then the labels."""

from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import csr_array

from rmviz.asking.models import LanguageModel, opened_model
from rmviz.configs.labels import LabelConfig, given_labels
from rmviz.configs.map import feature_list
from rmviz.errors import ConfigError, DataError
from rmviz.features.effect_rows import EffectRows
from rmviz.features.passing import FiringPass
from rmviz.features.texts import ScannedTexts
from rmviz.features.words import word_of
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.labels.ask import Labeller
from rmviz.labels.judge import judged
from rmviz.labels.propose import Proposal, proposal, question
from rmviz.labels.score import direction_of
from rmviz.labels.texts import MAKING, SCORING, half_of_texts, sampled
from rmviz.labels.words import WORDS, chosen_words, word_texts
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import load_sae_artifact
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report

TEXTS_PER_SHARD = 512
_TRIES = 2
"""How often a language model is asked for a label that it does not give."""


@dataclass(frozen=True)
class LabelScan:
    """Shard i holds where the features fire in some texts of the making half, shard n + i the labels of some features."""

    root: Path
    config: LabelConfig
    folder: Path

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without texts and models: each process opens its own."""
        return type(self), (self.root, self.config, self.folder)

    @cached_property
    def effects(self) -> Artifact:
        """The effects' artifact."""
        return Workspace(self.root).resolve(self.config.effects, "effects")

    def parent(self, kind: str) -> Artifact:
        """The SAE or the reward model that the effects were measured with."""
        ref = next((ref for ref in self.effects.parents if ref.startswith(kind.replace("_", "-"))), kind)
        return Workspace(self.root).resolve(ref, kind)

    @cached_property
    def texts(self) -> ScannedTexts:
        """Every scanned text."""
        return ScannedTexts.of(self.effects)

    @cached_property
    def half(self) -> Int[np.ndarray, " text"]:
        """The half of each text."""
        return half_of_texts(self.texts, self.config.seed)

    @cached_property
    def making(self) -> Int[np.ndarray, " text"]:
        """The texts that labels are made from."""
        return np.flatnonzero(self.half == MAKING)

    @cached_property
    def features(self) -> Int[np.ndarray, " feature"]:
        """The features that are labelled, ascending.

        Raises:
            ConfigError: One that is named fires in none of the texts.
            DataError: None fires.
        """
        summary = load_table(self.effects.path("summary.parquet"), columns=["feature", "mean_effect"])
        if summary.empty:
            raise DataError(f"no feature fires in any text of {self.effects.name}, so there is nothing to label")
        wanted = feature_list(self.config.features) or tuple(sorted(given_labels(self.config.labels)))
        missing = sorted(set(wanted) - set(summary["feature"].tolist()))
        if missing:
            raise ConfigError(f"feature {missing[0]} fires in none of the texts of {self.effects.name}; choose others")
        order = summary["mean_effect"].abs().sort_values(ascending=False, kind="stable").index
        largest = summary.loc[order[: self.config.num_features], "feature"].tolist()
        return np.array(sorted(wanted or largest), np.int64)

    @cached_property
    def rows(self) -> dict[int, dict[str, np.ndarray]]:
        """By feature: text, max_activation and effect of every text in which it fires."""
        found = EffectRows(self.effects, self.texts, self.features).between(0, len(self.features))
        return {
            int(feature): {name: values[found["feature"] == place] for name, values in found.items()}
            for place, feature in enumerate(self.features)
        }

    @property
    def num_text_shards(self) -> int:
        """Shards of the first stage."""
        return -(-len(self.making) // TEXTS_PER_SHARD)

    @property
    def num_label_shards(self) -> int:
        """Shards of the second stage."""
        return -(-len(self.features) // self.config.shard_size)

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """One shard of the first stage, or of the second."""
        if number < self.num_text_shards:
            return self._make_firings(number, folder)
        return self._make_labels(number - self.num_text_shards, folder)

    @cached_property
    def opened(self) -> tuple[RewardModel, SparseAutoencoder]:
        """The reward model and the SAE, for all shards of this process."""
        rm = from_artifact(self.parent("reward_model"))
        sae = load_sae_artifact(self.parent("sae")).to(rm.device)
        sae.check_fits(rm)
        return rm, sae

    def _make_firings(self, number: int, folder: Path) -> dict[str, float]:
        part = self.making[number * TEXTS_PER_SHARD : (number + 1) * TEXTS_PER_SHARD]
        texts = self.texts.taken(part)
        rm, sae = self.opened
        steps = FiringPass(rm, sae, texts, self.features, np.zeros(len(texts.tokens), np.int32))
        found = [firings for _, batches in steps.firings() for firings in batches]
        table = pd.DataFrame(
            {
                "feature": self.features[np.concatenate([f.feature for f in found])],
                "text": part[np.concatenate([f.text for f in found])],
                "position": np.concatenate([f.position for f in found]),
                "activation": np.concatenate([f.activation for f in found]),
            }
        )
        save_table(table, folder / "firings.parquet")
        return {"firings": float(len(table))}

    @cached_property
    def firings(self) -> pd.DataFrame:
        """feature, text, position and activation of every firing in the making half."""
        files = [shard_folder(self.folder, number) / "firings.parquet" for number in range(self.num_text_shards)]
        return pd.concat([load_table(file) for file in files], ignore_index=True)

    @cached_property
    def words(self) -> tuple[list[str], Int[np.ndarray, " token"], csr_array, Int[np.ndarray, " word"]]:
        """Words, the word of each token, which making text holds which, and how often each stands in them."""
        names, of_token = self.texts.words(word_of)
        text = np.repeat(np.arange(len(self.texts)), self.texts.lengths)
        kept = self.texts.feature_positions & (self.half == MAKING)[text]
        in_text = word_texts(of_token[kept], text[kept], (len(self.texts), len(names)))
        return names, of_token, csr_array(in_text[self.making]), np.bincount(of_token[kept], minlength=len(names))

    @cached_property
    def model(self) -> LanguageModel:
        """The language model that is asked."""
        return opened_model(self.config, Workspace(self.root), self.folder / "requests.count")

    def _make_labels(self, number: int, folder: Path) -> dict[str, float]:
        size = self.config.shard_size
        part = self.features[number * size : (number + 1) * size].tolist()
        path = self.folder / f"answers-{number:05d}.jsonl"
        asked = Labeller(self.model, path, self.config.seed) if self.config.asked else None
        found = self._proposals(part, asked)
        lines = [self._label(feature, found[feature], asked) for feature in part]
        save_table(pd.DataFrame(lines).drop(columns="texts"), folder / "labels.parquet")
        save_table(pd.concat([line["texts"] for line in lines], ignore_index=True), folder / "texts.parquet")
        return {"labels": float(len(lines))}

    def _proposals(self, features: list[int], asked: Labeller | None) -> dict[int, Proposal]:
        """What stands in the config, or what the language model says; without a label where words are to be taken."""
        given = given_labels(self.config.labels)
        if given or asked is None or self.config.proposer == "words":
            return {feature: Proposal(*given.get(feature, ("", ""))) for feature in features}
        wishes = {feature: self._question(feature) for feature in features}
        found: dict[int, Proposal] = {}
        for number in range(_TRIES):
            missing = [feature for feature in features if feature not in found or not found[feature].label]
            answers = asked.answers([wishes[feature] for feature in missing], again=number, opening="LABEL:")
            found |= {feature: proposal(answer) for feature, answer in zip(missing, answers, strict=True)}
        return found

    def _label(self, feature: int, found: Proposal, asked: Labeller | None) -> dict[str, Any]:
        """The label of one feature, and what its judge says of the texts kept aside."""
        rows, config = self.rows[feature], self.config
        source, judge = "given" if config.labels else asked.model.name if asked else "", asked
        if not found.label:
            own, judge = self.half[rows["text"]] == MAKING, None
            label, source = self._word_label(feature)
            found = Proposal(label, direction_of(rows["effect"][own].astype(float)), found.problem)
        held = sampled(rows, self.texts, self.half, SCORING, config.num_texts, config.seed)
        judge = judge if config.judge != "words" else None
        texts = judged(self.texts, held, found.label, judge)
        return {
            "feature": feature, "label": found.label, "direction": found.direction, "source": source,
            "judge": judge.model.name if judge else WORDS, "problem": found.problem, "texts": texts.assign(feature=feature),
        }  # fmt: skip

    def _word_label(self, feature: int) -> tuple[str, str]:
        names, of_token, in_text, base = self.words
        own = self.firings[self.firings["feature"] == feature]
        places = of_token[self.texts.offsets[own["text"].to_numpy()] + own["position"].to_numpy()]
        fires = np.isin(self.making, self.rows[feature]["text"])
        counts = np.bincount(places, minlength=len(names))
        return chosen_words(names, counts, base, in_text, fires, self.config.num_words)

    def _question(self, feature: int) -> str:
        config = self.config
        shown = sampled(self.rows[feature], self.texts, self.half, MAKING, config.num_examples, config.seed)
        own = self.firings[self.firings["feature"] == feature].sort_values("activation", ascending=False, kind="stable")
        where = {int(str(text)): part["position"].to_numpy() for text, part in own.groupby("text", sort=False)}
        return question(shown, self.texts, where, config.context)


def scanned(scan: LabelScan, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, and the texts that they were scored on; shards that are there are not made again."""
    first, count = scan.num_text_shards, scan.num_text_shards + scan.num_label_shards
    report(0, count)
    for numbers in (range(first), range(first, count)):
        with closing(made_shards(scan, numbers, scan.folder)) as shards:
            for done, (_, figures) in enumerate(shards, start=numbers.start + 1):
                report(done, count, figures)
    folders = [shard_folder(scan.folder, number) for number in range(first, count)]
    labels, texts = ([load_table(one / f"{name}.parquet") for one in folders] for name in ("labels", "texts"))
    return pd.concat(labels, ignore_index=True), pd.concat(texts, ignore_index=True)
