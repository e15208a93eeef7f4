"""Replies said in other words by a language model that fails in every way; what is kept, what is counted, what is asked again."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdaif.fakes import Counting, asked, server

from rmviz.asking import models
from rmviz.asking.remote import RemoteModel
from rmviz.configs.probes import EuphemismConfig, SpecConfig
from rmviz.configs.word_lists import WordList
from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.load import dataset_texts
from rmviz.errors import BackendError, ConfigError, DataError
from rmviz.probes import euphemism, spec
from rmviz.probes.asked import Rewrites
from rmviz.probes.cases import cases
from rmviz.probes.edits import word_edit
from rmviz.probes.export import export
from rmviz.probes.rewrites import PROBLEMS, problem, question, rewritten, taken
from rmviz.store.tables import load_table
from rmviz.types import Text
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer

ASKED = EuphemismConfig(
    sae="sae", dataset="data", words="midwife, womb, pregnant, smile, robot", control="crime", maker="generator", policy="writer",
    server="http://x", split="all", shard_size=16, num_resamples=10, min_similarity=0.3,
)  # fmt: skip
BIRTH = word_edit(WordList("birth", {"midwife": (), "womb": ()}))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Retries come at once."""
    monkeypatch.setattr(models, "RemoteModel", lambda *args, **options: RemoteModel(*args, first_wait=0.01, **options))


def held(space, config):
    edit = word_edit(WordList("words", {word.strip(): () for word in config.words.split(",")}))
    return edit, [text for text in dataset_texts(space.resolve("data")) if edit.holds(text.reply)]


def test_what_is_kept_differs_holds_no_word_and_the_rest_is_counted_by_reason(space, tmp_path):
    with server("429", "refusal", "kept", "empty", "500", "long", "foreign", "refusal", "malformed") as address:
        made = euphemism.run(replace(ASKED, server=address, shard_size=200), space, Counting(tmp_path))
        seen = [one["wish"] for one in asked(address)]
    edit, texts = held(space, ASKED)
    found, counts = load_table(made.path("cases.parquet")), made.read_json("probe.json")["counts"]["words"]
    own = found[found["item"] == "words"]
    for case in own.itertuples():
        assert case.with_words != case.without_words and edit.holds(case.with_words)
        assert not edit.holds(case.without_words) and "thing" in case.without_words
    left = {"num_refusal": 2, "num_word_kept": 1, "num_empty": 1, "num_too_long": 1, "num_too_different": 1}
    assert {name: counts[name] for name in (*left, "num_unchanged")} == {**left, "num_unchanged": 0}
    assert counts["num_holding"] == len(texts) == len(own) + sum(left.values()) and len(own) > 5
    wishes = [wish for wish in seen if ASKED.words in wish]
    assert set(wishes) == {question(edit, text.reply) for text in texts}
    assert len(wishes) == len(set(wishes)) + 3  # what failed for the moment came again
    export(made, tmp_path / "page.html")
    assert "2 refusal" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_killed_job_goes_on_asks_for_nothing_twice_and_ends_the_same(space, tmp_path):
    with server("ok") as address:
        config = replace(ASKED, server=address)
        whole = euphemism.run(config, space, Counting(tmp_path / "whole"))
        questions = {one["wish"] for one in asked(address)}
    for calls in (1, 5):
        with server("ok") as address:
            config = replace(ASKED, server=address)
            with pytest.raises(KeyboardInterrupt):
                euphemism.run(config, space, Counting(tmp_path / f"{calls}", calls))
            assert asked(address)
            made = euphemism.run(config, space, Counting(tmp_path / f"{calls}"))
            wishes = [one["wish"] for one in asked(address)]
        assert len(wishes) == len(set(wishes)) and set(wishes) == questions
        assert made.files == whole.files


def test_the_ceiling_stops_a_job_that_then_goes_on_with_what_was_answered(space, tmp_path):
    with server("ok") as address:
        config = replace(ASKED, server=address, max_requests=4)
        with pytest.raises(BackendError, match=r"max_requests \(4\) is reached"):
            euphemism.run(config, space, Counting(tmp_path))
        assert len(asked(address)) == 4
        euphemism.run(replace(config, max_requests=0), space, Counting(tmp_path))
        wishes = [one["wish"] for one in asked(address)]
    assert len(wishes) == len(set(wishes))


def test_a_spec_check_asks_about_each_list(space, tmp_path):
    config = SpecConfig(
        sae="sae", dataset="data", words="birth: midwife, womb; none: zebra", maker="generator", policy="writer",
        server="http://x", split="all", num_resamples=20, min_similarity=0.3,
    )  # fmt: skip
    with server("refusal") as address:
        made = spec.run(replace(config, server=address), space, Counting(tmp_path))
    table = load_table(made.path("verdicts.parquet")).set_index("item")
    assert table.loc["birth", "num_refusal"] == 1 and table.loc["birth", "num_texts"] > 0
    assert table.loc["none", "num_holding"] == 0


