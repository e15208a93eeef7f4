"""A probe of margins beside the synthetic workspace, its tables as the job writes them, made by hand."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rmviz.ablation.margins import Margins, decisive, explained, wrong_pairs
from rmviz.data.load import dataset_pairs
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace


def keep(workspace: Workspace, planted: dict[str, Artifact], *, ties: bool = False) -> Artifact:
    """Feature 3 makes every fourth pair wrong, nothing rights every seventh; with `ties` all margins are 0."""
    pairs = dataset_pairs(planted["dataset"])
    number = np.arange(len(pairs))
    margin = np.where(number % 4 == 0, -1.0, np.where(number % 7 == 0, -2.0, 1.5)) * (not ties)
    effects = np.zeros((len(pairs), 60))
    effects[:, 3], effects[:, 5] = np.where(number % 4 == 0, -1.6, 0.0), np.where(number % 4 == 0, 0.0, 1.0)
    margins = Margins([pair.pair_id for pair in pairs], margin, csr_array(effects))
    chosen = decisive(margins)
    without = np.stack(
        [margin[chosen.measured] - effects[chosen.measured][:, some].sum(axis=1) for some in chosen.sets], axis=1
    ) if chosen.sets else np.zeros((0, 0))  # fmt: skip
    shares = explained(margins, chosen, without, num_resamples=20)
    wrong, groups = wrong_pairs(margins)
    texts = pd.DataFrame(
        [(p.pair_id, p.prompt, p.chosen, p.rejected) for p in pairs],
        columns=["pair_id", "prompt", "chosen", "rejected"],
    )
    rewards = pd.DataFrame({"pair_id": texts["pair_id"], "chosen_reward": margin, "rejected_reward": 0.0, "num_cut": 0})
    parents = tuple(planted[kind].id for kind in ("sae", "dataset", "reward_model"))
    with workspace.create("probe", name=f"margins {ties}", parents=parents, config={"seed": 0}) as draft:
        tables = {"explained": shares, "groups": groups, "wrong": wrong.merge(rewards).merge(texts), "pairs": rewards}
        for name, table in tables.items():
            save_table(table, draft.folder / f"{name}.parquet")
        draft.metrics |= {
            "what": "margins", "num_pairs": len(pairs), "num_left_out": 0, "num_cut": 0, "num_ties": len(pairs) * ties,
            "num_wrong": len(wrong), "num_by_one_feature": int((wrong["feature"] >= 0).sum()), "share_1": 0.5,
        }  # fmt: skip
    return draft.kept
