import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rmviz.features.unit_effects import drift_worth, unit_effects
from rmviz.plots.experiments import arm_curves, seed_bands
from rmviz.store.experiments import Curves, read_experiment
from rmviz.store.workspace import Workspace
from rmviz.training.looks import change_of, drift_table, looks_of, mean_bands, samples_of
from rmviz.ui import policy_curves, policy_tables
from rmviz.ui.policy_samples import ordered

HERE = Path(__file__).parent
POLICIED = runpy.run_path(str(HERE / "policied.py"))
SYNTHETIC = runpy.run_path(str(HERE / "synthetic.py"))


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    root = tmp_path_factory.mktemp("policied") / "workspace"
    return root, SYNTHETIC["build"](root)


@pytest.fixture(scope="module")
def kept(space):
    return POLICIED["build_policies"](*space)


@pytest.fixture
def policies(open_page, space, kept):
    return lambda name="without KL", **params: open_page("policies", root=space[0], policy=kept[name].id, **params)


@pytest.fixture
def experiments(open_page, space, kept):
    return lambda name="experiment": open_page("experiments", root=space[0], experiment=kept[name].id)


def no_markup(test):
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    for kind in ("markdown", "caption", "warning", "info", "subheader"):
        for element in getattr(test, kind):
            bare = re.sub(r"\\.", "", str(element.value))
            assert "![" not in bare and "](" not in bare and "<img" not in bare


def test_empty_workspaces_say_what_to_do(open_page, text_of, tmp_path):
    words = text_of(open_page("policies", root=tmp_path))
    assert "No policy is here yet" in words and "rmviz recipe knapsack --workspace" in words
    words = text_of(open_page("experiments", root=tmp_path))
    assert "No experiment has been run" in words and "rmviz recipe iterated" in words


def test_a_pretrained_policy_has_a_card(policies, text_of):
    test = policies("lm")
    assert "pretrained, or brought in" in text_of(test) and "1.5" in text_of(test) and not test.segmented_control


def test_changes_are_paired_by_hand(kept):
    table = samples_of(kept["without KL"])
    change = change_of(table, "reward", 0, 20)
    assert change.value == pytest.approx(2.0) and change.low == pytest.approx(2.0) and change.n == 30
    assert change_of(table, "reward", 20, 0).value == pytest.approx(-2.0)
    band = mean_bands(table, "reward").set_index("step")
    own = table[table["step"] == 0]["reward"]
    half = 2.045229642 * own.std(ddof=1) / np.sqrt(30)
    assert band.loc[0, "high"] - own.mean() == pytest.approx(half) and len(looks_of(kept["without KL"])) == 3


def test_key_figures_stand_before_and_after_with_intervals(policies, text_of):
    words = text_of(policies())
    assert "from 0" in text_of(policies(view="drift"))
    for title in ("Proxy reward", "Gold reward", "KL per reply", "Entropy", "Distinct pairs", "Self-BLEU", "Ended"):
        assert title in words
    assert "+2" in words and "exact reward of world" in words and "30 prompts" in words
    no_markup(policies())


def test_over_optimisation_is_said_where_it_is_and_nowhere_else(policies):
    assert any("Over" in one.value and "step 10" in one.value for one in policies().warning)
    test = policies("with KL")
    assert not test.warning and any("no over" in one.value.replace("\\", "") for one in test.caption)


@pytest.mark.parametrize(
    ("slope", "noise", "said"),
    [(-1.0, 0.0, "Both fell"), (0.0, 1.0, "what the proxy did meanwhile cannot be told from none")],
)
def test_where_the_proxy_did_not_rise_nothing_is_called_over_optimised(slope, noise, said, kept, monkeypatch):
    table, rng = samples_of(kept["without KL"]), np.random.default_rng(1)
    last = table["step"] == 20
    peak = table.loc[table["step"] == 10, "reward"].to_numpy(float)
    table.loc[last, "reward"] = peak + slope + noise * rng.normal(size=len(peak))
    monkeypatch.setattr(policy_tables, "samples", lambda _: table)
    heard = []
    monkeypatch.setattr(policy_curves.st, "warning", lambda words: heard.append(("warning", words)))
    monkeypatch.setattr(policy_curves.st, "caption", lambda words: heard.append(("caption", words)))
    policy_curves.verdict(kept["without KL"])
    ((how, words),) = heard
    assert how == "caption" and said in words and "Over" not in words


