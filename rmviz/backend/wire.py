"""What the backend and its clients say to each other: checked records, plain JSON, no torch."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, model_validator

from rmviz.errors import BackendError
from rmviz.types import Text

MAX_CHARS = 1_000_000
MAX_TEXTS = 4_096
MAX_SCALES = 20_000
MAX_SCALE = 10.0
MAX_VALUE = 1e6
MAX_BODY = 64 * 1024 * 1024
"""Bytes of one request."""


class ReplacedError(BackendError):
    """A newer request of the same view made this one needless."""


_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean_text(value: Any) -> Any:
    """A string that JSON can carry: lone surrogates become U+FFFD; anything but a string is handed back."""
    return _SURROGATES.sub("\ufffd", value) if isinstance(value, str) else value


Words = Annotated[str, BeforeValidator(clean_text)]
Ref = Annotated[Words, Field(min_length=1, max_length=300)]
Number = float | None
Numbers = list[Number]


class Request(BaseModel):
    """Something a client asks; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """Something the backend answers; NaN and infinities, which JSON lacks, arrive as None."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class TextIn(Request):
    """A reply and the prompt it answers (empty: plain text), at most a million characters together."""

    prompt: Words = ""
    reply: Words = ""

    @model_validator(mode="after")
    def _short_enough(self) -> "TextIn":
        length = len(self.prompt) + len(self.reply)
        if length > MAX_CHARS:
            raise ValueError(f"a text may have at most {MAX_CHARS:,} characters, this one has {length:,}; shorten it")
        return self

    @classmethod
    def of(cls, text: "Text | TextIn | str") -> "TextIn":
        """The text to send: a record of rmviz, or a bare string."""
        if isinstance(text, TextIn):
            return text
        return cls(reply=text) if isinstance(text, str) else cls(prompt=text.prompt, reply=text.reply)

    @property
    def text(self) -> Text:
        """The record that the models read."""
        return Text(text_id="live", prompt=self.prompt, reply=self.reply)


class ScoreRequest(Request):
    """Rewards of some texts."""

    model: Ref
    texts: Annotated[list[TextIn], Field(max_length=MAX_TEXTS)]
    view: Annotated[Words, Field(max_length=200)] = ""
    """Who asks; a newer request of the same kind and view replaces one that still waits. Empty: never replaced."""


class PrefixRequest(Request):
    """The reward after each token of one text."""

    model: Ref
    text: TextIn
    view: Annotated[Words, Field(max_length=200)] = ""


class FeaturesRequest(Request):
    """Every feature that fires on one text, with its exact effect."""

    model: Ref
    sae: Ref
    text: TextIn
    limit: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Rows to send, largest absolute effect first; all are computed."""

    with_prefixes: bool = True
    view: Annotated[Words, Field(max_length=200)] = ""


Scale = Annotated[FiniteFloat, Field(ge=-MAX_SCALE, le=MAX_SCALE)]
Value = Annotated[FiniteFloat, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
FeatureId = Annotated[int, Field(ge=0, lt=2**31)]


class AblateRequest(Request):
    """The reward of one text with features switched off (scale 0), left alone (1), scaled, or set to a value."""

    model: Ref
    sae: Ref
    text: TextIn
    scales: Annotated[dict[FeatureId, Scale], Field(max_length=MAX_SCALES)]
    values: Annotated[dict[FeatureId, Value], Field(max_length=MAX_SCALES)] = Field(default_factory=dict)
    """The activation that a feature gets at every token where features are defined, whether it fires there or not."""

    with_prefixes: bool = False
    view: Annotated[Words, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _one_edit_each(self) -> "AblateRequest":
        if both := sorted(set(self.scales) & set(self.values)):
            raise ValueError(f"feature {both[0]} has both a scale and a value; give it one of them")
        return self


class ModelInfo(Answer):
    """Which model answered, and how it runs."""

    id: str
    name: str
    family: str
    format: str
    format_reason: str
    max_length: int
    causal: bool
    device: str
    dtype: str


class ScoreAnswer(Answer):
    """Rewards in the order of the texts, with what the reader should know of each."""

    rewards: Numbers
    num_tokens: list[int]
    num_cut: list[int]
    """Tokens dropped from the start of each text so that it fits the model."""
    off_format: list[str]
    info: ModelInfo


class ReadText(Answer):
    """One text as the model read it. `prefix_rewards` has one number per token: the reward if the text ended there.

    An encoder reads every prefix anew, so of long texts only `prefix_positions` are computed; the others are None.
    """

    tokens: list[Words]
    feature_positions: list[bool]
    """False at special tokens: features are defined where this is True."""
    reply_start: int
    num_cut: int
    off_format: Words
    reward: Number
    prefix_positions: list[int] = Field(default_factory=list)
    prefix_rewards: Numbers = Field(default_factory=list)
    info: ModelInfo


class PrefixAnswer(ReadText):
    """The reward after each token."""


class FeatureRow(Answer):
    """One feature that fires: where, how strongly, and what the reward loses without it."""

    feature: int
    effect: Number
    """Reward with the feature − reward without it, on this text."""
    first_order: Number
    max_activation: Number
    positions: list[int]
    activations: Numbers


class FeaturesAnswer(ReadText):
    """Every feature that fires, largest absolute effect first."""

    rows: list[FeatureRow]
    num_rows: int
    """Features that fire; more than `rows` when the limit cut them."""
    hookpoint: str
    d_sae: int
    method: str
    """How the effects were computed."""


class AblateAnswer(Answer):
    """Reward before and after the edit."""

    clean: Number
    ablated: Number
    fired: list[int]
    """The features of the request that fire on this text; of the others, only those that are set to a value change it."""
    tokens: list[Words]
    prefix_positions: list[int] = Field(default_factory=list)
    prefix_clean: Numbers = Field(default_factory=list)
    prefix_ablated: Numbers = Field(default_factory=list)
    info: ModelInfo


class LoadedModel(Answer):
    """A model in memory."""

    id: str
    name: str
    bytes: int
    saes: list[str]
    device: str
    dtype: str
    num_waiting: int


class Health(Answer):
    """How the backend is."""

    version: str
    pid: int
    workspace: str
    started: float
    models: list[LoadedModel]
    used_bytes: int
    budget_bytes: int
    process_bytes: int
    device: str
    dtype: str


class Problem(Answer):
    """Why a request was not answered; `error` is the name of an error of rmviz."""

    error: str
    message: Words


def words_of(problems: Sequence[Any]) -> str:
    """Pydantic's complaints as one sentence each, without the input they echo."""
    lines = []
    for problem in problems[:5]:
        place = ".".join(str(part)[:60] for part in problem.get("loc", ()) if part != "body")
        lines.append(f"{place}: {problem.get('msg', 'not valid')}" if place else str(problem.get("msg", "not valid")))
    more = len(problems) - 5
    return str(clean_text("; ".join(lines) + (f"; and {more} more" if more > 0 else "")))
