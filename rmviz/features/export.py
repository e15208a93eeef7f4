"""The feature table as files for elsewhere."""

import io

import pandas as pd

_EFFECTS = {
    "mean": "the reward, over all texts",
    "firing": "the reward, over the texts in which it fires",
    "margin": "the margin of pairs",
}

COLUMNS: dict[str, str] = {
    "feature": "Number of the feature in the SAE",
    "top_tokens": "The words it fires on more than chance would have it, most telling first",
    **{
        f"{name}_effect{end}": text.format(what)
        for name, what in _EFFECTS.items()
        for end, text in (
            ("", "Mean effect on {}; effect = reward with the feature − reward without it"),
            ("_low", "Lower end of the 95 % bootstrap interval of the effect on {}"),
            ("_high", "Upper end of the 95 % bootstrap interval of the effect on {}"),
            ("_q", "Benjamini–Hochberg q-value of the effect on {}"),
        )
    },
    "num_texts": "Texts in which it fires",
    "num_pairs": "Pairs in which it fires on one side at least",
    "effective_n": "Effective number of texts behind the mean effect",
    "text_share": "Share of the texts in which it fires",
    "density": "Share of the tokens on which it fires",
    "max_activation": "Strongest activation",
    "mean_activation": "Mean activation over the tokens on which it fires",
    "mean_first_order": "Mean of gradient × activation, the cheap stand-in for the effect",
    "template_share": "Share of its firings that fall on role tags, punctuation and white space",
    "template": "Whether that share is at least one half",
    "ever_firing": "Whether it fires in at least nine of ten texts",
    "umap_x": "First coordinate of its decoder row on the map",
    "umap_y": "Second coordinate",
}
"""What each column of the feature table means, in the order of export."""


def exported(table: pd.DataFrame) -> pd.DataFrame:
    """The table's known columns in the order of `COLUMNS`, then any others."""
    known = [name for name in COLUMNS if name in table]
    return table.loc[:, [*known, *(name for name in table if name not in COLUMNS)]]


def features_csv(table: pd.DataFrame) -> bytes:
    """The table as CSV in UTF-8; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    safe = exported(table)
    words = [
        f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
        for text in map(str, safe["top_tokens"])
    ]
    return safe.assign(top_tokens=words).to_csv(index=False).encode("utf-8")


def features_parquet(table: pd.DataFrame) -> bytes:
    """The table as parquet."""
    file = io.BytesIO()
    exported(table).to_parquet(file, index=False)
    return file.getvalue()


def features_json(table: pd.DataFrame) -> bytes:
    """The table as a JSON list of records in UTF-8; numbers that do not exist are null."""
    text = exported(table).to_json(orient="records", force_ascii=False, double_precision=12)
    return (text or "[]").encode("utf-8")
