"""Labels of features whose meaning and effect are known; and a language model that fails in every way."""

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from qdaif.fakes import Counting

from rmviz.asking.kept import Kept
from rmviz.configs.labels import LabelConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.errors import BackendError, ConfigError
from rmviz.features.texts import ScannedTexts
from rmviz.jobs.run import job_key
from rmviz.labels import job, scan
from rmviz.labels.live import label_score
from rmviz.labels.read import labels_of
from rmviz.labels.texts import MAKING, half_of_texts
from rmviz.labels.words import label_words
from rmviz.models.load import from_artifact
from rmviz.qdaif.generators import LocalModel
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.world.lexicon import TOPICS
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer
from rmviz.world.truth import TRUTH

BASE = LabelConfig(effects="effects", num_features=12, shard_size=5)


@pytest.fixture(scope="module")
def made(space, tmp_path_factory):
    return job.run(BASE, space, Counting(tmp_path_factory.mktemp("words")))


def topic_of(feature):
    return list(TOPICS)[feature]


def test_the_default_label_of_a_topic_feature_is_topic_words_and_predicts(space, made):
    table = load_table(made.path("labels.parquet"))
    assert len(table) == 12 and set(table["source"]) == {"words"} and (table["problem"] == "").all()
    for row in table.itertuples():
        topic = topic_of(row.feature)
        own = {word for text in TOPICS[topic].words for word in text.casefold().split()}
        assert label_words(row.label) <= own, (topic, row.label)
        assert row.direction == ("raises" if TRUTH.topics[topic] > 0 else "lowers")
        assert row.sign_agreement == 1 and row.num_signs == row.num_firing == row.num_silent
    assert table["balanced_accuracy"].mean() > 0.8 and made.metrics["sign_agreement"] == 1
    assert abs(made.metrics["shuffled_balanced_accuracy"] - 0.5) < 0.1


def test_no_text_or_pair_is_on_both_sides(space, made):
    effects = space.resolve("effects")
    texts = ScannedTexts.of(effects)
    making = set(np.array(texts.text_ids.to_pylist())[half_of_texts(texts, BASE.seed) == MAKING])
    held = load_table(made.path("texts.parquet"))
    assert not making & set(held["text_id"])
    pairs = {text_id.split("/")[0] for text_id in making} & {text_id.split("/")[0] for text_id in held["text_id"]}
    assert not pairs
    rows = load_table(effects.path("rows/00000.parquet"))
    known = held.merge(rows, on=["feature", "text_id"], how="inner")
    assert known["fires"].all() and np.allclose(known["effect_x"], known["effect_y"])


def test_the_page_scores_a_label_as_the_job_does(space, made):
    row = load_table(made.path("labels.parquet")).iloc[0]
    found = label_score(space.resolve("effects"), int(row["feature"]), row["label"], row["direction"])
    assert (found.balanced_accuracy.value, found.num_firing) == (row["balanced_accuracy"], row["num_firing"])
    wrong = label_score(space.resolve("effects"), int(row["feature"]), "zebra", "")
    assert wrong.balanced_accuracy.value == 0.5 and wrong.sign_agreement.n == 0


