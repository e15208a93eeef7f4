"""Pink-elephant data in shards: first the plans, then the conversations with all that follows from them."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rmviz.asking.kept import Kept
from rmviz.asking.local import LocalModel
from rmviz.asking.models import LanguageModel, opened_model
from rmviz.configs.base import require
from rmviz.configs.elephants import PinkElephantsConfig, topic_list
from rmviz.elephants import graph, stages
from rmviz.elephants.grammar import GrammarWriter
from rmviz.elephants.graph import Traced
from rmviz.elephants.read import STAGES
from rmviz.elephants.stages import Stage, Terms
from rmviz.errors import DataError
from rmviz.jobs.shards import shard_folder
from rmviz.models.padding import context_length
from rmviz.store.workspace import Workspace
from rmviz.world.elephants import TOPICS, mentions

PLANS = "plans.jsonl"
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        *((name, pa.string()) for name in ("topic", "pink", "grey", "plan", "conversation", "prompt", "original")),
        *((name, pa.string()) for name in ("critique", "revision", "problem", "graph_id", "graph")),
    ]
)
"""One row a conversation: what each stage made of it, why it is no pair (empty where it is one), and its text graph."""


class Asked:
    """A language model with its seed; answers of one that is paid for, or slow, are kept as they come."""

    def __init__(self, model: LanguageModel, name: str, seed: int, kept: Path) -> None:
        """Ask `model`, called `name`."""
        self.name, self._model, self._seed = name, model, seed
        self._kept = None if isinstance(model, GrammarWriter) else Kept(model, kept, seed)

    def __call__(self, questions: Sequence[str], /) -> list[str]:
        """The answers, in order; equal questions have one answer."""
        if self._kept:
            return self._kept.answers(questions)
        return self._model.answers(questions, seed=self._seed)


@dataclass(frozen=True)
class Writing:
    """Shard i holds plans, shard n + i conversations; `folder` holds what is kept between tries."""

    root: Path
    config: PinkElephantsConfig
    folder: Path

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without the model: each process opens its own."""
        return type(self), (self.root, self.config, self.folder)

    @cached_property
    def model(self) -> LanguageModel:
        """The language model that the config names; the grammar where it names none."""
        if not self.config.asked:
            return GrammarWriter()
        model = opened_model(self.config, Workspace(self.root), self.folder / "requests")
        if isinstance(model, LocalModel):
            positions = context_length(*model.loaded)
            require(
                self.config.max_new_tokens <= positions // 2,
                f"max_new_tokens {self.config.max_new_tokens} leaves no room for a conversation: "
                f"{self.config.policy} reads {positions} tokens; set it to at most {positions // 2}",
            )
        return model

    @cached_property
    def model_name(self) -> str:
        """What the model is called in the text graph: the id of a policy of the workspace."""
        found = Workspace(self.root).catalogue.find(ref=self.config.policy, kind="policy") if self.config.policy else []
        return f"{found[0].name} ({found[0].id})" if found and self.config.asked == "transformers" else self.model.name

    @property
    def writes_on(self) -> bool:
        """Whether replies come from a model that is given the conversation itself and writes on."""
        return isinstance(self.model, LocalModel) and not self.model.chats

    def stage(self, name: str, number: int) -> Stage:
        """A stage of shard `number`: asked is the language model, or the grammar for all but replies where maker is world."""
        world = self.config.maker == "world" and name != "original"
        model: LanguageModel = GrammarWriter() if world else self.model
        called = model.name if world else self.model_name
        kept = self.folder / f"answers-{number:05d}.jsonl"
        temperature = self.config.temperature if not isinstance(model, GrammarWriter) else 1.0
        answers = Asked(model, called, self.config.seed, kept)
        return Stage(name=name, answers=answers, seed=self.config.seed, temperature=temperature)

    @cached_property
    def listed(self) -> tuple[list[Terms], int]:
        """The pairs of terms, in random order, and how many were dropped as repeats.

        Raises:
            DataError: No topic gave a pair.
        """
        topics = topic_list(self.config.topics) or tuple(TOPICS)
        answers = self.stage("pairs", 99_999).of(stages.pair_questions(topics, self.config.pairs_per_topic))
        found, dropped = stages.distinct_terms(
            [one for answer in answers for one in stages.listed_terms(answer, self.config.pairs_per_topic)]
        )
        if not found:
            known = f"; the grammar knows {', '.join(TOPICS)}" if self.config.maker == "world" else ""
            shown = next((repr(str(one)[:80]) for one in answers if one), "nothing")
            raise DataError(
                f"no pair of terms came for {', '.join(topics)[:200]}: lines like `thing | alternative` were wanted, "
                f"got {shown}{known}; choose other topics, or another language model"
            )
        random.Random(f"pairs {self.config.seed}").shuffle(found)
        return found, dropped

    @property
    def num_plans(self) -> int:
        """Plans that are needed."""
        return min(len(self.listed[0]) * self.config.plans_per_pair, self.config.num_conversations)

    @property
    def num_plan_shards(self) -> int:
        """Shards of the first stage."""
        return -(-self.num_plans // self.config.shard_size)

    @property
    def num_shards(self) -> int:
        """Shards of both stages."""
        return self.num_plan_shards + -(-self.config.num_conversations // self.config.shard_size)

    def make(self, number: int, folder: Path) -> dict[str, float]:
        """One shard of the first stage, or of the second."""
        if number < self.num_plan_shards:
            return self._make_plans(number, folder)
        return self._make_conversations(number, folder)

    def _make_plans(self, number: int, folder: Path) -> dict[str, float]:
        start = number * self.config.shard_size
        places = range(start, min(start + self.config.shard_size, self.num_plans))
        plans = self.stage("plan", number).of([self._plan_question(place) for place in places])
        with (folder / PLANS).open("w", encoding="utf-8") as file:
            for place, plan in zip(places, plans, strict=True):
                file.write(json.dumps({"plan": place, "text": str(plan)}, ensure_ascii=False) + "\n")
        return {}

    def _terms(self, place: int) -> Terms:
        """The terms of plan `place`."""
        return self.listed[0][place % len(self.listed[0])]

    def _plan_question(self, place: int) -> Traced:
        own = place // len(self.listed[0])
        return stages.plan_question(self._terms(place), own, self.config.plans_per_pair)

    def _plan(self, place: int, stage: Stage) -> Traced:
        number, row = divmod(place, self.config.shard_size)
        text = _plan_texts(shard_folder(self.folder, number) / PLANS)[row]
        return stage.noted(self._plan_question(place), text)

    def _make_conversations(self, number: int, folder: Path) -> dict[str, float]:
        start = (number - self.num_plan_shards) * self.config.shard_size
        rows = range(start, min(start + self.config.shard_size, self.config.num_conversations))
        planning = self.stage("plan", number)
        plans = [self._plan(one % self.num_plans, planning) for one in rows]
        terms = [self._terms(one % self.num_plans) for one in rows]
        asked = [
            stages.conversation_question(own, plan, one // len(self.listed[0]))
            for own, plan, one in zip(terms, plans, rows, strict=True)
        ]
        drafts = [
            Draft(number=one, terms=own, plan=plan, written=written)
            for one, own, plan, written in zip(
                rows, terms, plans, self.stage("conversation", number).of(asked), strict=True
            )
        ]
        for step in (self._replied, self._criticised, self._revised):
            going = [draft for draft in drafts if not draft.problem]
            if going:
                step(going, number)
        pq.write_table(
            pa.Table.from_pylist([draft.row() for draft in drafts], SCHEMA), folder / STAGES, compression="zstd"
        )
        return {"pairs": float(sum(not draft.problem for draft in drafts))}

    def _replied(self, drafts: Sequence["Draft"], number: int) -> None:
        questions = [
            graph.formatted(stages.REPLY, "ask for a reply", prompt=draft.prompt)
            if not self.writes_on
            else draft.prompt
            for draft in drafts
        ]
        for draft, reply in zip(drafts, self.stage("original", number).of(questions), strict=True):
            draft.take_reply(reply)

    def _criticised(self, drafts: Sequence["Draft"], number: int) -> None:
        questions = [stages.critique_question(draft.terms, draft.prompt, draft.original) for draft in drafts]
        for draft, critique in zip(drafts, self.stage("critique", number).of(questions), strict=True):
            draft.take_critique(critique)

    def _revised(self, drafts: Sequence["Draft"], number: int) -> None:
        questions = [
            stages.revision_question(draft.terms, draft.prompt, draft.original, draft.critique) for draft in drafts
        ]
        for draft, revision in zip(drafts, self.stage("revision", number).of(questions), strict=True):
            draft.take_revision(revision)


class Draft:
    """A conversation on its way to a preference pair; `problem` says why it does not become one."""

    def __init__(self, *, number: int, terms: Terms, plan: Traced, written: Traced) -> None:
        """Take the conversation as it was written."""
        self.number, self.terms, self.plan, self.written = number, terms, plan, written
        self.prompt = stages.prompt_of(terms, written)
        self.original = self.critique = self.revision = graph.constant("")
        self.end = self.prompt
        self.problem = _named("plan", stages.refusal(plan)) or _named("conversation", stages.refusal(written))
        if not self.problem and not self.prompt:
            self.problem = "conversation: no turns that begin with Human: or Assistant:"

    def take_reply(self, reply: Traced) -> None:
        """Take the original last turn."""
        self.original = self.end = reply
        self.problem = _named("reply", stages.refusal(reply))
        if not self.problem and not mentions(reply, str(self.terms.pink)):
            self.problem = "reply: it does not name the forbidden term, so there is nothing to revise"

    def take_critique(self, critique: Traced) -> None:
        """Take the critique."""
        self.critique = self.end = critique
        self.problem = _named("critique", stages.refusal(critique))

    def take_revision(self, revision: Traced) -> None:
        """Take the revised last turn."""
        self.revision = self.end = revision
        self.problem = _named("revision", stages.refusal(revision))
        if not self.problem and mentions(revision, str(self.terms.pink)):
            self.problem = "revision: it still names the forbidden term"

    def row(self) -> dict[str, Any]:
        """A row of `SCHEMA`."""
        texts = {
            "topic": self.terms.topic, "pink": self.terms.pink, "grey": self.terms.grey, "plan": self.plan,
            "conversation": self.written, "prompt": self.prompt, "original": self.original, "critique": self.critique,
            "revision": self.revision,
        }  # fmt: skip
        records = json.dumps(graph.to_records(self.end), ensure_ascii=False)
        return {
            "number": self.number, **{name: str(text) for name, text in texts.items()}, "problem": self.problem,
            "graph_id": self.end.id, "graph": records,
        }  # fmt: skip


def _named(stage: str, reason: str) -> str:
    return f"{stage}: {reason}" if reason else ""


@lru_cache(maxsize=4)
def _plan_texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
