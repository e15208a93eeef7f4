"""Which prompts a run draws, which tokens its watch reads, and that autocast changes no reward."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sae.saes import random_sae
from sae.tiny import WORDS, tiny_rm

from rmviz.activations.rows import rows_of
from rmviz.data.keep import keep_dataset
from rmviz.store.workspace import Workspace
from rmviz.training.drift import FeatureReader
from rmviz.training.prompts import distinct_prompts
from rmviz.training.rewards import paid
from rmviz.types import Pair, Text

PROMPTS = [f"{' '.join(WORDS[i : i + 5])} " for i in range(6)]
REPLIES = [" ".join(WORDS[i + 7 : i + 9 + i]) for i in range(5)] + [""]


def reader() -> FeatureReader:
    made = FeatureReader.__new__(FeatureReader)
    made._rm = tiny_rm()
    made._sae = random_sae()
    return made


def test_features_are_read_on_reply_tokens_alone() -> None:
    one = reader()
    found = one.firings(PROMPTS, REPLIES).set_index(["text", "feature"])["activation"]
    assert 5 not in found.index.get_level_values("text"), "an empty reply fires nothing"
    for place, (prompt, reply) in enumerate(zip(PROMPTS[:5], REPLIES[:5], strict=True)):
        (encoded,) = one._rm.encode([Text(text_id="0", prompt=prompt, reply=reply)])
        (rows,) = rows_of(one._rm, [encoded], "layers.1")
        spoken = sum(encoded.feature_positions[encoded.reply_start :])
        assert 0 < spoken < len(rows.h)
        acts = one._sae.encode(rows.h[-spoken:])
        wanted: dict[int, float] = {}
        for feature, value in zip(acts.indices.ravel().tolist(), acts.values.ravel().tolist(), strict=True):
            if value > 0:
                wanted[feature] = max(value, wanted.get(feature, 0.0))
        assert found.loc[place].to_dict() == pytest.approx(wanted, rel=1e-4)
    assert one.firings(PROMPTS[:1], [""]).empty


def test_autocast_around_it_changes_neither_rewards_nor_features() -> None:
    one = reader()
    rewards, firings = paid(one._rm, PROMPTS, REPLIES), one.firings(PROMPTS, REPLIES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (paid(one._rm, PROMPTS, REPLIES) == rewards).all()
        assert one.firings(PROMPTS, REPLIES).equals(firings)


def test_prompts_are_drawn_from_the_whole_file_by_the_seed(tmp_path: Path) -> None:
    pairs = [
        Pair(pair_id=f"{i}-{n}", prompt=f"say {i}", chosen=f"a {n}", rejected=f"b {n}")
        for i in range(60)
        for n in (0, 1)
    ]
    keep_dataset(Workspace(tmp_path), pairs, name="prompts", heldout=0.0, seed=0)
    dataset = Workspace(tmp_path).resolve("prompts", "dataset")
    draws = [distinct_prompts(dataset, "train", 20, seed) for seed in range(8)]
    assert all(len(set(draw)) == 20 for draw in draws)
    assert draws[0] == distinct_prompts(dataset, "train", 20, 0)
    assert len({tuple(draw) for draw in draws}) == 8
    assert np.mean([int(prompt.split()[1]) for draw in draws for prompt in draw]) == pytest.approx(29.5, abs=5)
    assert distinct_prompts(dataset, "train", 40, 3)[:20] == draws[3]
    assert sorted(distinct_prompts(dataset, "train", 0, 3)) == sorted({pair.prompt for pair in pairs})
    assert len(distinct_prompts(dataset, "train", 55, 3)) == 55
