"""The job that keeps the organism: its reward model with the exact truth beside it, its texts, and its SAE."""

import random
from typing import Any

from rmviz.configs.base import to_dict
from rmviz.configs.world import OrganismConfig
from rmviz.data.add import keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.models.load import load_reward_model
from rmviz.models.register import facts_of, record_of
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import save_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.report_card import report_card
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Draft, Workspace
from rmviz.types import Pair, Report
from rmviz.world import grammar
from rmviz.world.organism import HOOKPOINT, Organism, organism, organism_dictionary, organism_model
from rmviz.world.tokenizer import world_tokenizer

NAME, TEXTS_NAME, SAE_NAME = "organism", "organism-texts", "organism-sae"


def run(config: OrganismConfig, workspace: Workspace, report: Report) -> Artifact:
    """Keep the reward model (with `truth.json`), its texts and its SAE.

    The model is kept last, so that it never stands without the others.
    """
    key, settings = report.key, to_dict(config)
    texts = workspace.by_key(f"{key}/texts") or keep_dataset(
        workspace, _pairs(config), name=TEXTS_NAME, key=f"{key}/texts", config=settings, heldout=0.0, seed=config.seed
    )
    report(1, 3)
    truth = organism(world_tokenizer(), config.seed)
    with workspace.create("reward_model", name=NAME, key=key, config=settings, parents=(texts.id,)) as draft:
        rm = _written(draft, truth)
        with workspace.create(
            "sae", name=SAE_NAME, config=settings, parents=(draft.folder.name, texts.id)
        ) as sae_draft:
            sae = organism_sae(truth, rm)
            save_sae(sae_draft.folder / "sae", sae)
            report(2, 3)
            card = report_card(rm, sae, dataset_pairs(texts))
            write_json(sae_draft.folder / "report_card.json", card)
            sae_draft.metrics.update({"d_sae": sae.d_sae, "hookpoint": HOOKPOINT})
    report(3, 3)
    return draft.kept


def organism_sae(truth: Organism, rm: RewardModel) -> SparseAutoencoder:
    """The organism's own SAE, one feature a concept."""
    weights: dict[str, Any] = dict(organism_dictionary(truth))
    return SparseAutoencoder(architecture="jumprelu", hookpoint=HOOKPOINT, model_fingerprint=rm.fingerprint, **weights)


def _written(draft: Draft, truth: Organism) -> RewardModel:
    folder = draft.folder / "model"
    organism_model(truth).save_pretrained(folder)
    world_tokenizer().save_pretrained(folder)
    rm = load_reward_model(folder, format="transcript", append_eos=False, device="cpu", dtype="float32", name=NAME)
    write_json(draft.folder / "reward_model.json", record_of(rm) | {"source": "model"})
    write_json(draft.folder / "truth.json", truth.to_json())
    draft.metrics.update(facts_of(rm))
    return rm


def _pairs(config: OrganismConfig) -> list[Pair]:
    num_pairs = (config.num_texts + 1) // 2
    return [
        grammar.pair(random.Random(f"organism {config.seed} {number}"), f"O{number:06d}") for number in range(num_pairs)
    ]