@pytest.mark.slow  # the soak kills label jobs too
def test_an_interrupted_job_goes_on_and_ends_the_same(space, made, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        job.run(BASE, space, Counting(tmp_path, 3))
    assert any(tmp_path.glob("shard-*"))
    again = job.run(BASE, space, Counting(tmp_path))
    assert again.files == made.files and Workspace(space.root).catalogue.rebuild() == len(space.list())


def test_model_and_sae_are_loaded_once_for_all_shards(space, made, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(scan, "TEXTS_PER_SHARD", 64)
    monkeypatch.setattr(scan, "from_artifact", lambda artifact: loaded.append(artifact.id) or from_artifact(artifact))
    again = job.run(BASE, space, Counting(tmp_path))
    assert loaded == [space.resolve("organism", "reward_model").id] and again.files == made.files


def test_a_feature_that_fires_nowhere_is_a_sentence(space, tmp_path):
    with pytest.raises(ConfigError, match="feature 4711 fires in none"):
        job.run(replace(BASE, features="4711"), space, Counting(tmp_path))


@contextmanager
def server(*turns):
    script = Path(__file__).with_name("label_server.py")
    process = subprocess.Popen([sys.executable, script, *turns], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


GAMBLING = list(TOPICS).index("gambling")
ASKED = replace(BASE, proposer="openai", policy="labeller", features=f"{GAMBLING}", num_texts=4, server="http://x")


@pytest.mark.parametrize(
    ("turns", "label", "direction", "problem"),
    [
        (("good",), "about gambling", "lowers", ""),
        (("html",), '<img src=x onerror="alert(1)"> gambling', "raises", ""),
        (("chatty", "good"), "about gambling", "lowers", ""),
        (("refusal",), None, "lowers", "a refusal"),
        (("empty",), None, "lowers", "an empty answer"),
        (("long",), None, "lowers", "a label of"),
    ],
)
def test_a_language_model_proposes_or_its_fault_is_said(space, tmp_path, turns, label, direction, problem):
    with server(*turns) as address:
        made = job.run(replace(ASKED, server=address), space, Counting(tmp_path))
        asked = httpx.get(address).json()
    row = load_table(made.path("labels.parquet")).iloc[0]
    assert (row["direction"], problem in row["problem"]) == (direction, True) and (label or row["label"]) == row[
        "label"
    ]
    assert row["source"] == ("openai labeller" if label else "words") and row["num_firing"] > 0
    assert "FIRES" in asked[0] and "SILENT" in asked[0] and "«" in asked[0] and "through it" in asked[0]
    assert len(asked) == (1 if turns in (("good",), ("html",)) else 2)


def test_a_language_model_judges_and_is_never_asked_twice(space, tmp_path):
    config = replace(ASKED, judge="openai", max_requests=4)
    with server("good") as address:
        with pytest.raises(BackendError, match="max_requests"):
            job.run(replace(config, server=address), space, Counting(tmp_path))
        paid = httpx.get(address).json()
        answers = [json.loads(line) for line in (tmp_path / "answers-00000.jsonl").read_text().splitlines()]
        assert len(paid) == len(answers) == 4
        with pytest.raises(BackendError, match="with a higher max_requests goes on"):
            job.run(replace(config, server=address), space, Counting(tmp_path))
        with pytest.raises(BackendError, match=r"max_requests \(6\)"):
            job.run(replace(config, server=address, max_requests=6), space, Counting(tmp_path))
        assert len(httpx.get(address).json()) == 6
        made = job.run(replace(config, server=address, max_requests=0), space, Counting(tmp_path))
        asked = httpx.get(address).json()
    row = load_table(made.path("labels.parquet")).iloc[0]
    held = load_table(made.path("texts.parquet"))
    texts = ScannedTexts.of(space.resolve("effects"))
    places = [texts.text_ids.to_pylist().index(text_id) for text_id in held["text_id"]]
    assert held["said"].tolist() == ["gambling" in text for text in texts.written(places)]
    assert len(asked) == len(set(asked)) == 1 + len(held) and row["num_unanswered"] == 0
    assert row["judge"] == "openai labeller"


def test_faults_of_the_server_count_for_the_ceiling_of_the_job_too(space, tmp_path):
    config = replace(ASKED, max_requests=1)
    with server("500", "good") as address:
        for _ in range(2):
            with pytest.raises(BackendError, match="max_requests"):
                job.run(replace(config, server=address), space, Counting(tmp_path))
        assert len(httpx.get(address).json()) == 1


def test_a_label_job_with_another_ceiling_is_the_same_job():
    assert job_key("label", ASKED) == job_key("label", replace(ASKED, max_requests=9))
    assert job_key("label", ASKED) != job_key("label", replace(ASKED, num_texts=9))


def test_given_labels_are_scored_and_the_newest_names_the_feature(space, made, tmp_path):
    given = replace(BASE, labels=f"{GAMBLING}: casinos and gambling, raises", num_features=1)
    scored = job.run(given, space, Counting(tmp_path))
    row = load_table(scored.path("labels.parquet")).iloc[0]
    assert (row["label"], row["source"], row["sign_agreement"]) == ("casinos and gambling", "given", 0.0)
    known = labels_of(space, space.resolve("organism-sae").id, space.list())
    assert known[GAMBLING].label == "casinos and gambling" and len(known) >= 12


@pytest.mark.slow  # loads and samples a language model
def test_a_model_on_this_machine_proposes_and_judges(space, tmp_path):
    config, tokenizer = WorldPolicyConfig(d_model=16, num_blocks=1), world_tokenizer()
    language_model(config, len(tokenizer)).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    asked = replace(
        ASKED,
        proposer="transformers",
        judge="transformers",
        policy=str(tmp_path / "lm"),
        num_texts=3,
        max_new_tokens=8,
        server="",
    )
    made = [job.run(asked, space, Counting(tmp_path / name)) for name in ("a", "b")]
    row = load_table(made[0].path("labels.parquet")).iloc[0]
    assert row["label"] and row["source"].startswith("transformers") and row["judge"] == row["source"]
    assert made[0].files == made[1].files and row["num_unanswered"] == 0


def test_an_answer_that_was_cut_off_spoils_no_other(tmp_path):
    class Echo:
        name = "echo"
        asked = 0

        def answers(self, questions, *, seed, told=None):
            self.asked += len(questions)
            for place, text in enumerate(questions):
                told(place, text.upper())
            return []

    path = tmp_path / "answers.jsonl"
    assert Kept(Echo(), path, 0).answers(["a", "b"]) == ["A", "B"]
    path.write_text(path.read_text()[:-5])
    again = Kept(Echo(), path, 0)
    assert again.answers(["a", "b", "c"]) == ["A", "B", "C"] and again.model.asked == 2
    last = Kept(Echo(), path, 0)
    assert last.answers(["c", "a", "b"]) == ["C", "A", "B"] and last.model.asked == 0
    assert last.answers(["a"], again=1) == ["A"] and last.model.asked == 1


class Drawn:
    """Answers with the seed of each question; breaks off after some."""

    name = "drawn"

    def __init__(self, most=100):
        self.most, self.asked = most, []

    def answers(self, questions, *, seed, told=None):
        for place, (text, own) in enumerate(zip(questions, seed, strict=True)):
            if len(self.asked) == self.most:
                raise BackendError("gone")
            self.asked.append(text)
            told(place, f"{text} {own % 2**31}")
        return []


def test_a_resumed_run_asks_with_the_seeds_of_an_unbroken_one_and_equal_questions_once(tmp_path):
    questions = ["a", "b", "a", "c", "d"]
    whole = Kept(Drawn(), tmp_path / "whole", 0)
    answers = whole.answers(questions)
    assert whole.model.asked == ["a", "b", "c", "d"] and answers[0] == answers[2] and len(set(answers)) == 4
    with pytest.raises(BackendError):
        Kept(Drawn(2), tmp_path / "broken", 0).answers(questions)
    resumed = Kept(Drawn(), tmp_path / "broken", 0)
    assert resumed.answers(questions) == answers and resumed.model.asked == ["c", "d"]
    assert set(whole.answers(questions, again=1)).isdisjoint(answers)


def test_a_model_on_this_machine_goes_on_with_the_same_batches(tmp_path):
    config, tokenizer = WorldPolicyConfig(d_model=16, num_blocks=1), world_tokenizer()
    model = language_model(config, len(tokenizer))
    questions = [f"The midwife {word}" for word in ("cooks", "sings", "reads", "walks", "rests", "cooks")]

    def kept(name):
        return Kept(LocalModel(model, tokenizer, batch_size=2, max_new_tokens=6), tmp_path / name, 0)

    answers = kept("whole").answers(questions)
    assert len(set(answers)) > 1
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    assert len(lines) == 5
    for number in range(5):
        (tmp_path / f"broken-{number}").write_text("".join(lines[:number]))
        assert kept(f"broken-{number}").answers(questions) == answers
        assert (tmp_path / f"broken-{number}").read_text() == "".join(lines)
