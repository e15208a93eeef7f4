"""The probe of margins on a tiny model: shares and groups by plain ablation, bad data, and what an interruption changes (nothing)."""

import numpy as np
import pytest
import torch
from qdaif.fakes import Counting

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.opened import opened_engine
from rmviz.configs.margins import MarginsConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_pairs
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.probes import margins
from rmviz.probes.export import export
from rmviz.sae.files import load_sae_artifact
from rmviz.store.tables import load_table
from rmviz.types import Pair

CONFIG = MarginsConfig(sae="sae", dataset="data", split="all", num_pairs=36, shard_size=10, num_resamples=50)
TABLES = ("pairs", "explained", "groups", "wrong")


@pytest.fixture(scope="module")
def probed(space, tmp_path_factory):
    return margins.run(CONFIG, space, Counting(tmp_path_factory.mktemp("margins")))


def tables(artifact):
    return {name: load_table(artifact.path(f"{name}.parquet")) for name in TABLES}


def margin_without(engine, pair, features):
    """By a pass of the whole model over each text, with these features off."""
    off = dict.fromkeys(features, 0.0)
    chosen, rejected = (float(engine.set_rewards(text, [off])[0]) for text in engine.rm.encode(pair.texts))
    return chosen - rejected


def test_shares_and_groups_are_what_ablation_gives(space, probed):
    found, engine = (
        tables(probed),
        EffectEngine(from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae"))),
    )
    by_id = {pair.pair_id: pair for pair in dataset_pairs(space.resolve("data"))}
    margin = found["pairs"].set_index("pair_id")["margin"]
    for pair_id in margin.index[:5]:
        assert margin[pair_id] == pytest.approx(margin_without(engine, by_id[pair_id], []), abs=1e-4)
    scan = margins.MarginScan(space.root, CONFIG, space.root)
    assert [pair.pair_id for pair in scan.pairs] == margin.index.tolist()
    half = np.sort(
        np.random.default_rng(CONFIG.seed).permutation(np.flatnonzero(margin != 0))[np.sum(margin != 0) // 2 :]
    )
    for row in found["explained"].iloc[[0, 2, -1]].itertuples():
        features = [int(one) for one in row.features.split(",")]
        lost = [
            np.sign(margin.iloc[i]) * (margin.iloc[i] - margin_without(engine, scan.pairs[i], features)) for i in half
        ]
        assert len(features) == row.k and row.num_pairs == len(half)
        assert row.share == pytest.approx(np.sum(lost) / margin.iloc[half].abs().sum(), abs=1e-3)
        assert row.share_low <= row.share <= row.share_high
    wrong = found["wrong"]
    assert len(wrong) == (margin < 0).sum() == probed.metrics["num_wrong"] > 0
    for row in wrong[wrong["feature"] >= 0].head(6).itertuples():
        assert row.margin_without == pytest.approx(margin_without(engine, by_id[row.pair_id], [row.feature]), abs=1e-4)
        assert row.margin < 0 < row.margin_without and (row.prompt, row.chosen, row.rejected) == (
            by_id[row.pair_id].prompt, by_id[row.pair_id].chosen, by_id[row.pair_id].rejected
        )  # fmt: skip
    assert found["groups"]["num_pairs"].sum() == len(wrong)
    top = found["groups"].query("feature >= 0").iloc[0]
    now = {pair.pair_id: margin_without(engine, pair, [int(top["feature"])]) for pair in scan.pairs}
    assert top["num_righted"] == sum(now[i] > 0 > margin[i] for i in now)
    assert top["num_broken"] == sum(now[i] < 0 < margin[i] for i in now)


@pytest.mark.parametrize("calls", [2, 6])
def test_an_interrupted_probe_ends_the_same_to_the_byte(space, tmp_path, probed, calls):
    with pytest.raises(KeyboardInterrupt):
        margins.run(CONFIG, space, Counting(tmp_path, calls))
    assert any(tmp_path.glob("shard-*"))
    again = margins.run(CONFIG, space, Counting(tmp_path))
    assert {n: again.path(n).read_bytes() for n in again.files} == {
        n: probed.path(n).read_bytes() for n in probed.files
    }


@pytest.mark.parametrize(
    ("name", "pairs", "figures"),
    [
        ("one", [("say", "the womb", "a river")], {"num_pairs": 1, "num_ties": 0, "num_cut": 0}),
        (
            "ties",
            [(f"say {i}", "the womb", "the womb") for i in range(3)],
            {"num_pairs": 3, "num_ties": 3, "num_wrong": 0},
        ),
        ("long", [("say", "river " * 300 + end, "the near womb") for end in ("a", "b")], {"num_cut": 2}),
    ],
)
def test_odd_data_leave_a_probe_all_the_same(space, tmp_path, name, pairs, figures):
    made = [Pair(pair_id=f"p{i}", prompt=p, chosen=c, rejected=r) for i, (p, c, r) in enumerate(pairs)]
    keep_dataset(space, made, name=name, heldout=0.0, seed=0)
    config = MarginsConfig(sae="sae", dataset=name, split="all", num_resamples=20)
    artifact = margins.run(config, space, Counting(tmp_path))
    assert figures.items() <= artifact.metrics.items()
    assert set(tables(artifact)["explained"]) >= {"k", "share", "share_low", "share_high", "num_pairs"}


def test_rewards_that_are_no_numbers_are_a_sentence(space, tmp_path, monkeypatch):
    def broken(*places, **options):
        engine = opened_engine(*places, **options)
        with torch.no_grad():
            engine.rm.head.weight.fill_(float("nan"))
        return engine

    monkeypatch.setattr(margins, "opened_engine", broken)
    with pytest.raises(DataError, match="no pair could be scored"):
        margins.run(CONFIG, space, Counting(tmp_path))


def test_margins_are_not_written_as_a_page(probed, tmp_path):
    with pytest.raises(ConfigError, match="the Margins page exports their tables"):
        export(probed, tmp_path / "page.html")
