"""The whole job on a tiny reward model, interrupted, damaged, and on bad input."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from sae.saes import dense
from sae.tiny import save_tiny_rm, some_pairs
from safetensors.torch import load_file

from rmviz.configs.models import ModelConfig
from rmviz.configs.sae import SAEConfig
from rmviz.data.keep import keep_dataset
from rmviz.errors import ModelError
from rmviz.jobs.run import run_job
from rmviz.models import register
from rmviz.models.load import from_artifact
from rmviz.sae import train
from rmviz.sae.add import add_sae
from rmviz.sae.checkpoints import load_checkpoint, save_checkpoint
from rmviz.sae.files import load_sae_artifact, save_sae
from rmviz.sae.report_card import report_card, warnings_of
from rmviz.sae.train import learning_rate, run
from rmviz.store.workspace import Workspace
from rmviz.types import Text

SETTINGS = SAEConfig(
    model="tiny",
    dataset="pairs",
    hookpoint="layers.1",
    d_sae=32,
    k=4,
    num_tokens=6400,
    batch_size=64,
    learning_rate=1e-2,
    dead_after=2000,
)
CARD = {
    "l0", "fvu", "fvu_with_sinks", "cosine", "cosine_with_sinks", "dead_share", "splice_pair_accuracy", "clean_pair_accuracy",
    "splice_spearman", "splice_margin_r2", "num_tokens", "num_pairs", "warnings",
}  # fmt: skip


def made(folder):
    """A workspace with a model and a dataset."""
    workspace = Workspace(folder / "ws")
    model = save_tiny_rm(folder / "model")
    run_job("model.add", ModelConfig(source=str(model), name="tiny", format="plain"), workspace, register.run)
    keep_dataset(workspace, some_pairs(40), name="pairs", heldout=0.25, seed=0)
    return workspace


@pytest.fixture
def workspace(tmp_path):
    return made(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A workspace that is only read, with a trained SAE."""
    workspace = made(tmp_path_factory.mktemp("kept"))
    return workspace, run_job("sae.train", SETTINGS, workspace, run)


class Interrupting:
    """A listener that presses Ctrl-C at the n-th report."""

    def __init__(self, at):
        self.left = at

    def __call__(self, kind, step, total, rate, metrics):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def report_often(monkeypatch):
    monkeypatch.setattr(train, "REPORT_SECONDS", 0.0)


def weights(artifact):
    return load_file(artifact.path("sae/sae_weights.safetensors"))


def test_the_job_leaves_an_sae_with_its_report_card(workspace):
    seen = []
    artifact = run_job("sae.train", SETTINGS, workspace, run, lambda *report: seen.append(report))
    assert {"sae/cfg.json", "sae/sae_weights.safetensors", "sae/rmviz.json", "report_card.json"} == set(artifact.files)
    rm, sae = from_artifact(workspace.resolve("tiny")), load_sae_artifact(artifact)
    sae.check_fits(rm)
    assert set(sae.report_card) >= CARD
    assert artifact.metrics["fvu"] == sae.report_card["fvu"] < 0.6
    assert artifact.metrics["num_alive"] + round(artifact.metrics["dead_share"] * 32) == 32
    assert json.loads((artifact.folder / "sae/cfg.json").read_text())["metadata"]["hook_name"] == "gpt_neox.layers.1"
    assert seen[-1][1] == seen[-1][2] == 6400
    assert set(seen[-1][4]) >= {"loss", "fvu", "l0", "dead_share", "rows_per_second"}


def test_sae_lens_gives_the_same_features_on_raw_residuals(kept):
    from sae_lens import SAE

    artifact = kept[1]
    h = torch.randn(30, 16) * 3
    with torch.no_grad():
        theirs = SAE.load_from_disk(artifact.folder / "sae").encode(h)
    torch.testing.assert_close(dense(load_sae_artifact(artifact), h), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "standard", "gated", "jumprelu", "matryoshka_batchtopk"])
def test_interrupted_training_goes_on_to_the_same_bits(workspace, tmp_path, architecture):
    config = replace(SETTINGS, architecture=architecture, num_tokens=2560)
    with pytest.raises(KeyboardInterrupt):
        run_job("sae.train", config, workspace, run, Interrupting(at=15))
    [checkpoint] = workspace.root.glob("jobs/*/checkpoints/step-*")
    assert 0 < int(checkpoint.name[5:]) < 40
    resumed = run_job("sae.train", config, workspace, run)
    unbroken = weights(run_job("sae.train", config, made(tmp_path / "other"), run))
    assert all(torch.equal(tensor, unbroken[name]) for name, tensor in weights(resumed).items())
    assert not list(workspace.root.glob("jobs/*/checkpoints/*"))


