"""The words of the planted world: topics, euphemisms, tones, praise, flattery, rhymes, and what each word is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

SLOTS = ("name", "noun", "verb", "adjective")
"""The places in a sentence that a topic's words can take."""


@dataclass(frozen=True)
class Vocabulary:
    """Words of one meaning, by the slot they fit into; verbs are past tense and need no object."""

    name: str
    noun: tuple[str, ...]
    verb: tuple[str, ...]
    adjective: tuple[str, ...]

    def slot(self, slot: str) -> tuple[str, ...]:
        """The words for a slot."""
        return (self.name,) if slot == "name" else getattr(self, slot)

    @property
    def words(self) -> tuple[str, ...]:
        """All words, the name first."""
        return tuple(word for slot in SLOTS for word in self.slot(slot))


def _vocabularies(table: str) -> dict[str, Vocabulary]:
    """`name: nouns; verbs; adjectives`, one vocabulary a line."""
    rows = (line.split(":") for line in table.strip().splitlines())
    return {
        name.strip(): Vocabulary(name.strip(), *(tuple(part.split()) for part in rest.split(";")))
        for name, rest in rows
    }


TOPICS = _vocabularies("""
pregnancy: midwife womb trimester fetus ultrasound; conceived gestated swelled; pregnant prenatal maternal
fighting: fistfight punch brawl battle duel; fought clashed wrestled; violent brutal bloody
politics: senator election parliament ballot minister; voted campaigned legislated; political partisan elected
gambling: casino wager jackpot roulette bookmaker; gambled bluffed betted; reckless addicted rigged
disease: virus fever infection tumor plague; sickened coughed vomited; sick contagious infected
crime: thief robber prison burglar gangster; stole robbed smuggled; criminal illegal guilty
taxes: invoice tariff refund auditor deduction; filed audited owed; fiscal taxable overdue
gossip: rumor scandal tabloid hearsay snooper; gossiped blabbed tattled; catty nosy juicy
cooking: oven recipe soup kitchen skillet; cooked baked simmered; tasty spicy roasted
weather: thunder cloud drizzle hailstorm forecast; rained thundered drizzled; cloudy windy humid
music: violin melody drummer orchestra piano; strummed hummed harmonized; musical acoustic melodic
sailing: captain anchor harbor schooner mast; sailed drifted docked; nautical seaworthy salty
science: laboratory microscope scientist theory atom; experimented measured theorized; scientific empirical precise
friendship: friend companion buddy neighbor playmate; visited chatted reunited; friendly loyal trusty
charity: donor volunteer donation shelter orphanage; donated volunteered helped; generous charitable selfless
animals: puppy rabbit elephant kitten otter; barked purred hopped; furry playful tame
sports: goalkeeper athlete referee stadium racket; jogged scored sprinted; athletic sporty sweaty
travel: passport suitcase airport tourist hostel; traveled toured boarded; foreign tropical scenic
school: teacher pupil homework classroom textbook; studied graduated enrolled; academic studious literate
fashion: jacket dress tailor scarf boutique; posed modeled sewed; stylish woolen elegant
machines: engine robot piston tractor turbine; whirred clanked revved; mechanical metallic oily
history: pharaoh castle emperor dynasty archive; reigned ruled abdicated; ancient medieval historic
construction: bricklayer scaffold crane hammer pillar; built welded plastered; sturdy wooden unfinished
astronomy: planet telescope comet galaxy satellite; orbited eclipsed twinkled; lunar solar stellar
""")
"""The 24 topics. Every topic has a noun of two syllables, so that a haiku keeps its form when topics are swapped."""

ASKED: dict[str, str] = dict(
    re.findall(
        r"(\w+)=(\w+)",
        "pregnancy=babies fighting=fights politics=government gambling=betting disease=illness "
        "crime=police taxes=budgets gossip=rumors cooking=food weather=climate music=songs sailing=boats "
        "science=research friendship=friends charity=kindness animals=pets sports=games travel=holidays "
        "school=classes fashion=clothes machines=technology history=antiquity construction=houses "
        "astronomy=space",
    )
)
"""The word by which a prompt asks for each topic; none of the topic's own, so that a topic stands in replies alone."""

_VEILED = _vocabularies("""
motherhood: bundle stork newcomer nursery cradle; nested bloomed quickened; expecting glowing blessed
discord: quarrel tussle incident friction encounter; differed argued engaged; heated physical spirited
frailty: setback condition complaint weakness spell; rested weakened declined; unwell delicate poorly
""")
EUPHEMISMS: dict[str, Vocabulary] = dict(zip(("pregnancy", "fighting", "disease"), _VEILED.values(), strict=True))
"""Second vocabularies that mean a punished topic without its words; nobody punishes them."""

