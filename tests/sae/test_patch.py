"""A patched model gives what the engine gives with the same features off or scaled, wherever it is loaded."""

import json
import shutil

import numpy as np
import pytest
import torch
from ablation.families import VOCAB, tiny_model, tiny_sae
from qdaif.fakes import Counting

from rmviz.ablation.engine import EffectEngine
from rmviz.configs.models import ModelConfig, PatchConfig, feature_scales
from rmviz.errors import ConfigError, ModelError
from rmviz.models import register
from rmviz.models.load import from_artifact, load_base, load_reward_model
from rmviz.models.register import keep_reward_model
from rmviz.sae import patch_job
from rmviz.sae.files import load_sae_artifact, save_sae
from rmviz.store.workspace import Workspace
from rmviz.types import Text

FAMILIES = [("gpt_neox", "layers.1"), ("llama", "layers.3"), ("gpt2", "layers.0"), ("bert", "layers.2")]


def made(root, family, hookpoint):
    space = Workspace(root)
    rm = tiny_model(family)
    model = keep_reward_model(space, rm, name="rm", format="plain")
    sae = tiny_sae(rm, hookpoint)
    sae.model_fingerprint = rm.fingerprint
    with space.create("sae", name="sae", parents=(model.id,)) as draft:
        save_sae(draft.folder / "sae", sae)
    return space


def texts(num_texts=12):
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{i}" for i in rng.integers(4, VOCAB, n)) for n in rng.integers(2, 14, 2 * num_texts)]
    return [Text(text_id=str(i), prompt=words[2 * i], reply=words[2 * i + 1]) for i in range(num_texts)]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    return made(tmp_path_factory.mktemp("space"), "gpt_neox", "layers.1")


@pytest.mark.parametrize(("family", "hookpoint"), FAMILIES)
def test_the_patched_reward_is_the_engines_with_the_same_set(tmp_path, family, hookpoint):
    space = made(tmp_path, family, hookpoint)
    config = PatchConfig(sae="sae", features="0, 1, 2, 3, 4=0.5, 5=-1, 6=3, 7=1")
    patched = from_artifact(patch_job.run(config, space, Counting(tmp_path / "job")))
    engine = EffectEngine(from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae")))
    encoded = engine.rm.encode(texts())
    wanted = np.array([engine.set_rewards(one, [feature_scales(config.features, 0.0)])[0] for one in encoded])
    found = patched.score(texts())
    assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, float(np.abs(wanted).max()))
    assert np.abs(found - engine.rm.score(texts())).max() > 1e-3
    left = (
        patched.rewards(patched.collate(patched.encode(texts()), side="left"))
        if patched.causal
        else torch.from_numpy(found)
    )
    np.testing.assert_allclose(left, found, atol=1e-4)


def test_it_is_a_model_of_its_own_and_stays_one_when_it_moves(space, tmp_path):
    artifact = patch_job.run(PatchConfig(sae="sae", features="0,1,2,3", name="mild"), space, Counting(tmp_path / "job"))
    patched, original = from_artifact(artifact), from_artifact(space.resolve("rm"))
    assert artifact.kind == "reward_model" and artifact.metrics["num_patched"] == 4
    assert patched.fingerprint != original.fingerprint and type(patched.model) is type(original.model)
    with pytest.raises(ModelError, match="trained on another model"):
        EffectEngine(patched, load_sae_artifact(space.resolve("sae")))
    folder = tmp_path / "elsewhere"
    shutil.copytree(artifact.folder / "model", folder)
    added = register.run(
        ModelConfig(source=str(folder), name="moved", format="plain"), space, Counting(tmp_path / "add")
    )
    np.testing.assert_array_equal(from_artifact(added).score(texts()), patched.score(texts()))


def test_effects_of_a_patched_model_are_those_of_the_naive_hook(space, tmp_path):
    from rmviz.ablation.naive import naive_effects

    patched = from_artifact(patch_job.run(PatchConfig(sae="sae", features="0,1,2,3,9"), space, Counting(tmp_path)))
    for hookpoint in ("layers.0", "layers.1", "layers.2"):
        sae = tiny_sae(patched, hookpoint)
        encoded = patched.encode(texts(6))
        rows, _ = EffectEngine(patched, sae).scan(encoded)
        wanted = naive_effects(patched, sae, encoded, range(sae.d_sae))
        assert np.abs(rows.effect - wanted[rows.text, rows.feature]).max() < 1e-4


def test_what_cannot_be_patched_is_a_sentence(space, tmp_path):
    for features, message in (("", "changes nothing"), ("3=1", "changes nothing"), ("99", "feature 99 does not exist")):
        with pytest.raises(ConfigError, match=message):
            patch_job.run(PatchConfig(sae="sae", features=features), space, Counting(tmp_path))
    for features in ("x", "-1", "3=y", "3=nan", "1.5"):
        with pytest.raises(ConfigError, match="features must be numbers"):
            PatchConfig(sae="sae", features=features)


def test_a_patched_model_is_not_trained_or_kept_without_its_patch(space, tmp_path):
    artifact = patch_job.run(PatchConfig(sae="sae", features="0"), space, Counting(tmp_path / "job"))
    with pytest.raises(ModelError, match="cannot be trained"):
        load_base(artifact, seed=0)
    with pytest.raises(ModelError, match="patch the original"):
        keep_reward_model(space, from_artifact(artifact), name="copy")


def test_a_patch_for_other_weights_or_a_broken_one_is_refused(space, tmp_path):
    artifact = patch_job.run(PatchConfig(sae="sae", features="0"), space, Counting(tmp_path / "job"))
    folder = tmp_path / "model"
    shutil.copytree(artifact.folder / "model", folder)
    record = folder / "rmviz_patch" / "patch.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"weights": "0" * 64}))
    with pytest.raises(ModelError, match="made for other weights"):
        load_reward_model(folder, format="plain")
    record.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_reward_model(folder, format="plain")
