"""Custom heads, each built and read here as its makers' class does, against the loader."""

import json

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import nn

from rmviz.models.load import load_reward_model
from rmviz.types import Text

TEXTS = [
    Text(text_id="a", prompt="how do I bake bread?", reply="mix flour and water"),
    Text(text_id="b", prompt="the dog", reply="a"),
]


def save(folder, trunk, prefix, head, config, tokenizer, architecture, head_file=None):
    """Weights under the names that a custom class would give them."""
    folder.mkdir(exist_ok=True)
    weights = {f"{prefix}.{name}": tensor.contiguous() for name, tensor in trunk.state_dict().items()}
    if head_file:
        save_file(head, folder / head_file, metadata={"format": "pt"})
    else:
        weights |= head
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    values = config.to_dict() | {"architectures": [architecture]}
    (folder / "config.json").write_text(json.dumps(values, default=str))
    tokenizer.save_pretrained(folder)


def by_hand(trunk, head, ids):
    with torch.no_grad():
        hidden = trunk(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)).long()).last_hidden_state
        return head(hidden[:, -1]).item()


@pytest.fixture
def tokenizer(make):
    return make.byte_level_tokenizer()


def test_ultrarm(make, tokenizer, tmp_path):
    config = make.configs["llama"]()
    config.pad_token_id = 0
    torch.manual_seed(0)
    trunk, head = hf.LlamaModel(config).eval(), nn.Linear(16, 1, bias=False)
    save(tmp_path, trunk, "model", {"regression_head.weight": head.weight.data}, config, tokenizer, "LlamaRewardModel")
    rm = load_reward_model(tmp_path, device="cpu")
    assert rm.adapter and rm.adapter.name == "ultrarm" and rm.format == "transcript"
    encoded = rm.encode(TEXTS)
    assert "".join(encoded[0].tokens) == "Human: how do I bake bread?\n\nAssistant: mix flour and water"
    assert "".join(encoded[0].tokens[encoded[0].reply_start :]).strip() == "mix flour and water"
    np.testing.assert_allclose(rm.score(TEXTS), [by_hand(trunk, head, one.ids) for one in encoded], atol=1e-5)
    ends_in_pad = [Text(text_id="c", prompt="the dog", reply="sky<|endoftext|>")]
    wanted = by_hand(trunk, head, rm.encode(ends_in_pad)[0].ids)
    np.testing.assert_allclose(rm.score(ends_in_pad), [wanted], atol=1e-5)


def test_v_head(make, tokenizer, tmp_path):
    config = make.configs["gptj"]()
    torch.manual_seed(0)
    trunk, head = hf.GPTJModel(config).eval(), nn.Linear(16, 1, bias=False)
    save(tmp_path, trunk, "transformer", {"v_head.weight": head.weight.data}, config, tokenizer, "GPTRewardModel")
    rm = load_reward_model(tmp_path, device="cpu", format="transcript")
    wanted = [by_hand(trunk, head, one.ids) for one in rm.encode(TEXTS)]
    np.testing.assert_allclose(rm.score(TEXTS), wanted, atol=1e-5)


@pytest.mark.parametrize("head_file", [None, "value_head.safetensors"])
def test_value_head_with_a_bias(make, tokenizer, tmp_path, head_file):
    config = make.configs["llama"]()
    torch.manual_seed(0)
    trunk, head = hf.LlamaModel(config).eval(), nn.Linear(16, 1)
    parts = {"v_head.summary.weight": head.weight.data, "v_head.summary.bias": head.bias.data + 5}
    with torch.no_grad():
        head.bias += 5
    save(tmp_path, trunk, "model", parts, config, tokenizer, "LlamaForCausalLM", head_file)
    rm = load_reward_model(tmp_path, device="cpu")
    wanted = [by_hand(trunk, head, one.ids) for one in rm.encode(TEXTS)]
    np.testing.assert_allclose(rm.score(TEXTS), wanted, atol=1e-5)
    assert min(wanted) > 1


def test_the_gptj_reward_model_is_a_plain_classifier(make, tokenizer, tmp_path):
    """As reciprocate/dahoas-gptj-rm-static was trained and is loaded by its users."""
    folder = make.publish(tmp_path / "dahoas-gptj-rm-static", make.configs["gptj"](), tokenizer)
    rm = load_reward_model(folder, device="cpu")
    assert rm.adapter is None and rm.format == "transcript" and rm.hookpoints[2] == "layers.2"
    assert rm.block("layers.2") is rm.model.transformer.h[2]
    plain = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = [plain(input_ids=torch.tensor([one.ids])).logits.item() for one in rm.encode(TEXTS)]
    np.testing.assert_allclose(rm.score(TEXTS), wanted, atol=1e-5)