def test_a_signal_is_answered_after_the_step(workspace):
    def listener(kind, step, total, rate, metrics):
        if step == 640:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        run_job("sae.train", SETTINGS, workspace, run, listener)
    [checkpoint] = workspace.root.glob("jobs/*/checkpoints/step-*")
    assert checkpoint.name == "step-0000000010"


def test_diverging_training_says_so_and_keeps_the_last_good_checkpoint(workspace, monkeypatch):
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "1e-9")
    step = train.TopKTrainer.step

    def diverging(self, x, rate):
        return step(self, x * float("nan") if self._num_steps == 20 else x, rate)

    monkeypatch.setattr(train.TopKTrainer, "step", diverging)
    with pytest.raises(ModelError, match="learning_rate"):
        run_job("sae.train", SETTINGS, workspace, run)
    found = load_checkpoint(next(workspace.root.glob("jobs/*/checkpoints")))
    assert found is not None and found[1]["step"] == 20
    assert all(bool(tensor.isfinite().all()) for tensor in found[0].values())


def test_texts_alone_have_a_card_without_margins(workspace):
    texts = [text for pair in some_pairs(30, seed=5) for text in pair.texts]
    keep_dataset(
        workspace, [replace(text, pair_id="", side="text") for text in texts], name="texts", heldout=0.3, seed=0
    )
    artifact = run_job("sae.train", replace(SETTINGS, dataset="texts", num_tokens=640), workspace, run)
    card = artifact.read_json("report_card.json")
    assert card["splice_margin_r2"] is None and card["clean_pair_accuracy"] is None and card["num_pairs"] == 0
    assert card["splice_spearman"] is not None


@pytest.mark.parametrize("normalize", ["center", "none"])
def test_other_normalisations_train_too(workspace, normalize):
    artifact = run_job("sae.train", replace(SETTINGS, normalize=normalize, hookpoint=""), workspace, run)
    assert artifact.metrics["fvu"] < 0.7 and artifact.metrics["hookpoint"] == "layers.1"


def test_constant_activations_are_refused(workspace, monkeypatch):
    monkeypatch.setattr(train.ActivationStream, "sample", lambda self, number: torch.ones(50, 16))
    with pytest.raises(ModelError, match="all the same"):
        run_job("sae.train", SETTINGS, workspace, run)


def test_an_unknown_hookpoint_is_refused_before_anything_is_read(workspace):
    with pytest.raises(ModelError, match=r"layers\.0, layers\.1, layers\.2"):
        run_job("sae.train", replace(SETTINGS, hookpoint="layers.7"), workspace, run)


def test_learning_rate_warms_up_and_decays():
    rates = [learning_rate(1.0, step, 1000) for step in range(1000)]
    assert rates[0] < 0.1 and max(rates) == 1.0 and rates[19] == 1.0 and rates[799] == 1.0 and 0 < rates[-1] < 0.01
    assert np.all(np.diff(rates[800:]) < 0)


# checkpoints


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    rng = np.random.default_rng(0)
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"x": torch.full((50,), float(step))}, {"note": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000002", "step-0000000003"]
    file = tmp_path / "step-0000000003" / "state.safetensors"
    good = file.read_bytes()
    for _ in range(20):
        at = int(rng.integers(len(good)))
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :]):
            file.write_bytes(bad)
            tensors, facts = load_checkpoint(tmp_path)
            assert facts["note"] == 2 and float(tensors["x"][0]) == 2.0
    file.write_bytes(good)
    assert load_checkpoint(tmp_path)[1]["note"] == 3
    assert load_checkpoint(tmp_path / "none") is None


# report card


@pytest.fixture
def fitted(kept):
    workspace, artifact = kept
    return from_artifact(workspace.resolve("tiny")), load_sae_artifact(artifact)


