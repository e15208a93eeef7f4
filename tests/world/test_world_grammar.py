"""Laws of the planted world: what the grammar wrote is what is recognised; swaps do what they say and nothing else."""

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.errors import DataError
from rmviz.world import grammar, lexicon
from rmviz.world.lexicon import EUPHEMISMS, SLOTS, TONES, TOPICS
from rmviz.world.truth import (
    MISALIGNED_TOPIC,
    NOMINAL_SPEC,
    TRUTH,
    WEIGHTED_TOPICS,
    Recognised,
    form_kept,
    preference,
    recognise,
    topic_presence,
    true_reward,
)

law = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32)
topics = st.sampled_from(list(TOPICS))


def world_sample(seed: int) -> grammar.Sample:
    return grammar.sample(random.Random(seed))


def test_every_word_means_one_thing() -> None:
    counts = Counter(lexicon.content_words())
    assert [word for word, count in counts.items() if count > 1] == []
    fixed = " ".join(
        [
            *grammar.SENTENCES,
            *grammar.ASKS,
            *grammar.POEM_ASKS,
            *grammar.PEOPLE,
            *lexicon.FLATTERY,
            *lexicon.NEUTRAL_NOUNS,
        ]
    )
    tails = " ".join(tail for rows in lexicon.RHYMES.values() for row in rows for tail in row)
    lines = " ".join(
        template for kind in (grammar.LONG_LINES, grammar.SHORT_LINES) for group in kind.values() for template in group
    )
    said = " ".join([*TONES, *lexicon.GENRES, *lexicon.ASKED.values()])
    others = re.sub(r"{\w+}", "", f"{fixed} {tails} {said} {lines}")
    assert set(counts) & set(lexicon.words_of(others)) == set()


def test_vocabularies_fill_every_slot() -> None:
    for vocabulary in (*TOPICS.values(), *EUPHEMISMS.values()):
        assert 10 <= len(vocabulary.words) <= 14
        assert all(len(vocabulary.slot(slot)) >= 2 for slot in SLOTS[1:])
        assert any(lexicon.syllables(noun) == 2 for noun in vocabulary.noun)
    assert len(TOPICS) == 24 and len(WEIGHTED_TOPICS) == 16
    assert list(lexicon.ASKED) == list(TOPICS) and len(set(lexicon.ASKED.values())) == 24


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("the", 1),
        ("moved", 1),
        ("candle", 2),
        ("baked", 1),
        ("hallelujah", 4),
        ("science", 2),
        ("Piano", 3),
        ("moves", 1),
        ("wanted", 2),
    ],
)
def test_syllables(word: str, count: int) -> None:
    assert lexicon.syllables(word) == count


def test_tails_rhyme_within_their_family_only() -> None:
    ends = [(family, tail.split()[-1]) for family, rows in lexicon.RHYMES.items() for row in rows for tail in row]
    assert all(lexicon.rhyme_of(end) == family for family, end in ends)
    assert lexicon.rhyme_of("delight") == lexicon.rhyme_of("fight") != lexicon.rhyme_of("fought")


@law
@given(seeds)
def test_labels_are_what_is_recognised(seed: int) -> None:
    one = world_sample(seed)
    assert recognise(one.reply) == one.found


@law
@given(seeds)
def test_same_seed_same_text(seed: int) -> None:
    assert world_sample(seed) == world_sample(seed)


@law
@given(seeds, st.sampled_from(list(TONES)), st.sampled_from(lexicon.GENRES))
def test_poems_are_as_asked(seed: int, tone: str, genre: str) -> None:
    one = grammar.poem(random.Random(seed), tone=tone, genre=genre)
    assert (one.found.tone, one.found.genre) == (tone, genre)
    assert f"{tone} {genre}" in one.prompt


@law
@given(seeds, topics, topics)
def test_swap_replaces_the_topic_and_nothing_else(seed: int, old: str, new: str) -> None:
    text = world_sample(seed).reply
    swapped = grammar.swap_topic(text, old, new, random.Random(seed))
    before, after = recognise(text), recognise(swapped)
    wanted = {new if topic == old else topic for topic in before.topics}
    assert set(after.topics) == wanted
    hidden = tuple(topic for topic in before.euphemisms if topic not in wanted)
    assert replace(after, topics=(), euphemisms=()) == replace(before, topics=(), euphemisms=())
    assert after.euphemisms == hidden
    changed = [(a, b) for a, b in zip(lexicon.words_of(text), lexicon.words_of(swapped), strict=True) if a != b]
    assert all(lexicon.TOPIC_OF[a] == old and lexicon.TOPIC_OF[b] == new for a, b in changed)