def test_a_model_of_which_nothing_can_be_used_is_a_sentence(space, tmp_path):
    number = len(held(space, ASKED)[1])
    with (
        server(*["refusal"] * 400) as address,
        pytest.raises(DataError, match=rf"nothing that the language model made of them can be used: {number} refusal;"),
    ):
        euphemism.run(replace(ASKED, server=address), space, Counting(tmp_path))


def test_a_model_is_asked_nothing_where_no_text_holds_the_words(space, tmp_path):
    with server("ok") as address:
        with pytest.raises(DataError, match="no reply in the all part of data holds a word"):
            euphemism.run(replace(ASKED, server=address, words="zebra"), space, Counting(tmp_path))
        assert asked(address) == []


def test_a_model_on_this_machine_is_asked_through_an_opening(space, tmp_path):
    config, tokenizer = WorldPolicyConfig(d_model=16, num_blocks=1), world_tokenizer()
    language_model(config, len(tokenizer)).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    local = replace(
        ASKED, generator="transformers", policy=str(tmp_path / "lm"), server="", max_new_tokens=60,
    )  # fmt: skip
    found = []
    for name in ("a", "b"):
        work = Rewrites(space.root, local, tmp_path / name)
        assert work.made(Counting(tmp_path / name)) == work.num_shards
        found.append(work.answers)
    assert found[0] == found[1] and set(found[0]) == {(edit.name, reply) for edit, reply in work.wishes}
    assert all(new and "REWRITTEN" not in new for new in found[0].values())


@pytest.mark.parametrize(
    ("reply", "answer", "new", "wrong"),
    [
        ("the womb is near", "the belly is near", "the belly is near", ""),
        (" the womb\n", "  the belly ", " the belly\n", ""),
        ("the womb", 'REWRITTEN: "the belly"', "the belly", ""),
        ('"the womb"', '"the belly"', '"the belly"', ""),
        ("the womb", " \n", "", "empty"),
        ("the womb", "I'm sorry, I can't.", "I'm sorry, I can't.", "refusal"),
        ("I'm sorry, the womb.", "I'm sorry, the belly.", "I'm sorry, the belly.", ""),
        ("the womb", "the WOMB", "the WOMB", "word kept"),
        ("the womb", "the wombat", "the wombat", ""),
        ("the womb", "a " * 60, ("a " * 60).strip(), "too long"),
        ("the womb", "the \ud800belly", "the ?belly", ""),
    ],
)
def test_answers_by_hand(reply, answer, new, wrong):
    assert taken(reply, answer) == new and problem(BIRTH, reply, new) == wrong


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["the", "womb", "MIDWIFE", "rests"]), st.text(max_size=12)), max_size=6),
    st.booleans(),
)
def test_no_answer_whatever_leaves_a_word_or_an_equal_text(parts, given_all):
    texts = [Text(text_id=f"{i}", prompt="", reply=f"the {word} {i}") for i, (word, _) in enumerate(parts)]
    answers = {
        ("birth", text.reply): taken(text.reply, f"{answer} {text.reply[: i * 4]}")
        for i, (text, (_, answer)) in enumerate(zip(texts, parts, strict=True))
        if given_all or i % 2
    }
    table, counts = cases(rewritten(BIRTH, answers), texts, min_similarity=0, seed=0)
    assert (table["with_words"] != table["without_words"]).all()
    assert not any(BIRTH.holds(text) for text in table["without_words"])
    left = sum(counts[f"num_{name.replace(' ', '_')}"] for name in PROBLEMS)
    assert counts["num_holding"] == len(table) + left + counts["num_too_different"] + counts["num_unchanged"]


def test_a_reply_that_the_model_cannot_say_again_whole_is_not_asked_about(space, tmp_path):
    with server("ok") as address:
        short = replace(ASKED, server=address, max_new_tokens=25)
        made = euphemism.run(short, space, Counting(tmp_path))
        wishes = [one["wish"] for one in asked(address)]
    edit, texts = held(space, ASKED)
    long = [text for text in texts if len(text.reply) > 75]
    assert long and made.read_json("probe.json")["counts"]["words"]["num_too_long"] == len(long)
    assert not set(wishes) & {question(edit, text.reply) for text in long}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": ""}, "openai needs policy"),
        ({"server": "localhost"}, "server must be an http address"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"max_requests": -1}, "max_requests must be at least 0"),
        ({"maker": "world"}, "the maker world knows"),
    ],
)
def test_mistakes_are_sentences(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(ASKED, **changes)
