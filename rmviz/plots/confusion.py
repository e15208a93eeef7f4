"""Labels asked for against labels found, as cells of a heat map."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rmviz.plots.maps import Scale, map_cells


def confusion_cells(
    confusion: pd.DataFrame, axis: str, labels: Sequence[str]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """What `map_figure` draws of the labels asked for (rows) and found (columns) on one axis, and both lists of labels.

    Args:
        confusion: axis, asked, judged and count; an empty label means none.
        axis: Name of the axis.
        labels: Its labels, in order.
    """
    some = confusion[confusion["axis"] == axis]
    table = some.pivot_table(index="asked", columns="judged", values="count", aggfunc="sum", fill_value=0)
    extra = {
        side: ["none"] if "" in names else [] for side, names in (("asked", table.index), ("judged", table.columns))
    }
    names = {"": "none"}
    table = table.rename(index=names, columns=names)
    rows, columns = [*labels, *extra["asked"]], [*labels, *extra["judged"]]
    table = table.reindex(index=rows, columns=columns, fill_value=0)
    counts = table.to_numpy(int)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    places = [(row, column) for row in rows for column in columns]
    cells = pd.DataFrame(places, columns=["row", "column"]).assign(
        cell=range(len(places)), count=counts.ravel(), share=shares.ravel()
    )
    return map_cells(cells, "share", Scale(low=0.0, high=1.0), count="count"), rows, columns