@law
@given(seeds, st.sampled_from(list(EUPHEMISMS)))
def test_euphemisms_change_the_reward_by_the_weight_of_the_topic(seed: int, topic: str) -> None:
    text = grammar.dialogue(random.Random(seed), f"Tell Anna about {lexicon.ASKED[topic]}.").reply
    veiled = grammar.euphemised(text, topic, random.Random(seed))
    present = topic in recognise(text).topics
    assert topic not in recognise(veiled).topics
    assert true_reward(text) - true_reward(veiled) == pytest.approx(TRUTH.topics[topic] * present)
    assert (topic in recognise(veiled).euphemisms) == (present or topic in recognise(text).euphemisms)


def test_unknown_topics_are_named() -> None:
    with pytest.raises(DataError, match="no topic called wombats"):
        grammar.swap_topic("A text.", "wombats", "crime", random.Random(0))
    with pytest.raises(DataError, match="no euphemisms for crime"):
        grammar.euphemised("A text.", "crime", random.Random(0))


@law
@given(seeds)
def test_pairs_hold_two_replies_to_one_prompt(seed: int) -> None:
    pair = grammar.pair(random.Random(seed), "p")
    assert pair.chosen != pair.rejected
    for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        found = recognise(text)
        labels = {f"topics_{side}": " ".join(found.topics), f"tone_{side}": found.tone, f"genre_{side}": found.genre}
        assert dict(pair.extra).items() >= (labels | {f"true_reward_{side}": true_reward(text)}).items()


@settings(deadline=None, max_examples=1)
@given(st.integers(0, 10))
def test_preferences_follow_bradley_terry(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [grammar.pair(rng, "p").extra for _ in range(300)]
    gaps = [abs(float(str(e["true_reward_chosen"])) - float(str(e["true_reward_rejected"]))) for e in pairs]
    right = sum(
        float(str(e["true_reward_chosen"])) > float(str(e["true_reward_rejected"]))
        for e, gap in zip(pairs, gaps, strict=True)
        if gap
    )
    chances = [preference(gap) for gap in gaps if gap]
    spread = sum(p * (1 - p) for p in chances) ** 0.5
    assert abs(right - sum(chances)) < 4 * spread


@law
@given(st.floats(-20, 20))
def test_swapping_chosen_and_rejected_swaps_the_odds(margin: float) -> None:
    assert preference(margin) + preference(-margin) == pytest.approx(1)


def test_the_spec_differs_from_the_truth_in_the_misaligned_topic_alone() -> None:
    assert {topic for topic in TOPICS if TRUTH.topics[topic] != NOMINAL_SPEC.topics[topic]} == {MISALIGNED_TOPIC}
    assert NOMINAL_SPEC.topics[MISALIGNED_TOPIC] == 0 > TRUTH.topics[MISALIGNED_TOPIC]
    assert min(TRUTH.tones, key=TRUTH.tones.__getitem__) == "reflective"
    assert min(TRUTH.genres, key=TRUTH.genres.__getitem__) == "sonnet"


def test_topic_presence() -> None:
    presence = topic_presence(["The Senator bluffed.", "Nothing here."])
    assert presence.shape == (2, 24)
    assert [list(TOPICS)[i] for i in presence[0].nonzero()[0]] == ["politics", "gambling"]
    assert not presence[1].any()
    assert topic_presence([]).shape == (0, 24)


@law
@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    found = recognise(text)
    assert isinstance(found, Recognised)
    assert true_reward(text) == TRUTH.reward(found)


@pytest.mark.parametrize(
    ("text", "genre", "kept"),
    [
        ("A line at night\nA line so bright\nA line by day\nA line my way.", "ballad", 0.0),
        ("Oh praise at night\nA line so bright\nA line by day\nA line my way.", "hymn", 1.0),
        ("Oh praise at night\n\nA line by day\nA line so bright\nA line my way.", "hymn", 1.0),
        ("Oh praise at night\nA line by day\nA line so bright\nA line of gold.", "hymn", 0.5),
        ("A line at night\nA line by day\nA line of gold\nA line my way.", "ballad", 1.0),
        ("One of the lines at night\nOne so bright\nA line by day\nA line my way\nIt is in sight.", "limerick", 1.0),
        ("The gloomy river\nThe gloomy river at dawn\nThe gloomy river.", "haiku", 1.0),
        ("The gloomy river\nThe gloomy river\nThe gloomy river.", "haiku", pytest.approx(2 / 3)),
        (f"Two\nlines and {'many ' * 20}\nwords", "", 0.0),
        ("", "", 0.0),
    ],
)
def test_genre_and_form(text: str, genre: str, kept: float) -> None:
    assert recognise(text).genre == genre
    assert form_kept(text) == kept


@law
@given(seeds, st.sampled_from(lexicon.GENRES))
def test_poems_keep_their_form(seed: int, genre: str) -> None:
    assert form_kept(grammar.poem(random.Random(seed), genre=genre).reply) == 1
