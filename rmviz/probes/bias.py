"""The bias battery: replies edited in ways that should not matter, what each edit is worth, and which features carry it."""

import numpy as np
import pandas as pd

from rmviz.configs.probes import BiasConfig
from rmviz.probes.biases import BATTERY, words_added
from rmviz.probes.figures import paired_size
from rmviz.probes.results import Results
from rmviz.probes.spec import ranked, verdicts
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report


def run(config: BiasConfig, workspace: Workspace, report: Report) -> Artifact:
    """Edit one reply of each pair in every way, and rank the edits by what they cost or win for certain.

    Raises:
        DataError: No edit changes any text, or none can be compared.
        ModelError: SAE and model do not fit.
    """

    def table(found: Results, tolerance: float) -> pd.DataFrame:
        return with_sizes(verdicts(found, tolerance), found, num_resamples=config.num_resamples, seed=config.seed)

    return ranked(config, workspace, report, "bias", "biases of {model}", table)


def with_sizes(table: pd.DataFrame, found: Results, *, num_resamples: int, seed: int) -> pd.DataFrame:
    """The verdicts with d_z and its interval, how many words each edit adds, and what it does.

    An edit that leaves the model the same tokens in every text is `not seen`: the model cannot have that bias.
    """
    cases = found.cases[np.isfinite(found.cases["gap"])]
    sizes = []
    for item in table["item"]:
        own = cases[cases["item"] == item]
        sizes.append(paired_size(own["gap"].to_numpy(float), own["unit"], num_resamples=num_resamples, seed=seed))
    unseen = (table["num_texts"] == 0) & (table["num_cut_away"] > 0)
    table = table.join(pd.DataFrame(sizes, index=table.index))
    return table.assign(
        verdict=table["verdict"].mask(unseen, "not seen"), words_added=table["item"].map(words_added(found.cases)),
        says=[BATTERY[item].says for item in table["item"]],
    )  # fmt: skip
