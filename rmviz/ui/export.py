"""Download buttons: what is on the screen, as CSV, parquet or JSON; the file is made when it is asked for."""

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

_FORMULA = re.compile(r"^[=+\-@\t\r]")


def table_buttons(table: pd.DataFrame, name: str, key: str) -> None:
    """Three buttons under a table."""
    with st.container(horizontal=True, gap="small", key=f"{key}-export"):
        for suffix, mime, make in (
            ("csv", "text/csv", csv),
            ("parquet", "application/octet-stream", parquet),
            ("json", "application/json", rows_json),
        ):
            _button(
                suffix.upper() if suffix != "parquet" else "Parquet",
                f"{name}.{suffix}",
                mime,
                lambda make=make: make(table),
                f"{key}-{suffix}",
            )


def json_button(label: str, values: Any, name: str, key: str) -> None:
    """One button for a record."""
    _button(
        label,
        f"{name}.json",
        "application/json",
        lambda: json.dumps(values, ensure_ascii=False, indent=1).encode(),
        key,
    )


def file_button(label: str, file_name: str, mime: str, make: Callable[[], bytes], key: str) -> None:
    """One button for a file that is made when it is asked for."""
    _button(label, file_name, mime, make, key)


def csv(table: pd.DataFrame) -> bytes:
    """CSV in UTF-8; text that a spreadsheet would run as a formula gets a leading apostrophe."""
    safe = table.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]) and not pd.api.types.is_bool_dtype(safe[column]):
            safe[column] = safe[column].map(lambda v: f"'{v}" if isinstance(v, str) and _FORMULA.match(v) else v)
    return safe.to_csv(index=False).encode("utf-8", "replace")


def parquet(table: pd.DataFrame) -> bytes:
    """The table as parquet."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def rows_json(table: pd.DataFrame) -> bytes:
    """The table as a JSON list of records."""
    return str(table.to_json(orient="records", force_ascii=False, double_precision=10)).encode("utf-8", "replace")


def _button(label: str, file_name: str, mime: str, make: Callable[[], bytes], key: str) -> None:
    st.download_button(
        label,
        data=make,
        file_name=file_name,
        mime=mime,
        key=key,
        icon=":material/download:",
        on_click="ignore",
        type="tertiary",
    )
