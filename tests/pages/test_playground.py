"""The Playground beyond one text: changed texts, groups, named sets, values, several models, links, sessions."""

import html
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from rmviz.backend.wire import FeatureRow, FeaturesAnswer, ModelInfo
from rmviz.errors import ConfigError, ModelError
from rmviz.features.sets import MOST_VALUE, OFF, Edit, save_set, saved_sets
from rmviz.store.workspace import Workspace
from rmviz.ui import active
from rmviz.ui.active import EDIT, PAIR

TEXT = {"prompt": "Human: a", "a": " the old sailor spoke of rain"}


def figures(words: str) -> dict[str, str]:
    """What stands over each number, and what the number became."""
    pairs = re.findall(r'class="k">(.*?)</span>.*?class="rm-now">(.*?)</span>', words)
    return {html.unescape(name): value for name, value in pairs}


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def answer_of(*rows: tuple[int, float, float, list[int]]) -> FeaturesAnswer:
    info = ModelInfo(
        id="m", name="m", family="f", format="plain", format_reason="", max_length=9, causal=True, device="", dtype=""
    )
    made = [
        FeatureRow(feature=f, effect=e, first_order=e, max_activation=a, positions=p, activations=[a] * len(p))
        for f, e, a, p in rows
    ]
    return FeaturesAnswer(
        tokens=["a", "b"], feature_positions=[True, True], reply_start=0, num_cut=0, off_format="", reward=1.0,
        info=info, rows=made, num_rows=len(made), hookpoint="layers.0", d_sae=9, method="",
    )  # fmt: skip


def test_two_texts_are_set_against_each_other_by_hand():
    first = answer_of((1, 2.0, 5.0, [0]), (2, -1.0, 3.0, [1]), (4, 0.5, 1.0, [0]))
    second = answer_of((2, 1.0, 3.0, [1]), (3, 0.25, 9.0, [0, 1]), (4, 0.5, 1.0, [0]))
    moved = active.active_features([first, second], {2: "rain"}, EDIT)
    assert moved["feature"].tolist() == [1, 2, 3, 4]
    assert moved["moved"].tolist() == [-2.0, 2.0, 0.25, 0.0]
    assert moved["before"].tolist() == [2.0, -1.0, 0.0, 0.5] and moved["act after"].tolist() == [0.0, 3.0, 9.0, 1.0]
    assert active.moved_only(moved, EDIT)["feature"].tolist() == [1, 2, 3]
    by_act = active.active_features([first, second], {}, EDIT, "activation")
    assert by_act["feature"].tolist() == [3, 1, 2, 4]
    margin = active.active_features([first, second], {}, PAIR)
    assert margin["on margin"].tolist() == [2.0, -2.0, -0.25, 0.0]
    assert active.raising(margin, "on margin", 1) == [1] and active.raising(margin, "on margin", -1) == [2, 3]
    assert active.firing_at(second, 1) == [2, 3]
    assert active.searched(moved, "RAI")["feature"].tolist() == [2]
    assert active.searched(moved, "3")["feature"].tolist() == [3]
    assert active.searched(moved, "(").empty and len(active.searched(moved, " ")) == 4
    assert active.active_features([answer_of()], {}).empty


def test_a_changed_word_is_marked_and_its_features_move(open_page, text_of):
    test = open_page("playground", mode="edit", **TEXT)
    assert "stays the base" in test.info[0].value
    before = number(figures(text_of(test))["After · reward"])
    test.text_area[1].set_value(" the old <i>sailor</i> spoke of politics")
    next(button for button in test.button if button.label == "Read").click().run()
    words, rows = text_of(test), test.dataframe[0].value
    assert "<ins>politics</ins>" in words and "<ins>rain</ins>" in words
    assert "&lt;" in words and "<i>sailor" not in words
    shown = figures(words)
    change = number(shown["After · reward"]) - before
    assert number(shown["Before · reward"]) == before
    assert number(shown["Change, after − before"]) == pytest.approx(change, abs=5e-3)
    assert rows["moved"].sum() == pytest.approx(change, abs=5e-3), "the stand-in's reward is the sum of its effects"
    assert ((rows["moved"] != 0) | (rows["act before"] != rows["act after"])).all()
    again = open_page("playground", **test.query_params)
    assert figures(text_of(again)) == shown
    again.button(key="back-to-base").click().run()
    assert again.text_area[1].value == TEXT["a"]


