"""Reward models from folders, hub ids and artifacts; bases with a fresh head for training."""

from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.utils import disable_progress_bars
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from rmviz.errors import ArtifactError, ModelError, NotFoundError
from rmviz.models.adapters import HEADS, Adapter, find_adapter
from rmviz.models.checkpoint import Checkpoint, find_checkpoint
from rmviz.models.formats import check_format, guess_append_eos, guess_format
from rmviz.models.heads import has_reward_head, init_head, install_head, require_head
from rmviz.models.padding import pad_token_id
from rmviz.models.patches import apply_patch
from rmviz.models.placement import choose_device, choose_dtype, placement
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact

_TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")


def load_reward_model(
    source: str | Path,
    *,
    revision: str = "",
    format: str = "auto",
    max_length: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    name: str = "",
    append_eos: bool | None = None,
) -> RewardModel:
    """A reward model, ready to score; its weights take no gradients.

    Args:
        source: Folder with config.json and safetensors weights, or a hub id.
        revision: Commit, tag or branch of a hub model; today's when empty.
        format: transcript, segments, chat or plain; guessed when auto.
        max_length: Longest input in tokens; the model's own limit, at most 2048, when 0.
        device: auto takes CUDA, then MPS, then the CPU; several GPUs where one is too small.
        dtype: auto takes bfloat16 on CUDA devices that have it, else float32.
        name: What to call it; the last part of the source when empty.
        append_eos: Whether texts end with EOS; guessed from the model card when None.

    Raises:
        ModelError: It cannot be loaded, or is no reward model; the sentence says what to do.
    """
    checkpoint = find_checkpoint(source, revision)
    adapter = find_adapter(checkpoint.config, checkpoint.tensors)
    _refuse_foreign_code(checkpoint, adapter)
    head = require_head(checkpoint, adapter)
    model, missing = _load(checkpoint, device, dtype)
    if adapter or (f"{head}.bias" in checkpoint.tensors and head == "score"):
        missing -= {"score.weight"}
        install_head(model, checkpoint, head)
    if missing:
        raise ModelError(
            f"{checkpoint.source} lacks the weights {_few(missing)}; random ones would make a wrong reward"
        )
    return _wrapped(model, checkpoint, adapter, format, max_length, name, append_eos)


def from_artifact(artifact: Artifact, *, device: str = "auto", dtype: str = "auto") -> RewardModel:
    """The reward model of an artifact, with the format and length it was registered with.

    Raises:
        ArtifactError: Its files are damaged, or the folder it refers to is gone.
        ModelError: The weights are others than those that were registered.
    """
    if artifact.kind != "reward_model":
        raise NotFoundError(f"{artifact.name} is a {artifact.kind.replace('_', ' ')}, and a reward model is needed")
    record = artifact.read_json("reward_model.json")
    rm = _registered(artifact, record, device=device, dtype=dtype)
    now, then = rm.fingerprint, record["fingerprint"]
    if now != then:
        raise ModelError(
            f"the model at {rm.source} changed since it was registered "
            f"(fingerprint {then[:12]}… then, {now[:12]}… now); add it again"
        )
    return rm


def load_base(
    source: str | Path | Artifact,
    *,
    seed: int,
    format: str = "auto",
    max_length: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    name: str = "",
) -> RewardModel:
    """A reward model to be trained: its weights take gradients, and where it has no head it gets a small random one.

    Args:
        source: Policy or reward model artifact, folder or hub id: a language model, an encoder, or a reward model.
        seed: Seed of the new weights.
        format: How prompt and reply become one input; the base's own, or guessed, when auto.
        max_length: Longest input in tokens; the model's own limit, at most 2048, when 0.
        device: As for `load_reward_model`.
        dtype: Of the weights; float32 keeps small updates.
        name: What to call it.

    Raises:
        ModelError: It cannot be loaded.
    """
    if isinstance(source, Artifact) and source.kind == "reward_model":
        record = source.read_json("reward_model.json")
        chosen = {} if format == "auto" else {"format": format, "format_reason": ""}
        chosen |= {"max_length": max_length} if max_length else {}
        rm = _registered(source, record | chosen, device=device, dtype=dtype)
    else:
        place = source.verify().folder / "model" if isinstance(source, Artifact) else source
        checkpoint = find_checkpoint(place)
        options: dict[str, Any] = dict(format=format, max_length=max_length, device=device, dtype=dtype, name=name)
        if has_reward_head(checkpoint):
            rm = load_reward_model(place, revision=checkpoint.revision, **options)
        else:
            rm = _with_fresh_head(checkpoint, seed, **options)
    if rm.patch:
        raise ModelError(
            f"{rm.name} is a patched model: its edit depends on an SAE of the weights as they are, so it cannot be trained "
            "further; train the model that was patched"
        )
    rm.name = name or (source.name if isinstance(source, Artifact) else rm.name)
    rm.model.requires_grad_(True)
    return rm


