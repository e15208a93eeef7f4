"""Replies of one token: a prompt laid out once, with a place in it that takes any token of the vocabulary."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rmviz.configs.tokens import TokensConfig, prompt_list
from rmviz.data.load import dataset_texts
from rmviz.errors import DataError
from rmviz.models.encoding import Encoded, special_ids
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact
from rmviz.types import Text

_TRIED = 64
"""Words of the vocabulary that are tried as the reply that marks the place."""


@dataclass(frozen=True)
class Slot:
    """A prompt as the model reads it, and where the one token of the reply stands."""

    prompt: str
    encoded: Encoded
    place: int

    def with_token(self, token: int, *, special: bool) -> Encoded:
        """The prompt with this token as its reply; features are defined on that token alone, on a special one nowhere."""
        ids = (*self.encoded.ids[: self.place], token, *self.encoded.ids[self.place + 1 :])
        defined = tuple(place == self.place and not special for place in range(len(ids)))
        return replace(self.encoded, text_id=str(token), ids=ids, feature_positions=defined)


def slot_of(rm: RewardModel, prompt: str) -> Slot:
    """Find the place by two replies that differ in one token.

    Raises:
        DataError: The prompt is longer than the model reads, or its layout leaves no place for one token.
    """
    words = _words(rm)
    read = rm.encode([Text(text_id=word, prompt=prompt, reply=word) for word in words])
    shortest = min(len(one.ids) + one.num_cut for one in read)
    if any(one.num_cut for one in read):
        raise DataError(
            f"the prompt {prompt[:60]!r} has {shortest} tokens with a reply of one, and {rm.name} reads {rm.max_length}; "
            "shorten it"
        )
    first, *others = (one for one in read if len(one.ids) == shortest)
    for other in others:
        places = [i for i, (a, b) in enumerate(zip(first.ids, other.ids, strict=True)) if a != b]
        if len(places) == 1:
            return Slot(prompt, first, places[0])
    raise DataError(f"{rm.name} reads no reply to {prompt[:60]!r} as one token; is its tokenizer the right one?")


def slots(config: TokensConfig, rm: RewardModel, dataset: Artifact | None) -> tuple[list[Slot], int]:
    """The slots of the prompts that were given, else of some drawn from the dataset; how many of those were too long.

    Without prompts and dataset there is one slot: a token that stands alone.

    Raises:
        DataError: A given prompt, or every prompt of the dataset, is longer than the model reads.
    """
    given = prompt_list(config.prompts)
    if given or dataset is None:
        return [slot_of(rm, prompt) for prompt in given or ("",)], 0
    known = list(dict.fromkeys(text.prompt for text in dataset_texts(dataset, config.split)))
    random.Random(f"prompts {config.seed}").shuffle(known)
    found: list[Slot] = []
    too_long = 0
    for prompt in known:
        if len(found) == config.num_prompts:
            break
        try:
            found.append(slot_of(rm, prompt))
        except DataError:
            too_long += 1
    if not found:
        raise DataError(
            f"none of {len(known)} prompts in the {config.split} part of {dataset.name} leaves room for a reply: {rm.name} reads "
            f"{rm.max_length} tokens; give a shorter one with --prompts"
            if known
            else f"dataset {dataset.name} has no texts in its {config.split} part; choose another with --split"
        )
    return found, too_long


def shown_token(rm: RewardModel, token: int) -> str:
    """A token as text: with its leading space; as the vocabulary has it where it is no whole text."""
    raw = str(rm.tokenizer.convert_ids_to_tokens(token))
    text = raw.replace("▁", " ") if "▁" in raw else str(rm.tokenizer.decode([token]))
    return raw if not text or "\ufffd" in text else text


def vocabulary(rm: RewardModel) -> tuple[list[int], frozenset[int]]:
    """Ids of all tokens that the tokenizer and the model both have; those that are special."""
    tokens = sorted({token for token in rm.tokenizer.get_vocab().values() if 0 <= token < rm.vocab_size})
    return tokens, special_ids(rm.tokenizer) & set(tokens)


def _words(rm: RewardModel) -> Sequence[str]:
    """Some words of the vocabulary, spread over it."""
    tokens, special = vocabulary(rm)
    plain = [token for token in tokens if token not in special]
    words = (shown_token(rm, token).strip() for token in plain[:: max(1, len(plain) // (8 * _TRIED))])
    found = dict.fromkeys(word for word in words if word.isascii() and word.isalpha())
    return list(found)[:_TRIED] or ["a", "b", "1", "2"]
