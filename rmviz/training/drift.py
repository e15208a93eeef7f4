"""Which SAE features of a reward model fire on a policy's replies, and how that changes: the watch for over-optimisation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from rmviz.activations.rows import rows_of
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.models.placement import unmixed
from rmviz.sae.files import load_sae_artifact, model_of
from rmviz.store.workspace import Workspace
from rmviz.types import Text


class FeatureReader:
    """Reads replies with the reward model that an SAE belongs to."""

    def __init__(self, workspace: Workspace, sae: str) -> None:
        """Load the SAE and its model."""
        artifact = workspace.resolve(sae, "sae")
        self._sae, self._rm = load_sae_artifact(artifact), from_artifact(model_of(workspace, artifact))

    def firings(self, prompts: Sequence[str], replies: Sequence[str]) -> pd.DataFrame:
        """Columns `text` (its place), `feature` and `activation`: the strongest of each feature in each reply where it fires.

        Only the tokens of replies count, though the model reads the prompts before them; an empty reply has no rows. Read in
        the precision that the model and the SAE have, whatever autocast is on around it.
        """
        texts = [
            Text(text_id=str(place), prompt=prompt, reply=reply)
            for place, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
        ]
        parts = []
        with unmixed():
            for rows in rows_of(self._rm, [_reply_only(one) for one in self._rm.encode(texts)], self._sae.hookpoint):
                if not len(rows.h):
                    continue
                acts = self._sae.encode(rows.h)
                places = rows.text.unsqueeze(1).expand(acts.indices.shape)
                on = acts.values > 0
                columns = {"text": places, "feature": acts.indices, "activation": acts.values}
                parts.append(pd.DataFrame({name: values[on].cpu().numpy() for name, values in columns.items()}))
        if not parts:
            return pd.DataFrame(
                {"text": np.empty(0, int), "feature": np.empty(0, int), "activation": np.empty(0, np.float32)}
            )
        table = pd.concat(parts, ignore_index=True)
        return table.groupby(["text", "feature"], as_index=False)["activation"].max()


def _reply_only(one: Encoded) -> Encoded:
    """The text with its features defined at its reply alone."""
    defined = tuple(there and place >= one.reply_start for place, there in enumerate(one.feature_positions))
    return replace(one, feature_positions=defined)
