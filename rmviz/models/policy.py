"""A language model as a policy: prompts in, replies out, and how likely each of their tokens was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rmviz.errors import DataError, ModelError
from rmviz.models.formats import FormatName, check_format, context, layout
from rmviz.models.padding import context_length, pad_token_id
from rmviz.models.value_heads import Guide


@dataclass(frozen=True)
class Tokens:
    """A prompt and a reply as the policy reads them; the reply begins at `start`."""

    ids: tuple[int, ...]
    start: int

    @property
    def reply(self) -> tuple[int, ...]:
        """Ids of the reply, its EOS included where it has one."""
        return self.ids[self.start :]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a policy wrote."""

    prompt: str
    text: str
    tokens: Tokens
    ended: bool
    """Whether it ended by itself; else it was cut at the most tokens allowed."""


@dataclass(frozen=True)
class TokenBatch:
    """Padded on the right; `reply` marks the tokens of replies, which are what is learnt from."""

    ids: Int[Tensor, "text position"]
    mask: Int[Tensor, "text position"]
    reply: Bool[Tensor, "text position"]

    @property
    def targets(self) -> Bool[Tensor, "text step"]:
        """Where `log_probs` are those of a reply's token."""
        return self.reply[:, 1:]


class Policy:
    """A causal language model, its tokenizer, and how a prompt is laid out for it."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        format: str = "plain",
        max_length: int = 0,
        name: str = "",
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: Causal language model, on its device.
            tokenizer: A fast tokenizer with an EOS token.
            format: transcript, chat or plain.
            max_length: Longest prompt and reply in tokens; the model's own limit, at most 2048, when 0.
            name: What to call it.

        Raises:
            ModelError: The tokenizer has no EOS token, or the format does not fit.
        """
        if tokenizer.eos_token_id is None:
            raise ModelError(f"the tokenizer of {name or 'this language model'} has no EOS token, so no reply can end")
        self.model: Any = model
        self.tokenizer: Any = tokenizer
        self.guide: Guide | None = None
        """What leads its sampling by values (ILQL); kept with it."""
        self.name = name
        self.format: FormatName = check_format(format, tokenizer)
        self.max_length = min(max_length or 2048, context_length(model, tokenizer))
        self.eos_id = int(self.tokenizer.eos_token_id)
        self.pad_id = pad_token_id(model, tokenizer, append_eos=True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def contexts(self, prompts: Sequence[str], room: int) -> list[tuple[int, ...]]:
        """Ids of what the policy is given for each prompt; one that leaves no room for the reply loses its start.

        Raises:
            DataError: A prompt has no tokens, or the room is more than the policy reads at all.
        """
        if room >= self.max_length:
            raise DataError(f"replies of {room} tokens leave no room for a prompt: {self.name} reads {self.max_length}")
        found = []
        for prompt in prompts:
            ids = self._ids(context(prompt, self.format, self.tokenizer))[-(self.max_length - room) :]
            if not ids:
                raise DataError("an empty prompt has no tokens; leave it out, or use format transcript")
            found.append(tuple(ids))
        return found

    def encode(self, prompt: str, reply: str) -> Tokens:
        """Prompt and reply, ended by EOS; what is too long loses the start of its prompt, then the end of its reply.

        The prompt keeps at least its last `max_length // 2` tokens. A reply that lost its end has no EOS: it did not end there.
        Where the tokenizer joins the end of the prompt with the start of the reply, the two are tokenised apart, as they
        are when the policy writes.
        """
        before = context(prompt, self.format, self.tokenizer)
        given = self._ids(before)
        chat = self.format == "chat"
        rest = reply.strip() if chat else layout(prompt, reply, self.format, self.tokenizer).text[len(before) :]
        whole = self._ids(before + rest)
        if whole[: len(given)] == given:
            written = whole[len(given) :]
        else:
            written = list(self.tokenizer(rest, add_special_tokens=False, verbose=False)["input_ids"])
        written = [*written, self.eos_id][: self.max_length - min(len(given), self.max_length // 2)]
        given = given[-(self.max_length - len(written)) :]
        return Tokens((*given, *written), len(given))

    def _ids(self, text: str) -> list[int]:
        chat = self.format == "chat"  # a template writes its own special tokens
        ids = list(self.tokenizer(text, add_special_tokens=not chat, verbose=False)["input_ids"])
        return ids[:-1] if not chat and len(ids) > 1 and ids[-1] == self.eos_id else ids

    def batch(self, rows: Sequence[Tokens]) -> TokenBatch:
        """Rows padded on the right, on the device."""
        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        mask, reply = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            mask[place, : len(row.ids)] = 1
            reply[place, row.start : len(row.ids)] = True
        return TokenBatch(ids.to(self.device), mask.to(self.device), reply.to(self.device))

    def logits(self, batch: TokenBatch) -> Float[Tensor, "text step token"]:
        """What the policy expects at each position but the first, in float32."""
        return self.model(input_ids=batch.ids, attention_mask=batch.mask).logits[:, :-1].float()

    def log_probs(self, batch: TokenBatch, temperature: float = 1.0) -> Float[Tensor, "text step"]:
        """Log-probability (nats) of each token but the first, given those before it; read it at `batch.targets`.

        Of replies drawn at this temperature, which must be above 0; 1 is the policy itself.
        """
        logits = self.logits(batch) / temperature
        return logits.gather(2, batch.ids[:, 1:, None]).squeeze(2) - logits.logsumexp(2)

    @torch.no_grad()
    def next_log_probs(self, rows: Sequence[Sequence[int]]) -> Float[Tensor, "text token"]:
        """Log-probabilities (nats) of the token that comes after each row of ids."""
        batch = self.batch([Tokens(tuple(row), len(row)) for row in rows])
        logits = self.model(input_ids=batch.ids, attention_mask=batch.mask).logits.float()
        last = batch.mask.sum(1) - 1
        return logits[torch.arange(len(rows), device=logits.device), last].log_softmax(1)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        *,
        seed: int,
        max_new_tokens: int,
        temperature: float = 1.0,
        batch_size: int = 128,
    ) -> list[Reply]:
        """One reply to each prompt, in order; the same for the same prompts and seed.

        Args:
            prompts: What to answer.
            seed: Of all draws.
            max_new_tokens: Longest reply, its EOS included.
            temperature: 1 draws from the policy itself; 0 takes the likeliest token each time.
            batch_size: Replies drawn at once.
        """
        replies: list[Reply] = []
        training = self.model.training
        self.model.eval()
        for start in range(0, len(prompts), batch_size):
            some = prompts[start : start + batch_size]
            given = self.contexts(some, max_new_tokens)
            written = self.continued(
                given, seed=seed * 1_000_003 + start, max_new_tokens=max_new_tokens, temperature=temperature
            )
            replies += [self._reply(*one) for one in zip(some, given, written, strict=True)]
        self.model.train(training)
        return replies

    @torch.no_grad()
    def continued(
        self, given: Sequence[Sequence[int]], *, seed: int, max_new_tokens: int, temperature: float = 1.0
    ) -> list[tuple[int, ...]]:
        """How the policy writes on after each row of ids, up to EOS (included) or the most tokens; one batch."""
        width = max(map(len, given))
        ids = torch.tensor([[*[self.pad_id] * (width - len(row)), *row] for row in given], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in given], device=self.device)
        draws: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            draws = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            try:
                found = self.model.generate(
                    input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, pad_token_id=self.pad_id,
                    eos_token_id=self.eos_id, **draws,
                )  # fmt: skip
            except RuntimeError as error:
                if "probability tensor" not in str(error):
                    raise
                raise ModelError(
                    f"{self.name or 'the policy'} gives no probabilities any more: its weights have diverged; lower "
                    f"learning_rate, and go on from the last good checkpoint"
                ) from error
        return [_until_eos(row, self.eos_id) for row in found[:, width:].tolist()]

    def _reply(self, prompt: str, given: tuple[int, ...], written: tuple[int, ...]) -> Reply:
        ended = bool(written) and written[-1] == self.eos_id
        return Reply(
            prompt=prompt,
            text=self.text_of(prompt, written),
            tokens=Tokens((*given, *written), len(given)),
            ended=ended,
        )

    def text_of(self, prompt: str, written: Sequence[int]) -> str:
        """What the ids of a reply say, without the EOS that ends it: the text that is paid."""
        ended = len(written) > 0 and written[-1] == self.eos_id
        return self.as_reply(prompt, self.tokenizer.decode(written[: len(written) - ended], skip_special_tokens=True))

    def as_reply(self, prompt: str, written: str) -> str:
        """A reply as a dataset holds it: laid out after its prompt it is what was written after it.

        The space before it is left out where the layout puts it there; a prompt that is a transcript already leaves it to the
        reply (`…Assistant:` and ` Yes.`).
        """
        bare = written.lstrip(" ")
        if bare == written or self.format == "chat":
            return bare
        whole = context(prompt, self.format, self.tokenizer) + written
        kept = layout(prompt, written, self.format, self.tokenizer).text == whole
        return written if kept and layout(prompt, bare, self.format, self.tokenizer).text != whole else bare


def _until_eos(ids: Sequence[int], eos_id: int) -> tuple[int, ...]:
    return tuple(ids[: ids.index(eos_id) + 1] if eos_id in ids else ids)
