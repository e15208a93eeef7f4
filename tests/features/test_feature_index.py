import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rmviz.errors import ModelError, NotFoundError
from rmviz.features import passing, read
from rmviz.features.export import COLUMNS, features_csv, features_json, features_parquet
from rmviz.features.index import run
from rmviz.features.pages import PAGE_LIMIT
from rmviz.store.tables import load_table, save_table


@pytest.fixture(scope="module")
def table(made):
    return read.feature_table(made)


@pytest.fixture(scope="module")
def pages(made, table):
    return {int(feature): read.feature_page(made, int(feature)) for feature in table["feature"]}


def test_the_table_has_every_alive_feature_and_every_documented_column(scanned, table):
    assert set(COLUMNS) == set(table.columns)
    assert table["feature"].tolist() == sorted(scanned.rows["feature"].unique())
    assert table["top_tokens"].map(bool).all()
    assert np.isfinite(table[["umap_x", "umap_y"]]).all().all()


def test_densities_sum_to_the_number_of_firings_per_token(scanned, made, table):
    assert np.isclose(table["density"].sum() * made.metrics["num_tokens"], scanned.rows["num_firings"].sum())


def test_histogram_counts_are_the_firings_and_effect_counts_the_texts(scanned, pages):
    firings, texts = scanned.rows.groupby("feature")["num_firings"].sum(), scanned.rows.groupby("feature").size()
    for feature, page in pages.items():
        assert sum(page["histogram"]["counts"]) == firings[feature]
        assert sum(page["effect_histogram"]["counts"]) == texts[feature]
        assert len(page["histogram"]["edges"]) == len(page["histogram"]["counts"]) + 1


def test_examples_are_rows_of_the_scan_one_per_pair_over_the_whole_range(scanned, pages):
    rows = scanned.rows.set_index(["feature", "text_id"])
    for feature, page in pages.items():
        mine = scanned.rows[scanned.rows["feature"] == feature]
        examples = page["examples"]
        assert len({example["pair_id"] for example in examples}) == len(examples)
        assert examples[0]["activation"] == pytest.approx(mine["max_activation"].max(), rel=1e-4)
        assert [e["activation"] for e in examples] == sorted((e["activation"] for e in examples), reverse=True)
        assert [e["bin"] for e in examples] == sorted((e["bin"] for e in examples), reverse=True)
        if mine["pair_id"].nunique() >= 5:
            assert {example["bin"] for example in examples} == set(range(5))
        for example in examples:
            row = rows.loc[(feature, example["text_id"])]
            assert example["effect"] == pytest.approx(row["effect"], rel=1e-3, abs=1e-6)


def test_windows_show_the_text_around_its_strongest_firing(scanned, pages):
    tokens = {
        text: row["tokens"]
        for text, row in load_table(scanned.effects.path("texts.parquet")).set_index("text_id").iterrows()
    }
    for page in pages.values():
        for example in page["examples"]:
            start, length = example["start"], len(example["tokens"])
            whole = tokens[example["text_id"]]
            assert length == len(example["acts"]) == min(9, len(whole))
            assert [t[:79] for t in example["tokens"]] == [t[:79] for t in whole[start : start + length]]
            assert max(example["acts"]) == pytest.approx(example["activation"], rel=6e-3)


def test_neighbours_are_other_features_and_phi_is_a_correlation(scanned, pages):
    fires = (
        pd.crosstab(scanned.rows["text_id"], scanned.rows["feature"])
        .clip(upper=1)
        .reindex([t.text_id for t in scanned.texts], fill_value=0)
    )
    phi = fires.corr()
    for feature, page in pages.items():
        near = page["neighbours"]
        assert len(near["decoder"]) == 5
        assert feature not in {n["feature"] for n in near["decoder"] + near["cofiring"]}
        for neighbour in near["cofiring"]:
            assert neighbour["phi"] == pytest.approx(phi.loc[feature, neighbour["feature"]], abs=2e-3)


def test_pages_are_small_and_grouped(made):
    file = pq.ParquetFile(made.path("pages.parquet"))
    sizes = [len(page.encode()) for page in file.read()["page"].to_pylist()]
    assert max(sizes) <= PAGE_LIMIT
    assert file.metadata.row_group(0).num_rows == 16


def test_a_silent_feature_is_named_in_the_error(made):
    for feature in (39, -1, 10**12):
        with pytest.raises(NotFoundError, match=f"feature {feature} has no page"):
            read.feature_page(made, feature)


