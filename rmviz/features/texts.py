"""The texts of an effects artifact, kept in Arrow's compact form."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int

from rmviz.errors import ArtifactError
from rmviz.features.marks import template_tokens
from rmviz.features.pages import rounded
from rmviz.store.artifact import Artifact
from rmviz.types import Side, Text

_COLUMNS = [
    "text_id",
    "pair_id",
    "side",
    "prompt",
    "reply",
    "token_ids",
    "feature_positions",
    "tokens",
    "num_cut",
    "reward",
]


class ScannedTexts:
    """Every text that the effects were measured on; position `p` of text `t` has the flat place `offsets[t] + p`.

    `feature_positions` are the tokens where features are defined; none in texts that could not be scored.
    """

    def __init__(self, table: pa.Table) -> None:
        """Take the columns of `texts.parquet`."""
        self._table = table.combine_chunks()
        self.token_ids = _flat(self._table, "token_ids")
        self.tokens = _flat(self._table, "tokens")
        self.feature_positions: Bool[np.ndarray, " token"] = _numbers(_flat(self._table, "feature_positions")).astype(
            bool
        )
        self.lengths: Int[np.ndarray, " text"] = _numbers(
            pc.call_function("list_value_length", [_whole(self._table, "tokens")])
        ).astype(np.int64)
        self.offsets: Int[np.ndarray, " text_end"] = np.concatenate([[0], np.cumsum(self.lengths)])
        self.scored: Bool[np.ndarray, " text"] = np.isfinite(_numbers(_whole(self._table, "reward").cast(pa.float64())))
        if not len(self.token_ids) == len(self.tokens) == len(self.feature_positions):
            raise ArtifactError(
                "token_ids, tokens and feature_positions of texts.parquet differ in length; make the effects again"
            )
        self.feature_positions &= np.repeat(self.scored, self.lengths)

    @classmethod
    def of(cls, effects: Artifact) -> "ScannedTexts":
        """The texts of an effects artifact.

        Raises:
            ArtifactError: The table cannot be read.
        """
        path = effects.path("texts.parquet")
        try:
            return cls(pq.read_table(path, columns=_COLUMNS))
        except (OSError, pa.ArrowException, KeyError) as error:
            raise ArtifactError(
                f"{path} cannot be read as a table of texts ({error}); make the effects again"
            ) from error

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.lengths)

    @cached_property
    def text_ids(self) -> pa.Array:
        """Id of each text."""
        return _whole(self._table, "text_id")

    @cached_property
    def pairs(self) -> Int[np.ndarray, " text"]:
        """A number for the pair of each text; texts without a pair have one of their own."""
        pair = _whole(self._table, "pair_id").fill_null("")
        numbers = _numbers(pair.dictionary_encode().indices).astype(np.int64)
        alone = _numbers(pc.call_function("equal", [pair, ""]))
        return np.where(alone, len(self) + np.arange(len(self)), numbers)

    @cached_property
    def template(self) -> Bool[np.ndarray, " token"]:
        """Which tokens are role tags, punctuation or white space."""
        marks = [template_tokens(self.tokens_of(text)) for text in range(len(self))]
        return np.concatenate(marks) if marks else np.zeros(0, dtype=bool)

    def words(self, name: Callable[[str], str]) -> tuple[list[str], Int[np.ndarray, " token"]]:
        """The distinct words that `name` makes of the tokens, and the number of each token's word."""
        encoded = self.tokens.dictionary_encode()
        numbers: dict[str, int] = {}
        of_token = np.array(
            [numbers.setdefault(name(token), len(numbers)) for token in encoded.dictionary.to_pylist()], dtype=np.int32
        )
        places = _numbers(encoded.indices)
        return list(numbers), of_token[places] if len(places) else np.zeros(0, dtype=np.int32)

    def tokens_of(self, text: int, start: int = 0, length: int | None = None) -> list[str]:
        """The tokens of one text, or of a window of it."""
        low, high = int(self.offsets[text]) + start, int(self.offsets[text + 1])
        return self.tokens.slice(low, min(high - low, length if length is not None else high - low)).to_pylist()

    def texts(self, low: int, high: int) -> list[Text]:
        """Texts `low` to `high` as a reward model takes them."""
        rows = self._table.slice(low, high - low).select(["text_id", "prompt", "reply", "pair_id", "side"]).to_pylist()
        return [
            Text(
                text_id=row["text_id"],
                prompt=row["prompt"] or "",
                reply=row["reply"] or "",
                pair_id=row["pair_id"] or "",
                side=cast(Side, row["side"] or "text"),
            )
            for row in rows
        ]

    def taken(self, texts: Int[np.ndarray, " text"]) -> "ScannedTexts":
        """Some of the texts, in the order given; each with the columns that it had."""
        return ScannedTexts(self._table.take(pa.array(texts, pa.int64())))

    def ids_of(self, text: int) -> Int[np.ndarray, " position"]:
        """The token ids of one text."""
        low, high = int(self.offsets[text]), int(self.offsets[text + 1])
        return _numbers(self.token_ids.slice(low, high - low)).astype(np.int64)

    def defined_in(self, text: int) -> Bool[np.ndarray, " position"]:
        """Where features are defined in one text."""
        return self.feature_positions[self.offsets[text] : self.offsets[text + 1]]

    def written(self, texts: Sequence[int]) -> list[str]:
        """Prompt and reply of some texts, as one text each."""
        rows = self._table.select(["prompt", "reply"]).take(pa.array(texts, pa.int64())).to_pylist()
        return [(row["prompt"] or "") + (row["reply"] or "") for row in rows]

    def facts(self, texts: Sequence[int]) -> list[dict[str, Any]]:
        """Id, pair, side, reward (five digits) and number of cut tokens of some texts."""
        columns = self._table.select(["text_id", "pair_id", "side", "reward", "num_cut"])
        return [
            {
                "text_id": row["text_id"],
                "pair_id": row["pair_id"] or "",
                "side": row["side"] or "",
                "reward": rounded([row["reward"]], 5)[0],
                "num_cut": int(row["num_cut"] or 0),
            }
            for row in columns.take(pa.array(texts, pa.int64())).to_pylist()
        ]


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _flat(table: pa.Table, name: str) -> pa.Array:
    return cast(pa.ListArray, _whole(table, name)).flatten()


def _numbers(array: pa.Array) -> np.ndarray:
    return array.to_numpy(zero_copy_only=False)