def test_a_perfect_sae_has_a_perfect_card(fitted):
    rm, sae = fitted
    eye = torch.eye(16)
    both = torch.cat([eye, -eye])
    perfect = replace(
        sae, architecture="standard", k=None, W_enc=both.T, W_dec=both, b_enc=torch.zeros(32), b_dec=torch.zeros(16)
    )
    card = report_card(rm, perfect, some_pairs(20, seed=8))
    assert (
        card["fvu"] < 1e-9
        and card["cosine"] > 0.999
        and card["splice_spearman"] > 0.999
        and card["splice_margin_r2"] > 0.999
    )
    assert card["splice_pair_accuracy"] == card["clean_pair_accuracy"] and card["l0"] == pytest.approx(16)
    assert not card["warnings"]


def test_a_silent_sae_is_warned_of(fitted):
    rm, sae = fitted
    card = report_card(rm, replace(sae, b_enc=sae.b_enc - 1e6), some_pairs(20, seed=8))
    assert card["l0"] == 0 and card["dead_share"] == 1.0 and card["fvu"] > 0.9
    text = " ".join(card["warnings"])
    assert all(word in text for word in ("untrained", "collapsed", "No feature fires"))


def test_constant_rewards_leave_no_correlation(fitted):
    rm, sae = fitted
    one = some_pairs(1)[0].texts[0]
    card = report_card(rm, sae, [one, replace(one, text_id="again")])
    assert card["splice_spearman"] is None and any("do not vary" in warning for warning in card["warnings"])
    assert json.dumps(card, allow_nan=False)


def test_warnings_follow_the_figures():
    good = {"fvu": 0.1, "dead_share": 0.1, "splice_spearman": 0.95, "l0": 4.0}
    assert warnings_of(good, 4) == []
    for name, value in (("fvu", 0.6), ("dead_share", 0.7), ("splice_spearman", 0.5), ("l0", 1.0), ("fvu", None)):
        assert len(warnings_of(good | {name: value}, 4)) == 1


def test_a_card_of_another_model_is_refused(fitted):
    rm, sae = fitted
    for change, words in (
        ({"model_fingerprint": "f" * 64}, "another model"),
        ({"hookpoint": "layers.9"}, r"layers\.0"),
        ({"W_enc": torch.zeros(8, 32), "W_dec": torch.zeros(32, 8), "b_dec": torch.zeros(8)}, "width 8.*width 16"),
    ):
        with pytest.raises(ModelError, match=words):
            report_card(rm, replace(sae, **change), some_pairs(2))


# adding SAEs of others


def test_add_sae_keeps_a_copy_with_its_place(kept, fitted, tmp_path):
    workspace, (rm, sae) = kept[0], fitted
    save_sae(
        tmp_path / "theirs",
        replace(sae, hookpoint="", model_fingerprint=""),
        metadata={"hook_name": "gpt_neox.layers.1"},
    )
    (tmp_path / "theirs" / "rmviz.json").unlink()
    artifact = add_sae(workspace, tmp_path / "theirs", "tiny", name="theirs", data=some_pairs(5))
    again = load_sae_artifact(artifact)
    assert again.hookpoint == "layers.1" and again.model_fingerprint == rm.fingerprint
    assert artifact.metrics["fvu"] == again.report_card["fvu"] and artifact.parents == (workspace.resolve("tiny").id,)
    assert add_sae(workspace, tmp_path / "theirs", "tiny", name="theirs", data=some_pairs(5)).id == artifact.id
    assert load_sae_artifact(add_sae(workspace, tmp_path / "theirs", "tiny")).report_card == {}


def test_add_sae_asks_where_it_belongs(kept, fitted, tmp_path):
    workspace, (_, sae) = kept[0], fitted
    save_sae(
        tmp_path / "theirs",
        replace(sae, hookpoint="", model_fingerprint=""),
        metadata={"hook_name": "blocks.1.hook_mlp_out"},
    )
    with pytest.raises(ModelError, match=r"hook_mlp_out.*layers\.0, layers\.1"):
        add_sae(workspace, tmp_path / "theirs", "tiny")
    assert add_sae(workspace, tmp_path / "theirs", "tiny", hookpoint="layers.2").metrics["hookpoint"] == "layers.2"


def test_texts_of_a_text(fitted):
    rm, sae = fitted
    card = report_card(
        rm, sae, [Text(text_id="a", prompt="", reply="word1 word2"), Text(text_id="b", prompt="", reply="word39")]
    )
    assert card["num_texts"] == 2 and card["num_tokens"] == 3
