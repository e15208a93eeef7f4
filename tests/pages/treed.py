"""Two kept search trees of five nodes by hand, one of which gave a pair; a text with markup; no torch."""

from pathlib import Path

import pandas as pd

from rmviz.data.keep import keep_dataset
from rmviz.store.artifact import Artifact
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.training.tree_pairs import TREES
from rmviz.types import Pair

PROMPT = "capacity 10 items a 7 b 4 c 3 d 9 pack"
ROWS = [
    (0, -1, 0, "", 1.0, 6, 0.62, False, "b <b>", 0.4),
    (1, 0, 1, " a", 0.7, 3, 0.9, False, "a c", 1.0),
    (2, 1, 2, " c", 0.5, 1, 1.0, True, "a c", 1.0),
    (3, 0, 1, " d", 0.3, 2, 0.45, False, "d", 0.9),
    (4, 3, 2, " a", 0.4, 1, 0.0, True, "d a", 0.0),
]
COLUMNS = ["node", "parent", "depth", "token", "prior", "visits", "value", "whole", "reply", "paid"]


def nodes() -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=COLUMNS).assign(prompt=PROMPT)


def build_trees(root: Path) -> Artifact:
    """A searched dataset: trees 0 and 5 are kept, and tree 0 gave the pair T000000-0."""

    def attach(folder: Path) -> dict[str, float]:
        save_table(pd.concat([nodes().assign(tree=tree) for tree in (0, 5)]), folder / TREES)
        figures = {"best": 1.0, "sampled": 0.4, "greedy": 0.5, "best_of_optimum": 1.0}
        return {"num_trees": 2, "num_problems": 9, "policy_calls": 120, **figures}

    sides = {"node_chosen": 1, "node_rejected": 3, "value_chosen": 0.9, "value_rejected": 0.45, "visits_chosen": 3,
             "visits_rejected": 2, "depth_chosen": 1, "depth_rejected": 1, "paid_chosen": 1.0, "paid_rejected": 0.0}  # fmt: skip
    pairs = [Pair(pair_id="T000000-0", prompt=PROMPT, chosen="a c", rejected="d a", extra={"tree": 0, **sides})]
    config = {"pairs": "siblings", "seed": 3}
    return keep_dataset(Workspace(root), pairs, name="searched", config=config, heldout=0.1, seed=0, attach=attach)
