import pytest
from transformers import GPT2Config

from rmviz.errors import ModelError
from rmviz.models.adapters import ADAPTERS
from rmviz.models.encoding import EncodingRules, encode_texts
from rmviz.models.formats import check_format, guess_append_eos, guess_format, layout
from rmviz.types import Text

TEMPLATE = (
    "{% if messages[0]['role'] != 'user' %}{{ raise_exception('user first') }}{% endif %}<|endoftext|>"
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}\n{% endfor %}"
)


@pytest.fixture
def tokenizer(make):
    return make.byte_level_tokenizer()


@pytest.fixture
def chat(make):
    chat = make.byte_level_tokenizer()
    chat.chat_template = TEMPLATE
    return chat


@pytest.mark.parametrize(
    ("prompt", "reply", "text", "warned"),
    [
        ("hi", "hello", "\n\nHuman: hi\n\nAssistant: hello", False),
        ("\n\nHuman: hi\n\nAssistant:", " hello", "\n\nHuman: hi\n\nAssistant: hello", False),
        ("\n\nHuman: hi", "\n\nAssistant: hello", "\n\nHuman: hi\n\nAssistant: hello", False),
        ("\n\nHuman: hi", "hello", "\n\nHuman: hihello", True),
        ("", "a poem", "a poem", True),
        ("", "\n\nHuman: hi\n\nAssistant: yo", "\n\nHuman: hi\n\nAssistant: yo", False),
    ],
)
def test_transcript(tokenizer, prompt, reply, text, warned):
    place = layout(prompt, reply, "transcript", tokenizer)
    assert place.text == text and bool(place.warning) == warned
    assert text[place.reply_at :] == reply


@pytest.mark.parametrize(
    ("prompt", "reply", "text"),
    [("a", "b", "a b"), ("a\n", "b", "a\nb"), ("a", " b", "a b"), ("", "b", "b"), ("a", "", "a")],
)
def test_plain(tokenizer, prompt, reply, text):
    place = layout(prompt, reply, "plain", tokenizer)
    assert place.text == text and text[place.reply_at :] == reply and not place.warning


def test_segments(tokenizer):
    assert layout("a", "b", "segments", tokenizer).second == "b"
    alone = layout("", "b", "segments", tokenizer)
    assert alone.text == "b" and alone.second is None and "no prompt" in alone.warning


def test_chat_of_a_plain_prompt(chat):
    place = layout("hi", "hello there", "chat", chat)
    assert place.text == "<|endoftext|>[user] hi\n[assistant] hello there\n"
    assert place.text[place.reply_at :] == "hello there\n" and not place.warning


def test_chat_of_a_transcript(chat):
    prompt = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: more\n\nAssistant:"
    place = layout(prompt, " sure", "chat", chat)
    assert (
        place.text == "<|endoftext|>[user] hi\n[assistant] yes?\n[user] more\n[assistant] sure\n" and not place.warning
    )


@pytest.mark.parametrize("prompt", ["\n\nAssistant: me first\n\nHuman: hi", "\n\nHuman: a\n\nHuman: b"])
def test_chat_of_a_broken_transcript_warns(chat, prompt):
    place = layout(prompt, "ok", "chat", chat)
    assert "one user turn" in place.warning and place.text.endswith("[assistant] ok\n")


def test_chat_without_prompt_warns(chat):
    place = layout("", "ok", "chat", chat)
    assert place.text == "<|endoftext|>[user] \n[assistant] ok\n" and "no prompt" in place.warning


def test_chat_ids_are_those_of_the_template(chat):
    text = Text(text_id="a", prompt="hi", reply="hello there")
    one = encode_texts([text], chat, EncodingRules(format="chat", max_length=64))[0]
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello there"}]
    assert list(one.ids) == chat.apply_chat_template(messages, return_dict=False)
    assert one.tokens[one.reply_start].strip() and "".join(one.tokens[one.reply_start :]).strip() == "hello there"
    assert not one.feature_positions[0]


@pytest.mark.parametrize("length", [30, 5000])
def test_cut_chat_keeps_bos(chat, length):
    text = Text(text_id="a", prompt="the fox " * length, reply="hello")
    one = encode_texts([text], chat, EncodingRules(format="chat", max_length=24))[0]
    assert len(one.ids) == 24 and one.ids[0] == chat.bos_token_id and one.num_cut > 0
    assert "".join(one.tokens).endswith("[assistant] hello\n")


def test_a_template_that_takes_nothing_is_refused(chat):
    chat.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(ModelError, match="refuses"):
        layout("a", "b", "chat", chat)


def test_guesses(tokenizer, chat, make):
    config = GPT2Config()
    assert guess_format(chat, config, "x/hh-model")[0] == "chat"
    assert guess_format(make.encoder_tokenizer(byte_level=False), config, "x/y")[0] == "segments"
    for source in (
        "usvsnsp/pythia-6.9b-rm-full-hh-rlhf",
        "reciprocate/dahoas-gptj-rm-static",
        "/models/hh",
        "openbmb/UltraRM-13b",
    ):
        form, reason = guess_format(tokenizer, config, source)
        assert form == "transcript" and "name" in reason
    assert guess_format(tokenizer, config, "x/shh-model")[0] == "plain"
    assert guess_format(chat, config, "x/y", adapter=ADAPTERS[0])[0] == "transcript"


def test_check_format(tokenizer, chat):
    assert check_format("chat", chat) == "chat"
    with pytest.raises(ModelError, match="template"):
        check_format("chat", tokenizer)
    with pytest.raises(ModelError, match="transcript, segments"):
        check_format("pairs", tokenizer)


def test_append_eos_follows_the_model_card():
    card = "tags:\n- trl\n- reward-trainer\n\n### Framework versions\n\n- TRL: {}\n"
    assert guess_append_eos(card.format("1.16.0"), "plain") and guess_append_eos(card.format("0.24.0"), "transcript")
    assert not guess_append_eos(card.format("0.9.6"), "plain")
    assert not guess_append_eos(card.format("1.16.0"), "chat")
    assert not guess_append_eos("a model", "plain")
