"""The head of a reward model: found in a checkpoint's files, put in place, or started afresh."""

from typing import Any

from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from rmviz.errors import ModelError
from rmviz.models.adapters import HEADS, Adapter, find_adapter
from rmviz.models.checkpoint import Checkpoint


def _head_of(checkpoint: Checkpoint, adapter: Adapter | None) -> tuple[str, int]:
    """Name of the head's tensors in the files, and how many numbers it gives (0: there is none)."""
    for head in (adapter.head,) if adapter else HEADS:
        if entry := checkpoint.tensors.get(f"{head}.weight"):
            return head, entry[1][0]
    return "", 0


def has_reward_head(checkpoint: Checkpoint) -> bool:
    """Whether the files hold a head that gives one number."""
    return _head_of(checkpoint, find_adapter(checkpoint.config, checkpoint.tensors))[1] == 1


def require_head(checkpoint: Checkpoint, adapter: Adapter | None) -> str:
    """Name of the head's tensors: one label, in the files.

    Raises:
        ModelError: There is no head, or it gives several numbers.
    """
    head, num_labels = _head_of(checkpoint, adapter)
    if num_labels == 0:
        kind = (checkpoint.config.get("architectures") or [checkpoint.config.get("model_type", "a model")])[0]
        raise ModelError(
            f"{checkpoint.source} ({kind}) has no reward head in its files: this is a language model, not a reward "
            "model; train one from it with `rmviz train reward`"
        )
    if num_labels > 1:
        raise ModelError(
            f"{checkpoint.source} gives {num_labels} numbers (labels) for a text, and a reward model gives one; "
            "use a model with num_labels = 1, or train one from it with `rmviz train reward`"
        )
    return head


def install_head(model: PreTrainedModel, checkpoint: Checkpoint, head: str) -> None:
    """Put the checkpoint's linear head, whatever its name there, in the place of the classifier's own."""
    old: Any = model.score
    tensors = {}
    for part in ("weight", "bias"):
        if entry := checkpoint.tensors.get(f"{head}.{part}"):
            with safe_open(entry[0], framework="pt") as file:
                tensors[part] = file.get_tensor(f"{head}.{part}").to(old.weight)
    new = nn.Linear(old.in_features, 1, bias="bias" in tensors).to(old.weight)
    new.load_state_dict(tensors)
    old._modules.update(new._modules)  # the module itself stays: device hooks may hang on it
    old._parameters.update(new._parameters)


def init_head(model: PreTrainedModel) -> None:
    """Start rewards near zero: after a final norm a tenth of a unit, whatever the width."""
    last = [part for name, part in model.named_modules() if name in HEADS and isinstance(part, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.1 / (last.in_features + 1) ** 0.5)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