def _registered(artifact: Artifact, record: dict[str, Any], *, device: str, dtype: str) -> RewardModel:
    """The reward model that a record describes."""
    rm = load_reward_model(
        _source(artifact, record["source"]),
        revision=record["revision"],
        format=record["format"],
        max_length=record["max_length"],
        device=device,
        dtype=dtype,
        name=artifact.name,
        append_eos=record.get("append_eos", False),
    )
    rm.format_reason = record["format_reason"] or rm.format_reason
    return rm


def _source(artifact: Artifact, source: str) -> str:
    """Where the model of an artifact lies: in it, in a folder elsewhere, or on the hub."""
    if source == "model":
        return str(artifact.verify().folder / "model")
    if source.startswith("/") and not Path(source).is_dir():
        raise ArtifactError(
            f"the model {artifact.name} was registered from {source}, which is gone; put it back, or add it again"
        )
    return source


def quieten() -> None:
    """Keep transformers and the hub from writing to the terminal; what matters is raised or logged by us."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()


def _with_fresh_head(
    checkpoint: Checkpoint, seed: int, *, format: str, max_length: int, device: str, dtype: str, name: str
) -> RewardModel:
    """A language model or an encoder with a new head; the global random state stays as it was."""
    _refuse_foreign_code(checkpoint, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, missing = _load(checkpoint, device, dtype)
        lost = {key for key in missing if key.startswith(f"{model.base_model_prefix}.") and "pooler" not in key}
        if lost:
            raise ModelError(f"{checkpoint.source} lacks the weights {_few(lost)}; it cannot be a base")
        init_head(model)
    return _wrapped(model, checkpoint, None, format, max_length, name, False, fresh=True)


def _load(checkpoint: Checkpoint, device: str, dtype: str) -> tuple[PreTrainedModel, set[str]]:
    """The sequence classifier with one label of a checkpoint, in place, and which of its weights the files lack."""
    quieten()
    where = choose_device(device)
    wanted = choose_dtype(dtype, where)
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
        config.num_labels = 1
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=wanted,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # told below, in our words
            output_loading_info=True,
            **placement(where, checkpoint.num_weights * wanted.itemsize),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ModelError(f"{checkpoint.source} cannot be loaded as a sequence classifier: {reason}") from error
    other = {name for name, _, _ in info["mismatched_keys"]}
    heads = {f"{head}.{part}" for head in HEADS for part in ("weight", "bias")}
    if other - heads:
        raise ModelError(
            f"{checkpoint.source}: weights and config.json disagree on the shape of {_few(other)}; get the model again"
        )
    return model if getattr(model, "hf_device_map", None) else model.to(where), set(info["missing_keys"]) | other


def _wrapped(
    model: PreTrainedModel,
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    format: str,
    max_length: int,
    name: str,
    append_eos: bool | None,
    *,
    fresh: bool = False,
) -> RewardModel:
    lost = ModelError(f"{checkpoint.source} has no tokenizer that can be read; put its files beside the weights")
    # Where there are no files, transformers makes a tokenizer without a vocabulary.
    if not any(next(checkpoint.folder.glob(pattern), None) for pattern in _TOKENIZER_FILES):
        raise lost
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise lost from error
    form, reason = format, "chosen by the user"
    if format == "auto":
        form, reason = guess_format(tokenizer, model.config, checkpoint.source, adapter=adapter)
    if append_eos is None:
        append_eos = guess_append_eos(checkpoint.readme, check_format(form, tokenizer))
    if fresh:
        model.config.get_text_config().pad_token_id = pad_token_id(model, tokenizer, append_eos=append_eos)
    model.requires_grad_(False)
    rm = RewardModel(
        model,
        tokenizer,
        name=name or checkpoint.source.rstrip("/").split("/")[-1],
        source=checkpoint.source,
        revision=checkpoint.revision,
        adapter=adapter,
        format=form,
        format_reason=reason,
        max_length=max_length,
        append_eos=append_eos,
    )
    apply_patch(rm, checkpoint.folder)
    return rm


def _refuse_foreign_code(checkpoint: Checkpoint, adapter: Adapter | None) -> None:
    architectures = checkpoint.config.get("architectures") or [""]
    if checkpoint.config.get("auto_map") and adapter is None and not hasattr(transformers, str(architectures[0])):
        raise ModelError(
            f"{checkpoint.source} brings its own Python code ({architectures[0] or 'auto_map'}), and rmviz runs none; "
            "use a model of a family in transformers, or write an adapter (rmviz/models/adapters.py)"
        )


def _few(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
