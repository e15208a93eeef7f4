"""A repaired dataset lacks, or has flipped, exactly the pairs that really ablating the whole set decides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from ablation.families import VOCAB, tiny_model, tiny_sae
from qdaif.fakes import Counting

from rmviz import worker
from rmviz.ablation import repair
from rmviz.configs.data import RepairConfig
from rmviz.configs.models import PatchConfig
from rmviz.data.keep import PAIRS, keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.models.register import keep_reward_model
from rmviz.sae import patch_job
from rmviz.sae.files import save_sae
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text

FEATURES = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
BASE = RepairConfig(sae="sae", dataset="data", features=FEATURES, shard_size=7)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("repair"))
    rm = tiny_model("gpt_neox")
    model = keep_reward_model(workspace, rm, name="rm", format="plain")
    sae = tiny_sae(rm, "layers.1")
    sae.model_fingerprint = rm.fingerprint
    with workspace.create("sae", name="sae", parents=(model.id,)) as draft:
        save_sae(draft.folder / "sae", sae)
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{i}" for i in rng.integers(4, VOCAB, 8)) for _ in range(180)]
    items = [
        Pair(pair_id=f"p{i}", prompt=words[3 * i], chosen=words[3 * i + 1], rejected=words[3 * i + 2], extra={"n": i})
        for i in range(60)
    ]
    keep_dataset(workspace, [*items, Text(text_id="alone", prompt="w5", reply="w6")], name="data", heldout=0.2, seed=0)
    return workspace


@pytest.fixture(scope="module")
def margins(space, tmp_path_factory):
    """Margins of the training pairs: by the model's own score, and by that of the model with the set patched out."""
    folder = tmp_path_factory.mktemp("patch")
    patched = patch_job.run(PatchConfig(sae="sae", features=FEATURES), space, Counting(folder))
    pairs = dataset_pairs(space.resolve("data"), "train")
    texts = [text for pair in pairs for text in pair.texts]
    rewards = [from_artifact(one).score(texts) for one in (space.resolve("rm"), patched)]
    table = pd.DataFrame({name: r[0::2] - r[1::2] for name, r in zip(("with", "without"), rewards, strict=True)})
    return table.set_axis([pair.pair_id for pair in pairs])


def rows(artifact):
    return {row["pair_id"]: row for row in pq.read_table(artifact.path(PAIRS)).to_pylist()}


def changed(artifact):
    return set(pq.read_table(artifact.path(repair.CHANGED)).to_pandas()["pair_id"])


def test_the_pairs_that_real_ablation_decides_are_dropped_and_nothing_else(space, margins, tmp_path):
    made = repair.run(BASE, space, Counting(tmp_path))
    wanted = set(margins.index[(margins["with"] > 0) & (margins["without"] <= 0)])
    old, new = rows(space.resolve("data")), rows(made)
    assert 2 < len(wanted) < len(margins) and changed(made) == wanted == old.keys() - new.keys()
    assert all(new[key] == old[key] for key in new)
    assert made.metrics["num_dropped"] == len(wanted) and made.metrics["num_looked_at"] == len(margins)
    assert (
        made.metrics["num_pairs"] == 60 - len(wanted) and made.metrics["num_texts"] == 2 * made.metrics["num_pairs"] + 1
    )
    assert made.parents[0] == space.resolve("data").id
    assert len(dataset_pairs(made, "heldout")) == len(dataset_pairs(space.resolve("data"), "heldout"))


def test_flipping_swaps_both_ways_and_twice_is_nothing(space, margins, tmp_path):
    made = repair.run(replace(BASE, how="flip", pairs="both"), space, Counting(tmp_path))
    wanted = set(margins.index[np.sign(margins["with"]) != np.sign(margins["without"])])
    old, new = rows(space.resolve("data")), rows(made)
    assert changed(made) == wanted and old.keys() == new.keys()
    for key in old:
        sides = (old[key]["chosen"], old[key]["rejected"])
        assert (new[key]["chosen"], new[key]["rejected"]) == (sides[::-1] if key in wanted else sides)
        assert {n: v for n, v in new[key].items() if n not in ("chosen", "rejected")} == {
            n: v for n, v in old[key].items() if n not in ("chosen", "rejected")
        }


def test_a_share_of_the_margin_takes_more_pairs(space, margins, tmp_path):
    made = repair.run(replace(BASE, min_share=0.3), space, Counting(tmp_path))
    carried = (margins["with"] - margins["without"]) / margins["with"]
    assert (
        changed(made)
        == set(margins.index[(margins["with"] > 0) & (carried >= 0.3)])
        > changed(repair.run(BASE, space, Counting(tmp_path / "one")))
    )


def test_decided_by_hand():
    margin, without = np.array([1.0, 1.0, 1.0, -1.0, 0.0, np.nan]), np.array([-0.5, 0.0, 0.4, 0.5, -1.0, np.nan])
    assert repair.decided(margin, without, BASE).tolist() == [True, True, False, False, False, False]
    both = replace(BASE, pairs="both", min_share=0.6)
    assert repair.decided(margin, without, both).tolist() == [True, True, True, True, False, False]


def test_an_interrupted_repair_goes_on_and_ends_the_same(space, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        repair.run(BASE, space, Counting(tmp_path / "a", 3))
    assert any((tmp_path / "a").glob("shard-*"))
    one, other = (repair.run(BASE, space, Counting(tmp_path / name)) for name in ("a", "b"))
    assert one.files == other.files


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": ""}, ConfigError, "features must name"),
        ({"features": "4711"}, ConfigError, "feature 4711 does not exist"),
        ({"min_share": 99.0}, DataError, "decide none of the"),
        ({"retrain": True}, ConfigError, "was not trained here"),
    ],
)
def test_what_cannot_be_repaired_is_a_sentence(space, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        repair.run(replace(BASE, **changes), space, Counting(tmp_path))


def test_a_patch_is_followed_by_the_comparison_that_it_asks_for(space):
    torch.manual_seed(0)
    made = worker.execute("model.patch", PatchConfig(sae="sae", features=FEATURES, compare="data"), space)
    kind, config = worker.follow_up(made, space) or ("", {})
    compared = worker.execute(kind, config, space)
    pairs = dataset_pairs(space.resolve("data"), "heldout")
    texts = [text for pair in pairs for text in pair.texts]
    rewards = {one.id: from_artifact(one).score(texts) for one in (space.resolve("rm"), made)}
    accuracy = [float((r[0::2] > r[1::2]).mean()) for r in rewards.values()]
    assert compared.kind == "comparison" and set(rewards) <= set(compared.parents)
    assert [compared.metrics["accuracy_first"], compared.metrics["accuracy_last"]] == pytest.approx(accuracy)
    assert worker.follow_up(space.resolve("rm"), space) is None
