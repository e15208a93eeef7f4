"""A workspace with two tiny reward models, one causal and one encoder, and an SAE of each; real backends on it."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import uvicorn
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    GPTNeoXConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from rmviz.backend import client, process
from rmviz.models.load import from_artifact
from rmviz.models.register import keep_reward_model
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import save_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace

SENTENCE = "The moon is kind to those who read, and every poem ends in rain. "
_SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 256, "num_labels": 1, "pad_token_id": 0, "initializer_range": 0.3, "vocab_size": 300,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What a test may ask about."""

    workspace: Workspace
    causal: Artifact
    causal_sae: Artifact
    encoder: Artifact
    encoder_sae: Artifact


def tokenizer(encoder: bool) -> PreTrainedTokenizerFast:
    """Bytes as tokens, so that any text can be read."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocab = {token: i for i, token in enumerate([*special, *alphabet])}
    made = Tokenizer(models.BPE(vocab, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    if encoder:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def keep_model(workspace: Workspace, name: str, config: PreTrainedConfig, *, seed: int = 0) -> Artifact:
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    rm = RewardModel(model, tokenizer(config.model_type == "bert"), name=name, format="plain", max_length=128)
    return keep_reward_model(workspace, rm, name=name)


def keep_sae(workspace: Workspace, model: Artifact, name: str, *, d_sae: int = 48, k: int = 4) -> Artifact:
    rm = from_artifact(model)
    generator = torch.Generator().manual_seed(1)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, rm.d_in, generator=generator), dim=1)
    sae = SparseAutoencoder(
        architecture="topk",
        W_enc=W_dec.T.contiguous(),
        W_dec=W_dec,
        b_dec=torch.zeros(rm.d_in),
        b_enc=torch.zeros(d_sae),
        k=k,
        hookpoint="layers.1",
        model_fingerprint=rm.fingerprint,
    )
    with workspace.create("sae", name=name, parents=(model.id,)) as draft:
        save_sae(draft.folder / "sae", sae)
    return draft.kept


def causal_config(**changes: object) -> PreTrainedConfig:
    return GPTNeoXConfig(**{**_SHAPE, "attention_dropout": 0.0, "hidden_dropout": 0.0, **changes})


def encoder_config() -> PreTrainedConfig:
    return BertConfig(**_SHAPE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    workspace = Workspace(tmp_path_factory.mktemp("live"))
    causal = keep_model(workspace, "causal", causal_config())
    encoder = keep_model(workspace, "encoder", encoder_config())
    return Place(
        workspace,
        causal,
        keep_sae(workspace, causal, "causal-sae"),
        encoder,
        keep_sae(workspace, encoder, "encoder-sae"),
    )


@dataclass
class Served:
    """A backend in a thread of this process."""

    url: str
    token: str
    root: Path


@pytest.fixture(scope="session")
def served(place: Place) -> Iterator[Served]:
    from rmviz.backend.service import create_app

    app = create_app(place.workspace.root, "secret")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(f"http://127.0.0.1:{port}", "secret", place.workspace.root)
    server.should_exit = True
    thread.join(10)
    server.force_exit = True  # a request that hangs must not hang the tests
    thread.join(10)


@pytest.fixture
def live(served: Served, monkeypatch: pytest.MonkeyPatch) -> client.Backend:
    """A client of the backend in this process."""
    monkeypatch.setenv("RMVIZ_BACKEND", served.url)
    monkeypatch.setenv("RMVIZ_BACKEND_TOKEN", served.token)
    return client.Backend(served.root)


@pytest.fixture
def own_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], client.Backend]]:
    """The client as pages use it, with a backend in a process of its own, which ends with the test."""
    monkeypatch.delenv("RMVIZ_BACKEND", raising=False)
    code = "import sys; from rmviz.backend.service import serve; serve(sys.argv[1])"
    monkeypatch.setattr(process, "command", lambda root: [sys.executable, "-c", code, str(root)])
    monkeypatch.setattr(client, "_connected", {})
    yield lambda: client.backend(place.workspace.root)
    address = process.read_address(place.workspace.root)
    if address is not None:
        process.end(address)


def raw_json(value: object) -> bytes:
    """JSON as a careless client would send it: NaN and lone surrogates included."""
    return json.dumps(value).encode()
