"""A causal language model on this machine, and what it writes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalModel:
    """A causal language model on this machine: asked through its chat template where it has one."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 16,
        max_new_tokens: int = 96, **options: Any,
    ) -> None:  # fmt: skip
        """Take a loaded model; options are those of `continuations`."""
        self.name = f"transformers {model.name_or_path}".strip()
        self._model, self._tokenizer, self._options = model, tokenizer, options
        self.batch_size = batch_size
        """Questions answered at once, drawn with the seed of the first; an answer depends on its question alone where it is 1."""
        self.max_new_tokens = max_new_tokens
        """Tokens of an answer at most."""
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
        seeds, options = question_seeds(seed, len(questions)), {"max_new_tokens": self.max_new_tokens, **self._options}
        for start in range(0, len(questions), self.batch_size):
            contexts = [self._context(question) for question in questions[start : start + self.batch_size]]
            some = continuations(self._model, self._tokenizer, contexts, seed=seeds[start], **options)
            for place, text in enumerate(some, start=start):
                told(place, text)
            texts += some
        return texts

    def fits(self, question: str) -> bool:
        """Whether it reads all of a question and has room left for the answer."""
        room = _room(self._model, self.max_new_tokens)
        return not room or len(self._tokenizer(self._context(question))["input_ids"]) <= room

    def _context(self, question: str) -> str:
        if not self.chats:
            return question
        message = [{"role": "user", "content": question}]
        return str(self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


def question_seeds(seed: int | Sequence[int], num_questions: int) -> Sequence[int]:
    """The seed of each question, from the one of all or as given."""
    return [seed * 4099 + place for place in range(num_questions)] if isinstance(seed, int) else seed


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
    if room := _room(model, max_new_tokens):
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


def _room(model: PreTrainedModel, max_new_tokens: int) -> int:
    """Tokens that a context may have; 0 sets no bound."""
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    return max(1, positions - max_new_tokens) if positions else 0
