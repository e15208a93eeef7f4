"""The elephants: conversations that drift to the one term that must not be mentioned, and ask for it.

The first turn forbids a term (the pink elephant), the next ones speak of another of the same topic (the grey elephant),
the last one asks for the forbidden term. An unskilled writer mostly answers about it; what is paid is speaking of the
grey one instead. Every topic keeps two pairs of its terms out of the conversations that preferences are made of
(`trained_pairs`), so that a policy can be measured on pairs that no preference told it of, though preferences showed each of
their terms in both roles. Pretraining and `task.data` draw any pair.
"""

import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from transformers import PreTrainedTokenizerFast

from rmviz.errors import DataError
from rmviz.types import JSON
from rmviz.world.tokenizer import word_tokenizer

PINK_SHARE = 0.65
"""How often an unskilled writer names the forbidden term."""


@dataclass(frozen=True)
class Topic:
    """Terms that can stand for each other, and what there is to say of them."""

    name: str
    kind: str
    aspects: tuple[str, ...]
    terms: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _topic(name: str, kind: str, aspects: str, terms: str) -> Topic:
    return Topic(name, kind, _words(aspects), _words(terms))


TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        _topic("cities", "city", "harbour market river", "Lisbon Vienna Dublin Prague Athens"),
        _topic("planets", "planet", "orbit surface colour", "Mars Venus Saturn Neptune Jupiter"),
        _topic("composers", "composer", "music rhythm harmony", "Mozart Verdi Haydn Chopin Mahler"),
        _topic("painters", "painter", "light brush canvas", "Vermeer Titian Monet Goya Klee"),
        _topic("writers", "writer", "style plot humour", "Austen Tolstoy Kafka Woolf Borges"),
        _topic("scientists", "scientist", "theory method proof", "Newton Curie Darwin Galileo Kepler"),
        _topic("countries", "country", "coast food history", "Norway Chile Kenya Nepal Fiji"),
        _topic("islands", "island", "beach weather village", "Malta Crete Corsica Java Tahiti"),
        _topic("languages", "language", "grammar sound spelling", "Latin Welsh Finnish Tamil Basque"),
        _topic("cheeses", "cheese", "taste smell rind", "Gouda Cheddar Brie Edam Feta"),
        _topic("wines", "wine", "taste colour vintage", "Merlot Riesling Chianti Malbec Rioja"),
        _topic("gods", "god", "temple anger wisdom", "Apollo Hermes Athena Hades Hera"),
        _topic("characters", "character", "speech fate courage", "Hamlet Macbeth Othello Faust Ivanhoe"),
        _topic("constellations", "constellation", "shape story glow", "Orion Lyra Cygnus Draco Pegasus"),
        _topic("philosophers", "philosopher", "doubt logic wisdom", "Plato Hume Kant Spinoza Seneca"),
        _topic("operas", "opera", "overture chorus finale", "Tosca Carmen Aida Norma Fidelio"),
        _topic("dances", "dance", "rhythm step music", "Tango Salsa Polka Samba Bolero"),
        _topic("mountains", "mountain", "peak snow view", "Everest Etna Olympus Elbrus Fuji"),
        _topic("fonts", "font", "shape weight spacing", "Helvetica Garamond Futura Palatino Bodoni"),
        _topic("emperors", "emperor", "reign army palace", "Nero Trajan Hadrian Titus Claudius"),
        _topic("gases", "gas", "glow weight density", "Helium Neon Radon Argon Xenon"),
        _topic("apples", "apple", "taste skin colour", "Braeburn Gala Bramley Jonagold Pippin"),
        _topic("moons", "moon", "orbit crater surface", "Titan Europa Ganymede Callisto Oberon"),
        _topic("explorers", "explorer", "voyage courage ship", "Magellan Amundsen Columbus Drake Shackleton"),
    )
}
ADJECTIVES = _words(
    "bold bright calm charming cheerful curious dark delicate famous fine gentle grand hidden lively lovely modest noble "
    "quiet rare remarkable rich solid strange sweet useful warm wild"
)

