"""Where the head reads when the padding token is also a token of the text."""

import numpy as np
import pytest
import torch
import transformers as hf

from rmviz.models.load import load_base, load_reward_model
from rmviz.types import Text

ENDS_IN_EOS = [
    Text(text_id="a", prompt="the dog", reply="jumps<|endoftext|>"),
    Text(text_id="b", prompt="", reply="a much longer text about the lazy fox and the dog, all of it<|endoftext|>"),
]


def plain_forward(folder, rm, texts):
    model = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([one.ids])).logits.item() for one in rm.encode(texts)]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_no_published_padding_reads_the_true_last_token(kind, make, tmp_path):
    tokenizer = make.byte_level_tokenizer(pad="<|endoftext|>")
    folder = make.publish(tmp_path, make.configs[kind](), tokenizer)
    rm = load_reward_model(folder, device="cpu")
    encoded = rm.encode(ENDS_IN_EOS)
    assert [one.ids[-1] for one in encoded] == [tokenizer.eos_token_id] * 2
    for side in ("left", "right"):
        batch = rm.collate(encoded, side=side)
        last = [int(torch.nonzero(row).max()) for row in batch["attention_mask"]]
        assert rm.read_positions(batch).tolist() == last
    np.testing.assert_allclose(rm.score(ENDS_IN_EOS), plain_forward(folder, rm, ENDS_IN_EOS), atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_published_padding_is_kept_as_the_family_pools_it(kind, make, tmp_path):
    """A model published with pad = EOS was trained, and is used, with the token before EOS read."""
    tokenizer = make.byte_level_tokenizer(pad="<|endoftext|>")
    config = make.configs[kind]()
    config.pad_token_id = tokenizer.eos_token_id
    folder = make.publish(tmp_path, config, tokenizer)
    rm = load_reward_model(folder, device="cpu")
    np.testing.assert_allclose(rm.score(ENDS_IN_EOS), plain_forward(folder, rm, ENDS_IN_EOS), atol=1e-5)
    left = rm.rewards(rm.collate(rm.encode(ENDS_IN_EOS), side="left")).numpy()
    np.testing.assert_allclose(left, rm.score(ENDS_IN_EOS), atol=1e-5)


def test_appended_eos_is_read(make, tmp_path):
    """With EOS at the end of every text, another token pads: the model's own batched forward reads EOS too."""
    tokenizer = make.byte_level_tokenizer(pad="<|endoftext|>")
    folder = make.publish(tmp_path, make.configs["llama"](), tokenizer)
    rm = load_reward_model(folder, device="cpu", append_eos=True)
    texts = [
        Text(text_id="a", prompt="the dog", reply="jumps"),
        Text(text_id="b", prompt="", reply="the quick brown fox"),
    ]
    encoded = rm.encode(texts)
    assert all(one.ids[-1] == tokenizer.eos_token_id and not one.feature_positions[-1] for one in encoded)
    assert rm.pad_id != tokenizer.eos_token_id
    with torch.no_grad():
        together = rm.model(**rm.collate(encoded)).logits[:, 0]
    np.testing.assert_allclose(rm.score(texts), together, atol=1e-5)


def test_a_base_and_what_is_saved_of_it_read_the_same_place(make, tmp_path):
    tokenizer = make.byte_level_tokenizer()
    config = make.configs["gpt_neox"]()
    torch.manual_seed(0)
    hf.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    rm = load_base(tmp_path / "lm", seed=0, device="cpu")
    rm.model.save_pretrained(tmp_path / "rm")
    rm.tokenizer.save_pretrained(tmp_path / "rm")
    again = load_reward_model(tmp_path / "rm", device="cpu")
    np.testing.assert_allclose(again.score(ENDS_IN_EOS), rm.score(ENDS_IN_EOS), atol=1e-6)
    with torch.no_grad():
        trained = rm.model.eval()(**rm.collate(rm.encode(ENDS_IN_EOS))).logits[:, 0]
    np.testing.assert_allclose(rm.score(ENDS_IN_EOS), trained, atol=1e-5)


def test_roberta_counts_positions_itself(tiny):
    """A text that holds the padding token itself, on either side of a batch."""
    rm = tiny("roberta")
    texts = [
        Text(text_id="a", prompt="the <pad> dog", reply="sky"),
        Text(text_id="b", prompt="a dog", reply="looks at the lazy fox"),
    ]
    with torch.no_grad():
        sides = [rm.rewards(rm.collate(rm.encode(texts), side=side)).numpy() for side in ("left", "right")]
    np.testing.assert_allclose(*sides, atol=1e-5)
