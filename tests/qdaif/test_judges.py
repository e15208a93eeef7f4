"""Judges: forms by lines, syllables and rhymes; models that choose; and the world's own truth."""

import random

import numpy as np
import pytest
import transformers as hf
from models.conftest import byte_level_tokenizer

from rmviz.configs.axes import parse_axis, parse_grid
from rmviz.errors import ConfigError
from rmviz.qdaif.form import genre_of, measures, num_syllables, rhyme, rhyming_share
from rmviz.qdaif.judges import Asked, Form, Judge, Measure, World
from rmviz.qdaif.model_judges import Classifier, Llm, opened_model_judge
from rmviz.qdaif.requests import Request
from rmviz.world import grammar

GENRES = parse_axis("genre: haiku, sonnet, ballad, limerick, hymn")
POEMS = {
    "haiku": "An old silent pond\nA frog jumps into the pond\nSplash! Silence again.",
    "limerick": (
        "There was an old man with a beard\nWho said it is just as I feared\nTwo owls and a hen\nFour larks and a wren\n"
        "Have all built their nests in my beard"
    ),
    "ballad": "The wind came down upon the sea\nAnd shook the town\nThe captain heard the breaking mast\nAnd saw the sail come down",
    "hymn": "Oh lift your eyes up to the light\nAnd sing until the day\nThe stars will keep us through the night\nAnd lead us on the way",
    "": "just one line",
}  # fmt: skip


@pytest.mark.parametrize("genre", POEMS)
def test_forms_are_told_by_lines_syllables_and_rhymes(genre):
    assert genre_of(POEMS[genre]) == genre


def test_a_sonnet_needs_its_rhymes():
    rng = random.Random(0)
    poems = [grammar.poem(rng, genre="sonnet", tone="happy").reply for _ in range(5)]
    assert [genre_of(poem) for poem in poems] == ["sonnet"] * 5
    ends = [
        "cat",
        "moon",
        "tree",
        "orange",
        "bottle",
        "silver",
        "window",
        "seven",
        "paper",
        "stone",
        "lamp",
        "crow",
        "vest",
        "plum",
    ]
    assert genre_of("\n".join(f"the {word}" for word in ends)) == ""


def test_most_poems_of_the_grammar_have_the_form_they_are_called():
    rng = random.Random(1)
    right = [
        genre_of(grammar.poem(rng, genre=genre, tone="dark").reply) == genre
        for genre in GENRES.labels
        for _ in range(12)
    ]
    assert np.mean(right) > 0.8


def test_syllables_and_rhymes_come_from_the_dictionary():
    assert [num_syllables(word) for word in ("fire", "silence", "heart", "xylophonist")] == [2, 2, 1, 4]
    assert rhyme("night") & rhyme("bright") and not rhyme("night") & rhyme("day")
    assert rhyming_share(["night", "day", "bright", "way"], "ABAB") == 1
    assert measures("One two\n\nthree three")["lines"] == 2 and measures("One two three three")["richness"] == 0.75
    assert np.isnan(measures("")["richness"])


def test_each_axis_has_its_judge():
    grid = parse_grid("genre: haiku, hymn", "lines: 0 < 4 < 99")
    judge = Judge(grid, [Form(grid.axes[0]), Measure(grid.axes[1])])
    requests = [Request(asked=0, labels=grid.labels(0), move="seed")] * 3
    assert judge.cells([POEMS["haiku"], POEMS["hymn"], "no form"], requests).tolist() == [0, 3, -1]
    assert judge.cells([], []).tolist() == []
    believing = Judge(grid, [Asked(), Asked()])
    assert believing.cells(["x"], requests[:1]).tolist() == [0]
    assert believing.cells(["x"], [Request(asked=-1, labels=(), move="seed")]).tolist() == [-1]


def test_the_worlds_judge_reads_tone_and_genre():
    rng = random.Random(3)
    tones = World(parse_axis("tone: Happy, dark"))
    poems = [grammar.poem(rng, tone=tone, genre="sonnet").reply for tone in ("happy", "dark", "romantic")]
    assert tones.labels(poems, [""] * 3) == ["Happy", "dark", ""]
    assert World(GENRES).labels(poems, [""] * 3) == ["sonnet"] * 3


def classifier(labels):
    tokenizer = byte_level_tokenizer(pad="<pad>")
    config = hf.GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label=dict(enumerate(labels)), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return hf.GPTNeoXForSequenceClassification(config).eval(), tokenizer


def test_a_classifier_may_answer_off_the_list():
    axis = parse_axis("tone: happy, dark")
    judge = Classifier(axis, *classifier(["Happy", "DARK", "other"]))
    found = judge.labels([f"text {i}" for i in range(40)] + ["long " * 900], [""] * 41)
    assert set(found) <= {"happy", "dark", ""} and len(found) == 41


def test_entailment_is_asked_about_each_label():
    axis = parse_axis("tone: happy, dark")
    judge = Classifier(axis, *classifier(["contradiction", "neutral", "entailment"]))
    assert set(judge.labels(["a", "b"], ["", ""])) <= {"happy", "dark"}
    with pytest.raises(ConfigError, match="none is a label of tone"):
        Classifier(axis, *classifier(["x", "y"]))


def test_a_language_model_chooses_the_likeliest_label(space):
    axis = parse_axis("tone: happy, dark, romantic")
    judge = opened_model_judge("llm", axis, str(space.resolve("lm").folder / "model"))
    assert isinstance(judge, Llm)
    texts = ["a merry poem", "gloom " * 500]
    found = judge.labels(texts, ["", ""])
    assert found == judge.labels(texts, ["", ""]) and set(found) <= set(axis.labels)
    with pytest.raises(ConfigError, match="use judge measure"):
        opened_model_judge("llm", parse_axis("lines: 0 < 2 < 4"), "x")