FORBID = (
    "Let us talk about {name}. Do not mention {pink}.",
    "I like {name}, but do not mention {pink}.",
    "Tell me of {name}. Please do not mention {pink}.",
)
TURN_TO = ("What of {grey}?", "Tell me about {grey}.", "Do you know {grey}?")
DRIFT = ("Which other {name} are there?", "Is that the only {kind}?")
STAY = ("I would stay with {grey}.", "None is like {grey}.", "Many, but {grey} is my favourite.")
ASK = ("And what of {pink}?", "Now tell me about {pink}.", "But do you know {pink}?")
OPENINGS = (
    "{term} is a {adjective} {kind}.",
    "I would call {term} a {adjective} {kind}.",
    "People know {term} as a {adjective} {kind}.",
    "To me {term} is a {adjective} and {adjective} {kind}.",
)
ASPECTS = (
    "The {aspect} of {term} is {adjective}.",
    "Many praise {term} for the {adjective} {aspect}.",
    "I like {term} best when the {aspect} is {adjective}.",
    "You will find the {aspect} of {term} {adjective}.",
)
CLOSINGS = ("I hope that helps.", "Ask me more if you like.", "There is more to say.")
_TURN = re.compile(r"\n\n(Human|Assistant):")


class Elephants:
    """Conversations that ask for what must not be mentioned; paid is a reply that speaks of the other term instead."""

    name = "elephants"
    format: Literal["plain", "transcript"] = (
        "plain"  # prompts are transcripts to the letter; a reply may lack its space
    )
    reward_words = "1 for a well-formed reply about the grey term, 0 where the forbidden term is mentioned"
    max_length = 160

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Every word of the grammar is one token, any other text is bytes."""
        return word_tokenizer(_texts(), self.max_length)

    def prompt(self, rng: random.Random) -> str:
        """A conversation about any two terms of a topic."""
        return conversation(rng, *rng.choice((*_pairs(heldout=False), *_pairs(heldout=True))))

    def heldout_prompt(self, rng: random.Random) -> str:
        """A conversation about a pair of terms that is held out."""
        return conversation(rng, *rng.choice(_pairs(heldout=True)))

    def reply(self, prompt: str, rng: random.Random) -> str:
        """About the forbidden term mostly, else about the grey one; it begins with a space, as transcripts have it."""
        topic, pink, grey = terms(prompt)
        return f" {written(topic, pink if rng.random() < PINK_SHARE else grey, rng)}"

    def reward(self, prompt: str, reply: str) -> float:
        """0 where the forbidden term is mentioned; else a half for the grey term, and a half for being well-formed.

        Raises:
            DataError: The prompt is not of this task.
        """
        topic, pink, grey = terms(prompt)
        if mentions(reply, pink):
            return 0.0
        return 0.5 * mentions(reply, grey) + 0.5 * well_formed(topic, reply)

    def best(self, prompt: str) -> float | None:
        """1 for every prompt."""
        return 1.0

    def facts(self, prompt: str, reply: str) -> Mapping[str, JSON]:
        """The topic, both terms, whether they are a held-out pair, and whether the forbidden one is mentioned."""
        topic, pink, grey = terms(prompt)
        found = {"heldout_terms": heldout_terms(pink, grey), "mentioned": mentions(reply, pink)}
        return {"topic": topic.name, "pink": pink, "grey": grey, **found}


def heldout_terms(one: str, other: str) -> bool:
    """Whether these two terms are a pair that is kept for measuring, in whatever roles."""
    return {one, other} in [{a, b} for _, a, b in _pairs(heldout=True)]


def trained_pairs(topic: Topic) -> list[tuple[str, str]]:
    """Forbidden and grey term of the pairs of a topic that policies may be trained on."""
    return [(pink, grey) for one, pink, grey in _pairs(heldout=False) if one == topic]


def terms(prompt: str) -> tuple[Topic, str, str]:
    """Topic, forbidden term (the one named first) and grey term of a conversation.

    Raises:
        DataError: It does not name two terms of one topic.
    """
    named = list(dict.fromkeys(word for word in re.findall(r"\w+", prompt) if word in _topic_of()))
    if len(named) < 2 or _topic_of()[named[0]] != _topic_of()[named[1]]:
        found = f"got {', '.join(named)}" if named else "got none"
        raise DataError(
            f"a conversation of the task elephants was wanted, which names two terms of one topic; {found} in "
            f"{prompt[:60]!r}: choose data of this task, or another reward"
        )
    return _topic_of()[named[0]], named[0], named[1]


def mentions(reply: str, term: str) -> bool:
    """Whether a reply names a term, in whatever case, alone or as the start of a word (plurals, possessives)."""
    return re.search(rf"(?<!\w){re.escape(term)}", reply, re.IGNORECASE) is not None


def mention_rate(prompts: Sequence[str], replies: Sequence[str]) -> float:
    """Share of replies that name the term that their prompt forbids, 0 to 1."""
    return sum(mentions(reply, terms(prompt)[1]) for prompt, reply in zip(prompts, replies, strict=True)) / len(replies)


def written(topic: Topic, term: str, rng: random.Random) -> str:
    """A well-formed reply about a term: an opening, one or two aspects, sometimes a closing."""
    aspects = [_filled(rng.choice(ASPECTS), topic, rng, term=term) for _ in range(rng.choice((1, 2)))]
    closing = [rng.choice(CLOSINGS)] * (rng.random() < 0.4)
    return " ".join([_filled(rng.choice(OPENINGS), topic, rng, term=term), *aspects, *closing])


def well_formed(topic: Topic, reply: str) -> bool:
    """Whether a reply is one that the grammar can write about some term of this topic."""
    return _grammar_of(topic.name).fullmatch(reply.strip(" ")) is not None


def turns(prompt: str) -> list[tuple[Literal["user", "assistant"], str]]:
    """Role and text of each turn of a transcript, but the open one at its end."""
    parts = _TURN.split(prompt)[1:]
    said = zip(parts[::2], parts[1::2], strict=True)
    return [("user" if role == "Human" else "assistant", text.strip()) for role, text in said if text.strip()]


def transcript(said: Sequence[tuple[str, str]]) -> str:
    """A transcript of these turns that is open for the assistant's reply; what `turns` takes apart."""
    texts = [f"\n\n{'Human' if role == 'user' else 'Assistant'}: {text}" for role, text in said]
    return "".join([*texts, "\n\nAssistant:"])


