"""Tables on disk are parquet; in memory they are DataFrames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from rmviz.errors import ArtifactError


def save_table(table: pd.DataFrame, path: Path, *, row_group_size: int | None = None) -> None:
    """Write a table, without its index; small row groups make single rows quick to fetch."""
    table.to_parquet(path, index=False, row_group_size=row_group_size, compression="zstd")


def load_table(
    path: Path, *, columns: Sequence[str] | None = None, filters: list[tuple[str, str, Any]] | None = None
) -> pd.DataFrame:
    """A table, or the columns and rows of it that are asked for.

    Raises:
        ArtifactError: The file is not readable parquet.
    """
    try:
        return pq.read_table(
            path, columns=list(columns) if columns else None, filters=filters, memory_map=False
        ).to_pandas()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read as a table ({error})") from error
