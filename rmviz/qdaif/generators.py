"""What writes the poems of a map: one small protocol, and the generators that run here."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rmviz.configs.axes import Grid
from rmviz.errors import ModelError
from rmviz.models.checkpoint import find_checkpoint
from rmviz.models.load import quieten
from rmviz.models.placement import choose_device, choose_dtype
from rmviz.qdaif import prompts
from rmviz.qdaif.requests import Request, question_seeds
from rmviz.store.artifact import Artifact
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


@runtime_checkable
class LanguageModel(Protocol):
    """Answers questions."""

    name: str
    """What answered, for the record."""

    def answers(
        self, questions: Sequence[str], *, seed: int | Sequence[int], told: Callable[[int, str], None] = ...
    ) -> list[str]:
        """One text per question, in order; empty where none came. `told` gets place and text of each as it comes.

        A seed of each question gives it the same seed in whatever company it is asked; else its place among them counts.
        """
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


class LocalModel:
    """A causal language model on this machine: asked through its chat template where it has one."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 16, **options: Any
    ) -> None:
        """Take a loaded model; options are those of `continuations`."""
        self.name = f"transformers {model.name_or_path}".strip()
        self._model, self._tokenizer, self._options = model, tokenizer, options
        self.batch_size = batch_size
        """Questions answered at once, drawn with the seed of the first."""
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    @property
    def loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model and its tokenizer."""
        return self._model, self._tokenizer

    @property
    def chats(self) -> bool:
        """Whether it has a chat template; one without only writes on."""
        return bool(self._tokenizer.chat_template)

    def answers(
        self,
        questions: Sequence[str],
        *,
        seed: int | Sequence[int],
        told: Callable[[int, str], None] = lambda place, answer: None,
    ) -> list[str]:
        """What it answers, or how it writes on; `told` gets the place and the text of each answer as it comes."""
        texts: list[str] = []
        seeds = question_seeds(seed, len(questions))
        for start in range(0, len(questions), self.batch_size):
            contexts = [self._context(question) for question in questions[start : start + self.batch_size]]
            some = continuations(self._model, self._tokenizer, contexts, seed=seeds[start], **self._options)
            for place, text in enumerate(some, start=start):
                told(place, text)
            texts += some
        return texts

    def _context(self, question: str) -> str:
        if not self.chats:
            return question
        message = [{"role": "user", "content": question}]
        return str(self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


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


@torch.no_grad()
def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    contexts: Sequence[str],
    *,
    seed: int,
    temperature: float = 1.0,
    max_new_tokens: int = 96,
) -> list[str]:
    """What a causal language model writes after each context, by plain sampling; the same for the same seed.

    A context that leaves no room for the answer loses its start.
    """
    inputs = tokenizer(list(contexts), return_tensors="pt", padding=True, padding_side="left").to(model.device)
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    if positions:
        room = max(1, positions - max_new_tokens)
        inputs = {name: inputs[name][:, -room:] for name in ("input_ids", "attention_mask")}
    generator: Any = model
    with torch.random.fork_rng():
        torch.manual_seed(seed % 2**63)
        ids = generator.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=True,
            temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip(" ") for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def load_language_model(source: Artifact | str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, from a policy of the workspace, a folder or the hub.

    Raises:
        ModelError: It cannot be loaded, or brings code of its own.
    """
    quieten()
    place = str(source.verify().folder / "model") if isinstance(source, Artifact) else source
    checkpoint = find_checkpoint(place)
    device = choose_device("auto")
    options: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, dtype=choose_dtype("auto", device), use_safetensors=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"{place} cannot be loaded as a language model: {reason}") from error
    placed: Any = model  # the stubs of `to` are those of a mixin
    return placed.to(device).eval().requires_grad_(False), tokenizer