def test_a_group_is_changed_and_every_step_can_be_taken_back_and_again(open_page, text_of):
    test = open_page("playground", **TEXT)
    rows = test.dataframe[0].value
    clean = number(figures(text_of(test))["Text · reward"])
    raising = rows.loc[rows["effect"] > 0, "effect"].sum()
    test.button(key="group-apply").click().run()
    assert number(figures(text_of(test))["Text · reward"]) == pytest.approx(clean - raising, abs=5e-3)
    test.slider(key="group-scale").set_value(2.0).run()
    test.selectbox(key="group-which").set_value("All that lower (effect)").run()
    test.button(key="group-apply").click().run()
    lowering = rows.loc[rows["effect"] < 0, "effect"].sum()
    both = number(figures(text_of(test))["Text · reward"])
    assert both == pytest.approx(clean - raising + lowering, abs=1e-2)
    test.button(key="undo").click().run()
    assert number(figures(text_of(test))["Text · reward"]) == pytest.approx(clean - raising, abs=5e-3)
    test.button(key="redo").click().run()
    assert number(figures(text_of(test))["Text · reward"]) == both
    test.button(key="undo").click().run()
    test.button(key="all-on").click().run()
    assert test.button(key="redo").disabled, "a new change leaves nothing to take again"


def test_a_group_is_what_the_search_found_or_what_fires_on_a_token(open_page):
    test = open_page("playground", **TEXT)
    features = [int(feature) for feature in test.dataframe[0].value["feature"]]
    test.text_input(key="q").set_value(str(features[1])).run()
    test.selectbox(key="group-which").set_value("Found by the search").run()
    test.button(key="group-apply").click().run()
    assert test.query_params["scales"] == f"{features[1]}:0"
    test.selectbox(key="group-which").set_value("Firing on one token").run()
    test.selectbox(key="group-token").select_index(len(features) - 1).run()
    test.button(key="group-apply").click().run()
    assert len(test.query_params["scales"].split(",")) in (1, 2)
    test.text_input(key="q").set_value("<b>nothing(").run()
    assert any("No feature that fires here matches" in info.value for info in test.info)


def test_a_feature_is_set_to_a_value(open_page, text_of, fake):
    test = open_page("playground", **TEXT)
    top = test.dataframe[0].value.iloc[0]
    feature, clean = int(top["feature"]), number(figures(text_of(test))["Text · reward"])
    test = open_page("playground", **TEXT, scales=f"{feature}@0,999999:0")
    assert number(figures(text_of(test))["Text · reward"]) == pytest.approx(clean - top["effect"], abs=5e-3)
    box = next(one for one in test.number_input if one.label == f"Value of feature {feature}")
    box.set_value(1.5).run()
    num_tokens = len(f"{TEXT['prompt']}{TEXT['a']}".split(" "))
    wanted = clean - top["effect"] + num_tokens * top["effect"] / top["tokens"]
    assert number(figures(text_of(test))["Text · reward"]) == pytest.approx(wanted, abs=1e-2)
    assert test.query_params["scales"] == f"{feature}@1.5,999999:0"
    assert 999999 not in fake.asked[-1].scales, "a feature that this SAE lacks is not asked for"


