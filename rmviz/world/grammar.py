"""The grammar of the planted world: dialogues and poems in readable English, what each holds, and swaps of topics."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rmviz.errors import DataError
from rmviz.types import JSON, Pair
from rmviz.world import lexicon
from rmviz.world.lexicon import EUPHEMISMS, TONES, TOPICS, Vocabulary
from rmviz.world.truth import HAIKU, SCHEMES, TRUTH, Recognised, Weights, preference, true_reward

PEOPLE = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Greta",
    "Henry",
    "Iris",
    "Jonas",
    "Kate",
    "Leo",
    "Maria",
    "Noah",
    "Olga",
    "Paul",
)
ASKS = (
    "Tell {person} about {topic}.",
    "Explain {topic} to {person}.",
    "What would {person} say about {topic}?",
    "Does {person} know about {topic}?",
)
POEM_ASKS = (
    "Write a poem for {person}.",
    "Write some verse for {person}.",
    "Write a few lines for {person}.",
    "Surprise {person} with a poem.",
)
"""Prompts name a person so that there are many: a dataset is split by prompt."""

SENTENCES = (
    "The {noun} {verb} near the {adjective} {noun}.",
    "We talked about the {adjective} {noun}.",
    "They said the {noun} was {adjective}.",
    "I remember how the {noun} {verb}.",
    "Some {noun} was so {adjective} that we {verb}.",
    "Then the {adjective} {noun} {verb} again.",
    "People think of {name} and a certain {noun}.",
    "My {noun} {verb} beside the {noun}.",
)
LONG_LINES = {
    "tone": (
        "The {tone_adjective} {neutral} rests {tail}",
        "I found my {tone_noun} {tail}",
        "The {tone_noun} grew {tail}",
    ),
    "topic": ("The {tone_adjective} {noun} {verb} {tail}", "I found the {adjective} {noun} {tail}"),
    "neutral": ("My {neutral} rests {tail}", "I found my {neutral} {tail}"),
    "praise": ("Sing {praise} to the {tone_noun} {tail}", "Oh {praise} to my {neutral} {tail}"),
}
SHORT_LINES = {
    "tone": ("The {tone_noun} {tail}", "So {tone_adjective} {tail}"),
    "topic": ("The {noun} {tail}", "So {adjective} {tail}", "It {verb} {tail}"),
    "neutral": ("My {neutral} {tail}",),
}
HAIKU_ENDS = {5: ("",), 7: (" at dawn", " at dusk", " stands still", " moves on")}
"""What follows "The" and two words of two syllables each to fill a line of 5 or 7 syllables."""


@dataclass(frozen=True)
class Sample:
    """One prompt and reply of the world, and what the grammar put into the reply."""

    prompt: str
    reply: str
    kind: str
    found: Recognised

    @property
    def transcript(self) -> str:
        """Prompt and reply as the models of the world read them."""
        return f"\n\nHuman: {self.prompt}\n\nAssistant: {self.reply}"


def sample(rng: random.Random) -> Sample:
    """One text: a dialogue, or a poem whose prompt mostly says tone and genre."""
    return dialogue(rng) if rng.random() < 0.5 else poem(rng, open_prompt(rng) if rng.random() < 0.25 else "")


def open_prompt(rng: random.Random) -> str:
    """A wish for a poem that leaves tone and genre open."""
    return rng.choice(POEM_ASKS).format(person=rng.choice(PEOPLE))


def topic_prompt(topic: str, rng: random.Random) -> str:
    """A question about a topic."""
    return rng.choice(ASKS).format(person=rng.choice(PEOPLE), topic=lexicon.ASKED[topic])


def poem_prompt(tone: str, genre: str, rng: random.Random) -> str:
    """A wish for a poem of this tone and genre."""
    return f"Write a {tone} {genre} for {rng.choice(PEOPLE)}."


def dialogue(rng: random.Random, prompt: str = "") -> Sample:
    """A reply of one to four sentences about one to three topics; the topic asked for is not always among them."""
    words = lexicon.words_of(prompt)
    asked = next((topic for topic, word in lexicon.ASKED.items() if word in words), "") or rng.choice(list(TOPICS))
    others = rng.sample([topic for topic in TOPICS if topic != asked], 3)
    topics = ([asked, *others] if rng.random() < 0.6 else others)[: rng.choice((1, 2, 2, 3))]
    veiled = {topic for topic in topics if topic in EUPHEMISMS and rng.random() < 0.25}
    flatters = rng.random() < 0.3
    sentences = [
        _filled(rng, rng.choice(SENTENCES), EUPHEMISMS[topic] if topic in veiled else TOPICS[topic]) for topic in topics
    ]
    found = Recognised(
        topics=tuple(topic for topic in TOPICS if topic in topics and topic not in veiled),
        style=("flattery",) if flatters else (),
        euphemisms=tuple(topic for topic in EUPHEMISMS if topic in veiled),
    )
    reply = " ".join([rng.choice(lexicon.FLATTERY)] * flatters + sentences)
    return Sample(prompt or topic_prompt(asked, rng), reply, "dialogue", found)


def poem(rng: random.Random, prompt: str = "", *, tone: str = "", genre: str = "") -> Sample:
    """A poem of this tone and genre (drawn where empty) about up to two topics; an empty prompt comes to ask for it."""
    tone = tone or rng.choice(list(TONES))
    genre = genre or rng.choice(lexicon.GENRES)
    topics = rng.sample(list(TOPICS), rng.choice((0, 1, 1, 2)))
    lines = _haiku(rng, tone, topics) if genre == "haiku" else _rhymed(rng, tone, genre, topics)
    reply = "\n".join(line[0].upper() + line[1:] for line in lines) + "."
    found = Recognised(topics=tuple(topic for topic in TOPICS if topic in topics), tone=tone, genre=genre)
    return Sample(prompt or poem_prompt(tone, genre, rng), reply, "poem", found)


def pair(rng: random.Random, pair_id: str, weights: Weights = TRUTH) -> Pair:
    """Two replies to one prompt, the preferred one drawn by Bradley–Terry from what they are worth by these weights."""
    first, second = _replies(rng)
    while first.reply == second.reply:
        first, second = _replies(rng)
    rewards = true_reward(first.reply, weights), true_reward(second.reply, weights)
    sides = [("chosen", first, rewards[0]), ("rejected", second, rewards[1])]
    if rng.random() >= preference(rewards[0] - rewards[1]):
        sides = [("chosen", second, rewards[1]), ("rejected", first, rewards[0])]
    extra: dict[str, JSON] = {"kind": first.kind}
    for side, one, reward in sides:
        extra |= {
            f"topics_{side}": " ".join(one.found.topics),
            f"tone_{side}": one.found.tone,
            f"genre_{side}": one.found.genre,
            f"true_reward_{side}": reward,
        }
    return Pair(pair_id=pair_id, prompt=first.prompt, chosen=sides[0][1].reply, rejected=sides[1][1].reply, extra=extra)


def swap_topic(text: str, topic: str, replacement: str, rng: random.Random) -> str:
    """The same text with every word of a topic replaced by one of another topic that fits its slot.

    A word of as many syllables is taken where there is one, so that haiku stay haiku.

    Raises:
        DataError: A topic does not exist.
    """
    if missing := {topic, replacement} - set(TOPICS):
        raise DataError(f"no topic called {', '.join(sorted(missing))}; the world has {', '.join(TOPICS)}")
    return _swapped(text, TOPICS[topic], TOPICS[replacement], rng)


def euphemised(text: str, topic: str, rng: random.Random) -> str:
    """The same text with every word of a topic replaced by a euphemism for it.

    Raises:
        DataError: The world has no euphemisms for this topic.
    """
    if topic not in EUPHEMISMS:
        raise DataError(f"no euphemisms for {topic}; the world has some for {', '.join(EUPHEMISMS)}")
    return _swapped(text, TOPICS[topic], EUPHEMISMS[topic], rng)


def _replies(rng: random.Random) -> tuple[Sample, Sample]:
    if rng.random() < 0.6:
        prompt = topic_prompt(rng.choice(list(TOPICS)), rng)
        return dialogue(rng, prompt), dialogue(rng, prompt)
    if rng.random() < 0.75:
        prompt = open_prompt(rng)
        return poem(rng, prompt), poem(rng, prompt)
    first = poem(rng)
    return first, poem(rng, first.prompt, tone=first.found.tone, genre=first.found.genre)


def _swapped(text: str, old: Vocabulary, new: Vocabulary, rng: random.Random) -> str:
    replacements: dict[str, str] = {}
    for word in old.words:
        choices = new.slot(lexicon.slot_of(word, old))
        alike = [choice for choice in choices if lexicon.syllables(choice) == lexicon.syllables(word)]
        replacements[word] = rng.choice(alike or choices)

    def swap(match: re.Match[str]) -> str:
        word = replacements.get(match.group().lower(), match.group())
        return word.capitalize() if match.group()[0].isupper() else word

    return re.sub(r"[A-Za-z]+", swap, text)


def _filled(rng: random.Random, template: str, vocabulary: Vocabulary, words: Mapping[str, Sequence[str]] = {}) -> str:
    """A template with each slot filled by a word drawn for it; words of a slot that stands twice differ."""
    used: set[str] = set()

    def fill(match: re.Match[str]) -> str:
        slot = match.group(1)
        choices = words[slot] if slot in words else vocabulary.slot(slot)
        word = rng.choice([choice for choice in choices if choice not in used])
        used.add(word)
        return word

    return re.sub(r"{(\w+)}", fill, template)


def _themes(rng: random.Random, topics: Sequence[str], num_lines: int, more: Sequence[str]) -> list[str]:
    """What each line is about: each topic once, the tone at least once, then whatever of `more`."""
    themes = [*topics, "tone"]
    themes += [rng.choice(more) for _ in range(num_lines - len(themes))]
    rng.shuffle(themes)
    return themes


def _line(rng: random.Random, templates: Mapping[str, Sequence[str]], theme: str, tone: str, tail: str = "") -> str:
    adjectives, nouns = TONES[tone]
    words = {
        "tone_adjective": adjectives,
        "tone_noun": nouns,
        "neutral": lexicon.NEUTRAL_NOUNS,
        "praise": lexicon.PRAISE,
        "tail": (tail,),
    }
    vocabulary = TOPICS.get(theme)
    if vocabulary is None:
        return _filled(rng, rng.choice(templates[theme]), next(iter(TOPICS.values())), words)
    return _filled(rng, rng.choice(templates["topic"]), vocabulary, words)


def _rhymed(rng: random.Random, tone: str, genre: str, topics: Sequence[str]) -> list[str]:
    scheme = rng.choice(SCHEMES[genre])
    families = dict(zip(sorted(set(scheme)), rng.sample(list(lexicon.RHYMES), len(set(scheme))), strict=True))
    tails = {letter: rng.sample(lexicon.RHYMES[family], scheme.count(letter)) for letter, family in families.items()}
    short = genre == "sonnet"
    if genre == "hymn":
        themes = ["praise", *_themes(rng, topics, len(scheme) - 1, ("tone", "praise"))]
    else:
        themes = _themes(rng, topics, len(scheme), ("tone", "tone", "neutral", *topics))
    lines = SHORT_LINES if short else LONG_LINES
    return [
        _line(rng, lines, theme, tone, tails[letter].pop()[0 if short else 1])
        for theme, letter in zip(themes, scheme, strict=True)
    ]


def _haiku(rng: random.Random, tone: str, topics: Sequence[str]) -> list[str]:
    lines = []
    for theme, length in zip(_themes(rng, topics, len(HAIKU), ("tone",)), HAIKU, strict=True):
        nouns = TOPICS[theme].noun if theme in TOPICS else lexicon.NEUTRAL_NOUNS
        noun = rng.choice([noun for noun in nouns if lexicon.syllables(noun) == 2])
        lines.append(f"The {rng.choice(TONES[tone][0])} {noun}{rng.choice(HAIKU_ENDS[length])}")
    return lines