def test_progress_ends_at_its_total_and_lineage_is_whole(scanned, made, report):
    assert report.steps[-1][0] == report.steps[-1][1] == len(scanned.texts) + made.metrics["num_features"] + 1
    assert made.parents[0] == scanned.effects.id
    assert {scanned.workspace.resolve(parent).kind for parent in made.parents} == {"effects", "sae", "reward_model"}


def test_an_interrupted_pass_goes_on_and_ends_the_same(scanned, made, report, monkeypatch, tmp_path):
    monkeypatch.setattr(passing, "TEXTS_AT_ONCE", 16)
    monkeypatch.setenv("RMVIZ_CHECKPOINT_SECONDS", "1e-9")
    again = replace(report, folder=tmp_path)
    config = scanned.config(num_bins=5, per_bin=2, context=4, num_neighbours=5)
    stop = iter([False, False, True])

    def interrupted(step, total, metrics=None):
        if next(stop):
            raise KeyboardInterrupt

    interrupted.folder, interrupted.key = tmp_path, ""  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        run(config, scanned.workspace, interrupted)  # type: ignore[arg-type]
    assert (tmp_path / "pass.npz").exists()
    other = run(config, scanned.workspace, again)
    assert again.steps[0][0] >= 16
    assert other.path("pages.parquet").read_bytes() == made.path("pages.parquet").read_bytes()
    ours, theirs = read.feature_table(other), read.feature_table(made)
    pd.testing.assert_frame_equal(ours, theirs)


def test_texts_that_the_model_reads_otherwise_are_refused(scanned, report, tmp_path):
    with scanned.workspace.create("effects", name="other tokens", parents=scanned.effects.parents) as draft:
        (draft.folder / "rows").mkdir()
        for name in scanned.effects.files:
            (draft.folder / name).write_bytes(scanned.effects.path(name).read_bytes())
        texts = load_table(draft.folder / "texts.parquet")
        texts.at[3, "token_ids"] = np.asarray(texts.at[3, "token_ids"]) * 0
        save_table(texts, draft.folder / "texts.parquet")
    with pytest.raises(ModelError, match="measure the effects again"):
        run(replace(scanned.config(), effects=draft.kept.id), scanned.workspace, replace(report, folder=tmp_path))


def test_export_round_trips(table):
    import io

    assert list(pd.read_csv(io.BytesIO(features_csv(table)))) == list(COLUMNS)
    pd.testing.assert_frame_equal(
        pd.read_parquet(io.BytesIO(features_parquet(table))), table[list(COLUMNS)], check_dtype=False
    )
    assert [row["feature"] for row in json.loads(features_json(table))] == table["feature"].tolist()
    formula = features_csv(table.assign(top_tokens="=1+1"))
    assert b"'=1+1" in formula


def test_what_the_effect_scan_writes_is_what_the_index_reads(scanned, tmp_path):
    from rmviz.ablation.scan import run as scan
    from rmviz.configs.effects import EffectsConfig, FeaturesConfig
    from rmviz.data.keep import keep_dataset
    from rmviz.jobs.run import run_job
    from rmviz.types import Pair

    chosen, rejected = scanned.texts[::2], scanned.texts[1::2]
    pairs = [
        Pair(pair_id=a.pair_id, prompt=a.prompt, chosen=a.reply, rejected=b.reply)
        for a, b in zip(chosen, rejected, strict=True)
    ]
    workspace = scanned.workspace
    dataset = keep_dataset(workspace, pairs[:8], name="pairs", key="", config={}, heldout=0.0, seed=0)
    sae = next(parent for parent in scanned.effects.parents if parent.startswith("sae"))
    settings = EffectsConfig(sae=sae, dataset=dataset.id, split="all", num_pairs=0, shard_size=5, num_resamples=10)
    effects = run_job("effects", settings, workspace, scan)
    features = run_job("features", FeaturesConfig(effects=effects.id, context=3), workspace, run)
    table, rows = read.feature_table(features), len(pairs[:8]) * 2
    assert set(COLUMNS) <= set(table.columns) and features.metrics["num_texts"] == rows
    page = read.feature_page(features, int(table["feature"][0]))
    assert page["examples"][0]["activation"] == pytest.approx(table["max_activation"][0], rel=1e-3)
    assert run_job("features", FeaturesConfig(effects=effects.id, context=3), workspace, run).id == features.id
