"""The edits of the battery by hand and by law; the battery finds a bias that was planted, and only that."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdaif.fakes import Counting

from rmviz.configs.probes import BIASES, BiasConfig, bias_list
from rmviz.configs.world import OrganismConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.probes import bias
from rmviz.probes.biases import BATTERY, Bias, bias_cases, one_reply, same, words_added
from rmviz.probes.export import page
from rmviz.probes.figures import directed_features, feature_table, halves, measured_on, paired_size
from rmviz.probes.scan import ProbeScan
from rmviz.probes.told import lines, told
from rmviz.sae import organism_job
from rmviz.store.tables import load_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text
from rmviz.world.organism import Organism

REPLY = "Sure. You can use a good plan. Ask many people about the problem, and get help!"
BATTERY_RUN = BiasConfig(
    sae="sae", dataset="data", biases="padding, flattery, word order, typos, women's names", split="all", num_pairs=10,
    shard_size=20, num_resamples=60,
)  # fmt: skip


def made(name, text=REPLY, seed="0"):
    return BATTERY[name].sides(text, seed)


@pytest.fixture(scope="module")
def battery(space, tmp_path_factory):
    return bias.run(BATTERY_RUN, space, Counting(tmp_path_factory.mktemp("bias")))


def test_the_battery_is_what_the_settings_name():
    assert tuple(BATTERY) == BIASES == bias_list("") and bias_list("typos, padding") == ("padding", "typos")
    with pytest.raises(ConfigError, match="no bias called 'colour'"):
        BiasConfig(sae="s", dataset="d", biases="colour")


def test_edits_by_hand():
    assert made("padding")[0].startswith(REPLY + " ") and made("padding")[1] == REPLY
    assert made("truncation")[0] in ("Sure.", "Sure. You can use a good plan.")
    assert made("lists")[0].split("\n")[1] == "- You can use a good plan."
    assert "**Sure**. **You** can" in made("markdown")[0]
    assert made("flattery")[0].endswith(f" {REPLY}") and made("sycophancy")[0].endswith(f" {REPLY}")
    assert "utilize a optimal roadmap. Query a multitude of stakeholders" in made("jargon")[0]
    assert made("spaces")[0] != REPLY and " ".join(made("spaces")[0].split()) == REPLY
    assert made("answer last")[0].endswith("help! Sure.")
    women, men = made("women's names", "Ben met Clara.")
    assert women == "Anna met Clara." and men == "Ben met David."
    women, men = made("women's names")
    assert re.sub(r"\w+\.$", "", women) == re.sub(r"\w+\.$", "", men) == REPLY + " My name is "


@pytest.mark.parametrize("name", ["word order", "typos", "spaces", "answer last"])
def test_what_only_moves_keeps_every_letter(name):
    one, other = made(name)
    letters = [Counter(text.lower().replace(" ", "")) for text in (one, other)]
    assert letters[0] == letters[1] and one != other


@given(st.sampled_from(BIASES), st.text(max_size=60), st.integers(0, 3))
def test_any_text_is_taken_the_same_seed_gives_the_same_and_swapping_swaps(name, text, seed):
    edit = BATTERY[name]
    sides = edit.sides(text, str(seed))
    assert sides == edit.sides(text, str(seed)) and (sides is None or sides[0] != sides[1])
    swapped = Bias(name, "", edit.base, edit.edit).sides(text, str(seed))
    assert swapped == (None if sides is None else sides[::-1])


@pytest.mark.parametrize("name", BIASES)
def test_nothing_is_made_of_nothing(name):
    assert made(name, "  \n ") is None


def test_an_edit_that_is_identity_is_left_out_and_counted():
    texts = [Text(text_id=str(i), prompt="", reply=REPLY) for i in range(3)]
    rows, counts = bias_cases([Bias("idle", "", same)], texts, 0)
    assert rows == [] and counts["idle"] == {"num_holding": 3, "num_unchanged": 3, "num_too_different": 0}


def test_texts_that_are_the_same_have_a_gap_of_exactly_0(space, tmp_path):
    config = BiasConfig(sae="sae", dataset="data", biases="padding", split="all", num_pairs=6)
    scan = ProbeScan(space.root, config, tmp_path)
    scan.__dict__["cases"] = scan.cases.assign(without_words=scan.cases["with_words"])
    (tmp_path / "shard").mkdir()
    scan.make(0, tmp_path / "shard")
    rewards = load_table(tmp_path / "shard" / "rewards.parquet")
    assert len(rewards) == 6 and (rewards["reward_with"] == rewards["reward_without"]).all()
    assert rewards["cut_away"].all()
    assert (load_table(tmp_path / "shard" / "rows.parquet")["carried"] == 0).all()


def test_one_reply_of_each_pair():
    pairs = [Pair(pair_id=str(i), prompt="", chosen="a", rejected="b") for i in range(40)]
    texts = [text for pair in pairs for text in pair.texts]
    drawn = one_reply(texts, 0)
    assert [text.pair_id for text in drawn] == [str(i) for i in range(40)] and drawn == one_reply(texts, 0)
    assert {text.side for text in drawn} == {"chosen", "rejected"}


def test_gaps_are_what_plain_scoring_gives(space, battery):
    rm = from_artifact(space.resolve("rm"))
    cases = load_table(battery.path("cases.parquet"))
    sides = [
        rm.score(
            [Text(text_id=str(i), prompt=c.prompt, reply=getattr(c, name)) for i, c in enumerate(cases.itertuples())]
        )
        for name in ("with_words", "without_words")
    ]
    gap = (sides[0] - sides[1]).astype(float)
    known = cases["gap"].notna().to_numpy()
    np.testing.assert_allclose(cases["gap"][known], gap[known], atol=1e-4)
    assert (cases["cut_away"][~known]).all() and np.abs(gap[~known]).max(initial=0) == 0
    table = load_table(battery.path("verdicts.parquet")).set_index("item")
    own = cases.loc[(cases["item"] == "padding") & known, "gap"]
    assert table.loc["padding", "gap"] == pytest.approx(own.mean())
    assert table.loc["padding", "d_z"] == pytest.approx(own.mean() / own.std(ddof=1))
    assert table.loc["padding", "words_added"] == words_added(cases)["padding"] > 10


def test_what_the_chosen_features_carry_is_what_really_ablating_them_gives(space, battery):
    from rmviz.ablation.engine import EffectEngine
    from rmviz.sae.files import load_sae_artifact

    engine = EffectEngine(from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae")))
    cases = load_table(battery.path("cases.parquet"))
    half = halves(cases["unit"], 0)
    sets = battery.read_json("probe.json")["sets"]["padding"]
    own = cases[(cases["item"] == "padding") & cases["gap"].notna()]
    left = []
    for name in ("with_words", "without_words"):
        encoded = engine.rm.encode(
            [Text(text_id=str(i), prompt=c.prompt, reply=getattr(c, name)) for i, c in enumerate(own.itertuples())]
        )
        off = [dict.fromkeys(sets[half[case]], 0.0) for case in own.index]
        left.append(np.array([engine.set_rewards(one, [some])[0] for one, some in zip(encoded, off, strict=True)]))
    items = load_table(battery.path("items.parquet"))
    line = items[(items["item"] == "padding") & (items["features"] == "padding")].iloc[0]
    assert line["remaining"] == pytest.approx(float((left[0] - left[1]).mean()), abs=1e-4)
    features = load_table(battery.path("features.parquet"))
    assert set(features.loc[features["item"] == "padding", "feature"]) <= {f for some in sets for f in some}


def test_a_bias_planted_in_the_organism_is_found_with_its_feature_and_gaps_are_its_closed_form(tmp_path, monkeypatch):
    """The organism's reward is known in closed form: opening with words of one topic is a bias of known size."""
    space = Workspace(tmp_path / "space")
    organism_job.run(OrganismConfig(num_texts=60), space, Counting(tmp_path / "organism"))
    planted = " The pregnant midwife conceived."
    monkeypatch.setitem(
        BATTERY, "flattery", Bias("flattery", "speaks of one topic first", lambda text, rng: planted + text)
    )
    config = BiasConfig(
        sae="organism-sae", dataset="organism-texts", biases="flattery, typos, women's names", split="all", num_pairs=0,
        num_resamples=100,
    )  # fmt: skip
    made = bias.run(config, space, Counting(tmp_path / "bias"))
    model = space.resolve("organism", "reward_model")
    truth, rm = Organism.from_json(model.read_json("truth.json")), from_artifact(model)
    cases = load_table(made.path("cases.parquet"))
    for case in cases[cases["gap"].notna()].itertuples():
        sides = rm.encode(
            [
                Text(text_id=name, prompt=case.prompt, reply=getattr(case, name))
                for name in ("with_words", "without_words")
            ]
        )
        assert case.gap == pytest.approx(truth.reward(sides[0].ids) - truth.reward(sides[1].ids), abs=1e-4)
    table = load_table(made.path("verdicts.parquet")).set_index("item")
    concept = list(truth.weights).index("pregnancy")
    assert table.loc["flattery", "rank"] == 1 and table.loc["flattery", "verdict"] == "matters"
    assert np.sign(table.loc["flattery", "gap"]) == np.sign(truth.weights["pregnancy"])
    features = load_table(made.path("features.parquet"))
    own = features[features["item"] == "flattery"]
    assert own["feature"].iloc[0] == concept
    assert 0.6 < table.loc["flattery", "share"] < 1.4
    names = cases[(cases["item"] == "women's names") & cases["gap"].notna()]
    assert names["gap"].abs().max() < abs(table.loc["flattery", "gap"]) / 10


