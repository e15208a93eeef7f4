"""A flat map of the features: decoder rows in two dimensions."""

import warnings

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.decomposition import PCA

from rmviz.errors import ArtifactError
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace

_FEWEST_FOR_UMAP = 5
_NEIGHBOURS = 15  # UMAP's own default


def projection(rows: Float[np.ndarray, "feature d_in"], seed: int) -> Float[np.ndarray, "feature 2"]:
    """UMAP of decoder rows by cosine; of fewer than five features, the first two principal components (0 where none).

    Source: McInnes, Healy & Melville 2018 (arXiv:1802.03426).
    """
    rows = rows.astype(np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if len(rows) < _FEWEST_FOR_UMAP:
        flat = np.zeros((len(rows), 2))
        dimensions = min(2, rows.shape[1], max(len(rows) - 1, 0))
        if dimensions:
            flat[:, :dimensions] = PCA(dimensions, svd_solver="full").fit_transform(rows)
        return flat
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # about TensorFlow, which nobody needs here
        from umap import UMAP  # seconds of numba compiling at import and at first use

    # n_jobs=1: a seed allows only one thread. init="pca": spectral start fails on graphs in several pieces.
    neighbours = min(_NEIGHBOURS, len(rows) - 1)
    reducer = UMAP(n_neighbors=neighbours, metric="cosine", init="pca", random_state=seed, n_jobs=1)
    return np.nan_to_num(np.asarray(reducer.fit_transform(rows), dtype=np.float64))


def earlier_projection(
    workspace: Workspace, sae_id: str, features: Int[np.ndarray, " feature"]
) -> Float[np.ndarray, "feature 2"] | None:
    """The map that an earlier features artifact of the same SAE has of all these features, if there is one."""
    for artifact in workspace.list("features"):
        if sae_id not in artifact.parents:
            continue
        try:
            table = load_table(artifact.path("features.parquet"), columns=["feature", "umap_x", "umap_y"])
        except ArtifactError:
            continue  # a damaged neighbour must not stop this job
        found = (
            pd.DataFrame({"feature": features})
            .merge(table, how="left", on="feature")[["umap_x", "umap_y"]]
            .to_numpy(dtype=np.float64)
        )
        if np.isfinite(found).all():
            return found
    return None