def test_edits_that_cannot_be_made_can_be_undone(open_page, text_of, own, planted, fake, monkeypatch):
    fake.root = own.root
    test = open_page("playground", root=own.root, **TEXT)
    feature = int(test.dataframe[0].value["feature"].iloc[0])
    made = save_set(own.root, planted["sae"].id, "huge", {feature: Edit("value", 2 * MOST_VALUE)})
    plain = type(fake).ablate

    def refusing(self, model, sae, text, scales, *, values=None, **options):
        if any(abs(value) > MOST_VALUE for value in (values or {}).values()):
            raise ConfigError("values are between -1e6 and 1e6")
        return plain(self, model, sae, text, scales, values=values, **options)

    monkeypatch.setattr(type(fake), "ablate", refusing)
    test = open_page("playground", root=own.root, **TEXT, set=made.id)
    assert [error.value for error in test.error] == ["Values are between \\-1e6 and 1e6"]
    box = next(one for one in test.number_input if one.label == f"Value of feature {feature}")
    assert (box.min, box.max) == (-MOST_VALUE, MOST_VALUE)
    test.segmented_control(key="group-kind").set_value("value").run()
    group = test.number_input(key="group-value")
    assert (group.min, group.max) == (-MOST_VALUE, MOST_VALUE)
    test.button(key="undo").click().run()
    assert not test.error and "→" not in text_of(test)


@pytest.fixture
def own(planted, tmp_path):
    """A copy of the workspace that a test may write."""
    shutil.copytree(planted["sae"].folder.parents[1], tmp_path / "own")
    return Workspace(tmp_path / "own")


def test_a_set_is_kept_taken_and_handed_over(open_page, text_of, own, planted, fake):
    fake.root = own.root
    test = open_page("playground", root=own.root, **TEXT, scales="3:0,7:0.5")
    test.text_input(key="set-name").set_value("war & peace").run()
    test.button(key="set-save").click().run()
    assert "3, 7=0.5" in text_of(test)
    (kept,), _ = saved_sets(own.root, planted["sae"].id)
    assert (kept.name, kept.edits) == ("war & peace", {3: OFF, 7: Edit("scale", 0.5)})
    test.text_input(key="set-name").set_value("war & peace").run()
    test.button(key="set-save").click().run()
    assert any("Another set of this SAE is called" in warning.value.replace("\\", "") for warning in test.warning)
    test.text_input(key=f"set-rename-{kept.id}").set_value("<b>war").run()
    assert saved_sets(own.root)[0][0].name == "<b>war"
    other = open_page("playground", root=own.root, **TEXT, set=kept.id)
    assert other.query_params["scales"] == "3:0,7:0.5" and "set" not in other.query_params
    other.button(key="all-on").click().run()
    other.selectbox(key="group-which").set_value("Set: <b>war").run()
    other.button(key="set-take").click().run()
    assert other.query_params["scales"] == "3:0,7:0.5"
    other.button(key="set-model.patch").click().run()
    assert other.session_state["train-kind"] == "model.patch"
    drafted = other.session_state["_job-drafts"]["model.patch"].values
    assert (drafted["sae"], drafted["features"]) == (planted["sae"].id, "3, 7=0.5")
    test.button(key="set-delete").click().run()
    assert saved_sets(own.root) == ([], [])
    gone = open_page("playground", root=own.root, **TEXT, set=kept.id)
    assert any("it may have been deleted" in warning.value for warning in gone.warning)


def test_a_set_and_the_sliders_belong_to_one_sae(open_page, own, planted, fake):
    fake.root = own.root
    made = save_set(own.root, "another-sae", "theirs", {3: OFF})
    test = open_page("playground", root=own.root, **TEXT, set=made.id)
    assert "scales" not in test.query_params and "set" not in test.query_params
    assert any("of the features of another SAE" in warning.value for warning in test.warning)
    test = open_page("playground", root=own.root, **TEXT, scales="3:0,7@1")
    keys = [one.key for one in (*test.slider, *test.number_input, *test.segmented_control) if "feature" in one.label]
    assert len(keys) == 4 and all(planted["sae"].id in key for key in keys)


