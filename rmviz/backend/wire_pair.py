"""What the backend and its clients say to each other about a pair that is taken apart."""

from typing import Annotated

from pydantic import Field, model_validator

from rmviz.backend.wire import Answer, ModelInfo, Number, Numbers, Ref, Request, TextIn, Words
from rmviz.types import Pair


class PairIn(Request):
    """Two replies to one prompt, at most a million characters each with the prompt."""

    prompt: Words = ""
    chosen: Words = ""
    rejected: Words = ""

    @model_validator(mode="after")
    def _short_enough(self) -> "PairIn":
        for reply in (self.chosen, self.rejected):
            TextIn(prompt=self.prompt, reply=reply)
        return self

    @property
    def pair(self) -> Pair:
        """The record that the engine reads."""
        return Pair(pair_id="live", prompt=self.prompt, chosen=self.chosen, rejected=self.rejected)


class PairRequest(Request):
    """The margin of one pair taken apart."""

    model: Ref
    sae: Ref
    pair: PairIn
    view: Annotated[Words, Field(max_length=200)] = ""


class ShapleyRequest(Request):
    """The margin of one pair as Shapley values of its top features, all others together, and the SAE's error."""

    model: Ref
    sae: Ref
    pair: PairIn
    num_features: Annotated[int, Field(ge=1, le=100)] = 10
    num_permutations: Annotated[int, Field(ge=4, le=4096)] = 64
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    view: Annotated[Words, Field(max_length=200)] = ""


class PairSide(Answer):
    """One text of a pair, and the parts of its reward that are no features; see `Waterfall`."""

    reward: Number
    error: Number
    base: Number
    interaction: Number
    num_tokens: int
    num_cut: int
    off_format: Words


class PairAnswer(Answer):
    """A pair taken apart: a part of the margin is that part of the chosen text's reward − that of the rejected text's."""

    chosen: PairSide
    rejected: PairSide
    features: list[int]
    """All that fire on either text, largest |effect| on the margin first."""
    chosen_effects: Numbers
    rejected_effects: Numbers
    interaction_share: float
    """Size of the interaction rest of the margin, as a share of the size of all parts."""
    same: bool
    """Whether the model reads the same tokens on both sides."""
    d_sae: int
    method: str
    info: ModelInfo


class ShapleyAnswer(Answer):
    """Shapley values of the features, then of all others together, then of the SAE's error; with `empty` they sum to `full`."""

    features: list[int]
    value: Numbers
    error: Numbers
    """Standard errors."""
    low: Numbers
    high: Numbers
    """95 % intervals."""
    empty: Number
    """The base: the margin without any of them."""
    full: Number
    num_permutations: int
