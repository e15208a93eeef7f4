"""Our SAEs in SAELens and SAELens' SAEs here: the same features both ways."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from sae.saes import D_IN, D_SAE, K, dense, random_sae
from safetensors.torch import load_file, save_file

from rmviz.errors import ModelError
from rmviz.sae.files import load_sae, save_sae
from rmviz.sae.hook_names import hookpoint_of
from rmviz.sae.whitening import folded, whitening

H = torch.randn(50, D_IN, generator=torch.Generator().manual_seed(9)) @ torch.diag(torch.logspace(-1, 1.5, D_IN)) + 3.0


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard", "gated"])
def test_saving_then_loading_is_identity(tmp_path, architecture):
    sae = random_sae(architecture)
    save_sae(tmp_path, sae)
    again = load_sae(tmp_path)
    assert (again.architecture, again.k, again.hookpoint, again.model_fingerprint) == (
        architecture,
        sae.k,
        "layers.1",
        "abc",
    )
    torch.testing.assert_close(dense(again, H), dense(sae, H))
    torch.testing.assert_close(again.decode(again.encode(H)), sae.decode(sae.encode(H)))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "standard", "gated"])
@pytest.mark.parametrize("normalize", ["whiten", "center", "none"])
def test_sae_lens_reads_a_folded_sae_as_it_is(tmp_path, architecture, center, normalize):
    from sae_lens import SAE

    map = whitening(H, normalize)
    trained = random_sae(architecture, center=center)
    save_sae(tmp_path, folded(trained, map), metadata={"hook_name": "gpt_neox.layers.1"})
    theirs = SAE.load_from_disk(tmp_path)
    ours = load_sae(tmp_path)
    with torch.no_grad():
        feature_acts, reconstruction = theirs.encode(H), theirs(H)
    torch.testing.assert_close(dense(ours, H), feature_acts, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.decode(ours.encode(H)), reconstruction, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dense(trained, map(H)), feature_acts, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        trained.decode(trained.encode(map(H))) @ map.backward + map.mean, reconstruction, atol=1e-3, rtol=1e-3
    )
    assert theirs.cfg.metadata.hookpoint == "layers.1" and theirs.cfg.metadata.hook_name == "gpt_neox.layers.1"


def sae_lens_sae(architecture: str, **settings):
    from sae_lens import SAE

    torch.manual_seed(4)
    k = {"k": K} if architecture == "topk" else {}
    metadata = {"sae_lens_version": "6.54.0", "hook_name": "blocks.1.hook_resid_post", "model_name": "tiny"}
    sae = SAE.from_dict(
        {"architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "metadata": metadata, **k, **settings}
    )
    with torch.no_grad():
        for name, tensor in sae.named_parameters():
            tensor.add_(0.2 * torch.randn_like(tensor))
            if name == "threshold":
                tensor.abs_()
    return sae


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("topk", {}),
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("topk", {"apply_b_dec_to_input": False}),
        ("jumprelu", {}),
        ("jumprelu", {"normalize_activations": "expected_average_only_in"}),
        ("standard", {}),
        ("standard", {"apply_b_dec_to_input": False}),
        ("gated", {}),
    ],
)
def test_features_of_sae_lens_saes_are_their_own(tmp_path, architecture, settings):
    theirs = sae_lens_sae(architecture, **settings)
    theirs.save_model(tmp_path)
    ours = load_sae(tmp_path)
    with torch.no_grad():
        feature_acts, reconstruction = theirs.encode(H), theirs(H)
    torch.testing.assert_close(dense(ours, H), feature_acts, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.decode(ours.encode(H)), reconstruction, atol=1e-4, rtol=1e-4)
    assert ours.hookpoint == "layers.1"


@pytest.mark.parametrize("normalize", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_saes_that_normalise_each_row_are_in_model_units(tmp_path, architecture, normalize):
    theirs = sae_lens_sae(architecture, normalize_activations=normalize)
    theirs.save_model(tmp_path)
    ours = load_sae(tmp_path)
    with torch.no_grad():
        feature_acts, reconstruction = theirs.encode(H), theirs(H)
    scale = H.std(dim=1, keepdim=True) if normalize == "layer_norm" else H.norm(dim=1, keepdim=True) / D_IN**0.5
    torch.testing.assert_close(dense(ours, H), feature_acts * scale, atol=1e-3, rtol=1e-4)
    acts = ours.encode(H)
    torch.testing.assert_close(ours.decode(acts), reconstruction, atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        without = theirs.decode(feature_acts_without(theirs, H, feature := int(acts.indices[0, 0])))
    value = dense(ours, H)[:, feature]
    torch.testing.assert_close(reconstruction - without, value.unsqueeze(1) * ours.W_dec[feature], atol=1e-3, rtol=1e-3)


def feature_acts_without(sae, h, feature):
    acts = sae.encode(h)
    acts[:, feature] = 0
    return acts


def test_batchtopk_of_sae_lens_arrives_as_jumprelu(tmp_path):
    from sae_lens import SAE, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    training = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K))
    training.topk_threshold.fill_(0.3)
    training.save_inference_model(tmp_path)
    ours, theirs = load_sae(tmp_path, hookpoint="layers.0"), SAE.load_from_disk(tmp_path)
    assert ours.architecture == "jumprelu" and ours.hookpoint == "layers.0"
    with torch.no_grad():
        torch.testing.assert_close(dense(ours, H), theirs.encode(H), atol=1e-4, rtol=1e-4)


def test_sae_lens_before_version_6_is_read_through_sae_lens(tmp_path):
    sae = random_sae("standard")
    save_sae(tmp_path, sae)
    (tmp_path / "rmviz.json").unlink()
    old = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "hook_name": "blocks.2.hook_resid_pre",
        "dtype": "float32",
        "activation_fn_str": "relu",
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    again = load_sae(tmp_path)
    assert again.hookpoint == "layers.1"
    torch.testing.assert_close(dense(again, H), dense(sae, H), atol=1e-5, rtol=1e-5)


def test_our_files_are_read_without_importing_sae_lens(tmp_path):
    save_sae(tmp_path, random_sae())
    code = (
        "import sys, pathlib; from rmviz.sae.files import load_sae; "
        f"load_sae(pathlib.Path({str(tmp_path)!r})); assert 'sae_lens' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def break_file(folder, change):
    tensors = load_file(folder / "sae_weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["W_enc"].__setitem__((0, 0), float("nan")), "NaN"),
        (lambda t: t["W_dec"].__setitem__((0, 0), float("inf")), "NaN or infinite"),
        (lambda t: t.pop("b_enc"), "lacks b_enc"),
        (lambda t: t.update(b_dec=torch.zeros(3)), "b_dec has shape"),
    ],
)
def test_bad_weights_are_refused(tmp_path, change, words):
    save_sae(tmp_path, random_sae())
    break_file(tmp_path, change)
    with pytest.raises(ModelError, match=words):
        load_sae(tmp_path)


@pytest.mark.parametrize("size", [0, 7, 100, 2000])
def test_truncated_weights_are_refused(tmp_path, size):
    save_sae(tmp_path, random_sae())
    weights = tmp_path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ModelError, match="damaged"):
        load_sae(tmp_path)


@pytest.mark.parametrize("config", ["", "[]", '{"architecture": "topk"', '{"architecture": 3}'])
def test_bad_configs_are_refused(tmp_path, config):
    save_sae(tmp_path, random_sae())
    (tmp_path / "cfg.json").write_text(config)
    with pytest.raises(ModelError):
        load_sae(tmp_path)


@pytest.mark.parametrize("k", [0, -1, 65, "6", None])
def test_impossible_k_is_refused(tmp_path, k):
    save_sae(tmp_path, random_sae())
    config = json.loads((tmp_path / "cfg.json").read_text()) | {"k": k}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="k must be"):
        load_sae(tmp_path)


def test_pickles_are_refused_unread(tmp_path):
    (tmp_path / "cfg.json").write_text("{}")
    (tmp_path / "sae.pt").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    for place in (tmp_path, tmp_path / "sae.pt"):
        with pytest.raises(ModelError, match=r"pickled.*save_file"):
            load_sae(place)


def test_a_folder_without_an_sae_and_other_kinds_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no cfg\.json"):
        load_sae(tmp_path)
    theirs = sae_lens_sae("standard")
    theirs.cfg.reshape_activations = "hook_z"
    theirs.cfg.metadata.hook_name = "blocks.0.attn.hook_z"
    theirs.save_model(tmp_path)
    with pytest.raises(ModelError, match="hook_z"):
        load_sae(tmp_path)


@pytest.mark.parametrize(
    ("name", "hookpoint"),
    [
        ("gpt_neox.layers.2", "layers.2"), ("model.layers.11", "layers.11"), ("transformer.h.0", "layers.0"),
        ("bert.encoder.layer.3", "layers.3"), ("blocks.2.hook_resid_post", "layers.2"), ("blocks.2.hook_resid_pre", "layers.1"),
        ("blocks.0.hook_resid_pre", ""), ("blocks.2.hook_mlp_out", ""), ("layers.4", "layers.4"), ("blocks.1.attn.hook_z", ""), ("", ""),
    ],
)  # fmt: skip
def test_hook_names_of_other_tools(name, hookpoint):
    assert hookpoint_of(name) == hookpoint


def test_encoding_in_slices_and_of_nothing(monkeypatch):
    from rmviz.sae import model

    for architecture in ("topk", "standard"):
        sae = random_sae(architecture)
        whole = dense(sae, H)
        with monkeypatch.context() as patch:
            patch.setattr(model, "_CHUNK", 3 * D_SAE)
            torch.testing.assert_close(dense(sae, H), whole)
        none = sae.encode(H[:0])
        assert none.indices.shape[0] == 0 and sae.decode(none).shape == (0, D_IN)


def test_an_sae_with_no_feature_on_gives_its_bias():
    sae = replace(random_sae("standard"), b_enc=torch.full((D_SAE,), -1e6))
    acts = sae.encode(H)
    assert not acts.values.any()
    torch.testing.assert_close(sae.decode(acts), sae.b_dec.expand(len(H), -1))