def test_seeds_that_share_only_their_start_have_a_line_each():
    def points(xs):
        rows = [{"arm": "a", "seed": seed, "x": x, "y": seed + x} for seed in range(4) for x in xs(seed)]
        return Curves(title="t", meaning="m", x="x", y="y", rows=rows)

    apart = arm_curves(points(lambda seed: (0.0, 1.0 + 0.01 * seed, 2.0 + 0.01 * seed)))
    lines = [trace for trace in apart.data if trace.x is not None and len(trace.x)]
    assert sorted(tuple(trace.x) for trace in lines) == [(0.0, 1.0 + 0.01 * s, 2.0 + 0.01 * s) for s in range(4)]
    assert all(trace.opacity == 1 for trace in lines)
    together = arm_curves(points(lambda seed: (0.0, 1.0, 2.0)))
    assert any(trace.opacity == 0.35 for trace in together.data), "seeds lie faint behind their mean"


def test_other_runs_are_laid_over(policies, kept):
    test = policies(**{"with": kept["with KL"].id})
    assert test.multiselect[0].value == [kept["with KL"].id] and test.query_params["with"] == kept["with KL"].id
    assert policies(**{"with": "policy-gone"}).warning


def test_replies_are_read_side_by_side_and_escaped(policies, text_of):
    test = policies(view="samples", prompt="0")
    words = text_of(test)
    assert "&lt;img" in words and "step 20" in words and "<ins>lovely" in words
    no_markup(test)
    assert "step 10" in words and test.query_params["prompt"] == "0"
    assert test.dataframe[0].value["reward"].tolist() == pytest.approx([2.0] * 25)
    assert policies(view="samples", prompt="999").warning


def test_replies_are_searched_and_ordered(policies, kept):
    test = policies(view="samples", **{"policy-q": "say 17"})
    assert test.dataframe[0].value["prompt"].tolist() == ["Say 17"]
    assert "No prompt and no reply" in policies(view="samples", **{"policy-q": "zebra"}).info[0].value
    table = pd.DataFrame({"text": [0, 1, 2], "reward": [1.0, 3.0, -2.0]})
    assert ordered(table, "reward")["text"].tolist() == [1, 0, 2]
    assert ordered(table, "reward-down")["text"].tolist() == [2, 0, 1]
    assert ordered(table, "gap")["text"].tolist() == [0, 1, 2]
    assert "gap" in policies(view="samples", order="gap").dataframe[0].value


def test_a_unit_effect_times_the_change_is_what_drift_stands_for(kept):
    units = unit_effects(kept["effects"])
    by = units.set_index("feature")
    assert by["unit_effect"].tolist() == pytest.approx([0.5, -0.1, 0.2]) and by["num_texts"].tolist() == [8, 8, 8]
    assert by.loc[3, "firing_effect"] == pytest.approx(0.5 * 2.5)
    table = drift_table(POLICIED["firings"](np.random.default_rng(0)), 0, 20, 30)
    found = drift_worth(table, units).set_index("feature")
    assert found.loc[3, "worth"] == pytest.approx(0.5 * found.loc[3, "change"])
    assert found.loc[3, "worth"] == pytest.approx(1.0, abs=0.05) and found.loc[7, "worth"] < -0.2
    assert (found["worth_low"].dropna() <= found["worth"].dropna()).all()
    assert (found["worth_high"].dropna() >= found["worth"].dropna()).all()
    assert np.isnan(found.loc[999, "worth"]) and found.index[-1] == 999
    back = drift_worth(drift_table(POLICIED["firings"](np.random.default_rng(0)), 20, 0, 30), units).set_index(
        "feature"
    )
    assert back.loc[3, "worth"] == pytest.approx(-found.loc[3, "worth"])


