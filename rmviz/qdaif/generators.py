"""What writes the poems of a map: one small protocol, and the generators."""

import random
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rmviz.asking.local import LocalModel, continuations
from rmviz.asking.remote import RemoteModel
from rmviz.configs.axes import Grid
from rmviz.qdaif import prompts
from rmviz.qdaif.requests import Request
from rmviz.world import grammar

SEED_POEM = "Frost on the window\nyesterday's footprints filling\nthe kettle listens"
"""What fixed_seed rewrites unless another poem is given."""


@runtime_checkable
class Generator(Protocol):
    """Writes poems."""

    name: str
    """What wrote them, for the record."""

    def written(self, requests: Sequence[Request], *, seed: int) -> list[str]:
        """One text per request, in order; empty where none came. Local ones give the same for the same seed."""
        ...


class WorldGenerator:
    """The planted language model.

    It knows one prompt per kind of poem; what a move takes over from a parent is put into its mouth: a line of each
    parent opens the poem, and the model writes on.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, grid: Grid, **options: Any) -> None:
        """Take a model that was trained on the world's texts; options are those of `continuations`."""
        self.name, self.grid = "world", grid
        self._model, self._tokenizer, self._options = model, tokenizer, options

    def written(self, requests: Sequence[Request], *, seed: int) -> list[str]:
        """Poems that the model writes."""
        rng = random.Random(f"world {seed}")
        openings = [self._opening(request, rng) for request in requests]
        contexts = [f"\n\nHuman: {self._prompt(request, rng)}\n\nAssistant:" for request in requests]
        contexts = [
            f"{context} {opening}" if opening else context for context, opening in zip(contexts, openings, strict=True)
        ]
        texts = continuations(self._model, self._tokenizer, contexts, seed=seed, **self._options)
        return [opening + text for opening, text in zip(openings, texts, strict=True)]

    def _prompt(self, request: Request, rng: random.Random) -> str:
        if not request.labels:
            return grammar.open_prompt(rng)
        return f"Write a {' '.join(reversed(request.labels))} for {rng.choice(grammar.PEOPLE)}."

    def _opening(self, request: Request, rng: random.Random) -> str:
        """A line of each parent, in random order; one parent gives one or two of its own."""
        lines = [prompts.lines_of(source.text) for source in request.sources]
        number = rng.choice((1, 2)) if len(lines) == 1 else 1
        chosen = [line for some in lines for line in rng.sample(some, min(number, len(some)))]
        rng.shuffle(chosen)
        return "".join(f"{line.rstrip('.')}\n" for line in chosen)


class TransformersGenerator(LocalModel):
    """Asks a model on this machine for each poem: by instruction where it chats, else by examples."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, grid: Grid, **options: Any) -> None:
        """Take the map's axes for the words of a request; options are those of `LocalModel`."""
        super().__init__(model, tokenizer, **options)
        self.grid = grid

    def written(self, requests: Sequence[Request], *, seed: int) -> list[str]:
        """Poems that the model writes."""
        texts = self.answers([self._question(request) for request in requests], seed=seed)
        return texts if self.chats else [prompts.first_example(text) for text in texts]

    def _question(self, request: Request) -> str:
        return (prompts.instruction if self.chats else prompts.examples)(self.grid, request)


class RemoteGenerator(RemoteModel):
    """Asks a server for each poem."""

    def __init__(self, server: str, model: str, grid: Grid, **options: Any) -> None:
        """Take the map's axes for the words of a request; options are those of `RemoteModel`."""
        super().__init__(server, model, **options)
        self.grid = grid

    def written(self, requests: Sequence[Request], *, seed: int) -> list[str]:
        """Poems in the order of the requests; empty where the server answered with none."""
        return self.answers([prompts.instruction(self.grid, request) for request in requests], seed=seed)
