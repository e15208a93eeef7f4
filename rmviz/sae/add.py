"""Bringing in SAEs that others trained."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from rmviz.errors import ModelError
from rmviz.models.load import from_artifact
from rmviz.sae.files import CONFIG, EXTRA, WEIGHTS, load_sae
from rmviz.sae.report_card import report_card
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text


def add_sae(
    workspace: Workspace,
    source: str | Path,
    model_ref: str,
    hookpoint: str = "",
    name: str = "",
    data: Sequence[Pair] | Sequence[Text] = (),
) -> Artifact:
    """Keep a copy of an SAE in SAELens' format, after checking that it fits a reward model.

    Args:
        workspace: Where it goes.
        source: Folder with cfg.json and sae_weights.safetensors.
        model_ref: Id or name of the reward model it was trained on.
        hookpoint: `layers.L`, when the SAE's own files do not say it in a way we know.
        name: What to call it; the folder's name when empty.
        data: Texts or pairs to compute a report card on; without them it has none.

    Raises:
        ModelError: It cannot be read, or does not fit the model.
        NotFoundError: There is no such reward model.
    """
    folder = Path(source).expanduser()
    model = workspace.resolve(model_ref, "reward_model")
    sae, rm = load_sae(folder, hookpoint=hookpoint), from_artifact(model)
    if not sae.hookpoint:
        named = sae.metadata.get("hook_name")
        raise ModelError(
            f"the SAE in {folder} says {f'hook {named!r}, which is no residual stream after a block' if named else 'no hook'}; "
            f"say which hookpoint it belongs to: {', '.join(rm.hookpoints)}"
        )
    sae.check_fits(rm)
    config = {"source": str(folder.resolve()), "model": model.id, "hookpoint": sae.hookpoint}
    key = _key(folder, model.id, sae.hookpoint, name, *(str(getattr(item, "pair_id", "")) for item in data))
    if done := workspace.by_key(key):
        return done
    card = report_card(rm, sae, data) if data else {}
    with workspace.create("sae", name=name or folder.name, key=key, config=config, parents=(model.id,)) as draft:
        (draft.folder / "sae").mkdir()
        for file in (CONFIG, WEIGHTS):
            shutil.copyfile(folder / file, draft.folder / "sae" / file)
        place = {"hookpoint": sae.hookpoint, "model_fingerprint": rm.fingerprint}
        write_json(draft.folder / "sae" / EXTRA, {"format": 1, "architecture": sae.architecture, "k": sae.k, **place})
        if card:
            write_json(draft.folder / "report_card.json", card)
        figures = {name: card.get(name) for name in ("fvu", "dead_share", "splice_spearman")}
        draft.metrics |= {
            **figures,
            "l0": card.get("l0"),
            "d_in": sae.d_in,
            "d_sae": sae.d_sae,
            "k": sae.k,
            "hookpoint": sae.hookpoint,
        }
        draft.metrics |= {"architecture": sae.architecture, "warnings": card.get("warnings", [])}
    return draft.kept


def _key(folder: Path, *parts: str) -> str:
    digest = hashlib.sha256("\n".join(parts).encode())
    for file in (CONFIG, WEIGHTS):
        digest.update((folder / file).read_bytes())
    return f"sae.add-{digest.hexdigest()[:16]}"
