"""Edits of activations that belong to a model: a folder beside its weights says which, and every loader applies it."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmviz.models.reward_model import RewardModel

PATCH = "rmviz_patch"
"""The folder in a model's folder that holds its patch."""

_APPLIED_BY = "rmviz.sae.patch"
"""What reads it: an SAE is needed, and SAEs are built on models; so it is imported where a model has a patch."""


def apply_patch(rm: "RewardModel", folder: Path) -> None:
    """Put the patch of a model's folder in place, if it has one.

    Raises:
        ModelError: The patch is damaged, or was made for other weights.
    """
    if (folder / PATCH).is_dir():
        import_module(_APPLIED_BY).apply(rm, folder / PATCH)