def test_paired_size_by_hand():
    gap, units = np.array([1.0, 2.0, 3.0]), pd.Series(["a", "b", "c"])
    found = paired_size(gap, units, num_resamples=200, seed=0)
    assert found["d_z"] == pytest.approx(2.0) and found["d_z_low"] <= 2 <= found["d_z_high"]
    swapped = paired_size(-gap, units, num_resamples=200, seed=0)
    assert swapped["d_z"] == -found["d_z"] and swapped["d_z_low"] == pytest.approx(-found["d_z_high"])
    assert np.isnan(paired_size(np.ones(3), units, num_resamples=20, seed=0)["d_z"])
    assert np.isnan(paired_size(gap[:1], units[:1], num_resamples=20, seed=0)["d_z"])


def test_features_are_chosen_in_the_gaps_direction():
    rows = pd.DataFrame({"feature": [3, 3, 5, 7, 9], "carried": [1.0, 1.0, -4.0, 0.5, 0.0]})
    assert directed_features(rows, +1.0, 5) == [3, 7] and directed_features(rows, -1.0, 5) == [5]
    assert directed_features(rows, 1.0, 1) == [3] and directed_features(rows.iloc[:0], 1.0, 5) == []


@pytest.mark.parametrize("biases", ["women's names, foreign names", "women's names, lists"])
def test_the_tolerance_is_in_rewards_of_the_texts_as_they_are(space, tmp_path, biases):
    config = BiasConfig(sae="sae", dataset="data", biases=biases, split="all", num_pairs=6, num_resamples=20)
    made = bias.run(config, space, Counting(tmp_path))
    drawn = one_reply(dataset_texts(space.resolve("data"), "all", 6, 0), 0)
    rewards = np.asarray(from_artifact(space.resolve("rm")).score(drawn), float)
    assert made.read_json("probe.json")["reward_std"] == pytest.approx(rewards.std(), abs=1e-4)


