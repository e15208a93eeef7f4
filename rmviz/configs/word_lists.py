"""Word lists: words and what may stand in their place; written in one line, or in a YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rmviz.configs.base import require
from rmviz.errors import ConfigError

STAND_IN = "something"
"""What stands in the place of a word that has no substitute."""

_LONGEST = 60


@dataclass(frozen=True)
class WordList:
    """Words or phrases of one meaning, in lower case, each with what may stand in its place. All are literal."""

    name: str
    substitutes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        require(bool(self.substitutes), f"the word list {self.name} is empty")
        require(all(word.strip() for word in self.substitutes), f"the word list {self.name} has an empty word")
        require(
            len(self.name) <= _LONGEST,
            f"names of word lists have at most {_LONGEST} characters, got {self.name[:80]!r}",
        )


def parse_word_lists(text: str) -> tuple[WordList, ...]:
    """Word lists from `name: word=substitute|substitute, word; name: …`; a single list needs no name.

    Every other character is literal; words that hold one of `:;,=|` stand in a lexicon file.

    Raises:
        ConfigError: A list has no words, or two have the same name.
    """
    lists = []
    for part in text.split(";"):
        if not part.strip():
            continue
        name, colon, rest = part.partition(":")
        words: dict[str, list[str]] = {}
        for entry in (rest if colon else part).split(","):
            word, _, others = entry.partition("=")
            if entry.strip():
                words[word.strip()] = [one.strip() for one in others.split("|") if one.strip()]
        lists.append(_word_list(name.strip() if colon else "words", words))
    return _distinct(lists)


def read_lexicon(path: str) -> tuple[WordList, ...]:
    """Word lists from a YAML (or JSON) file: names mapped to a list of words, or to words with one or more substitutes.

    Raises:
        ConfigError: The file cannot be read, or is of another form.
    """
    try:
        values: Any = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"the lexicon {path} cannot be read: {error}") from error
    wrong = f"the lexicon {path} must map names to words, as in `politics: {{senator: [official]}}`"
    require(isinstance(values, dict) and bool(values), wrong)
    lists = []
    for name, words in values.items():
        require(isinstance(words, dict | list) and bool(words), wrong)
        table = words if isinstance(words, dict) else dict.fromkeys(words)
        lists.append(_word_list(str(name), {str(word): _several(others) for word, others in table.items()}))
    return _distinct(lists)


def _several(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _word_list(name: str, words: Mapping[str, list[str]]) -> WordList:
    return WordList(name, {" ".join(word.lower().split()): tuple(others) for word, others in words.items()})


def _distinct(lists: list[WordList]) -> tuple[WordList, ...]:
    names = [one.name for one in lists]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(
        not twice, f"two word lists are called {', '.join(twice)}; give each its own name, as in `name: word, word`"
    )
    return tuple(lists)
