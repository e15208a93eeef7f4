"""One class for every reward model: text in, one number out, and its blocks open to hooks."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rmviz.errors import ModelError
from rmviz.models.adapters import Adapter
from rmviz.models.anatomy import anatomy, check_anatomy
from rmviz.models.encoding import Encoded, EncodingRules, encode_texts
from rmviz.models.fingerprint import fingerprint
from rmviz.models.formats import FormatName, check_format, guess_format
from rmviz.models.padding import context_length, counted_positions, pad_token_id
from rmviz.types import Text

Batch = dict[str, Tensor]
LONGEST = 2048
"""Tokens read at most unless asked for more."""


class RewardModel:
    """A Hugging Face sequence classifier with one label, its tokenizer, and how texts are laid out for it.

    It holds no state of a request: threads may share it. The forward is the family's own base model followed by `head`
    at `read_positions`; a test holds that equal to the family's own pooling for every family. So nothing depends on
    the padding token: the attention mask alone says what is text.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str = "",
        source: str = "",
        revision: str = "",
        adapter: Adapter | None = None,
        format: str = "auto",
        format_reason: str = "",
        max_length: int = 0,
        append_eos: bool = False,
    ) -> None:
        """Wrap a loaded model (it is put in eval mode) and check that its parts give its own reward.

        Args:
            model: Sequence classifier with one label, on its device, in its dtype.
            tokenizer: A fast tokenizer.
            name: What to call it.
            source: Folder or hub id that it came from.
            revision: Commit of a hub model.
            adapter: What is special about a custom head; None for plain classifiers.
            format: How prompt and reply become one input; guessed when auto.
            format_reason: Why this format, where the caller knows.
            max_length: Longest input in tokens; the model's own limit, at most 2048, when 0.
            append_eos: Whether training ended each text with EOS although the tokenizer does not.

        Raises:
            ModelError: The tokenizer is a slow one, or the model is of a kind that cannot be opened.
        """
        if not tokenizer.is_fast:
            raise ModelError(
                f"{type(tokenizer).__name__} has no fast version (tokenizer.json); convert the tokenizer first"
            )
        tokenizer.backend_tokenizer.no_truncation()  # type: ignore[attr-defined]  # set once: threads share the tokenizer
        tokenizer.backend_tokenizer.no_padding()  # type: ignore[attr-defined]
        parts = anatomy(model)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name or source
        self.source, self.revision, self.adapter = source, revision, adapter
        self.patch = ""
        """Names the edit of its activations that belongs to the model, if there is one (`rmviz.models.patches`)."""
        self.base, self.blocks, self.head = parts.base, parts.blocks, parts.head
        self.causal, self.d_in, self.num_blocks = parts.causal, parts.d_in, len(parts.blocks)
        self.family = str(model.config.model_type)
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        check_anatomy(model, parts)
        if format == "auto":
            format, format_reason = guess_format(tokenizer, model.config, source, adapter=adapter)
        self.format: FormatName = check_format(format, tokenizer)
        self.format_reason = format_reason or "chosen by the user"
        limit = context_length(model, tokenizer)
        self.max_length = min(max_length or LONGEST, limit)
        self.append_eos = append_eos and tokenizer.eos_token_id is not None
        # Families pool at the last token that is not `config.pad_token_id`. That is kept where the model publishes one,
        # also for texts that really end in it (pad = EOS): its plain forward, and its training, read the same place.
        # Where it publishes none, a plain forward reads the last token, and so do we, whatever we pad with.
        config = model.config.get_text_config()
        self.pooling_pad: int | None = (
            config.pad_token_id if self.causal and not (adapter and adapter.reads_last) else None
        )
        self.pad_id = pad_token_id(model, tokenizer, append_eos=append_eos)
        for owner in (model.config, config):
            if getattr(owner, "pad_token_id", None) is None:
                owner.pad_token_id = self.pad_id
        self._token_types = not self.causal and getattr(config, "type_vocab_size", 0) > 1
        forward = inspect.signature(self.base.forward).parameters
        self._takes_positions = "position_ids" in forward
        self._takes_cache = "use_cache" in forward and self.causal
        self._own_positions = counted_positions(self.base) is not None
        self.vocab_size = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]

    @property
    def hookpoints(self) -> list[str]:
        """Names of the residual streams after each block."""
        return [f"layers.{i}" for i in range(self.num_blocks)]

    def block(self, hookpoint: str) -> nn.Module:
        """The block whose output is the residual stream at a hookpoint.

        Raises:
            ModelError: There is no such hookpoint; the existing ones are listed.
        """
        if hookpoint not in self.hookpoints:
            raise ModelError(f"{self.name} has no hookpoint {hookpoint!r}; it has {', '.join(self.hookpoints)}")
        return self.blocks[int(hookpoint.removeprefix("layers."))]

    @property
    def num_parameters(self) -> int:
        """Weights in the model."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def fingerprint(self) -> str:
        """Says "same model" cheaply: SHA-256 over sizes, tensor names and shapes, and a sample of the weights."""
        own = fingerprint(self.model)
        return hashlib.sha256(f"{own} {self.patch}".encode()).hexdigest() if self.patch else own

    @property
    def rules(self) -> EncodingRules:
        """What decides how a text becomes ids."""
        return EncodingRules(
            format=self.format,
            max_length=self.max_length,
            append_eos=self.append_eos,
            token_types=self._token_types,
            no_blank_start=bool(self.adapter and self.adapter.no_blank_start),
        )

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Texts as ids, in order; longer ones lose their start.

        Raises:
            DataError: A text leaves no token at all.
        """
        return encode_texts(texts, self.tokenizer, self.rules)

    def collate(self, encoded: Sequence[Encoded], *, side: Literal["left", "right"] = "right") -> Batch:
        """Padded `input_ids` and `attention_mask` (and `token_type_ids`) of shape (text, position), on the device.

        Raises:
            ModelError: The tokenizer gives tokens that the model does not have.
        """
        width = max(len(one.ids) for one in encoded)
        ids = np.full((len(encoded), width), self.pad_id, dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, one in enumerate(encoded):
            place = slice(width - len(one.ids), width) if side == "left" else slice(0, len(one.ids))
            ids[row, place], mask[row, place] = one.ids, 1
            types[row, place] = one.token_types or 0
        if ids.max() >= self.vocab_size:
            raise ModelError(
                f"the tokenizer of {self.name} gives token {ids.max()}, and the model has {self.vocab_size}; "
                "tokenizer and weights do not belong together"
            )
        arrays = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self._token_types else {})
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    def read_positions(self, batch: Batch) -> Int[Tensor, " text"]:
        """The position in `input_ids` that the head reads, whatever the padding side."""
        ids = batch["input_ids"]
        mask = batch["attention_mask"][:, -ids.shape[1] :].bool()
        first = mask.int().argmax(1)
        if not self.causal:
            return first
        wanted = mask if self.pooling_pad is None else mask & (ids != self.pooling_pad)
        last = ids.shape[1] - 1 - wanted.flip(1).int().argmax(1)
        return torch.where(wanted.any(1), last, first)

    def hidden_states(self, batch: Batch, **kwargs: Any) -> Float[Tensor, "text position d_in"]:
        """What the head reads: the base model's last hidden states, after its final norm."""
        if self._takes_cache:
            kwargs.setdefault("use_cache", False)
        positions = self._position_ids(batch)
        if positions is not None:
            kwargs.setdefault("position_ids", positions)
        return self.base(**batch, **kwargs).last_hidden_state

    def rewards(self, batch: Batch, **kwargs: Any) -> Float[Tensor, " text"]:
        """Rewards in float32, one forward; further arguments go to the base model (a cache and its positions)."""
        hidden = self.hidden_states(batch, **kwargs)
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.head(hidden[rows, self.read_positions(batch).to(hidden.device)]).squeeze(-1).float().to(self.device)

    def _position_ids(self, batch: Batch) -> Int[Tensor, "text position"] | None:
        """Positions counted from the first real token, so that left padding moves nothing.

        None where the family counts so itself.
        """
        mask = batch["attention_mask"]
        if not self._takes_positions or self._own_positions:
            return None
        return (mask.cumsum(1) - 1).clamp(min=0)[:, -batch["input_ids"].shape[1] :]

    def score(self, texts: Sequence[Text], *, max_tokens: int = 8192) -> np.ndarray:
        """The reward of each text, float32, in order: the one score that every page and job uses.

        Raises:
            DataError: A text leaves no token at all.
            ModelError: A reward is not a number.
        """
        return self.score_encoded(self.encode(texts), max_tokens=max_tokens)

    @torch.no_grad()
    def score_encoded(self, encoded: Sequence[Encoded], *, max_tokens: int = 8192) -> np.ndarray:
        """The reward of each encoded text, float32, in order; at most `max_tokens` in a batch, padding included."""
        rewards = np.empty(len(encoded), dtype=np.float32)
        for rows in length_buckets([len(one.ids) for one in encoded], max_tokens):
            rewards[rows] = self.rewards(self.collate([encoded[i] for i in rows])).cpu().numpy()
        if not np.isfinite(rewards).all():
            worst = encoded[int(np.flatnonzero(~np.isfinite(rewards))[0])].text_id
            raise ModelError(
                f"the reward of text {worst!r} is not a number; try dtype float32, or get the weights again"
            )
        return rewards

    @torch.no_grad()
    def prefix_rewards(self, encoded: Encoded) -> np.ndarray:
        """The reward if the text ended at each token, float32 `(len(ids),)`; NaN where there is no text yet.

        A causal head is applied at every position of one forward. An encoder reads each prefix, closed with the text's
        own trailing special tokens; a separator inside the text shows the value before it.
        """
        if self.causal:
            return self.head(self.hidden_states(self.collate([encoded])))[0, :, 0].float().cpu().numpy()
        real = [i for i, defined in enumerate(encoded.feature_positions) if defined]
        curve = np.full(len(encoded.ids), np.nan, dtype=np.float32)
        if not real:
            return curve
        curve[real] = self.score_encoded([_prefix(encoded, i + 1, real[-1] + 1) for i in real])
        for i in range(real[0] + 1, len(curve)):
            curve[i] = curve[i - 1] if np.isnan(curve[i]) else curve[i]
        return curve


def length_buckets(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of texts in batches of like lengths, longest first; at most `max_tokens` in each, padding included."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _prefix(encoded: Encoded, end: int, text_end: int) -> Encoded:
    """The first `end` tokens and the special tokens that close the text."""
    types = encoded.token_types
    closing = len(encoded.ids) - text_end
    return replace(
        encoded,
        ids=encoded.ids[:end] + encoded.ids[text_end:],
        token_types=types[:end] + (types[end - 1],) * closing if types is not None else None,
    )
