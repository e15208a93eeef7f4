"""Low-rank updates of a reward model's blocks: put in place, and merged into plain weights where a model is kept."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, TaskType, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from rmviz.models.reward_model import RewardModel

_SCALE = 2.0
"""Factor of an update B·A: alpha over rank."""


def add_lora(rm: RewardModel, rank: int, seed: int) -> None:
    """Freeze the model but for its head, and give every linear map of its blocks an update of this rank.

    The updates live in the model itself, whose head stays the module that scores. Checkpoints to go on from hold what is
    trained alone: the updates and the head. (A `PeftModel` trains a copy of the head, and only if told its name.)

    Source: Hu et al. 2021, eq. 3 (arXiv:2106.09685).
    """
    linear = {id(part) for part in rm.blocks.modules() if isinstance(part, (nn.Linear, Conv1D))}
    names = [name for name, part in rm.model.named_modules() if id(part) in linear]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=round(_SCALE * rank), lora_dropout=0.0, target_modules=names
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, rm.model)
    for name, weights in rm.model.named_parameters():
        weights.requires_grad_("lora_" in name)
    rm.head.requires_grad_(True)


@contextmanager
def merged(rm: RewardModel) -> Iterator[None]:
    """While open, the model has plain weights, its updates added to them; the weights in training stay untouched."""
    updated = [(name, part) for name, part in rm.model.named_modules() if isinstance(part, LoraLayer)]
    try:
        for name, part in updated:
            _put(rm, name, _plain(part))
        yield
    finally:
        for name, part in updated:
            _put(rm, name, part)


@torch.no_grad()
def _plain(part: LoraLayer) -> nn.Module:
    plain = copy.deepcopy(part.get_base_layer())
    plain.weight += part.get_delta_weight("default")  # type: ignore[operator]
    return plain


def _put(rm: RewardModel, name: str, part: object) -> None:
    parent, _, own = name.rpartition(".")
    setattr(rm.model.get_submodule(parent), own, part)
