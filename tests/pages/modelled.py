"""Two reward models with slices and their ensemble, all figures by hand; hostile words; no torch."""

from pathlib import Path

from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace

HOSTILE = "<img src=x onerror=alert(1)>"


def kept(space, kind, name, parents=(), metrics=None, config=None, **files):
    with space.create(kind, name=name, parents=tuple(parents), config=config) as draft:
        draft.metrics |= metrics or {}
        for file, content in files.items():
            write_json(draft.folder / f"{file}.json", content)
    return draft.kept


def reward_model(space, seed, parents=()):
    share = {"accuracy": 0.75, "low": 0.6, "high": 0.86, "n": 40}
    slices = [{"column": "topic", "value": value, **share} for value in ("animals", HOSTILE)]
    slices += [{"column": "longer reply", "value": value, **share} for value in ("chosen", "rejected")]
    metrics = {"accuracy": 0.75, "accuracy_low": 0.7, "accuracy_high": 0.8, "accuracy_before": 0.5, "length_baseline": 0.55,
               "num_heldout": 80, "num_pairs": 400, "num_same": 3, "num_cut": 2, "reward_mean": 0.1, "reward_std": 1.5,
               "num_parameters": 1000, "family": "gpt_neox", "seed": seed, "steps": 50}  # fmt: skip
    return kept(space, "reward_model", f"rm-{seed}", parents, metrics, slices={"n": 80, "slices": slices})


def build_models(root: Path) -> Workspace:
    """Reward models rm-0 and rm-1, the ensemble both of them, and an experiment that used it."""
    made = Workspace(root)
    data = kept(made, "dataset", "pairs")
    members = [reward_model(made, seed, [data.id]) for seed in (0, 1)]
    rows = [{"id": one.id, "name": one.name, "seed": seed, "accuracy": 0.7 + 0.05 * seed, "low": 0.6, "high": 0.8, "n": 80,
             "offset": 0.0, "factor": 1.0} for seed, one in enumerate(members)]  # fmt: skip
    figures = {
        "members": rows,
        "disagreement": [
            {"texts": text, "mean": 0.1, "low": 0.09, "high": 0.11, "n": 160} for text in ("held out", HOSTILE)
        ],
        "errors": [{"doubt": 0.1 * k, "wrong": 0.1 * k, "low": 0.0, "high": 0.5, "n": 16} for k in range(5)],
    }
    metrics = {"accuracy": 0.78, "accuracy_low": 0.7, "accuracy_high": 0.85, "accuracy_mean": 0.77, "accuracy_members": 0.73,
               "num_members": 2, "num_heldout": 80, "lambda": 1.0, "seed": 0, "error_correlation": 0.25,
               "error_correlation_low": 0.03, "error_correlation_high": 0.45, "disagreement": 0.1}  # fmt: skip
    both = kept(made, "ensemble", "both", [data.id, *(one.id for one in members)], metrics, figures=figures)
    kept(made, "experiment", "of ensembles", [both.id], report={})
    return made
