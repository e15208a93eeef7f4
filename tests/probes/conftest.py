"""A workspace with a tiny model on the planted world's words, an SAE whose features are known, and pairs."""

import random

import pytest
import torch
from ablation.families import tiny_sae
from qdaif.fakes import Counting

from rmviz.configs.world import WorldPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.models.load import load_base
from rmviz.models.register import keep_reward_model
from rmviz.sae.files import save_sae
from rmviz.store.workspace import Workspace
from rmviz.world import grammar
from rmviz.world.policy import language_model
from rmviz.world.tokenizer import world_tokenizer

__all__ = ["Counting"]


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("probes"))
    config, tokenizer = WorldPolicyConfig(d_model=16, num_blocks=2), world_tokenizer()
    folder = tmp_path_factory.mktemp("lm")
    language_model(config, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rm = load_base(folder, seed=0, format="transcript", max_length=128, name="rm")
    with torch.no_grad():
        rm.head.weight.mul_(50)
    model = keep_reward_model(workspace, rm, name="rm")
    sae = tiny_sae(rm, "layers.0", d_sae=48, k=3)
    sae.b_dec = torch.linspace(-0.1, 0.1, rm.d_in)
    sae.model_fingerprint = rm.fingerprint
    with workspace.create("sae", name="sae", parents=(model.id,)) as draft:
        save_sae(draft.folder / "sae", sae)
    rng = random.Random(0)
    keep_dataset(workspace, [grammar.pair(rng, f"p{i}") for i in range(160)], name="data", heldout=0.0, seed=0)
    return workspace
