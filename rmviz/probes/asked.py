"""The work of a language model that rewrites replies, in shards, before the cases of a probe are known."""

from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from rmviz.ablation.opened import SAEScan
from rmviz.asking.kept import Kept
from rmviz.asking.models import LanguageModel, opened_model
from rmviz.configs.probes import WordConfig
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.probes.cases import edits_for, probed_texts
from rmviz.probes.edits import Edit
from rmviz.probes.rewrites import OPENING, Answers, askable, question, taken
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report


@dataclass(frozen=True)
class Rewrites(SAEScan):
    """Shard i holds some replies in other words; answers are kept beside the shards, so that none is asked for twice."""

    config: WordConfig

    @cached_property
    def wishes(self) -> list[tuple[Edit, str]]:
        """Every edit with every reply that holds its words: a reply that stands in several texts once, too long ones not."""
        texts = probed_texts(self.config, self.dataset)
        return [
            (edit, reply)
            for edits in edits_for(self.config, texts)
            for edit in edits
            for reply in dict.fromkeys(text.reply for text in texts if edit.holds(text.reply))
            if askable(reply, self.config.max_new_tokens)
        ]

    @cached_property
    def asked(self) -> LanguageModel:
        """The language model that is asked."""
        return opened_model(self.config, Workspace(self.root), self.folder / "requests.count")

    @property
    def num_shards(self) -> int:
        """How many there are."""
        return -(-len(self.wishes) // self.config.shard_size)

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """Ask about the replies of one shard.

        Raises:
            BackendError: The server is gone, or the ceiling is reached; what it answered is kept.
            ConfigError: The server does not take such questions.
            ModelError: The language model cannot be loaded.
        """
        size = self.config.shard_size
        part = self.wishes[number * size : (number + 1) * size]
        kept = Kept(self.asked, self.folder / f"answers-{number:05d}.jsonl", self.config.seed)
        answers = kept.answers([question(edit, reply) for edit, reply in part], opening=OPENING)
        rows = [(edit.name, reply, taken(reply, answer)) for (edit, reply), answer in zip(part, answers, strict=True)]
        save_table(pd.DataFrame(rows, columns=["item", "reply", "answer"]), folder / "rewrites.parquet")
        return {"rewritten": float(len(rows))}

    @property
    def answers(self) -> Answers:
        """What the finished shards hold."""
        tables = [load_table(shard_folder(self.folder, i) / "rewrites.parquet") for i in range(self.num_shards)]
        return {
            (item, reply): answer
            for table in tables
            for item, reply, answer in zip(table["item"], table["reply"], table["answer"], strict=True)
        }

    def made(self, report: Report) -> int:
        """Make the shards that are not there yet; how many there are now."""
        count = self.num_shards
        with closing(made_shards(self, range(count), self.folder)) as shards:
            for done, (_, figures) in enumerate(shards, start=1):
                report(done, 3 * count, figures)  # two stages follow, of as many shards at most
        return count
