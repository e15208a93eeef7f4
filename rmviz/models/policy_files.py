"""Policies from folders, hub ids and artifacts, and kept as artifacts."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rmviz.configs.base import to_dict
from rmviz.errors import ModelError
from rmviz.models.checkpoint import find_checkpoint
from rmviz.models.formats import guess_format
from rmviz.models.load import quieten
from rmviz.models.placement import choose_device, choose_dtype
from rmviz.models.policy import Policy
from rmviz.models.value_heads import HEADS, load_guide, save_guide
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace

RECORD = "policy.json"
_log = logging.getLogger(__name__)


def load_policy(
    source: Artifact | str | Path,
    *,
    format: str = "auto",
    max_length: int = 0,
    dtype: str = "auto",
    seed: int = 0,
    lora_rank: int = 0,
) -> Policy:
    """A policy, in evaluation mode; its weights take no gradients unless `trainable` makes them.

    Args:
        source: A policy of the workspace, a folder or a hub id.
        format: How prompts are laid out; as the policy was kept, or guessed, when auto.
        max_length: Longest prompt and reply in tokens; as kept, or the model's own, when 0.
        dtype: auto takes bfloat16 on CUDA devices that have it, else float32; training wants float32.
        seed: Of the low-rank weights.
        lora_rank: Rank of low-rank updates (Hu et al. 2021) that are trained in place of the weights; 0 for none.

    Raises:
        ModelError: It cannot be loaded, or brings code of its own.
    """
    model, tokenizer = load_language_model(source, dtype=dtype)
    record = source.read_json(RECORD) if isinstance(source, Artifact) and RECORD in source.files else {}
    if format == "auto":  # the world's own language model, which has no record, writes transcripts
        form = record.get("format") or ("transcript" if isinstance(source, Artifact) else "")
        format = form or guess_format(tokenizer, model.config, str(source))[0]
    name = source.name if isinstance(source, Artifact) else str(source).rstrip("/").split("/")[-1]
    policy = Policy(
        model, tokenizer, format=format, max_length=max_length or int(record.get("max_length", 0)), name=name
    )
    if isinstance(source, Artifact) and record.get("guide"):
        policy.guide = load_guide(record["guide"], source.path(HEADS), policy.model)
    if lora_rank:
        policy.model = with_lora(policy.model, lora_rank, "CAUSAL_LM", seed)
    return policy


def with_lora(model: Any, rank: int, task_type: str, seed: int) -> Any:
    """The model with low-rank updates on all its linear layers but the head (Hu et al. 2021, arXiv:2106.09685)."""
    import torch
    from peft import LoraConfig, get_peft_model

    options: Any = {"task_type": task_type, "target_modules": "all-linear"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, **options))


def trainable(policy: Policy) -> Policy:
    """The policy, its weights taking gradients: all of them, or the low-rank ones where it has those.

    A guide is left behind: its heads read the hidden states of the weights as they were.
    """
    if policy.guide:
        _log.warning("%s is trained on as it is without its guide (β = 0)", policy.name)
    without_guide(policy)
    if not hasattr(policy.model, "peft_config"):
        policy.model.requires_grad_(True)
    return policy


def without_guide(policy: Policy) -> Policy:
    """The policy, led by nothing any more: what a policy that is trained on begins as, and is compared with."""
    if policy.guide:
        policy.guide.detach()
        policy.guide = None
    return policy


def keep_policy(
    workspace: Workspace,
    policy: Policy,
    *,
    name: str,
    key: str,
    config: Any,
    parents: tuple[str, ...],
    metrics: Mapping[str, Any],
    attach: Callable[[Path], None] = lambda folder: None,
) -> Artifact:
    """Keep a policy: weights (low-rank updates merged), tokenizer, layout, guide; `attach` may write further files beside them."""
    quieten()
    merged = _merged(policy.model)
    with workspace.create("policy", name=name, key=key, config=to_dict(config), parents=parents) as draft:
        merged.save_pretrained(draft.folder / "model")
        policy.tokenizer.save_pretrained(draft.folder / "model")
        record: dict[str, Any] = {"format": policy.format, "max_length": policy.max_length}
        if policy.guide:
            record["guide"] = save_guide(policy.guide, draft.folder)
        write_json(draft.folder / RECORD, record)
        attach(draft.folder)
        draft.metrics.update({"num_parameters": merged.num_parameters(), **metrics})
    return draft.kept


def _merged(model: Any) -> Any:
    if not hasattr(model, "peft_config"):
        return model
    from copy import deepcopy

    return deepcopy(model).merge_and_unload()  # training may go on with the updates apart


def load_language_model(
    source: Artifact | str | Path, *, dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer, from a policy of the workspace, a folder or the hub.

    Raises:
        ModelError: It cannot be loaded, or brings code of its own.
    """
    quieten()
    place = str(source.verify().folder / "model") if isinstance(source, Artifact) else str(source)
    checkpoint = find_checkpoint(place)
    device = choose_device("auto")
    options: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder, dtype=choose_dtype(dtype, device), use_safetensors=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"{place} cannot be loaded as a language model: {reason}") from error
    placed: Any = model  # the stubs of `to` are those of a mixin
    return placed.to(device).eval().requires_grad_(False), tokenizer
