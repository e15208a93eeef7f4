"""Poems as HTML: text is text, and nothing of it is lost."""

import re
from html.parser import HTMLParser

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rmviz.plots.families import MAX_NODES, family_dot, quoted
from rmviz.plots.poems import card_html, family_html, folded, origin, poem_html, rescored_html, reward_words

ALLOWED = {"div", "p", "b", "span", "bdi", "i", "details", "summary", "h5"}


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.words = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag in ALLOWED and {name for name, _ in attrs} <= {"class"}

    def handle_data(self, data):
        self.words.append(data)


def poem(**changes):
    row = {
        "attempt_id": 7, "text": "a", "reward": 1.5, "asked": 0, "judged": 0, "asked_row": "<b>", "asked_column": "c",
        "judged_row": "<b>", "judged_column": "c", "counted": True, "elite": True, "parents": np.array([3, 5]), "step": 2,
        "move": "cross", "problem": "", "generation": 0,
    }  # fmt: skip
    return row | changes


@given(st.text(max_size=4000))
def test_a_folded_text_is_the_text(text):
    head, rest = folded(text)
    assert head + rest == text and (not rest or len(head) <= 900)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n<>&"/'),
        max_size=2500,
    )
)
def test_no_text_becomes_markup(text):
    for made in (poem_html(text), card_html(poem(text=text, judged_row=text, judged=1, problem=text[:40]), 1)):
        Reader(made)
    shown = "".join(Reader(poem_html(text)).words)
    assert all(line in shown for line in text.split("\n")[:10])


def test_a_long_poem_folds_and_says_how_long_it_is():
    made = poem_html("word " * 10_000)
    assert made.count("<details") == 1 and "49,100 more characters" in made
    assert "<details" not in poem_html("short\npoem")


def test_a_card_says_where_a_poem_was_filed_and_what_it_was_made_of():
    right = card_html(poem(), 1)
    assert "+1.500" in right and "asked and judged" in right and "★ elite" in right and "joins #3 and #5" in right
    wrong = card_html(poem(judged=1, judged_row="hymn", elite=False), 2)
    assert "→ judged" in wrong and "elite" not in wrong
    nowhere = card_html(poem(asked=-1, asked_row="", asked_column="", parents=[], move="seed"), 3)
    assert "no cell asked for" in nowhere and "written from the request alone" in nowhere
    assert "no reward" in card_html(poem(reward=float("nan"), counted=False, problem="no reward"), 4)
    assert "rewrites the seed poem" in origin(poem(move="mutate", parents=[]))


def test_a_family_is_told_generation_by_generation():
    line = [
        poem(),
        poem(attempt_id=5, generation=1, parents=[1]),
        poem(attempt_id=1, generation=2, parents=[], move="seed"),
    ]
    made = family_html(line, 9)
    assert made.index("Parents") < made.index("#5") < made.index("Grandparents") < made.index("#1 · written")
    assert "7 more between them" in made
    assert "no other poem" in family_html(line[:1], 0)
    Reader(made)


def test_a_rescored_poem_shows_both_rewards_and_the_change():
    row = {"text": "<i>x</i>", "reward_a": 1.0, "reward_b": -2.0, "change": -3.0}
    made = rescored_html(row, 1, [("reward_a", "one & only"), ("reward_b", "other")], ("change", "change"))
    assert "+1.000" in made and "−2.000" in made and 'class="down num">−3.000' in made and "one &amp; only" in made
    Reader(made)


def test_rewards_have_a_sign():
    assert (
        reward_words(0.5) == "+0.500" and reward_words(-0.5) == "−0.500" and reward_words(float("inf")) == "no reward"
    )


@given(st.text(max_size=60))
def test_no_label_ends_its_place_in_the_graph(text):
    inner = quoted(text)[1:-1]
    unescaped = re.sub(r"\\.", "", inner, flags=re.S)
    assert '"' not in unescaped and "\\" not in unescaped and "\n" not in inner


def test_a_graph_has_a_poem_once_and_an_arrow_per_parent():
    line = [poem(attempt_id=90 - i, generation=i, parents=[89 - i]) for i in range(MAX_NODES + 5)]
    dot = family_dot(line, dark=True)
    assert dot.count("label=") == MAX_NODES and dot.count("->") == MAX_NODES - 1 and "n89 -> n90" in dot
