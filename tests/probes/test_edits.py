"""Edits are literal, keep case, and are gated by how much they leave."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmviz.configs.word_lists import WordList, parse_word_lists, read_lexicon
from rmviz.errors import ConfigError, ModelError
from rmviz.probes.edits import similarity, substituted, word_edit, world_edit
from rmviz.probes.lexicon import built_in
from rmviz.world.lexicon import EUPHEMISM_OF, TOPIC_OF, words_of


def rng():
    return random.Random(0)


def test_words_are_replaced_whole_and_keep_their_case():
    words = parse_word_lists("pregnant=expecting, midwife, baby shower=party")[0]
    text = "Pregnant? PREGNANT! The midwife's pregnantly baby  shower."
    assert substituted(text, words, rng()) == "Expecting? EXPECTING! The something's pregnantly party."


@pytest.mark.parametrize("word", ["c++", "a.c", "(x)", "[a-z]+", "$5", "what?", "^start", "back\\slash", "a*b"])
def test_characters_of_regular_expressions_are_literal(word):
    words = WordList("odd", {word: ("plain",)})
    assert substituted(f"say {word} now", words, rng()) == "say plain now"
    assert substituted("say abc aac q now", words, rng()) == "say abc aac q now"
    assert word_edit(words).holds(f"say {word}") and not word_edit(words).holds("say aac")


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4))
def test_any_word_and_any_text_are_taken(text, words):
    table = WordList("any", {" ".join(word.lower().split()): ("x",) for word in words})
    edit = word_edit(table)
    assert edit.holds(text) or edit.without(text, rng()) == text


def test_similarity_by_hand():
    assert similarity("a b c d", "a b c d") == 1 and similarity("", "") == 1
    assert similarity("a b c d", "a x c d") == 0.75
    assert similarity("a b c d", "a c d") == 0.75
    assert similarity("a b", "c d e f") == 0
    assert similarity("the cat sat here", "a cat has sat") == pytest.approx(1 - 3 / 4)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_similarity_is_the_textbook_distance(one, other):
    table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, x in enumerate(one, start=1):
        for j, y in enumerate(other, start=1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (x != y))
    longest = max(len(one), len(other))
    wanted = 1 - table[-1][-1] / longest if longest else 1
    assert similarity(" ".join(one), " ".join(other)) == pytest.approx(wanted)


def test_the_worlds_edits_take_the_topic_out():
    text = "The midwife conceived near the pregnant womb."
    veiled = world_edit("pregnancy", veiled=True).without(text, rng())
    assert {EUPHEMISM_OF.get(word) for word in words_of(veiled)} == {"pregnancy", None}
    swapped = world_edit("pregnancy", veiled=False).without(text, rng())
    assert "pregnancy" not in {TOPIC_OF.get(word) for word in words_of(swapped)}
    assert world_edit("pregnancy", veiled=True).without("Nothing here.", rng()) == "Nothing here."
    with pytest.raises(ConfigError, match="no topic called 'chess'"):
        world_edit("chess", veiled=True)


def test_lists_in_one_line_and_in_a_file(tmp_path):
    lists = parse_word_lists("slang: gonna=going to, Wanna ; brands: acme=a firm|a company")
    assert [one.name for one in lists] == ["slang", "brands"]
    assert lists[0].substitutes == {"gonna": ("going to",), "wanna": ()}
    assert lists[1].substitutes == {"acme": ("a firm", "a company")}
    file = tmp_path / "lexicon.yaml"
    file.write_text("slang: {gonna: going to, 'a:b;c': [x, y]}\nplain: [one, two]\n")
    assert read_lexicon(str(file))[0].substitutes == {"gonna": ("going to",), "a:b;c": ("x", "y")}
    assert read_lexicon(str(file))[1].substitutes == {"one": (), "two": ()}
    for text in ("", "[1, 2]", "a: 3", "a: {", "a: []"):
        file.write_text(text)
        with pytest.raises(ConfigError, match="the lexicon"):
            read_lexicon(str(file))
    with pytest.raises(ConfigError, match="two word lists are called a"):
        parse_word_lists("a: x; a: y")
    with pytest.raises(ConfigError, match="is empty"):
        parse_word_lists("a: ,;")


def test_the_built_in_lexicon_says_the_same_in_other_words():
    for words in built_in():
        assert len(words.substitutes) >= 9 and all(words.substitutes.values())
        pool = set(words.substitutes)
        assert not any(pool & set(other.split()) for others in words.substitutes.values() for other in others), (
            words.name
        )


def test_an_encoder_gates_by_the_cosine_of_mean_vectors(space, tmp_path):
    from rmviz.configs.probes import EuphemismConfig
    from rmviz.data.load import dataset_texts
    from rmviz.probes.alike import _loaded, by_encoder
    from rmviz.probes.cases import probed_cases

    folder = str(space.resolve("rm").path("model/config.json").parent)
    alike = by_encoder(folder)
    one, other = "The midwife rests.", "The garden was quiet near a pregnant womb."
    model, tokenizer = _loaded(folder)
    means = []
    for text in (one, other):
        batch = tokenizer(text, return_tensors="pt")
        means.append(model(**{k: batch[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0].mean(0))
    wanted = torch.nn.functional.cosine_similarity(*means, dim=0).item()
    assert alike([(one, other), (other, one), (one, one)]) == pytest.approx([wanted, wanted, 1], abs=1e-5)
    texts = dataset_texts(space.resolve("data"))
    config = {"sae": "sae", "dataset": "data", "topic": "pregnancy", "maker": "world", "similarity_model": folder}
    table, counts, _ = probed_cases(EuphemismConfig(**config, min_similarity=0.0), texts)
    own = table[table["item"] == "pregnancy"]
    bar = float(own["similarity"].median())
    strict, left, _ = probed_cases(EuphemismConfig(**config, min_similarity=bar), texts)
    kept = strict[strict["item"] == "pregnancy"]
    assert kept["text_id"].tolist() == own.loc[own["similarity"] >= bar, "text_id"].tolist() and len(kept) < len(own)
    assert left["pregnancy"]["num_too_different"] == len(own) - len(kept) + counts["pregnancy"]["num_too_different"]
    with pytest.raises(ModelError, match="no folder"):
        by_encoder("/nowhere/at/all")
