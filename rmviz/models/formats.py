"""How prompt and reply become one input: four formats, and a guess with its reason."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jinja2.exceptions import TemplateError
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from rmviz.errors import ModelError
from rmviz.models.adapters import Adapter

FormatName = Literal["transcript", "segments", "chat", "plain"]
FORMATS: tuple[FormatName, ...] = ("transcript", "segments", "chat", "plain")
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_TRANSCRIPT_HINT = re.compile(r"(?<![a-z])hh(?![a-z])|gpt-?j-rm|pythia-6\.9b-rm|rm-static|ultrarm", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Layout:
    """One text laid out for the tokenizer: one string, or two segments; `reply_at` is a character index into `text`."""

    text: str
    reply_at: int
    second: str | None = None
    warning: str = ""


def layout(prompt: str, reply: str, form: FormatName, tokenizer: PreTrainedTokenizerBase) -> Layout:
    """Prompt and reply in one of the formats. Lone surrogates, which no tokenizer takes, become U+FFFD."""
    prompt, reply = (_SURROGATE.sub("\ufffd", part) if not part.isascii() else part for part in (prompt, reply))
    if form == "chat":
        return _chat(prompt, reply, tokenizer)
    return _LAYOUTS[form](prompt, reply)


def context(prompt: str, form: FormatName, tokenizer: PreTrainedTokenizerBase) -> str:
    """What a language model is given to write a reply to this prompt; `layout` begins with it where it has a reply.

    Raises:
        ModelError: The format has two segments: no language model writes in it.
    """
    if form == "segments":
        raise ModelError("a language model has no format segments; use transcript, chat or plain")
    if form == "chat":
        turns, _ = _messages(prompt)
        turns = turns or [{"role": "user", "content": ""}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text
    place = layout(prompt, "", form, tokenizer)
    return place.text[: place.reply_at].rstrip(" ")


def without_blank_start(place: Layout) -> Layout:
    """The same without newlines at its start."""
    text = place.text.lstrip("\n")
    return Layout(text, max(0, place.reply_at - len(place.text) + len(text)), place.second, place.warning)


def _transcript(prompt: str, reply: str) -> Layout:
    """`prompt + reply` to the letter where the prompt is a transcript already, else wrapped as one exchange."""
    if not prompt:
        tagged = bool(_TURN.search(reply))
        return Layout(
            reply, 0, warning="" if tagged else "no prompt and no Human:/Assistant: tags: scored as bare text"
        )
    if HUMAN in prompt:
        turns = _TURN.findall(prompt)
        open_turn = (bool(turns) and turns[-1] == "Assistant") or reply.startswith(ASSISTANT)
        warning = "" if open_turn else "the prompt ends in a Human: turn and the reply does not open with Assistant:"
        return Layout(prompt + reply, len(prompt), warning=warning)
    before = f"{HUMAN} {prompt}{ASSISTANT} "
    return Layout(before + reply, len(before))


def _segments(prompt: str, reply: str) -> Layout:
    if not prompt:
        return Layout(reply, 0, warning="no prompt: the model reads a prompt and a reply, and was given one segment")
    return Layout(prompt, len(prompt), reply)


def _plain(prompt: str, reply: str) -> Layout:
    apart = not prompt or not reply or prompt[-1].isspace() or reply[0].isspace()
    before = prompt if apart else f"{prompt} "
    return Layout(before + reply, len(before))


_LAYOUTS: dict[FormatName, Callable[[str, str], Layout]] = {
    "transcript": _transcript,
    "segments": _segments,
    "plain": _plain,
}


def _chat(prompt: str, reply: str, tokenizer: PreTrainedTokenizerBase) -> Layout:
    """The model's own chat template over the turns of the prompt and the reply as the assistant's turn."""
    turns, warning = _messages(prompt)
    answer = {"role": "assistant", "content": reply.strip() if HUMAN in prompt else reply}
    if not turns:
        warning = "no prompt: scored as an answer to an empty question"
    tries = [([*turns, answer], warning)] if turns else [([{"role": "user", "content": ""}, answer], warning)]
    refused = "the chat template refuses the turns of this transcript: all of the prompt was given as one user turn"
    tries.append(([{"role": "user", "content": prompt}, answer], warning or refused))
    for messages, why in tries:
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        except TemplateError:
            continue
        assert isinstance(text, str)
        found = text.rfind(reply.strip()) if reply.strip() else -1
        return Layout(text, found if found >= 0 else len(text), warning=why)
    raise ModelError(
        "the model's chat template refuses one user turn and one assistant turn; add it with another format"
    )


def _messages(prompt: str) -> tuple[list[dict[str, str]], str]:
    """The turns of a transcript prompt, or the prompt as one user turn; and a warning if a transcript is broken."""
    if not prompt:
        return [], ""
    parts = _TURN.split(prompt)
    before, tagged = parts[0].strip(), list(zip(parts[1::2], parts[2::2], strict=True))
    if not tagged:
        return [{"role": "user", "content": prompt}], ""
    if tagged[-1][0] == "Assistant" and not tagged[-1][1].strip():
        tagged.pop()  # the open turn that the reply fills
    speakers = [speaker for speaker, _ in tagged]
    in_turn = all(one != two for one, two in itertools.pairwise(speakers))
    if before or not tagged or speakers[0] != "Human" or speakers[-1] != "Human" or not in_turn:
        whole = [{"role": "user", "content": prompt}]
        return whole, "Human:/Assistant: tags that are no clean dialogue: all of the prompt was given as one user turn"
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[speaker], "content": content.strip()} for speaker, content in tagged], ""


def guess_format(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, source: str, *, adapter: Adapter | None = None
) -> tuple[FormatName, str]:
    """The format a model was most likely trained on, and why we think so."""
    if adapter and adapter.no_blank_start:
        return "transcript", f"models with the head {adapter.head} were trained on Human:/Assistant: text"
    if getattr(tokenizer, "chat_template", None):
        return "chat", "its tokenizer has a chat template"
    if tokenizer.sep_token_id is not None and tokenizer.cls_token_id is not None:
        return "segments", f"it is an encoder ({config.model_type}), which reads prompt and reply as two segments"
    for place in ("/".join(source.replace("\\", "/").split("/")[-2:]), getattr(config, "_name_or_path", "") or ""):
        if hint := _TRANSCRIPT_HINT.search(place):
            return "transcript", f"its name holds {hint.group()!r}: such models were trained on Human:/Assistant: text"
    return "plain", "nothing in its files says how prompt and reply were joined; choose the format if you know it"


def check_format(form: str, tokenizer: PreTrainedTokenizerBase) -> FormatName:
    """The format itself, if the model can be used with it.

    Raises:
        ModelError: There is no such format, or it is chat and the tokenizer has no template.
    """
    if form not in FORMATS:
        raise ModelError(f"format must be auto, {', '.join(FORMATS)}, got {form!r}")
    if form == "chat" and not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "format chat needs a chat template in the tokenizer, and this model has none; use transcript or plain"
        )
    return form  # type: ignore[return-value]


def guess_append_eos(readme: str, form: FormatName) -> bool:
    """Whether training appended EOS: TRL's RewardTrainer does (since 0.24) unless a chat template is used.

    Source: huggingface/trl#4093 (September 2025); the model card that TRL writes names the trainer and the version.
    """
    version: Any = re.search(r"TRL:\s*(\d+)\.(\d+)", readme)
    recent = bool(version) and tuple(map(int, version.groups())) >= (0, 24)
    return form != "chat" and "reward-trainer" in readme and recent
