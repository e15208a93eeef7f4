"""A workspace with a tiny untrained policy, two tiny reward models and an SAE."""

from dataclasses import asdict

import pytest
import torch
from ablation.families import tiny_sae
from qdaif.fakes import Counting

from rmviz.configs.map import MapConfig
from rmviz.configs.world import WorldPolicyConfig
from rmviz.models.load import load_base
from rmviz.models.register import keep_reward_model
from rmviz.qdaif import job
from rmviz.sae.files import save_sae
from rmviz.store.workspace import Workspace
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer

SMALL = MapConfig(
    model="rm", policy="lm", judge="asked", rows="tone: happy, dark, romantic", columns="genre: haiku, hymn",
    num_attempts=24, num_initial=8, batch_size=8, max_new_tokens=6, num_resamples=20, min_draws=2,
)  # fmt: skip


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("maps"))
    config = WorldPolicyConfig(d_model=16, num_blocks=2)
    tokenizer = world_tokenizer()
    with workspace.create("policy", name="lm", config=asdict(config)) as draft:
        language_model(config, len(tokenizer)).save_pretrained(draft.folder / "model")
        tokenizer.save_pretrained(draft.folder / "model")
    for seed, name in enumerate(("rm", "other-rm")):
        rm = load_base(workspace.resolve("lm"), seed=seed, format="transcript", max_length=128, name=name)
        with torch.no_grad():
            rm.head.weight.mul_(50)
        model = keep_reward_model(workspace, rm, name=name)
        if name == "rm":
            sae = tiny_sae(rm, "layers.0", d_sae=32, k=2)
            sae.model_fingerprint = rm.fingerprint
            with workspace.create("sae", name="sae", parents=(model.id,)) as draft:
                save_sae(draft.folder / "sae", sae)
    return workspace


@pytest.fixture(scope="session")
def map_artifact(space, tmp_path_factory):
    return job.run(SMALL, space, Counting(tmp_path_factory.mktemp("job")))
