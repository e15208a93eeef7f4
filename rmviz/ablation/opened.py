"""What a job that scans with an SAE opens: the SAE, the reward model that it was made for, and a dataset."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rmviz.ablation.engine import EffectEngine
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact, model_of
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace


@dataclass(frozen=True)
class SAEScan:
    """The shards of a scan; sent to another process it goes without what it has opened, and opens that anew there."""

    root: Path
    """Of the workspace."""

    config: Any
    """Settings that name `sae` and `dataset`, and say `max_tokens`."""

    folder: Path
    """Where the shards are kept."""

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Without texts, model and SAE: each process opens its own."""
        return type(self), (self.root, self.config, self.folder)

    @cached_property
    def sae(self) -> Artifact:
        """The SAE's artifact."""
        return Workspace(self.root).resolve(self.config.sae, "sae")

    @cached_property
    def model(self) -> Artifact:
        """The artifact of the reward model that the SAE was made for."""
        return model_of(Workspace(self.root), self.sae)

    @cached_property
    def dataset(self) -> Artifact:
        """The dataset's artifact."""
        return Workspace(self.root).resolve(self.config.dataset, "dataset")


def opened_engine(workspace: Workspace, sae: Artifact, *, max_tokens: int = 8192) -> EffectEngine:
    """The effect engine of an SAE and of the reward model that it was made for."""
    return EffectEngine(from_artifact(model_of(workspace, sae)), load_sae_artifact(sae), max_tokens=max_tokens)
