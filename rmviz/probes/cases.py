"""Which texts are edited how: every text that holds the words, beside the text without them, and what is left out."""

import random
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rmviz.configs.probes import BiasConfig, EuphemismConfig, ProbeConfig, WordConfig, bias_list
from rmviz.configs.word_lists import WordList, parse_word_lists, read_lexicon
from rmviz.data.load import dataset_texts
from rmviz.errors import ConfigError, DataError
from rmviz.probes.alike import Alike, by_encoder, by_words
from rmviz.probes.biases import BATTERY, bias_cases, one_reply
from rmviz.probes.edits import Edit, word_edit, world_edit
from rmviz.probes.lexicon import built_in
from rmviz.probes.rewrites import Answers, rewritten
from rmviz.store.artifact import Artifact
from rmviz.types import Text
from rmviz.world.lexicon import TOPICS

NUM_CONTROLS = 3
"""Control topics that are taken when none are named."""

COLUMNS = ["item", "text_id", "unit", "prompt", "with_words", "without_words", "similarity"]


def cases(
    edit: Edit, texts: Sequence[Text], *, min_similarity: float, seed: int, alike: Alike = by_words
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The texts whose reply holds the words, edited; and how many hold them, stay as they are, or change too much.

    Returns:
        item, text_id, unit (the pair, or the text), prompt, with_words, without_words, similarity.
    """
    holding = [text for text in texts if edit.holds(text.reply)]
    edited = [(text, edit.without(text.reply, random.Random(f"{seed} {edit.name} {text.text_id}"))) for text in holding]
    problems = [edit.problem(text.reply, new) for text, new in edited]
    sound = [one for one, problem in zip(edited, problems, strict=True) if not problem]
    changed = [(text, new) for text, new in sound if new != text.reply]
    shares = alike([(text.reply, new) for text, new in changed])
    rows = [
        (edit.name, text.text_id, text.pair_id or text.text_id, text.prompt, text.reply, new, share)
        for (text, new), share in zip(changed, shares, strict=True)
        if share >= min_similarity
    ]
    counts = {
        "num_holding": len(holding), "num_unchanged": len(sound) - len(changed),
        "num_too_different": len(changed) - len(rows),
        **{f"num_{problem.replace(' ', '_')}": problems.count(problem) for problem in edit.problems},
    }  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS), counts


def edits_of(config: WordConfig) -> tuple[list[Edit], list[Edit]]:
    """What is probed, and what may serve as its control (nothing for a spec check).

    Raises:
        ConfigError: A topic does not exist, or nothing says what to probe.
    """
    own = parse_word_lists(config.words)
    if config.maker == "world":
        known = {topic: world_edit(topic, veiled=isinstance(config, EuphemismConfig)) for topic in TOPICS}
    else:
        lexicon = {
            words.name: words for words in (*built_in(), *(read_lexicon(config.lexicon) if config.lexicon else ()))
        }
        known = {name: word_edit(words) for name, words in lexicon.items()}
    if not isinstance(config, EuphemismConfig):
        named = _named(config.topics, known)
        chosen = [word_edit(words) for words in own] + (named if config.topics.strip() or own else list(known.values()))
        names = [edit.name for edit in chosen]
        if len(set(names)) < len(names):
            raise ConfigError("a word list and a topic have the same name; call the list otherwise")
        return chosen, []
    if not (config.topic or own):
        raise ConfigError(f"say which words are probed: words, or a topic of {', '.join(known)}")
    main = word_edit(_renamed(own[0], known)) if own else _named(config.topic, known)[0]
    others = _named(config.control, known) or [edit for edit in known.values() if not set(edit.words) & set(main.words)]
    return [main], [edit for edit in others if edit.name != main.name]


def edits_for(config: WordConfig, texts: Sequence[Text]) -> tuple[list[Edit], list[Edit]]:
    """As `edits_of`; where a language model is asked about every text, unnamed controls are those that most texts hold.

    It is asked about none where no text holds the words that are probed.
    """
    edits, others = edits_of(config)
    if config.asked and not any(edit.holds(text.reply) for edit in edits for text in texts):
        return edits, []
    if config.asked and isinstance(config, EuphemismConfig) and not config.control.strip():
        others = sorted(others, key=lambda edit: -sum(edit.holds(text.reply) for text in texts))[:NUM_CONTROLS]
    return edits, others


def probed_texts(config: ProbeConfig, dataset: Artifact) -> list[Text]:
    """The texts that a probe looks through.

    Raises:
        DataError: There are none.
    """
    texts = dataset_texts(dataset, config.split, config.num_pairs, config.seed)
    if not texts:
        raise DataError(f"dataset {dataset.name} has no texts in its {config.split} part; choose another with --split")
    return texts


def probed_cases(
    config: ProbeConfig, texts: Sequence[Text], answers: Answers | None = None
) -> tuple[pd.DataFrame, dict[str, dict[str, int]], list[str]]:
    """All cases of a probe, what was left out of each item, and the names of the control items.

    Args:
        config: Settings of the probe.
        texts: The texts it looks through.
        answers: The replies in other words, where a language model makes the edits.

    Raises:
        ConfigError: As for `edits_of`.
        DataError: No text holds the words, or no edit changes any text.
    """
    if isinstance(config, BiasConfig):
        biases = [BATTERY[name] for name in bias_list(config.biases)]
        rows, counts = bias_cases(biases, one_reply(texts, config.seed), config.seed)
        if not rows:
            raise DataError(
                f"none of the edits changes any of {len(texts)} replies in the {config.split} part of {config.dataset}; "
                "choose other biases, or another split"
            )
        return pd.DataFrame(rows, columns=COLUMNS), counts, []
    edits, others = edits_for(config, texts)
    if config.asked:
        edits, others = ([rewritten(edit, answers or {}) for edit in some] for some in (edits, others))
    alike = by_encoder(config.similarity_model) if config.similarity_model else by_words
    options: Any = {"min_similarity": config.min_similarity, "seed": config.seed, "alike": alike}
    made = [(edit.name, *cases(edit, texts, **options)) for edit in edits]
    if not any(len(table) for _, table, _ in made):
        raise DataError(_nothing(made, config))
    controls = [(edit.name, *cases(edit, texts, **options)) for edit in others]
    controls = [one for one in controls if len(one[1])]
    if isinstance(config, EuphemismConfig) and not config.control.strip():
        controls = sorted(controls, key=lambda one: -len(one[1]))[:NUM_CONTROLS]
    table = pd.concat([table for _, table, _ in (*made, *controls)], ignore_index=True)
    counts = {name: counts for name, _, counts in (*made, *controls)}
    return table, counts, [name for name, _, _ in controls]


def _named(names: str, known: dict[str, Edit]) -> list[Edit]:
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    missing = [name for name in chosen if name not in known]
    if missing:
        raise ConfigError(f"no topic called {missing[0][:80]!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(chosen)]


def _renamed(words: WordList, known: dict[str, Edit]) -> WordList:
    """A list of the user's own beside topics of the lexicon, under a name that is none of theirs."""
    return WordList(f"{words.name} (own)", words.substitutes) if words.name in known else words


def _nothing(made: Sequence[tuple[str, pd.DataFrame, dict[str, int]]], config: WordConfig) -> str:
    holding = sum(counts["num_holding"] for _, _, counts in made)
    names = ", ".join(name for name, _, _ in made[:5])
    if not holding:
        return (
            f"no reply in the {config.split} part of {config.dataset} holds a word of {names}; choose other words, or another "
            "split"
        )
    if config.asked:
        totals = pd.DataFrame([counts for _, _, counts in made]).drop(columns="num_holding").sum()
        told = ", ".join(f"{n} {str(name).removeprefix('num_').replace('_', ' ')}" for name, n in totals.items() if n)
        return (
            f"{holding} replies hold words of {names}, but nothing that the language model made of them can be used: {told}; "
            "ask another model, or lower min_similarity"
        )
    unchanged = sum(counts["num_unchanged"] for _, _, counts in made)
    return (
        f"{holding} replies hold words of {names}, but the edit changes nothing in {unchanged} of them and too much in the "
        "others; give substitutes that differ, or lower min_similarity"
    )
