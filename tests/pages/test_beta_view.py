"""The sweep of β is read off what the job has kept; no model is near."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from rmviz.configs.base import to_dict
from rmviz.configs.ilql import IlqlConfig
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.training.ilql import BETAS
from rmviz.training.ilql import SWEEP as WRITTEN
from rmviz.training.ilql import SWEPT as WRITTEN_REPLIES
from rmviz.ui.ilql import SWEEP, SWEPT

HOSTILE = runpy.run_path(str(Path(__file__).with_name("synthetic.py")))["HOSTILE"]
NUM_PROMPTS = 4

PAGE = """
import streamlit as st
from rmviz.store.workspace import Workspace
from rmviz.ui import ilql
space = Workspace({root!r})
ilql.beta_view(space.resolve("led", "policy"))
"""


def kept(root: Path, rewards: tuple[str, ...] = ("reward", "gold")):
    rng = np.random.default_rng(0)
    parts, rows = [], []
    for beta in BETAS:
        part = pd.DataFrame(
            {"beta": beta, "prompt": [f"{word} {i}" for i, word in zip(range(NUM_PROMPTS), HOSTILE, strict=False)]}
        )
        part["reply"] = [f"reply at {beta:g} {HOSTILE[0]}"] * len(part)
        for name in rewards:
            part[name] = beta / 64 + 0.1 * rng.normal(size=len(part))
        part = part.assign(kl=0.1 * beta, length=5, ended=True)
        figures = {"beta": beta, **{name: part[name].mean() for name in rewards}}
        rows.append({**figures, "kl": beta / 50, "kl_reply": beta / 10, "length": 5.0, "ended": 1.0, "distinct_2": 0.5})
        parts.append(part)
    config = to_dict(IlqlConfig(policy="lm", dataset="d", beta=16.0))
    with Workspace(root).create("policy", name="led", config=config) as draft:
        save_table(pd.DataFrame(rows), draft.folder / SWEEP)
        save_table(pd.concat(parts), draft.folder / SWEPT)
    return pd.DataFrame(rows)


def opened(root: Path, **params: str) -> AppTest:
    test = AppTest.from_string(PAGE.format(root=str(root)), default_timeout=30)
    for name, value in params.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception, test.exception
    return test


def words(test: AppTest) -> str:
    return "\n".join(
        str(one.value)
        for kind in ("markdown", "info", "caption", "warning", "subheader")
        for one in getattr(test, kind)
    )


def test_the_page_reads_what_the_job_writes() -> None:
    assert (SWEEP, SWEPT) == (WRITTEN, WRITTEN_REPLIES)


def test_the_sentence_follows_the_slider_and_the_address(tmp_path: Path) -> None:
    sweep = kept(tmp_path).set_index("beta")
    test = opened(tmp_path)
    assert test.select_slider[0].value == 16.0
    assert f"**{sweep.loc[16.0, 'reward']:.3g}**" in words(test)
    assert "**1.6** nats" in words(test) and "n = 4 watched prompts" in words(test)
    assert "cloning of accepted and rejected replies alike" in words(test)
    test.select_slider[0].set_value(64.0).run()
    assert f"**{sweep.loc[64.0, 'gold']:.3g}**" in words(test)
    assert test.query_params["beta"] in ("64", ["64"])
    replies = test.dataframe[0].value
    assert replies["reply"].tolist() == [f"reply at 64 {HOSTILE[0]}"] * NUM_PROMPTS
    assert replies["before"].tolist() == [f"reply at 0 {HOSTILE[0]}"] * NUM_PROMPTS
    assert opened(tmp_path, beta="0").select_slider[0].value == 0.0


@pytest.mark.parametrize("beta", ["3", "much", "nan"])
def test_a_beta_that_was_not_swept_is_told(tmp_path: Path, beta: str) -> None:
    kept(tmp_path)
    assert "was not swept; there are 0, 1, 2" in words(opened(tmp_path, beta=beta))


def test_a_run_that_was_paid_by_signs_and_watched_by_nobody_has_its_other_figures(tmp_path: Path) -> None:
    kept(tmp_path, rewards=())
    test = opened(tmp_path)
    assert "the replies have **5** tokens" in words(test)
    assert len(test.get("plotly_chart")) == 2
