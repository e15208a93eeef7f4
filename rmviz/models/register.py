"""Reward models as artifacts: registered by reference, or kept with their weights."""

import shutil
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from rmviz.configs.base import to_dict
from rmviz.configs.models import ModelConfig
from rmviz.errors import ModelError
from rmviz.models.checkpoint import read_folder
from rmviz.models.load import load_reward_model, quieten
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Report

_KEPT = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def run(config: ModelConfig, workspace: Workspace, report: Report) -> Artifact:
    """Register a reward model by reference: its hub commit or its fingerprint pinned, loaded once to see that it works.

    Raises:
        ModelError: It cannot be loaded, or is no reward model.
    """
    report(0, 1)
    rm = load_reward_model(
        config.source,
        revision=config.revision,
        format=config.format,
        max_length=config.max_length,
        name=config.name,
    )
    with workspace.create("reward_model", name=rm.name, key=report.key, config=to_dict(config)) as draft:
        write_json(draft.folder / "reward_model.json", record_of(rm))
        draft.metrics |= facts_of(rm)
    report(1, 1)
    return draft.kept


def keep_reward_model(
    workspace: Workspace,
    rm_or_folder: RewardModel | Path | str,
    *,
    name: str,
    key: str = "",
    config: Any = None,
    parents: tuple[str, ...] = (),
    metrics: Mapping[str, Any] | None = None,
    format: str = "auto",
    max_length: int = 0,
    append_eos: bool | None = None,
    records: Mapping[str, Any] | None = None,
) -> Artifact:
    """Keep a trained reward model: weights (safetensors), tokenizer and record in one artifact.

    Args:
        workspace: Where to keep it.
        rm_or_folder: The model, or a folder with a saved one (a Trainer's checkpoint with its tokenizer).
        name: What to call it.
        key: Key of the job that made it.
        config: Settings of that job, a config or a mapping.
        parents: Ids of the base and the data.
        metrics: Figures to keep: accuracy, num_pairs, steps, seed.
        format: How prompt and reply become one input; the model's own when auto.
        max_length: Longest input in tokens; the model's own when 0.
        append_eos: Whether texts end with EOS; the model's own when None.
        records: Further JSON files to keep, by name.

    Raises:
        ModelError: What was saved is no reward model; nothing is kept then.
        ArtifactError: The workspace cannot be written.
    """
    settings = to_dict(config) if is_dataclass(config) else dict(config or {})
    rm = rm_or_folder if isinstance(rm_or_folder, RewardModel) else None
    if rm is not None and rm.patch:
        raise ModelError(
            f"{rm.name} is a patched model, whose weights alone are not it; patch the original again instead"
        )
    with workspace.create("reward_model", name=name, key=key, config=settings, parents=tuple(parents)) as draft:
        folder = draft.folder / "model"
        folder.mkdir()
        if isinstance(rm_or_folder, RewardModel):
            quieten()
            rm_or_folder.model.save_pretrained(folder)
            rm_or_folder.tokenizer.save_pretrained(folder)
        else:
            _copy_model(Path(rm_or_folder), folder)
        kept = load_reward_model(
            folder,
            format=rm.format if rm and format == "auto" else format,
            max_length=rm.max_length if rm and not max_length else max_length,
            append_eos=rm.append_eos if rm and append_eos is None else append_eos,
            device="cpu",
            dtype="float32",
            name=name,
        )
        reason = rm.format_reason if rm and rm.format == kept.format else kept.format_reason
        record = record_of(kept) | {"source": "model", "format_reason": reason}
        write_json(draft.folder / "reward_model.json", record)
        for file, content in (records or {}).items():
            write_json(draft.folder / file, content)
        draft.metrics |= facts_of(kept) | dict(metrics or {})
    return draft.kept


def record_of(rm: RewardModel) -> dict[str, Any]:
    """What `reward_model.json` holds."""
    return {
        "source": rm.source,
        "revision": rm.revision,
        "family": rm.family,
        "adapter": rm.adapter.name if rm.adapter else "",
        "format": rm.format,
        "format_reason": rm.format_reason,
        "max_length": rm.max_length,
        "append_eos": rm.append_eos,
        "num_blocks": rm.num_blocks,
        "d_in": rm.d_in,
        "causal": rm.causal,
        "vocab_size": rm.vocab_size,
        "fingerprint": rm.fingerprint,
    }


def facts_of(rm: RewardModel) -> dict[str, Any]:
    """What lists of models show."""
    return {
        "num_parameters": rm.num_parameters,
        "num_blocks": rm.num_blocks,
        "d_in": rm.d_in,
        "family": rm.family,
        "format": rm.format,
        "max_length": rm.max_length,
        "device": str(rm.device),
        "dtype": str(rm.dtype).removeprefix("torch."),
    }


def _copy_model(source: Path, target: Path) -> None:
    """The files of a saved model, without the optimizer's and the trainer's."""
    read_folder(source, str(source), "")
    for pattern in _KEPT:
        for file in source.glob(pattern):
            if file.name != "trainer_state.json":
                shutil.copyfile(file, target / file.name)
