import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.data.formats import ALIASES, ASSISTANT, BadRow, row_items, split_pair, split_transcript, transcript
from rmviz.types import Pair, Text

HI = "\n\nHuman: hi\n\nAssistant:"
texts = st.text(max_size=40)
filled = st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()))
turns = st.lists(st.tuples(st.sampled_from(["Human", "Assistant", "System"]), texts), max_size=5).map(
    lambda found: "".join(f"\n\n{role}: {content}" for role, content in found)
)
columns = [*(name for names in ALIASES.values() for name in names), "role", "content", "score", "other"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(columns), inner, max_size=5),
    max_leaves=12,
)


def only(row: object) -> Pair:
    (item,) = row_items(row, "L1")
    assert isinstance(item, Pair)
    return item


def test_prompt_chosen_rejected_are_kept_to_the_letter():
    pair = only({"prompt": " Why?\n", "chosen": "a ", "rejected": "\tb", "source": "x", "score": 0.5, "tags": ["no"]})
    assert (pair.prompt, pair.chosen, pair.rejected) == (" Why?\n", "a ", "\tb")
    assert pair.extra == {"source": "x", "score": 0.5}


@pytest.mark.parametrize(
    "names", [("selected", "rejected"), ("preferred", "dispreferred"), ("response_j", "response_k")]
)
def test_aliases(names):
    assert only({"question": "q", names[0]: "a", names[1]: "b"}).prompt == "q"


def test_a_transcript_pair_is_split_where_both_still_agree():
    shared = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    pair = only({"chosen": f"{shared} yes", "rejected": f"{shared} yet"})
    assert (pair.prompt, pair.chosen, pair.rejected) == (shared, " yes", " yet")


def test_transcripts_that_part_early_keep_their_later_turns_in_the_reply():
    pair = only({"chosen": f"{HI} a\n\nHuman: b\n\nAssistant: c", "rejected": f"{HI} d"})
    assert (pair.prompt, pair.chosen) == (HI, " a\n\nHuman: b\n\nAssistant: c")


def test_plain_strings_without_a_prompt_are_whole_replies():
    assert only({"chosen": "same start a", "rejected": "same start b"}).prompt == ""


def test_a_prompt_that_the_replies_repeat_is_taken_off():
    assert only({"prompt": HI, "chosen": f"{HI} a", "rejected": f"{HI} b"}).chosen == " a"


@pytest.mark.parametrize("prompt", [{}, {"prompt": "hi"}, {"prompt": [{"role": "user", "content": "hi"}]}])
@pytest.mark.parametrize("asked", [True, False])
def test_chat_messages_become_a_transcript(prompt, asked):
    question = [{"role": "user", "content": "hi"}] if asked or not prompt else []
    sides = {
        side: [*question, {"role": "assistant", "content": text}]
        for side, text in (("chosen", "yes"), ("rejected", "no"))
    }
    pair = only(prompt | sides)
    assert (pair.prompt, pair.chosen, pair.rejected) == (HI, " yes", " no")


def test_a_message_prompt_with_plain_replies():
    pair = only({"prompt": [{"role": "user", "content": "hi"}], "chosen": "yes", "rejected": "no"})
    assert (pair.prompt, pair.chosen) == (HI, " yes")


def test_system_turns_and_content_parts_and_sharegpt_names_are_understood():
    messages = [
        {"role": "system", "content": "be kind"},
        {"from": "human", "value": "hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
    ]
    assert transcript(messages) == "\n\nSystem: be kind\n\nHuman: hi\n\nAssistant: yes"
    (text,) = row_items({"messages": messages}, "L1")
    assert text == Text(text_id="L1", prompt="\n\nSystem: be kind\n\nHuman: hi\n\nAssistant:", reply=" yes")


def test_ranked_replies_give_all_pairs_of_different_rank():
    pairs = row_items({"prompt": "q", "replies": ["a", "b", "c"], "ranks": [2, 1, 2]}, "L1")
    assert [(pair.pair_id, pair.chosen, pair.rejected) for pair in pairs if isinstance(pair, Pair)] == [
        ("L1-2v1", "b", "a"),
        ("L1-2v3", "b", "c"),
    ]
    assert len(row_items({"prompt": "q", "responses": ["a", "b", "c"]}, "L1")) == 3
    scored = [{"response": "a", "overall_score": 1}, {"response": "b", "overall_score": 9}]
    best = row_items({"instruction": "q", "completions": scored}, "L1")
    assert [pair.chosen for pair in best if isinstance(pair, Pair)] == ["b"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "an object with named columns was wanted, got a list of 1"),
        ({}, "there are: none"),
        ({"prompt": "q", "chosen": "a"}, "no rejected column; there are: prompt, chosen"),
        ({"chosen": "a", "rejected": None}, "no rejected column; there are: chosen"),
        ({"chosen": " \n", "rejected": "b"}, "chosen is empty"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "prompt is empty"),
        ({"chosen": 3, "rejected": "b"}, "chosen must be text, got a number"),
        ({"chosen": "a", "rejected": "a"}, "chosen and rejected are identical"),
        ({"chosen": f"{HI} ", "rejected": f"{HI} b"}, "chosen is empty"),
        ({"chosen": [], "rejected": "b"}, "chosen must be a list of chat messages, got a list of 0"),
        ({"chosen": [{"role": "user"}], "rejected": "b"}, "must have a role and a text content"),
        ({"prompt": "q", "replies": ["a"]}, "replies must be a list of at least two replies, got a list of 1"),
        ({"prompt": "q", "replies": ["a", "b"], "ranks": [1]}, "ranks must hold one number for each of the 2 replies"),
        ({"prompt": "q", "replies": ["a", "b"], "scores": [1, "x"]}, "scores must be numbers"),
        ({"prompt": "q", "replies": ["a", "b"], "scores": [1, 1]}, "no two replies differ"),
        ({"text": "  "}, "text is empty"),
    ],
)
def test_bad_rows_say_why(row, reason):
    with pytest.raises(BadRow) as error:
        row_items(row, "L1")
    assert reason in str(error.value)


@given(filled, filled, filled)
def test_any_text_round_trips(prompt, chosen, rejected):
    if chosen == rejected or prompt.endswith(ASSISTANT):
        return
    pair = only({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, chosen, rejected)


@given(turns, turns, turns)
def test_splitting_transcripts_loses_nothing_and_swaps(shared, one, two):
    prompt, chosen, rejected = split_pair(shared + one, shared + two)
    assert (prompt + chosen, prompt + rejected) == (shared + one, shared + two)
    assert prompt == "" or prompt.endswith(ASSISTANT)
    assert split_pair(shared + two, shared + one) == (prompt, rejected, chosen)


@given(turns)
def test_splitting_one_transcript_loses_nothing(text):
    prompt, reply = split_transcript(text)
    assert prompt + reply == text
    assert ASSISTANT not in reply


@given(filled, filled, filled)
def test_swapping_chosen_and_rejected_swaps_the_pair(prompt, one, two):
    if one == two:
        return
    pair, swapped = (only({"prompt": prompt, "chosen": a, "rejected": b}) for a, b in ((one, two), (two, one)))
    assert (pair.prompt, pair.chosen, pair.rejected) == (swapped.prompt, swapped.rejected, swapped.chosen)


@given(json_values)
def test_no_value_does_more_than_be_refused(value):
    try:
        items = row_items(value, "L1")
    except BadRow as error:
        assert str(error)
    else:
        assert all(isinstance(item, (Pair, Text)) for item in items)
