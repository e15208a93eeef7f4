"""Settings of the jobs that bring data in."""

from dataclasses import dataclass

from rmviz.configs.base import at_least, require


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Read preference pairs (or texts) and keep them as a dataset."""

    source: str
    """A .jsonl, .jsonl.gz, .csv or .parquet file, a folder of such files, or a Hugging Face dataset id."""

    name: str = ""
    """What to call the dataset; the file's name when empty."""

    hub_split: str = "train"
    """Split to read from a hub dataset."""

    heldout: float = 0.1
    """Share of prompts kept out of all training; pairs with the same prompt stay together."""

    limit: int = 0
    """Read at most this many rows; 0 reads all."""

    seed: int = 0
    """Seed of the split."""

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "source must name a file, a folder or a hub dataset, got nothing")
        require(0 <= self.heldout < 1, f"heldout must be a share from 0 to below 1, got {self.heldout}")
        at_least(self, limit=0)