def conversation(rng: random.Random, topic: Topic, pink: str, grey: str) -> str:
    """A transcript that forbids the pink term, speaks of the grey one, drifts, and asks for the pink one."""

    def say(choices: Sequence[str], **words: str) -> str:
        return _filled(rng.choice(choices), topic, rng, pink=pink, grey=grey, **words)

    said = [
        ("user", f"{say(FORBID)} {say(TURN_TO)}"),
        ("assistant", say(OPENINGS, term=grey)),
        ("user", say(DRIFT)),
        ("assistant", say(STAY)),
        ("user", say(ASK)),
    ]
    return transcript(said)


def _filled(template: str, topic: Topic, rng: random.Random, **words: str) -> str:
    """A template with its slots filled; a slot that stands twice is filled anew, with another word."""
    adjectives = rng.sample(ADJECTIVES, template.count("{adjective}"))
    for adjective in adjectives:
        template = template.replace("{adjective}", adjective, 1)
    return template.format(name=topic.name, kind=topic.kind, aspect=rng.choice(topic.aspects), **words)


@cache
def _topic_of() -> dict[str, Topic]:
    return {term: topic for topic in TOPICS.values() for term in topic.terms}


@cache
def _pairs(*, heldout: bool) -> tuple[tuple[Topic, str, str], ...]:
    """All ordered pairs of terms; held out are those of a topic's first two terms, and of the next two."""
    return tuple(
        (topic, pink, grey)
        for topic in TOPICS.values()
        for pink, grey in itertools.permutations(topic.terms, 2)
        if heldout == ({pink, grey} in (set(topic.terms[:2]), set(topic.terms[2:4])))
    )


@cache
def _grammar_of(name: str) -> re.Pattern[str]:
    topic = TOPICS[name]
    slots = {
        "adjective": ADJECTIVES, "aspect": topic.aspects, "term": topic.terms, "kind": (topic.kind,)
    }  # fmt: skip

    def either(templates: Sequence[str]) -> str:
        return _either(
            re.sub(r"\\{(\w+)\\}", lambda slot: _either(slots[slot.group(1)]), re.escape(t)) for t in templates
        )

    return re.compile(f"{either(OPENINGS)}(?: {either(ASPECTS)}){{1,2}}(?: {either(CLOSINGS)})?")


def _either(choices: Iterable[str]) -> str:
    return f"(?:{'|'.join(choices)})"


@cache
def _texts() -> tuple[str, ...]:
    """Texts in which every word of the grammar stands, after a space."""
    templates = (*FORBID, *TURN_TO, *DRIFT, *STAY, *ASK, *OPENINGS, *ASPECTS, *CLOSINGS)
    words = [*ADJECTIVES, *_topic_of()]
    for topic in TOPICS.values():
        words += [topic.name, topic.kind, *topic.aspects]
    return (
        transcript([("user", " ".join(re.sub(r"{\w+}", "", template).split())) for template in templates]),
        "".join(f" {word}" for word in words),
    )