def test_drift_is_joined_with_effects_and_leads_to_features(policies, text_of, space):
    test = policies(view="drift")
    table = test.dataframe[0].value.set_index("feature")
    assert {3, 5, 7, 999} == set(table.index) and table.loc[3, "change"] == pytest.approx(2, abs=0.1)
    assert table.loc[3, "page"] == f"features?features={space[1]['features'].id}&feature=3"
    assert table.loc[7, "share_after"] == 0 and table.loc[7, "share_before"] == 1
    words = text_of(test).replace("\\", "")
    assert "first order" in words and "1 feature of those below" in words
    test = policies(view="drift", **{"from": "10", "to": "10"})
    assert "nothing can have changed" in test.info[0].value
    assert policies(view="drift", **{"from": "10"}).dataframe[0].value.set_index("feature").loc[3, "change"] < 1.5


def test_a_run_without_reward_sae_or_parents_still_reads(policies, text_of):
    test = policies("sft")
    words = text_of(test).replace("\\", "")
    assert "without a reward" in words and "policy-00000000 (not in this workspace)" in words
    assert "No SAE read the replies" in policies("sft", view="drift").info[0].value
    assert not policies("sft", view="samples").exception


def test_a_link_to_nothing_shows_the_newest(open_page, space, kept):
    assert "is called" in open_page("policies", root=space[0], policy="policy-gone").warning[0].value
    assert "is called" in open_page("experiments", root=space[0], experiment="x").warning[0].value


def test_an_experiment_says_what_was_found_first(experiments, text_of, kept):
    test = experiments()
    words = text_of(test)
    assert words.index("what was found") < words.index("fill_before")
    assert "60 %" in words and "at least +0.15" in words and "1 min 01 s" in words
    assert any("rmviz recipe knapsack --seeds 3" in code.value for code in test.code)
    assert len(test.dataframe) == 2
    no_markup(test)


def test_an_experiment_names_what_is_gone_and_what_is_broken(open_page, experiments, text_of, space, kept):
    assert "cannot be read" in experiments("broken").error[0].value
    assert "not in the workspace" not in text_of(experiments())
    moved = kept["with KL"].folder.with_name("away")
    kept["with KL"].folder.rename(moved)
    try:
        assert kept["with KL"].id in text_of(experiments()).replace("\\", "")
        assert "not in the workspace" in text_of(experiments())
    finally:
        moved.rename(kept["with KL"].folder)


def test_bands_over_seeds_by_hand(kept):
    curves = read_experiment(kept["experiment"]).curves[0]
    band = seed_bands(curves.rows)["mcts"].set_index("x")
    assert band.loc[1, "mean"] == pytest.approx(3.0) and band.loc[1, "n"] == 3
    assert band.loc[1, "high"] - 3.0 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert len(arm_curves(curves).data) == 2 * 2 + 2 * 3


def test_overview_knows_both(open_page, text_of, space, kept):
    test = open_page("overview", root=space[0])
    heads = [element.value for element in test.subheader]
    assert "Policy" in heads and "Experiment" in heads
    assert "rmviz train rest" not in text_of(test)


def test_overview_leads_from_a_policy_and_a_reward_to_training(open_page, text_of, tmp_path):
    made = SYNTHETIC["build"](tmp_path / "w")
    with Workspace(tmp_path / "w").create("policy", name="lm") as draft:
        (draft.folder / "x").write_bytes(b"x")
    words = text_of(open_page("overview", root=tmp_path / "w"))
    ids = f"{draft.kept.id} {made['dataset'].id} {made['reward_model'].id} --sae {made['sae'].id}"
    assert f"rmviz train rest {ids} --workspace" in words


def test_a_reward_is_called_what_it_is():
    assert policy_tables.scorer_name("truth:world", []) == "exact reward of world"
    assert policy_tables.scorer_name("judge:gpt@http://x/v1", []) == "judge gpt at http://x/v1"
    assert policy_tables.scorer_name("judge:org/model", []) == "judge org/model"