def test_a_link_restores_everything(open_page, text_of, own, planted, fake):
    fake.root = own.root
    reply = " the old sailor" + " spoke of rain" * 200
    many = ",".join(f"{feature}:{scale}" for feature in range(60) for scale in (0.5,)) + "," + "9@2," * 400
    start = {"mode": "edit", "prompt": "Human: a", "a": reply, "base_prompt": "Human: b", "base": " grey roofs"}
    test = open_page("playground", root=own.root, **start, scales=many[:1900], colour="edit", rank="activation")
    params = dict(test.query_params.items())
    assert sum(len(str(value)) for value in params.values()) < 600, "long texts do not break the address"
    assert set(params) >= {"model", "sae", "texts", "mode", "colour", "rank"} and "a" not in params
    again = open_page("playground", root=own.root, **{name: "".join(value) for name, value in params.items()})
    assert again.text_area[1].value == reply and figures(text_of(again)) == figures(text_of(test))
    assert dict(again.query_params.items()) == params


def test_edits_too_many_for_a_link_are_kept_too(open_page, own, planted, fake):
    fake.root = own.root
    made = save_set(own.root, planted["sae"].id, "all", {feature: Edit("scale", 0.25) for feature in range(1000)})
    test = open_page("playground", root=own.root, **TEXT, set=made.id)
    assert "scales" not in test.query_params
    key = "".join(test.query_params["edits"])
    again = open_page("playground", root=own.root, **TEXT, edits=key)
    assert again.session_state[f"_pg-edits-{planted['sae'].id}"]["now"] == made.edits
    assert [len(request.scales) for request in fake.asked if hasattr(request, "scales")] == [60], "known ones, once"
    assert "".join(again.query_params["edits"]) == key


def test_texts_of_the_data_stand_in_the_link_by_their_ids(open_page, text_of, planted):
    test = open_page("playground", dataset=planted["dataset"].id, pair="pair-0003")
    assert test.text_area[0].value.startswith("\n\nHuman:") and "Reply B · reward" in text_of(test)
    assert {"dataset", "pair", "mode"} <= set(test.query_params) and "a" not in test.query_params
    other = open_page("playground", effects=planted["effects"].id, pair="pair-0003")
    assert [area.value for area in other.text_area] == [area.value for area in test.text_area]
    test.text_area[1].set_value(" another")
    next(button for button in test.button if button.label == "Read").click().run()
    assert "pair" not in test.query_params and "".join(test.query_params["a"]) == " another"
    for params in ({"dataset": planted["dataset"].id, "pair": "<b>x"}, {"effects": "gone", "text": "pair-0003/chosen"}):
        lost = open_page("playground", **params)
        assert any("is not in this workspace" in warning.value for warning in lost.warning)


def test_a_link_leaves_nothing_of_what_stood_there_before(open_page, planted):
    test = open_page("playground", mode="pair", prompt="old prompt", a="A1", b="B1")
    for params in (
        {"a": "a text alone"},
        {"a": "a text alone", "mode": "text"},
        {"prompt": "Human: a", "a": "x", "b": "y"},
        {"a": "a text alone", "mode": "text", "prompt": "Human: a"},
    ):
        turned(test, params)
        assert [test.session_state[f"pg-{name}"] for name in ("prompt", "a", "b")] == [
            params.get(name, "") for name in ("prompt", "a", "b")
        ]
        assert len(test.text_area) == (3 if "b" in params else 2)
    turned(test, {"mode": "pair", "a": "A1", "b": "B1"})
    turned(test, {"effects": planted["effects"].id, "text": "pair-0003/chosen", "mode": "text"})
    assert len(test.text_area) == 2 and test.session_state["pg-b"] == ""


def turned(test, params):
    """Another link opened in the same session."""
    test.query_params.clear()
    test.query_params.update(params)
    assert not test.run().exception


