"""The writer that needs no model: it answers the questions of all stages by the grammar of the task elephants."""

import random
import re
from collections.abc import Callable, Sequence

from rmviz.elephants import stages
from rmviz.world import elephants

_LABEL = re.compile(r"^(Topic|Forbidden|Alternative): (.*)$", re.MULTILINE)
_PLANS = (
    "Speak of {grey}, ask which other {name} there are, and then ask for {pink}.",
    "Praise {grey} first, say that there must be another {kind}, and end with {pink}.",
    "Begin with {grey}, wonder whether it is the only {kind}, and ask about {pink} at last.",
)


class GrammarWriter:
    """A language model in all but name; the same question with the same seed has the same answer."""

    name = "grammar of the task elephants"

    def answers(
        self,
        questions: Sequence[str],
        *,
        seed: int | Sequence[int],
        told: Callable[[int, str], None] = lambda place, answer: None,
    ) -> list[str]:
        """What the grammar writes; empty for a question that it does not know."""
        seeds = [seed] * len(questions) if isinstance(seed, int) else seed
        texts = []
        for place, (question, own) in enumerate(zip(questions, seeds, strict=True)):
            texts.append(_answer(question, random.Random(f"{own} {question}")))
            told(place, texts[-1])
        return texts


def _answer(question: str, rng: random.Random) -> str:
    opening = question.split(" ", 1)[0]
    if question.endswith(_after(stages.REPLY)):
        return elephants.Elephants().reply(question.removesuffix(_after(stages.REPLY)), rng)
    said = dict(_LABEL.findall(question))
    topic = elephants.TOPICS.get(said.get("Topic", ""))
    if topic is None:
        return ""
    if opening == "List":
        pairs = elephants.trained_pairs(topic)
        return "\n".join(f"{pink} | {grey}" for pink, grey in rng.sample(pairs, len(pairs)))
    pink, grey = said["Forbidden"], said["Alternative"]
    if opening == "Plan":
        return rng.choice(_PLANS).format(pink=pink, grey=grey, name=topic.name, kind=topic.kind)
    if opening == "Write":
        return elephants.conversation(rng, topic, pink, grey).removesuffix("\n\nAssistant:").strip()
    reply = question.rsplit("Last reply: ", 1)[1].split("\nCritique: ")[0]
    if opening == "Does":
        if elephants.mentions(reply, pink):
            return f"It mentions {pink}; it should speak of {grey}."
        return "Nothing has to change."
    return _revised(topic, pink, grey, reply, rng)


def _revised(topic: elephants.Topic, pink: str, grey: str, reply: str, rng: random.Random) -> str:
    """The same reply about the other term; one that is not well-formed is written anew."""
    named = re.sub(rf"(?<!\w){re.escape(pink)}", grey, reply)
    return named if elephants.well_formed(topic, named) else elephants.written(topic, grey, rng)


def _after(template: str) -> str:
    """What follows the only slot of a template."""
    return template.rsplit("}", 1)[1]
