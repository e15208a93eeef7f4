"""Texts as token ids: laid out in the model's format, cut on the left, with what each token shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from rmviz.errors import DataError
from rmviz.models.formats import FormatName, Layout, layout, without_blank_start
from rmviz.types import Text

CHARS_PER_TOKEN = 16
"""Texts longer than this many characters a token are cut as strings first: a million characters cost nothing."""

MOST_CHARS = 2**17
"""Never more characters than this are tokenised of a text that is cut."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One text as the reward model reads it."""

    text_id: str
    pair_id: str
    side: str
    ids: tuple[int, ...]
    token_types: tuple[int, ...] | None
    feature_positions: tuple[bool, ...]
    """False at special tokens (BOS, EOS, CLS, SEP, role marks); features are defined where True."""

    reply_start: int
    """Index of the first token of the reply; `len(ids)` if there is none."""

    num_cut: int
    """Tokens dropped from the left to fit (0: none); an estimate for texts cut as strings first."""

    tokens: tuple[str, ...]
    """What to show for each token. Joined without the added special tokens they are the text to the letter; of the
    pieces of one character the first shows it and the others are empty."""

    off_format: str = ""
    """A warning sentence when the text does not look like the model's format."""


@dataclass(frozen=True, kw_only=True)
class EncodingRules:
    """All that decides how a text becomes ids."""

    format: FormatName
    max_length: int
    append_eos: bool = False
    token_types: bool = False
    no_blank_start: bool = False
    """Leave out newlines at the start of the text (models trained on `Human: …` without the newlines before it)."""


@dataclass
class _Tokens:
    """The tokens of one layout. `segments` is None for added special tokens, else 0 or 1; spans are in its segment."""

    ids: list[int]
    types: list[int]
    segments: list[int | None]
    spans: list[tuple[int, int]]


def encode_texts(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, rules: EncodingRules) -> list[Encoded]:
    """Each text as the model reads it, in order.

    Raises:
        DataError: A text leaves no token at all.
    """
    layouts = [layout(text.prompt, text.reply, rules.format, tokenizer) for text in texts]
    if rules.no_blank_start:
        layouts = [without_blank_start(place) for place in layouts]
    budget = rules.max_length * CHARS_PER_TOKEN
    short = [i for i, place in enumerate(layouts) if _num_chars(place) <= budget]
    special = special_ids(tokenizer)
    encoded: dict[int, Encoded] = {}
    for paired in (False, True):
        chosen = [i for i in short if (layouts[i].second is not None) == paired]
        for i, tokens in zip(chosen, _tokenized([layouts[i] for i in chosen], tokenizer, rules), strict=True):
            encoded[i] = _encoded(texts[i], layouts[i], tokens, tokenizer, rules, special, 0)
    for i in set(range(len(texts))) - set(short):
        place, tokens, num_cut = _tail(layouts[i], tokenizer, rules)
        encoded[i] = _encoded(texts[i], place, tokens, tokenizer, rules, special, num_cut)
    return [encoded[i] for i in range(len(texts))]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of all tokens that are marks rather than text: BOS, EOS, CLS, SEP, padding, and a chat template's own.

    An unknown word is text, unless its token is one of these as well (GPT-2).
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = set(tokenizer.all_special_ids) | {token_id for token_id, token in added.items() if token.special}
    names = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
    if tokenizer.unk_token_id not in [getattr(tokenizer, name) for name in names]:
        marks.discard(tokenizer.unk_token_id)
    return frozenset(marks)


def _num_chars(place: Layout) -> int:
    return len(place.text) + len(place.second or "")


def _tail(place: Layout, tokenizer: PreTrainedTokenizerBase, rules: EncodingRules) -> tuple[Layout, _Tokens, int]:
    """The end of a very long layout: enough characters to fill the model, and about how many tokens the rest had."""
    total, budget = _num_chars(place), rules.max_length * CHARS_PER_TOKEN
    while True:
        kept = _last_chars(place, budget)
        tokens = _tokenized([kept], tokenizer, rules)[0]
        dropped = total - _num_chars(kept)
        # Runs of spaces, or one endless word, give few tokens: take more of the text, within bounds.
        if not dropped or len(tokens.ids) > rules.max_length or budget >= MOST_CHARS:
            per_char = len(tokens.ids) / max(_num_chars(kept), 1)
            num_cut = max(1, round(dropped * per_char)) if dropped else 0
            return kept, _with_bos_of(place, tokens, tokenizer, rules) if dropped else tokens, num_cut
        budget = min(8 * budget, MOST_CHARS)


def _last_chars(place: Layout, budget: int) -> Layout:
    if place.second is None:
        start = max(0, len(place.text) - budget)
        return Layout(place.text[start:], max(0, place.reply_at - start), warning=place.warning)
    second = place.second[-budget:]
    text = place.text[-(budget - len(second)) :] if len(second) < budget else ""
    return Layout(text, len(text), second, place.warning)


