"""The soak of killed workers: it has every kind, and it sees what differs."""

import runpy
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from rmviz.configs.base import required
from rmviz.configs.kinds import KINDS
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace

SOAK = runpy.run_path(str(Path(__file__).parents[1] / "soak" / "soak.py"))


def test_every_kind_is_killed_and_has_a_small_config(tmp_path):
    kinds = SOAK["KINDS"]
    assert len(kinds) == len(set(kinds)) and set(kinds) == set(KINDS) >= set(SOAK["COMPOSED"])
    found = SOAK["configs"](Workspace(tmp_path / "space"), tmp_path)
    assert set(found) == set(kinds)
    for kind, config in found.items():
        fields = KINDS[kind].__dataclass_fields__
        assert set(config) <= set(fields) and {name for name, one in fields.items() if required(one)} <= set(config)


def kept(space, kind, loss, weight, seconds, text="a", found="policy-0123abcd won"):
    with space.create(kind, name="x") as draft:
        write_json(draft.folder / "figures.json", {"loss": loss, "seconds": seconds, "id": text, "found": found})
        save_file({"w": np.full(3, weight, np.float32)}, draft.folder / "model.safetensors")
    return draft.kept


def test_differences_are_seen_and_time_and_names_are_none(tmp_path):
    space, differences = Workspace(tmp_path), SOAK["differences"]
    one = kept(space, "policy", 1.0, 0.5, 3.0)
    assert differences(one, kept(space, "policy", 1.0, 0.5, 9.0, "b")) == []
    assert differences(one, kept(space, "policy", 1.0, 0.5 + 1e-5, 3.0)) == ["model.safetensors"]
    assert differences(one, kept(space, "policy", 1.001, 0.5, 3.0)) == ["figures.json"]
    assert differences(one, kept(space, "policy", 1.0, 0.5, 3.0, found="policy-89abcdef won")) == []
    assert differences(one, kept(space, "policy", 1.0, 0.5, 3.0, found="policy-89abcdef lost")) == ["figures.json"]
    exact = kept(space, "effects", 1.0, 0.5, 3.0)
    assert differences(exact, kept(space, "effects", 1.0, 0.5, 9.0)) == ["figures.json"]


def test_a_copy_has_what_was_made_and_neither_jobs_nor_queue(tmp_path):
    space = Workspace(tmp_path / "space")
    one = kept(space, "policy", 1.0, 0.5, 3.0)
    (space.root / "jobs" / "train.sft-1").mkdir(parents=True)
    copy = Workspace(SOAK["_copied"](space.root, tmp_path / "copy"))
    assert copy.resolve(one.id).files == one.files and not (copy.root / "jobs").exists()
    assert copy.resolve(one.id).folder.is_relative_to(copy.root)
