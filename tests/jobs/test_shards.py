"""Shards on this machine: in order, whole or not at all, and none made twice."""

import pickle
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from rmviz.ablation.scan import Scan
from rmviz.configs.effects import EffectsConfig
from rmviz.configs.kinds import KINDS
from rmviz.configs.needs import needs_of
from rmviz.errors import ConfigError
from rmviz.jobs.shards import WHERE, made_shards, shard_folder

made: list[int] = []


@dataclass(frozen=True)
class Squares:
    """Writes the square of the shard's number."""

    breaks_at: int = -1

    def make(self, number: int, folder: Path) -> Mapping[str, float]:
        (folder / "begun").touch()
        if number == self.breaks_at:
            raise KeyboardInterrupt
        (folder / "square").write_text(str(number**2))
        made.append(number)
        return {"square": float(number**2)}


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch):
    made.clear()
    monkeypatch.delenv(WHERE, raising=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shards_are_made_in_order_with_their_figures(tmp_path):
    assert list(made_shards(Squares(), range(3), tmp_path)) == [(i, {"square": float(i**2)}) for i in range(3)]
    assert (shard_folder(tmp_path, 2) / "square").read_text() == "4"
    assert names(tmp_path) == ["shard-00000", "shard-00001", "shard-00002"]


def test_what_is_done_stays_done_and_what_is_half_done_vanishes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        list(made_shards(Squares(breaks_at=2), range(4), tmp_path))
    assert names(tmp_path) == ["shard-00000", "shard-00001"]
    (tmp_path / "shard-00002.half-dead").mkdir()  # of a process that was killed
    again = list(made_shards(Squares(), range(4), tmp_path))
    assert again[:2] == [(0, {}), (1, {})] and [number for number, _ in again] == [0, 1, 2, 3]
    assert made == [0, 1, 2, 3] and len(names(tmp_path)) == 4


def test_nothing_is_made_before_it_is_asked_for_nor_after_the_end(tmp_path):
    with closing(made_shards(Squares(), range(3), tmp_path)) as shards:
        next(shards)
    assert made == [0]


def test_another_process_may_be_first(tmp_path):
    class Second(Squares):
        def make(self, number: int, folder: Path) -> Mapping[str, float]:
            other = shard_folder(tmp_path, number)
            other.mkdir()
            (other / "square").write_text("first")
            return super().make(number, folder)

    list(made_shards(Second(), [0], tmp_path))
    assert names(tmp_path) == ["shard-00000"] and (shard_folder(tmp_path, 0) / "square").read_text() == "first"


def test_a_disk_that_refuses_is_no_finished_shard(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        list(made_shards(Squares(), [0], tmp_path))
    assert names(tmp_path) == []


def test_an_unknown_place_and_a_missing_ray_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv(WHERE, "moon")
    with pytest.raises(ConfigError, match="local or ray"):
        list(made_shards(Squares(), [0], tmp_path))
    monkeypatch.setenv(WHERE, "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"rmviz\[ray\]"):
        list(made_shards(Squares(), [0], tmp_path))


def test_a_scan_travels_without_its_model(tmp_path):
    scan = Scan(tmp_path, EffectsConfig(sae="s", dataset="d"), tmp_path / "checkpoints")
    scan.__dict__["engine"] = lambda: None  # cannot be pickled
    there = pickle.loads(pickle.dumps(scan))
    assert there == scan and hash(there) == hash(scan) and "engine" not in there.__dict__


def test_every_kind_has_its_needs():
    assert needs_of("effects").sharded and needs_of("effects").model
    assert not needs_of("data.add").model and {kind for kind in KINDS if needs_of(kind).sharded} == {
        "effects",
        "compare",
        "data.repair",
        "data.pink_elephants",
        "data.mcts",
        "label.features",
        "probe.euphemism",
        "probe.margins",
        "probe.spec",
        "probe.bias",
        "probe.tokens",
    }