def _with_bos_of(place: Layout, tokens: _Tokens, tokenizer: PreTrainedTokenizerBase, rules: EncodingRules) -> _Tokens:
    """The tokens, after the BOS that a chat template has written at the start of the uncut text."""
    head = _tokenized([Layout(place.text[:64], 0)], tokenizer, rules)[0]
    if not head.ids or head.segments[0] is None or head.ids[0] != tokenizer.bos_token_id:
        return tokens
    return _Tokens([head.ids[0], *tokens.ids], [0, *tokens.types], [None, *tokens.segments], [(0, 0), *tokens.spans])


def _tokenized(layouts: Sequence[Layout], tokenizer: PreTrainedTokenizerBase, rules: EncodingRules) -> list[_Tokens]:
    """Tokens of layouts that are all single or all pairs, in one call of the tokenizer."""
    if not layouts:
        return []
    seconds: Any = [place.second for place in layouts] if layouts[0].second is not None else None
    batch = tokenizer(
        [place.text for place in layouts],
        text_pair=seconds,
        add_special_tokens=rules.format != "chat",  # a chat template writes its own
        return_attention_mask=False,
        truncation=False,
        padding=False,
        verbose=False,
    )
    return [
        _Tokens(list(one.ids), list(one.type_ids), list(one.sequence_ids), list(one.offsets))
        for one in batch.encodings or []
    ]


def _encoded(
    text: Text,
    place: Layout,
    tokens: _Tokens,
    tokenizer: PreTrainedTokenizerBase,
    rules: EncodingRules,
    special: frozenset[int],
    num_cut: int,
) -> Encoded:
    if rules.append_eos and tokens.ids[-1:] != [tokenizer.eos_token_id]:
        _append(tokens, tokenizer.eos_token_id)
    if not tokens.ids:
        stand_ins = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.cls_token_id)
        stand_in = next((token for token in stand_ins if token is not None), None)
        if stand_in is None:
            raise DataError(f"text {text.text_id!r} is empty, and the model has no token to stand for it; leave it out")
        _append(tokens, stand_in)
    kept = _kept(tokens, tokenizer, rules.max_length)
    ids = tuple(tokens.ids[i] for i in kept)
    return Encoded(
        text_id=text.text_id,
        pair_id=text.pair_id,
        side=text.side,
        ids=ids,
        token_types=tuple(tokens.types[i] for i in kept) if rules.token_types else None,
        feature_positions=tuple(tokens.segments[i] is not None and tokens.ids[i] not in special for i in kept),
        reply_start=_reply_start(place, tokens, kept),
        num_cut=num_cut + len(tokens.ids) - len(kept),
        tokens=_shown(place, tokens, kept, tokenizer),
        off_format=place.warning,
    )


def _append(tokens: _Tokens, special: Any) -> None:
    tokens.ids.append(int(special))
    tokens.types.append(tokens.types[-1] if tokens.types else 0)
    tokens.segments.append(None)
    tokens.spans.append((0, 0))


def _kept(tokens: _Tokens, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[int]:
    """Positions that stay: all special tokens that were added, and the end of the text; the prompt goes first."""
    opening = [tokenizer.bos_token_id, tokenizer.cls_token_id]
    text = [
        i for i, segment in enumerate(tokens.segments) if segment is not None and (i or tokens.ids[0] not in opening)
    ]
    dropped = set(text[: max(0, len(tokens.ids) - max_length)])
    return [i for i in range(len(tokens.ids)) if i not in dropped]


def _reply_start(place: Layout, tokens: _Tokens, kept: list[int]) -> int:
    wanted, start = (0, place.reply_at) if place.second is None else (1, 0)
    for n, i in enumerate(kept):
        if tokens.segments[i] == wanted and tokens.spans[i][1] > start:
            return n
    return len(kept)


def _shown(place: Layout, tokens: _Tokens, kept: list[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Each token's own characters and the space before them, so that the pieces join to the text."""
    parts = (place.text, place.second or "")
    ends: dict[int, int] = {}
    last: dict[int, int] = {}
    shown = []
    for n, i in enumerate(kept):
        segment, (start, end) = tokens.segments[i], tokens.spans[i]
        if segment is None:
            shown.append(str(tokenizer.convert_ids_to_tokens(tokens.ids[i])))
            continue
        cut_before = i > 0 and (n == 0 or kept[n - 1] != i - 1)
        done = start if cut_before else ends.get(segment, 0)
        shown.append(parts[segment][done:end])
        ends[segment], last[segment] = max(done, end), n
    for segment, n in last.items():
        shown[n] += parts[segment][ends[segment] :]
    return tuple(shown)
