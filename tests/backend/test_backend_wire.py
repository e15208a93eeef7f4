"""Whatever is sent is either a checked record or one sentence of refusal."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rmviz.backend import wire
from rmviz.types import Text

any_text = st.text(st.characters(codec=None), max_size=40)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


def refusal(kind: type[wire.Request], values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    return wire.words_of(caught.value.errors())


@given(prompt=any_text, reply=any_text)
def test_any_text_travels(prompt: str, reply: str) -> None:
    sent = wire.TextIn.of(Text(text_id="x", prompt=prompt, reply=reply))
    assert wire.TextIn.model_validate_json(sent.model_dump_json()) == sent
    assert len(sent.text.reply) == len(reply)
    sent.text.reply.encode("utf-8")
    assert sent.text.prompt == prompt or any("\ud800" <= c <= "\udfff" for c in prompt)


@given(st.dictionaries(st.integers(0, 2**31 - 1), st.floats(-10, 10), max_size=8))
def test_scales_travel(scales: dict[int, float]) -> None:
    sent = wire.AblateRequest(model="m", sae="s", text=wire.TextIn(reply="t"), scales=scales)
    assert wire.AblateRequest.model_validate_json(sent.model_dump_json()).scales == scales


@given(st.floats() | st.integers())
def test_scales_outside_the_range_are_refused(scale: float) -> None:
    values = {"model": "m", "sae": "s", "text": {"reply": "t"}, "scales": {"7": scale}}
    if math.isfinite(scale) and -10 <= scale <= 10:
        assert wire.AblateRequest.model_validate(values).scales == {7: scale}
    else:
        assert "scales.7" in refusal(wire.AblateRequest, values)


@given(st.sampled_from([wire.ScoreRequest, wire.PrefixRequest, wire.FeaturesRequest, wire.AblateRequest]), any_json)
def test_any_json_is_a_record_or_a_sentence(kind: type[wire.Request], values: object) -> None:
    try:
        kind.model_validate(values)
    except ValidationError as error:
        words = wire.words_of(error.errors())
        assert words and len(words) < 2000
        words.encode("utf-8")


@given(st.lists(st.floats(), max_size=5))
def test_no_number_that_json_lacks_is_sent(numbers: list[float]) -> None:
    row = wire.FeatureRow(
        feature=1, effect=math.nan, first_order=math.inf, max_activation=1.0, positions=[], activations=[*numbers]
    )
    read = json.loads(row.model_dump_json(), parse_constant=pytest.fail)
    assert read["effect"] is None and read["first_order"] is None
    assert read["activations"] == [n if math.isfinite(n) else None for n in numbers]


def test_limits_are_said() -> None:
    text = {"reply": "t"}
    assert "at most 1,000,000 characters" in refusal(wire.TextIn, {"prompt": "a" * 600_000, "reply": "b" * 600_000})
    many = {str(i): 0 for i in range(20_001)}
    assert "20000" in refusal(wire.AblateRequest, {"model": "m", "sae": "s", "text": text, "scales": many})
    assert "texts" in refusal(wire.ScoreRequest, {"model": "m", "texts": [text] * 4097})
    assert "model" in refusal(wire.ScoreRequest, {"model": "", "texts": []})
    assert "scales.-1" in refusal(wire.AblateRequest, {"model": "m", "sae": "s", "text": text, "scales": {"-1": 0}})
    assert "extra" in refusal(wire.ScoreRequest, {"model": "m", "texts": [], "extra": 1})
