"""The effects job: what it leaves, what an interruption changes (nothing), and what is left out."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ablation.families import VOCAB, tiny_model, tiny_sae

from rmviz.ablation import scan
from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.naive import naive_effects
from rmviz.ablation.rows import export, row_files
from rmviz.configs.effects import EffectsConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.models.load import from_artifact
from rmviz.models.register import keep_reward_model
from rmviz.sae.files import load_sae_artifact, save_sae
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair


class Counting:
    """A report that can break off after some calls."""

    key = ""

    def __init__(self, folder: Path, stop_after: int = 10**9) -> None:
        self.folder, self.left, self.metrics = folder, stop_after, {}
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        self.metrics |= metrics or {}
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    space = Workspace(tmp_path_factory.mktemp("space"))
    rng = np.random.default_rng(0)

    def words(number: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(4, VOCAB, number))

    pairs = [Pair(pair_id=f"p{i}", prompt=words(4), chosen=words(5), rejected=words(6)) for i in range(11)]
    data = keep_dataset(space, pairs, name="data", heldout=0.0, seed=0)
    rm = tiny_model("gpt_neox")
    model = keep_reward_model(space, rm, name="rm", format="plain")
    sae = tiny_sae(rm)
    sae.model_fingerprint = rm.fingerprint
    with space.create("sae", name="sae", parents=(model.id, data.id)) as draft:
        save_sae(draft.folder / "sae", sae)
    return space


def settings() -> EffectsConfig:
    return EffectsConfig(sae="sae", dataset="data", split="all", num_pairs=0, shard_size=5, num_resamples=50)


@pytest.fixture(scope="module")
def effects(workspace, tmp_path_factory) -> Artifact:
    return scan.run(settings(), workspace, Counting(tmp_path_factory.mktemp("job")))


def content(artifact: Artifact) -> dict[str, bytes]:
    return {name: artifact.path(name).read_bytes() for name in artifact.files}


def test_rows_are_the_effects_of_the_naive_hook(workspace, effects):
    rm, sae = from_artifact(workspace.resolve("rm")), load_sae_artifact(workspace.resolve("sae"))
    texts = dataset_texts(workspace.resolve("data"))
    wanted = naive_effects(rm, sae, rm.encode(texts), range(sae.d_sae))
    rows = pd.concat(load_table(file) for file in row_files(effects))
    place = pd.Index([text.text_id for text in texts]).get_indexer(pd.Index(rows["text_id"]))
    table = np.zeros_like(wanted)
    table[place, rows["feature"]] = rows["effect"]
    assert np.abs(table - wanted).max() <= 1e-5
    assert len(row_files(effects)) == 5 and effects.metrics["num_rows"] == len(rows)
    scored = load_table(effects.path("texts.parquet"))
    np.testing.assert_allclose(scored["reward"], rm.score(texts), atol=1e-6)


def test_the_summary_follows_from_the_rows(workspace, effects):
    rows = pd.concat(load_table(file) for file in row_files(effects))
    table = load_table(effects.path("summary.parquet")).set_index("feature")
    assert sorted(table.index) == sorted(rows["feature"].unique())
    for feature, some in rows.groupby("feature"):
        line = table.loc[feature]
        assert line["mean_effect"] == pytest.approx(some["effect"].sum() / 22, abs=1e-6)
        assert line["firing_effect"] == pytest.approx(some["effect"].mean(), abs=1e-6)
        sign = some["side"].map({"chosen": 1, "rejected": -1})
        assert line["margin_effect"] == pytest.approx((some["effect"] * sign).sum() / 11, abs=1e-6)
        assert line["mean_effect_low"] <= line["mean_effect"] <= line["mean_effect_high"]
        assert line["effective_n"] == some["pair_id"].nunique() and line["num_texts"] == len(some)
    assert not table.isna().any(axis=None)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_an_interrupted_scan_goes_on_and_ends_the_same_to_the_byte(workspace, effects, tmp_path, calls, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        scan.run(settings(), workspace, Counting(tmp_path, stop_after=calls))
    scanned = []
    original = EffectEngine.scan
    monkeypatch.setattr(
        EffectEngine, "scan", lambda self, texts, **more: scanned.append(len(texts)) or original(self, texts, **more)
    )
    again = scan.run(settings(), workspace, Counting(tmp_path))
    assert sum(scanned[:-1]) == 22 - 5 * calls  # the last call is the audit's
    assert content(again) == content(effects)


def test_a_text_that_gives_no_number_is_listed_and_left_out(workspace, tmp_path, monkeypatch):
    original = EffectEngine.scan

    def broken(self, texts, **more):
        rows, rewards = original(self, texts, **more)
        bad = [i for i, text in enumerate(texts) if text.text_id == "p3/chosen"]
        rewards[bad] = np.nan
        return rows.taken(~np.isin(rows.text, bad)), rewards

    monkeypatch.setattr(EffectEngine, "scan", broken)
    made = scan.run(settings(), workspace, Counting(tmp_path))
    assert made.read_json("skipped.json") == ["p3/chosen"] and made.metrics["num_skipped"] == 1
    rows = pd.concat(load_table(file) for file in row_files(made))
    assert "p3/chosen" not in set(rows["text_id"]) and not rows.isna().any(axis=None)


def test_the_audit_compares_cheap_scores(effects):
    audit = json.loads(effects.path("audit.json").read_text())
    assert audit["num_texts"] == 22 and audit["num_rows"] > 0
    assert set(audit["scores"]) == {"decoder_head", "gradient", "integrated_gradients"}
    assert 0 < audit["scores"]["gradient"]["spearman_rows"] <= 1
    assert 0 <= audit["scores"]["gradient"]["sign_agreement"] <= 1


def test_the_export_can_be_checked_by_anyone(workspace, effects, tmp_path):
    told = export(effects, tmp_path / "rows.parquet", tmp_path / "texts.parquet")
    rows, texts = pd.read_parquet(tmp_path / "rows.parquet"), pd.read_parquet(tmp_path / "texts.parquet")
    assert list(rows) == [
        "text_id",
        "pair_id",
        "side",
        "feature",
        "first_position",
        "max_activation",
        "effect",
        "first_order",
    ]
    assert {"text_id", "token_ids", "feature_positions", "reward"} <= set(texts)
    assert told["rows"] == len(rows) and told["texts"] == len(texts) == 22
    assert all(isinstance(ids[0], np.integer) for ids in texts["token_ids"])
