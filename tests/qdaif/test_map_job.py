"""The map job on tiny models: what it leaves on disk, and that broken off and resumed it leaves the same."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from qdaif.conftest import SMALL
from qdaif.fakes import Counting

from rmviz.asking.local import continuations
from rmviz.errors import ConfigError, DataError, ModelError
from rmviz.models.policy_files import load_language_model
from rmviz.qdaif import job
from rmviz.qdaif.generators import TransformersGenerator
from rmviz.qdaif.requests import Request, Source
from rmviz.store.tables import load_table
from rmviz.worker import execute


def table(artifact, name):
    return load_table(artifact.path(f"{name}.parquet"))


def timeless(artifact):
    return table(artifact, "attempts").drop(columns="seconds")


def test_every_attempt_is_kept(map_artifact, space):
    attempts = table(map_artifact, "attempts")
    assert len(attempts) == 24 and attempts["attempt_id"].tolist() == list(range(24))
    assert {"text", "parents", "asked_row", "judged_column", "reward", "step", "seconds", "generator", "move"} <= set(
        attempts
    )
    assert map_artifact.parents == (space.resolve("rm").id, space.resolve("lm").id)
    assert map_artifact.metrics["coverage"] <= 1 and map_artifact.metrics["method"] == "qdaif"
    cells = table(map_artifact, "cells")
    assert cells.groupby("by").size().to_dict() == {"judged": 6, "asked": 6}
    known = attempts[np.isfinite(attempts["reward"]) & (attempts["problem"] != "duplicate")]
    best = known.groupby("judged")["reward"].max()
    own = cells[(cells["by"] == "judged") & (cells["draws"] > 0)]
    assert own["best"].to_numpy() == pytest.approx(best.loc[own["cell"]].to_numpy(), abs=1e-6)
    info = map_artifact.read_json("map.json")
    assert [axis["name"] for axis in info["axes"]] == ["tone", "genre"] and info["own_runs"] == [0]


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resumed_equals_unbroken(map_artifact, space, tmp_path, stop_after):
    with pytest.raises(KeyboardInterrupt):
        job.run(SMALL, space, Counting(tmp_path, stop_after))
    resumed = job.run(SMALL, space, Counting(tmp_path))
    pd.testing.assert_frame_equal(timeless(resumed), timeless(map_artifact))
    for name in ("cells", "means", "confusion", "curves"):
        assert resumed.path(f"{name}.parquet").read_bytes() == map_artifact.path(f"{name}.parquet").read_bytes()


def test_the_worker_runs_baselines_too(space):
    config = replace(
        SMALL, judge="world", num_repeats=2, baselines=True, num_attempts=6, num_initial=4, rows="genre: haiku, hymn",
        columns="",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"none of 6 poems got a reward and a cell"):
        execute("map", config, space)


def test_one_axis_of_bins(space, tmp_path):
    config = replace(SMALL, rows="words: 0 < 3 < 9", columns="", judge="measure", method="random", num_attempts=8)
    artifact = job.run(config, space, Counting(tmp_path))
    assert set(table(artifact, "attempts")["judged_row"]) <= {"0 to 3", "3 to 9"}
    assert set(table(artifact, "means")["side"]) == {"row"} and set(table(artifact, "attempts")["move"]) == {"seed"}


def test_what_cannot_be_opened_is_a_sentence(space, tmp_path):
    for changes, error, message in (
        ({"policy": "no-such-lm"}, ConfigError, "none called 'no-such-lm'"),
        ({"judge": "form", "rows": "mood: calm, wild", "columns": ""}, ConfigError, "judge form knows"),
        ({"judge": "measure"}, ConfigError, "judge measure counts"),
        ({"judge": "world", "rows": "mood: calm, wild", "columns": ""}, ConfigError, "judge world knows"),
        ({"generator": "transformers", "policy": str(tmp_path)}, ModelError, "config.json"),
    ):
        with pytest.raises(error, match=message):
            job.run(replace(SMALL, **changes), space, Counting(tmp_path / "job"))


def test_any_causal_model_writes(space):
    model, tokenizer = load_language_model(space.resolve("lm"))
    grid = job.grid_for(SMALL)
    source = Source(text="a poem", labels=("happy", "haiku"), attempt_id=3)
    requests = [
        Request(asked=0, labels=("happy", "haiku"), move="seed"),
        Request(asked=1, labels=("happy", "hymn"), move="cross", sources=(source, source)),
        Request(asked=-1, labels=(), move="mutate", sources=(source,)),
    ]
    writer = TransformersGenerator(model, tokenizer, grid, batch_size=2, max_new_tokens=5)
    assert writer.written(requests, seed=1) == writer.written(requests, seed=1) != writer.written(requests, seed=2)
    context = writer._context(writer._question(requests[1]))
    assert context.count("Poem of genre haiku, tone happy:\na poem") == 2 and context.endswith(
        "genre hymn, tone happy:\n"
    )
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    assert writer._context(writer._question(requests[2])).startswith("<user>a poem\n\nRewrite the poem above")
    assert len(writer.written(requests, seed=1)) == 3
    assert continuations(model, tokenizer, ["A", "B"], seed=5, max_new_tokens=3) == continuations(
        model, tokenizer, ["A", "B"], seed=5, max_new_tokens=3
    )


def test_progress_and_journal_are_plain(space, tmp_path):
    report = Counting(tmp_path)
    job.run(replace(SMALL, num_attempts=8), space, report)
    assert {"coverage", "qd_score", "best"} <= set(report.metrics)
    lines = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert lines[0]["grid"] and len(lines[1]["attempts"]) == 8