def test_features_that_noise_chose_are_sure_of_nothing():
    """What is measured on the data that chose it, or on both halves where both chose it, is sure too often."""
    outside, sure = {"one half": [], "all": []}, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        cases = pd.DataFrame({"item": "x", "unit": [f"p{i}" for i in range(240)], "gap": 1.0})
        cases["half"] = halves(cases["unit"], seed)
        rows = pd.DataFrame({"case": np.repeat(np.arange(240), 60), "feature": np.tile(np.arange(60), 240)})
        rows = rows.assign(carried=rng.normal(size=len(rows)), token="")
        half = cases["half"].to_numpy()[rows["case"]]
        chosen = {one: directed_features(rows[half != one], 1.0, 10) for one in (0, 1)}
        some = rows[rows["feature"].isin([*chosen[0], *chosen[1]])]
        for name, sets in (("one half", measured_on(chosen)), ("all", None)):
            table = feature_table(cases, some, "x", num_resamples=200, seed=0, sets=sets)
            assert set(table["feature"]) == {*chosen[0], *chosen[1]}
            outside[name] += ((table["carried_low"] > 0) | (table["carried_high"] < 0)).tolist()
            sure += [bool((table["q"] < 0.05).any())] if sets else []
    assert 0.03 < np.mean(outside["one half"]) < 0.065 < 0.08 < np.mean(outside["all"]) and np.mean(sure) <= 0.1


def test_a_feature_is_measured_on_the_half_that_did_not_choose_it(space, battery):
    from rmviz.ablation.naive import naive_effects
    from rmviz.sae.files import load_sae_artifact

    rm, sae = from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae"))
    cases = load_table(battery.path("cases.parquet"))
    cases["half"] = halves(cases["unit"], 0)
    features = load_table(battery.path("features.parquet"))
    seen = 0
    for item, sets in battery.read_json("probe.json")["sets"].items():
        found = features[features["item"] == item].set_index("feature")["carried"]
        for half, some in measured_on(dict(enumerate(sets))).items():
            some = [feature for feature in some if feature in found.index]
            own = cases[(cases["item"] == item) & cases["gap"].notna() & (cases["half"] == half)]
            if not some:
                continue
            sides = [
                naive_effects(rm, sae, rm.encode([Text(text_id="", prompt=p, reply=r) for p, r in
                              zip(own["prompt"], own[name], strict=True)]), some)
                for name in ("with_words", "without_words")
            ]  # fmt: skip
            np.testing.assert_allclose(found[some], (sides[0] - sides[1]).mean(axis=0), atol=1e-4)
            seen += len(some)
    assert seen == len(features) > 8


def test_an_interrupted_battery_ends_the_same_to_the_byte(space, battery, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        bias.run(BATTERY_RUN, space, Counting(tmp_path, 4))
    again = bias.run(BATTERY_RUN, space, Counting(tmp_path))
    assert {n: again.path(n).read_bytes() for n in again.files} == {
        n: battery.path(n).read_bytes() for n in battery.files
    }


def test_texts_that_no_edit_changes_are_a_sentence(space, tmp_path):
    pairs = [Pair(pair_id=f"s{i}", prompt="Say.", chosen="no", rejected="ok") for i in range(3)]
    keep_dataset(space, pairs, name="short", heldout=0.0, seed=0)
    config = BiasConfig(sae="sae", dataset="short", biases="lists, answer last", split="all")
    with pytest.raises(DataError, match="none of the edits changes any"):
        bias.run(config, space, Counting(tmp_path))


def test_a_battery_is_told_and_exported(battery):
    words = "\n".join(lines(told(battery)))
    assert all(name in words for name in bias_list(BATTERY_RUN.biases)) and "d_z" in words
    assert "three sentences that say nothing" in page(battery)
