import html
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz.plots.tokens import TOKEN_CSS, escaped, examples_html, legend_html, shown, span, token_html

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "&lt;b&gt;",
    "a\nb",
    "\x00\x1b",
    "😀",
    "'",
    "‮evil",
    "$x$",
    "]]>",
    "<!--",
    "\r\n",
]
tokens_strategy = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=12)), max_size=30)
ALLOWED = {"div": {"class"}, "span": {"class", "style", "data-v", "title"}, "i": {"class"}, "p": {"class"}}


class Reader(HTMLParser):
    """Collects the text of a token text without its marks, and every tag and attribute."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.skipping = "", [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.skipping = dict(attrs).get("class") == "more"

    def handle_endtag(self, tag):
        self.skipping = False

    def handle_data(self, data):
        self.text += "" if self.skipping else data

    def handle_comment(self, data):
        raise AssertionError("data became a comment")


def _read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@settings(deadline=None)
@given(tokens_strategy, st.data())
def test_text_round_trips_and_nothing_else_gets_in(tokens, data):
    values = data.draw(st.lists(st.floats(-10, 10) | st.just(float("nan")), min_size=len(tokens), max_size=len(tokens)))
    reader = _read(token_html(tokens, values, before=3, after=2, num_cut=7))
    assert reader.text == shown("".join(tokens))
    for tag, attributes in reader.tags:
        assert set(attributes) <= ALLOWED[tag]
        assert attributes.get("class") in {None, "tk", "p", "n", "nl", "more"}


@settings(deadline=None)
@given(st.text())
def test_escaped_text_has_no_markup_and_comes_back(text):
    safe = escaped(text)
    assert not set(safe) & set("<>\"'")
    assert html.unescape(safe) == shown(text)
    assert all(part.split(";")[0] in {"amp", "lt", "gt", "quot", "#x27"} for part in safe.split("&")[1:])


@settings(deadline=None)
@given(st.text())
def test_control_characters_are_pictures(text):
    assert not any(ord(c) < 32 and c not in "\n\t" for c in shown(text))


def test_sign_is_told_by_class_and_number_not_by_hue_alone():
    assert span("a", 1.0, 2.0) == '<span class="p" style="--a:35" data-v="+1">a</span>'
    assert span("a", -2.0, 2.0) == '<span class="n" style="--a:70" data-v="-2">a</span>'
    assert span("a", 0.0, 2.0) == span("a", float("nan"), 2.0) == "<span>a</span>"
    assert "underline" in TOKEN_CSS


def test_marks_only_where_something_is_missing():
    assert "more" not in token_html(["a"], [0.0])
    marked = token_html(["a"], [0.0], before=1, after=2, num_cut=1200)
    assert marked.count('class="more"') == 3 and "1,200 tokens cut" in marked and marked.count("…") == 2


def test_one_colour_scale_for_all_examples():
    example = {
        "bin": 0,
        "activation": 4.0,
        "effect": -0.5,
        "reward": 1.0,
        "text_id": "t",
        "pair_id": "<b>",
        "side": "chosen",
        "start": 2,
        "num_tokens": 9,
        "tokens": ["a", "b"],
        "acts": [2.0, 4.0],
        "num_cut": 0,
    }
    text = examples_html([example, {**example, "activation": 2.0, "acts": [0, 2.0]}])
    assert text.count("--a:35") == 2 and text.count("<style>") == 1
    assert "&lt;b&gt;" in text and "<b>" not in text and "effect -0.5" in text
    assert "<style>" not in examples_html([], css=False)


@pytest.mark.parametrize("signed", [True, False])
def test_legends_name_their_ends(signed):
    text = legend_html(2.0, "effect", signed=signed)
    assert ("raises the reward" in text) == signed and 'class="p"' in text
