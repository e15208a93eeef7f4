"""The euphemism probe: texts with some words beside texts that say the same without them."""

from typing import Any

import pandas as pd

from rmviz.configs.base import to_dict
from rmviz.configs.probes import GIVEN, EuphemismConfig
from rmviz.probes.results import Results, keep, line_of, results
from rmviz.probes.scan import ProbeScan, scanned
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(config: EuphemismConfig, workspace: Workspace, report: Report) -> Artifact:
    """Measure the gap between the two ways of saying it, and how much of it is left with features off.

    The share that a set of features carries is 1 − gap with them off / gap, all of them off at once in both texts.

    Raises:
        ConfigError: A topic or a feature does not exist.
        DataError: No text holds the words, or none can be compared.
        ModelError: SAE and model do not fit.
    """
    scan = ProbeScan(workspace.root, config, report.folder)
    scanned(scan, report)
    found = results(scan)
    topic = next(iter(found.counts))
    figures = summary(found, topic, GIVEN if config.features else topic, scan.probed[2])
    name = config.name or f"{topic} in other words, {scan.model.name}"
    parents = (scan.sae.id, scan.dataset.id, scan.model.id)
    with workspace.create("probe", name=name, key=report.key, config=to_dict(config), parents=parents) as draft:
        keep(draft.folder, found, scan, {"what": "euphemism", "topic": topic, "controls": scan.probed[2]} | figures)
        draft.metrics |= {"what": "euphemism", "topic": topic} | figures
    return draft.kept


def summary(found: Results, topic: str, own: str, controls: list[str]) -> dict[str, Any]:
    """The gap of a topic, what is left of it without its features, and what the features of the controls carry of it.

    `control_share` is the largest share in size that the features of any control carry.
    """
    line = line_of(found.items, topic, own) or line_of(found.items, topic, "")
    others = {name: line_of(found.items, topic, name).get("share") for name in controls}
    known = {name: share for name, share in others.items() if share is not None}
    control = max(known, key=lambda name: abs(known[name]), default="")
    alike: pd.Series = found.cases.loc[found.cases["item"] == topic, "similarity"]
    return {
        **{name: line.get(name) for name in line if name not in ("item", "features")},
        "control": control,
        "control_share": known.get(control),
        "similarity_mean": float(alike.mean()),
        "similarity_min": float(alike.min()),
        "gap_in_std": line["gap"] / found.reward_std if line["gap"] is not None and found.reward_std else None,
        **found.counts[topic],
    }
