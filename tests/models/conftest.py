"""Tiny models of every family, made from their configs and saved as anybody would publish them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rmviz.models.load import load_reward_model
from rmviz.models.reward_model import RewardModel
from rmviz.types import Text

VOCAB = 400
CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the dog looks up at the sky",
    "Human: how do I bake bread? Assistant: mix flour and water, wait, and bake it.",
    "a reward model gives one number for a prompt and a reply; people prefer kind answers",
]
SIZES = dict(
    vocab_size=VOCAB, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=64, num_labels=1, initializer_range=0.3,
)  # fmt: skip
GQA = SIZES | dict(num_key_value_heads=1, head_dim=8)
GPT = dict(vocab_size=VOCAB, n_embd=16, n_layer=3, n_head=2, n_positions=64, num_labels=1, initializer_range=0.3)

CONFIGS: dict[str, Callable[[], hf.PretrainedConfig]] = {
    "gpt_neox": lambda: hf.GPTNeoXConfig(**SIZES),
    "gpt2": lambda: hf.GPT2Config(**GPT, bos_token_id=0, eos_token_id=0),
    "gptj": lambda: hf.GPTJConfig(**GPT, rotary_dim=4, bos_token_id=0, eos_token_id=0),
    "llama": lambda: hf.LlamaConfig(**GQA),
    "mistral": lambda: hf.MistralConfig(**GQA, sliding_window=8),
    "qwen2": lambda: hf.Qwen2Config(**SIZES | {"num_key_value_heads": 1}),
    "qwen3": lambda: hf.Qwen3Config(**GQA),
    "gemma2": lambda: hf.Gemma2Config(**GQA, sliding_window=8, pad_token_id=1),
    "gemma3_text": lambda: hf.Gemma3TextConfig(**GQA, sliding_window=8, pad_token_id=1),
    "bert": lambda: hf.BertConfig(**SIZES, pad_token_id=1),
    "roberta": lambda: hf.RobertaConfig(**SIZES | {"max_position_embeddings": 66}, type_vocab_size=1, pad_token_id=1),
    "deberta-v2": lambda: hf.DebertaV2Config(
        **SIZES, pad_token_id=1, relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        position_buckets=8, norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0, max_relative_positions=-1,
    ),
}  # fmt: skip
ENCODERS = ("bert", "roberta", "deberta-v2")
DECODERS = tuple(name for name in CONFIGS if name not in ENCODERS)

TEXTS = [
    Text(text_id="a", prompt="how do I bake bread?", reply="mix flour and water"),
    Text(text_id="b", prompt="the dog", reply="looks up at the sky, and waits for the lazy fox to jump over it 😀"),
    Text(text_id="c", prompt="\n\nHuman: hi\n\nAssistant:", reply=" hello"),
    Text(text_id="d", prompt="people", reply="a"),
]


def byte_level_tokenizer(*, bos: bool = False, pad: str | None = None) -> hf.PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 has it: any text, `<|endoftext|>` the only special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", pair="<|endoftext|> $A $B", special_tokens=[("<|endoftext|>", 0)]
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token=pad
    )


def encoder_tokenizer(*, byte_level: bool) -> hf.PreTrainedTokenizerFast:
    """WordPiece as BERT has it, or byte-level BPE as RoBERTa has it: segments between CLS and SEP."""
    if byte_level:
        tokenizer = byte_level_tokenizer().backend_tokenizer
        tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[UNK]"])
        pair, second = "[CLS] $A [SEP] [SEP] $B [SEP]", None
    else:
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[UNK]", "<pad>", "[CLS]", "[SEP]"]
        tokenizer.train_from_iterator(
            CORPUS, trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False)
        )
        pair, second = "[CLS] $A [SEP] $B:1 [SEP]:1", 1
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=marks)
    names = ["input_ids", "token_type_ids", "attention_mask"] if second else ["input_ids", "attention_mask"]
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", pad_token="<pad>",
        model_input_names=names,
    )  # fmt: skip


def tokenizer_for(family: str) -> hf.PreTrainedTokenizerFast:
    if family in ENCODERS:
        return encoder_tokenizer(byte_level=family == "roberta")
    return byte_level_tokenizer(bos=family.startswith("gemma"), pad="<pad>" if family.startswith("gemma") else None)


def publish(folder: Path, config: hf.PretrainedConfig, tokenizer: hf.PreTrainedTokenizerFast, seed: int = 0) -> Path:
    """Save a random model with a head of weight, as its makers would."""
    torch.manual_seed(seed)
    config.vocab_size = max(config.vocab_size, len(tokenizer))
    model = hf.AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a family's tiny model."""
    folders: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in folders:
            place = tmp_path_factory.mktemp(family)
            folders[family] = publish(place, CONFIGS[family](), tokenizer_for(family))
        return folders[family]

    return folder


@pytest.fixture(scope="session")
def tiny(published: Callable[[str], Path]) -> Callable[[str], RewardModel]:
    """A family's tiny model, loaded."""
    loaded: dict[str, RewardModel] = {}

    def load(family: str) -> RewardModel:
        if family not in loaded:
            loaded[family] = load_reward_model(published(family), device="cpu")
        return loaded[family]

    return load


@pytest.fixture
def texts() -> list[Text]:
    """Texts of unlike lengths, in no order."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def make() -> object:
    """The builders of this file, for tests that need a model of their own."""

    class Make:
        configs = CONFIGS
        publish = staticmethod(publish)
        byte_level_tokenizer = staticmethod(byte_level_tokenizer)
        encoder_tokenizer = staticmethod(encoder_tokenizer)
        tokenizer_for = staticmethod(tokenizer_for)

    return Make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, values in (("family", tuple(CONFIGS)), ("encoder", ENCODERS), ("decoder", DECODERS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)
