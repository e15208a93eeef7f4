"""The patch job: a reward model with some features off or scaled, as a model of its own."""

import shutil

from rmviz.configs.base import to_dict
from rmviz.configs.models import PatchConfig, feature_scales
from rmviz.errors import ModelError
from rmviz.models.load import from_artifact, load_reward_model, quieten
from rmviz.models.patches import PATCH
from rmviz.models.register import facts_of, record_of
from rmviz.sae.files import load_sae_artifact, model_of
from rmviz.sae.patch import SAE, write_patch
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(config: PatchConfig, workspace: Workspace, report: Report) -> Artifact:
    """Keep the weights, the tokenizer, the SAE and the scales in one folder, and register it.

    Raises:
        ConfigError: A feature does not exist, or nothing would change.
        ModelError: The model has a patch already, or SAE and model do not fit.
    """
    report(0, 1)
    sae_artifact = workspace.resolve(config.sae, "sae")
    base = model_of(workspace, sae_artifact)
    rm, sae = from_artifact(base, device="cpu", dtype="float32"), load_sae_artifact(sae_artifact)
    if rm.patch:
        raise ModelError(f"{rm.name} has a patch already; patch the original with all features at once")
    sae.check_fits(rm)
    scales = feature_scales(config.features, config.scale)
    name = config.name or f"{base.name} patched"
    settings, parents = to_dict(config), (base.id, sae_artifact.id)
    with workspace.create("reward_model", name=name, key=report.key, config=settings, parents=parents) as draft:
        folder = draft.folder / "model"
        quieten()
        rm.model.save_pretrained(folder)
        rm.tokenizer.save_pretrained(folder)
        shutil.copytree(sae_artifact.verify().folder / "sae", folder / PATCH / SAE)
        patch = write_patch(folder / PATCH, sae, scales, weights=rm.fingerprint)
        kept = load_reward_model(
            folder, format=rm.format, max_length=rm.max_length, append_eos=rm.append_eos, device="cpu", dtype="float32",
            name=name,
        )  # fmt: skip
        record = record_of(kept) | {"source": "model", "format_reason": rm.format_reason, "patch": patch}
        write_json(draft.folder / "reward_model.json", record)
        draft.metrics |= facts_of(kept) | {"num_patched": len(patch["scales"]), "patched": base.id}
    report(1, 1)
    return draft.kept