def test_what_a_pair_shares_is_shown_once(open_page, text_of):
    test = open_page("playground", mode="pair", prompt="Human: a", a=" the old sailor", b=" the old rain fell")
    words = text_of(test)
    shared = words[words.index("Shared by both") :]
    shared, rest = shared[: shared.index("Reply A")], shared[shared.index("Reply A") :]
    assert "the</span>" in shared and "old</span>" in shared and "sailor" in rest and "old</span>" not in rest
    assert "Shared by both" not in text_of(open_page("playground", mode="pair", a="one", b="two"))


def test_several_models_read_along_and_one_that_cannot_is_named(open_page, text_of, own, planted, fake):
    fake.root = own.root
    ids = []
    for name in ("second", "third <script>"):
        with own.create("reward_model", name=name) as draft:
            pass
        ids.append(draft.kept.id)
    fake.broken_models[ids[1]] = ModelError("its head gives two numbers")
    test = open_page("playground", root=own.root, model=planted["reward_model"].id, also=",".join([*ids, "no"]), **TEXT)
    words = text_of(test)
    assert any("third" in one.value and "head gives two numbers" in one.value for one in test.warning)
    assert "<td>second</td>" in words and "<script>" not in words
    assert "no scan tells the spread of second" in words.replace("\\", "")
    assert "".join(test.query_params["also"]) == ",".join(ids) and not test.error
    asked = Counter(request.model for request in fake.asked)
    assert asked == {planted["reward_model"].id: 1, ids[0]: 1, ids[1]: 1}


def test_models_with_scans_share_an_axis_of_standard_deviations(open_page, text_of, own, planted, fake):
    fake.root = own.root
    with own.create("reward_model", name="second") as draft:
        pass
    second = draft.kept.id
    spread = {planted["reward_model"].id: None, second: (3.0, 0.5)}
    rewards = spread[second][0] + spread[second][1] * np.array([-1.0, 1.0, -1.0, 1.0]) * np.sqrt(3 / 4)
    with own.create("effects", name="scan", parents=("sae", "data", second)) as draft:
        columns = {"text_id": list("abcd"), "pair_id": "", "side": "text", "reward": rewards, "prompt": "", "reply": ""}
        pd.DataFrame(columns).to_parquet(draft.folder / "texts.parquet")
    params = {"model": planted["reward_model"].id, "also": second, **TEXT}
    test = open_page("playground", root=own.root, **params)
    words = text_of(test)
    reward = number(figures(words)["Text · reward"])
    row = words[words.index("<td>second</td>") :]
    found = re.search(r'muted num">(.*?) sd, above (\d+) %', row)
    assert number(found[1]) == pytest.approx((reward - 3.0) / 0.5, rel=1e-2)
    assert int(found[2]) == 100 * np.mean(rewards < reward)
    test = open_page("playground", root=own.root, **params, axes="z")
    assert "in standard deviations from the mean" in text_of(test).replace("\\", "")


def test_two_sessions_never_see_each_others_edits(open_page, text_of):
    first = open_page("playground", **TEXT, scales="3:0,5@1,7:2")
    second = open_page("playground", **TEXT)
    assert "→" in text_of(first) and "→" not in text_of(second) and "scales" not in second.query_params
    second.button(key="group-apply").click().run()
    shown = text_of(second)
    first.run()
    assert "".join(first.query_params["scales"]) == "3:0,5@1,7:2"
    assert figures(text_of(second.run())) == figures(shown)


def test_rewards_that_are_no_numbers_and_empty_texts_are_said(open_page, text_of, fake, monkeypatch):
    assert any("Type a reply" in info.value for info in open_page("playground", mode="pair", prompt="Human: a").info)
    plain = type(fake).features

    def broken(self, *args, **options):
        answer = plain(self, *args, **options)
        none = [None] * len(answer.tokens)
        return answer.model_copy(update={"reward": None, "prefix_rewards": none, "rows": [], "num_rows": 0})

    monkeypatch.setattr(type(fake), "features", broken)
    test = open_page("playground", mode="pair", prompt="Human: a", a=" the old", b=" rain fell")
    assert "the model gives no finite number here" in text_of(test) and not test.error
    assert any("No feature fires" in info.value for info in test.info)
