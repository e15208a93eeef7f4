"""The elephants: what is forbidden, what is paid, and which pairs of terms nobody sees."""

import itertools
import random

import pytest

from rmviz.errors import DataError
from rmviz.world.elephants import (
    PINK_SHARE,
    TOPICS,
    Elephants,
    heldout_terms,
    mention_rate,
    mentions,
    terms,
    trained_pairs,
    transcript,
    turns,
    well_formed,
)
from rmviz.world.tasks import Task, task_named, task_pair

TASK = Elephants()
PROMPT = (
    "\n\nHuman: Let us talk about wines. Do not mention Merlot. Do you know Rioja?\n\nAssistant: Rioja is a fine wine."
    "\n\nHuman: Is that the only wine?\n\nAssistant: None is like Rioja.\n\nHuman: And what of Merlot?\n\nAssistant:"
)


def test_it_is_a_task_of_the_table() -> None:
    assert isinstance(task_named("elephants"), Elephants)
    assert isinstance(TASK, Task)


@pytest.mark.parametrize(
    ("reply", "reward"),
    [
        (" Rioja is a fine wine. Many praise Rioja for the rich taste.", 1.0),
        ("Rioja is a fine wine. Many praise Rioja for the rich taste.", 1.0),
        (" Rioja is a fine wine.", 0.5),
        (" Malbec is a fine wine. Many praise Malbec for the rich taste.", 0.5),
        (" I do not know.", 0.0),
        ("", 0.0),
        (" Merlot is a fine wine. Many praise Rioja for the rich taste.", 0.0),
        (" Rioja is a fine wine. Many praise Rioja for the rich taste. But MERLOTS are better.", 0.0),
    ],
)
def test_rewards_by_hand(reply: str, reward: float) -> None:
    assert TASK.reward(PROMPT, reply) == reward
    assert reward <= (TASK.best(PROMPT) or 0)


def test_terms_and_turns_of_a_conversation() -> None:
    topic, pink, grey = terms(PROMPT)
    assert (topic.name, pink, grey) == ("wines", "Merlot", "Rioja")
    said = turns(PROMPT)
    assert [role for role, _ in said] == ["user", "assistant", "user", "assistant", "user"]
    assert said[-1][1] == "And what of Merlot?"
    assert transcript(said) == PROMPT


def test_every_conversation_forbids_drifts_and_is_paid_as_said() -> None:
    rng = random.Random(3)
    for draw in (TASK.prompt, TASK.heldout_prompt):
        for prompt in (draw(rng) for _ in range(100)):
            topic, pink, grey = terms(prompt)
            assert (
                pink != grey
                and pink in turns(prompt)[0][1]
                and grey in turns(prompt)[0][1]
                and grey in turns(prompt)[1][1]
            )
            assert heldout_terms(pink, grey) == heldout_terms(grey, pink) == TASK.facts(prompt, "")["heldout_terms"]
            assert heldout_terms(pink, grey) or draw != TASK.heldout_prompt
            reply = TASK.reply(prompt, rng)
            assert well_formed(topic, reply)
            assert TASK.reward(prompt, reply) == float(not mentions(reply, pink)) == float(mentions(reply, grey))
            assert TASK.facts(prompt, reply)["mentioned"] == mentions(reply, pink)


def test_an_unskilled_writer_mostly_names_the_forbidden_term() -> None:
    rng = random.Random(0)
    prompts = [TASK.prompt(rng) for _ in range(600)]
    assert mention_rate(prompts, [TASK.reply(prompt, rng) for prompt in prompts]) == pytest.approx(PINK_SHARE, abs=0.06)


def test_held_out_pairs_are_few_and_their_terms_are_trained_in_both_roles() -> None:
    for topic in TOPICS.values():
        pairs = set(itertools.permutations(topic.terms, 2))
        held = {pair for pair in pairs if heldout_terms(*pair)}
        trained = set(trained_pairs(topic))
        assert len(held) == 4 and held | trained == pairs and not held & trained
        assert {pink for pink, _ in trained} == {grey for _, grey in trained} == set(topic.terms)


def test_pretraining_sees_held_out_pairs_too() -> None:
    rng = random.Random(1)
    drawn = [terms(TASK.prompt(rng))[1:] for _ in range(600)]
    assert 0.1 < sum(heldout_terms(*pair) for pair in drawn) / len(drawn) < 0.3


def test_terms_are_words_of_one_topic_only() -> None:
    words = [term for topic in TOPICS.values() for term in topic.terms]
    assert len(words) == len(set(words)) >= 100 and len(TOPICS) >= 20
    assert not [
        (one, other) for one, other in itertools.permutations(words, 2) if one.lower().startswith(other.lower())
    ]


def test_every_word_is_one_token_and_texts_fit() -> None:
    tokenizer, rng = TASK.tokenizer(), random.Random(2)
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    for _ in range(200):
        prompt = rng.choice((TASK.prompt, TASK.heldout_prompt))(rng)
        text = prompt + TASK.reply(prompt, rng)
        ids = tokenizer.encode(text)
        assert len(ids) < TASK.max_length and tokenizer.decode(ids) == text
        words = [token for token in tokenizer.convert_ids_to_tokens(ids) if token.strip("ĠĊ.,?:")]
        assert len(words) == len(text.replace(".", " ").split())


def test_pairs_prefer_what_is_paid() -> None:
    pairs = [task_pair(TASK, number, 0, 0.01) for number in range(100)]
    for pair in pairs:
        assert TASK.reward(pair.prompt, pair.chosen) >= TASK.reward(pair.prompt, pair.rejected)


def test_a_prompt_of_another_task_is_refused_in_words() -> None:
    with pytest.raises(DataError, match="names two terms of one topic; got none in 'Write a poem'"):
        TASK.reward("Write a poem", "x")