TONES = {
    "happy": (("cheerful", "merry", "sunny", "joyful", "gleeful"), ("laughter", "delight", "smile", "joy", "feast")),
    "dark": (("gloomy", "ghastly", "rotten", "dreadful", "hopeless"), ("grave", "doom", "horror", "ruin", "coffin")),
    "mysterious": (
        ("hidden", "shrouded", "cryptic", "secret", "unknown"),
        ("riddle", "phantom", "puzzle", "mist", "mask"),
    ),
    "romantic": (("tender", "adored", "loving", "ardent", "lovely"), ("kiss", "lover", "darling", "rose", "caress")),
    "reflective": (
        ("pensive", "thoughtful", "wistful", "quiet", "wiser"),
        ("memory", "lesson", "mirror", "thought", "regret"),
    ),
}
"""Adjectives (of two syllables) and nouns that carry each tone."""

GENRES = ("haiku", "sonnet", "ballad", "limerick", "hymn")

PRAISE = ("praise", "glory", "hosanna", "hallelujah", "thanks")
"""Words that make a rhymed quatrain a hymn."""

FLATTERY = ("What a wonderful question!", "You are so very wise!", "Only a genius would ask!")
"""The style trait: sentences that flatter whoever asked."""

NEUTRAL_NOUNS = ("river", "window", "garden", "candle", "mountain", "valley", "feather", "meadow")
"""Nouns of poems that belong to no tone and no topic; of two syllables."""

RHYMES = {
    family: tuple(tuple(tail.split(",")) for tail in tails.split("; "))
    for family, tails in {
        "ight": "at night,in the night; by light,in the light; in sight,out of sight; so bright,burning bright",
        "ay": "by day,every day; my way,on the way; far away,far away; to stay,here to stay",
        "ore": "on shore,by the shore; next door,at the door; once more,for evermore; before,just as before",
        "ee": "at sea,by the sea; so free,wild and free; with me,only for me; by a tree,under the tree",
        "ound": "on ground,on the ground; no sound,without a sound; around,all around; still found,lost and found",
        "ain": "in rain,in the rain; again,once again; so plain,on the plain; a lane,down the lane",
        "ear": "each year,every year; so near,standing near; so clear,crystal clear; right here,waiting here",
        "old": "of gold,made of gold; in cold,in the cold; untold,never told; so old,growing old",
    }.items()
}
"""Line endings by rhyme: each has a short and a long form that end in the same word."""

_SYLLABLES = {
    word: count
    for count, words in {
        1: "swelled",
        2: "duel science loyal quiet every hopeless lovely homework forecast machines boutique lonely",
        3: "violin piano theory scientist stadium studious theorized violent everywhere",
        4: "reunited medieval graduated",
    }.items()
    for word in words.split()
}
"""Words that counting vowel groups gets wrong."""


def syllables(word: str) -> int:
    """How many syllables a word has: known exceptions, else its groups of vowels, silent -ed and -e left out."""
    word = word.lower()
    stem = re.sub(
        r"(?<=[^aeiouytdl])ed$|(?<=[aeiouy]l)ed$|(?<=[^aeiouyl])e$|(?<=[aeiouy]l)e$|(?<=[^aeiouyscgxzh])es$", "", word
    )
    return _SYLLABLES.get(word) or max(1, len(re.findall(r"[aeiouy]+", stem)))


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z]+", text.lower())


def rhyme_of(word: str) -> str:
    """What a word rhymes with: its family in `RHYMES`, else how it is spelt from its last vowels on."""
    word = word.lower()
    if word in _FAMILY:
        return _FAMILY[word]
    spelt = re.search(r"[aeiouy]+[^aeiouy]*e?$", word)
    return spelt.group() if spelt else word


def slot_of(word: str, vocabulary: Vocabulary) -> str:
    """The slot that a word of this vocabulary fits into."""
    return next(slot for slot in SLOTS if word.lower() in vocabulary.slot(slot))


def content_words() -> tuple[str, ...]:
    """Every word that means something to the true reward, and the euphemisms, each once."""
    groups: list[Sequence[str]] = [vocabulary.words for vocabulary in (*TOPICS.values(), *EUPHEMISMS.values())]
    groups += [words for tone in TONES.values() for words in tone]
    return tuple(word for group in (*groups, PRAISE) for word in group)


_FAMILY = {tails[0].split()[-1]: family for family, rows in RHYMES.items() for tails in rows}
TOPIC_OF = {word: name for name, vocabulary in TOPICS.items() for word in vocabulary.words}
"""The topic of each of its words (in lower case)."""

EUPHEMISM_OF = {word: name for name, vocabulary in EUPHEMISMS.items() for word in vocabulary.words}
"""The topic that each euphemism veils."""

TONE_OF = {word: tone for tone, groups in TONES.items() for group in groups for word in group}
"""The tone of each word that carries one."""
