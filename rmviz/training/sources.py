"""The artifacts that a config names."""

from typing import Any

from rmviz.configs.base import parents
from rmviz.configs.policies import JUDGE, judge_named
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace


def artifact_of(workspace: Workspace, ref: str, *kinds: str) -> Artifact | None:
    """The workspace's artifact of this name and one of these kinds; None for folders, hub ids and exact rewards."""
    found = workspace.catalogue.find(ref=ref) if ref else []
    return next((artifact for artifact in found if artifact.kind in kinds), None)


def policy_source(workspace: Workspace, ref: str) -> Artifact | str:
    """A policy of the workspace, or else the folder or hub id that is meant."""
    return artifact_of(workspace, ref, "policy") or ref


def parents_of(config: Any, workspace: Workspace) -> tuple[str, ...]:
    """Ids of the artifacts that a run reads, in the order of its settings, each once."""
    found = [_named(workspace, getattr(config, name), kinds) for name, kinds in parents(type(config)).items()]
    return tuple(dict.fromkeys(one.id for one in found if one))


def _named(workspace: Workspace, ref: str, kinds: tuple[str, ...]) -> Artifact | None:
    if not ref.startswith(JUDGE):
        return artifact_of(workspace, ref, *kinds)
    model, server = judge_named(ref)
    return None if server else artifact_of(workspace, model, "policy")
