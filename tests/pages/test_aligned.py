"""Readings of one text by different tokenizers and formats lie on one axis: the characters of the reply."""

import pytest

from rmviz.backend.wire import ModelInfo, ReadText
from rmviz.ui.aligned import ends, shared_start

INFO = ModelInfo(
    id="m", name="m", family="f", format="plain", format_reason="", max_length=9, causal=True, device="cpu", dtype="f"
)


def read(tokens: list[str], reply_start: int = 0, special: tuple[int, ...] = (), num_cut: int = 0) -> ReadText:
    return ReadText(
        tokens=tokens,
        feature_positions=[i not in special for i in range(len(tokens))],
        reply_start=reply_start,
        num_cut=num_cut,
        off_format="",
        reward=0.0,
        info=INFO,
    )


def test_the_same_reply_ends_at_the_same_character_whatever_reads_it():
    reply = " rain fell. Rain"
    plain = read(["Ask", " now", " rain", " fell", ".", " Rain"], 2)
    assert ends(plain, reply) == [-4, 0, 5, 10, 11, 16]
    bytewise = read(["\n\nHuman: Ask now\n\nAssistant:", *reply], 1)
    assert ends(bytewise, reply) == [0, *range(1, 17)]
    encoder = read(["[CLS]", "Ask", " now", "[SEP]", " ra", "in", " fell", ".", " Rain", "[SEP]"], 4, (0, 3, 9))
    assert ends(encoder, reply) == [-7, -4, 0, 0, 3, 5, 10, 11, 16, 16]
    chat = read(["<s>", "user Ask now", "</s>", "bot ", "rain", " fell.", " Rain", "</s>", "\n"], 3, (0, 2, 7))
    assert ends(chat, reply)[4:7] == [5, 11, 16], "a template may strip the space before the reply"
    straddling = read(["Ask now r", "ain fell. Rain"], 1)
    assert ends(straddling, reply) == [2, 16]


def test_a_reply_that_was_cut_keeps_its_characters():
    reply = "one two three four"
    assert ends(read([" three", " four"], num_cut=2), reply) == [13, 18]
    assert ends(read(["ask ", "one"], 1), "not what was read") == [0, 3], "else by where the reply begins"
    assert ends(read(["", ""]), "") == [0, 0]


@pytest.mark.parametrize(
    ("second", "num_tokens", "until"),
    [
        (["Ask", " now", " rain", " rose"], 3, 5),
        (["Ask", " now", " sun"], 2, 0),
        (["Ask", " now", " rain", " fell"], 4, 10),
        (["Ask", " now", " rain"], 3, 5),
    ],
)
def test_what_two_texts_share(second, num_tokens, until):
    first = read(["Ask", " now", " rain", " fell"], 2)
    shared = shared_start((first, read(second, 2)), (" rain fell", "".join(second[2:])))
    assert (shared.num_tokens, shared.until) == (num_tokens, until)


def test_nothing_is_shared_but_a_special_token():
    pair = read(["[CLS]", "a"], 1, (0,)), read(["[CLS]", "b"], 1, (0,))
    assert shared_start(pair, ("a", "b")) is None
