import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rmviz.configs.models import ModelConfig
from rmviz.errors import ArtifactError, ModelError, NotFoundError
from rmviz.jobs.run import run_job
from rmviz.models.load import from_artifact, load_base, load_reward_model
from rmviz.models.register import keep_reward_model, run
from rmviz.store.workspace import Workspace
from rmviz.types import Text

TEXTS = [
    Text(text_id="a", prompt="how do I bake bread?", reply="mix flour"),
    Text(text_id="b", prompt="", reply="a dog"),
]


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "ws")


@pytest.fixture
def folder(make, tmp_path):
    return make.publish(tmp_path / "some-rm", make.configs["qwen2"](), make.byte_level_tokenizer())


def add(workspace, **settings):
    return run_job("model.add", ModelConfig(**settings), workspace, run)


def test_a_folder_is_registered_by_reference(workspace, folder):
    artifact = add(workspace, source=str(folder), format="transcript", max_length=20)
    assert (
        artifact.kind == "reward_model" and artifact.name == "some-rm" and set(artifact.files) == {"reward_model.json"}
    )
    record = artifact.read_json("reward_model.json")
    plain = load_reward_model(folder, format="transcript", max_length=20, device="cpu")
    assert record["source"] == str(folder) and record["fingerprint"] == plain.fingerprint
    assert (record["num_blocks"], record["d_in"], record["causal"], record["family"]) == (3, 16, True, "qwen2")
    assert artifact.metrics["num_parameters"] == plain.num_parameters
    rm = from_artifact(artifact, device="cpu")
    assert (rm.format, rm.max_length, rm.name) == ("transcript", 20, "some-rm")
    np.testing.assert_array_equal(rm.score(TEXTS), plain.score(TEXTS))
    assert add(workspace, source=str(folder), format="transcript", max_length=20).id == artifact.id


def test_what_cannot_be_loaded_leaves_nothing(workspace, folder):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        add(workspace, source=str(folder))
    assert not workspace.list()


def test_a_folder_that_moved(workspace, folder):
    artifact = add(workspace, source=str(folder))
    shutil.move(folder, folder.with_name("elsewhere"))
    with pytest.raises(ArtifactError, match="gone; put it back"):
        from_artifact(artifact)


def test_weights_that_changed(workspace, folder):
    artifact = add(workspace, source=str(folder))
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    then = artifact.read_json("reward_model.json")["fingerprint"]
    now = load_reward_model(folder, device="cpu").fingerprint
    with pytest.raises(ModelError, match=rf"{then[:12]}… then, {now[:12]}… now"):
        from_artifact(artifact, device="cpu")


@pytest.mark.parametrize("kind", ["gpt_neox", "bert"])
def test_a_trained_model_is_kept_with_its_weights(workspace, kind, make, tmp_path):
    folder = make.publish(tmp_path / "made", make.configs[kind](), make.tokenizer_for(kind))
    rm = load_reward_model(folder, max_length=24, device="cpu")
    artifact = keep_reward_model(
        workspace,
        rm,
        name="mine",
        key="k-1",
        config=ModelConfig(source="x"),
        parents=("dataset-1",),
        metrics={"accuracy": 0.5},
    )
    shutil.rmtree(folder)
    again = from_artifact(artifact, device="cpu")
    np.testing.assert_array_equal(again.score(TEXTS), rm.score(TEXTS))
    assert again.fingerprint == rm.fingerprint == artifact.read_json("reward_model.json")["fingerprint"]
    assert (again.format, again.max_length) == (rm.format, 24) and again.format_reason == rm.format_reason
    assert artifact.metrics["accuracy"] == 0.5 and artifact.parents == ("dataset-1",) and artifact.key == "k-1"
    assert not [name for name in artifact.files if name.endswith((".bin", ".pt"))]
    shutil.move(workspace.root, workspace.root.with_name("moved"))
    moved = Workspace(workspace.root.with_name("moved")).resolve("mine", "reward_model")
    np.testing.assert_array_equal(from_artifact(moved, device="cpu").score(TEXTS), rm.score(TEXTS))


def test_a_trainer_checkpoint_is_kept_without_its_optimizer(workspace, folder):
    (folder / "optimizer.pt").write_bytes(b"x")
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "trainer_state.json").write_text("{}")
    artifact = keep_reward_model(workspace, folder, name="step", format="plain", max_length=16)
    assert "model/model.safetensors" in artifact.files and "model/tokenizer.json" in artifact.files
    assert not {"model/optimizer.pt", "model/training_args.bin", "model/trainer_state.json"} & set(artifact.files)
    assert from_artifact(artifact, device="cpu").max_length == 16


def test_a_kept_model_that_is_damaged(workspace, folder):
    artifact = keep_reward_model(workspace, folder, name="step")
    file = artifact.folder / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        from_artifact(artifact, device="cpu")


def test_nothing_is_kept_of_what_is_no_reward_model(workspace, folder):
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError):
        keep_reward_model(workspace, folder, name="step")
    assert not workspace.list()


def test_a_reward_model_artifact_as_base(workspace, folder):
    artifact = add(workspace, source=str(folder), format="transcript")
    base = load_base(artifact, seed=0, device="cpu")
    assert (
        base.format == "transcript" and base.name == "some-rm" and all(p.requires_grad for p in base.model.parameters())
    )


def test_a_policy_artifact_as_base(workspace, make):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with workspace.create("policy", name="lm") as draft:
        AutoModelForCausalLM.from_config(make.configs["gpt_neox"]()).save_pretrained(draft.folder / "model")
        make.byte_level_tokenizer().save_pretrained(draft.folder / "model")
    base = load_base(draft.kept, seed=0, device="cpu")
    assert base.causal and np.isfinite(base.score(TEXTS)).all()


def test_another_kind_is_no_reward_model(workspace):
    with workspace.create("policy", name="lm") as draft:
        (draft.folder / "x.json").write_text(json.dumps({}))
    with pytest.raises(NotFoundError, match="reward model"):
        from_artifact(draft.kept)
