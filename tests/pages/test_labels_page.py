"""Labels and Repair on the Features page: given, shown wherever the feature is named, scored, searched, and launched."""

import re
import shutil

import pandas as pd
import pytest

from rmviz.configs.data import RepairConfig
from rmviz.configs.models import PatchConfig
from rmviz.errors import ArtifactError
from rmviz.store.hand_labels import FOLDER, hand_labels, new_label, set_labels
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace

EVIL = "<img src=x onerror=alert(1)> births"


@pytest.fixture
def space(fake, planted):
    yield Workspace(fake.root)
    for name in (FOLDER, "labels"):
        shutil.rmtree(fake.root / name, ignore_errors=True)
    Workspace(fake.root).catalogue.rebuild()


def proposed(space, planted, feature, **values):
    row = {
        "feature": feature, "label": "casinos", "direction": "raises", "source": "openai m", "judge": "words", "problem": "",
        "balanced_accuracy": 0.875, "balanced_accuracy_low": 0.7, "balanced_accuracy_high": 0.95, "sign_agreement": 0.75,
        "sign_agreement_low": 0.5, "sign_agreement_high": 0.9, "num_firing": 12, "num_silent": 12, "num_signs": 12,
    } | values  # fmt: skip
    parents = tuple(planted[kind].id for kind in ("effects", "sae", "reward_model"))
    with space.create("labels", name="made", parents=parents) as draft:
        save_table(pd.DataFrame([row]), draft.folder / "labels.parquet")
        draft.metrics |= {
            "num_features": 1, "balanced_accuracy": 0.875, "sign_agreement": 0.75, "shuffled_balanced_accuracy": None,
        }  # fmt: skip
    return draft.kept


def field(widgets, label):
    return next(one for one in widgets if one.label == label)


def test_a_label_is_given_on_the_feature_s_page_and_taken_away(open_page, text_of, space, planted):
    test = open_page("features", feature="7")
    assert "label" not in test.dataframe[0].value
    field(test.text_input, "Label").input(EVIL)
    field(test.selectbox, "Where it fires, it").set_value("lowers")
    next(b for b in test.button if b.label == "Save").click().run()
    assert not test.exception
    kept = hand_labels(space.root, planted["sae"].id)
    assert {f: (one.label, one.direction) for f, one in kept.items()} == {7: (EVIL, "lowers")}
    test = open_page("features", feature="7")
    words = text_of(test)
    assert "&lt;img src=x" in words and ">hand<" in words and "when it holds one of the label" in words
    rows = test.dataframe[0].value
    assert rows.loc[rows["feature"] == 7, "label"].tolist() == [EVIL]
    test.text_input(key="q").set_value("births").run()
    assert test.dataframe[0].value["feature"].tolist() == [7]
    next(b for b in test.button if b.label == "Take away").click().run()
    assert hand_labels(space.root, planted["sae"].id) == {}


def test_the_fields_hold_the_label_that_is_kept(open_page, text_of, space, planted, monkeypatch):
    sae = planted["sae"].id
    set_labels(space.root, sae, {7: new_label("old")})
    test = open_page("features", feature="7")
    field(test.text_input, "Label").input("typed over").run()
    set_labels(space.root, sae, {7: new_label("by another", "raises")})
    test.run()
    assert field(test.text_input, "Label").value == "by another"
    assert field(test.selectbox, "Where it fires, it").value == "raises"
    assert f"-{sae}-7-" in field(test.text_input, "Label").key, "another SAE's feature 7 has fields of its own"
    field(test.button, "Take away").click().run()
    assert field(test.text_input, "Label").value == "" and hand_labels(space.root, sae) == {}
    set_labels(space.root, sae, {7: new_label("kept")})
    test.run()
    monkeypatch.setattr("rmviz.ui.labels.set_labels", refuse)
    field(test.button, "Take away").click().run()
    assert not test.exception and "was not taken away: the disk is full" in re.sub(r"\\", "", text_of(test))


def refuse(*_):
    raise ArtifactError("the disk is full")


def test_a_proposed_label_shows_its_score_and_a_hand_label_goes_before_it(open_page, text_of, space, planted):
    made = proposed(space, planted, 7)
    words = re.sub(r"\\", "", text_of(open_page("features", feature="7")))
    assert "casinos" in words and "openai m" in words and made.id in words
    assert "balanced accuracy 0.875 [0.7, 0.95] (0.5 is chance; 12 firing and 12 silent texts" in words
    assert "in 75 % [50 %, 90 %] of 12 texts" in words
    set_labels(space.root, planted["sae"].id, {7: new_label("mine")})
    words = text_of(open_page("features", feature="7"))
    assert "mine" in words and ">hand<" in words and "casinos" not in words


def test_a_fault_of_the_language_model_is_said(open_page, text_of, space, planted):
    proposed(space, planted, 7, source="words", problem="a refusal")
    assert "gave no label (a refusal)" in re.sub(r"\\", "", text_of(open_page("features", feature="7")))


def test_the_label_names_the_feature_in_the_playground(open_page, space, planted):
    rows = open_page("playground", prompt="Human: a", a=" the old sailor spoke").dataframe[0].value
    feature = int(rows["feature"].iloc[0])
    set_labels(space.root, planted["sae"].id, {feature: new_label("sailors")})
    rows = open_page("playground", prompt="Human: a", a=" the old sailor spoke").dataframe[0].value
    assert rows.loc[rows["feature"] == feature, "top_tokens"].tolist() == ["sailors"]


def test_repair_shows_exact_commands_and_launches_them(open_page, space, planted, monkeypatch):
    launched = []
    monkeypatch.setattr("rmviz.ui.job_launch.launch", lambda space, kind, config: launched.append((kind, config)))
    test = open_page("features", feature="7", repair="true")
    sae, dataset = planted["sae"].id, planted["dataset"].id
    commands = [code.value for code in test.code]
    assert f"rmviz model patch {sae} --features 7" in commands[0] and "rmviz data repair" in commands[1]
    test.number_input(key="repair-scale").set_value(0.5)
    test.selectbox(key="repair-compare").set_value(dataset)
    test.selectbox(key="repair-how").set_value("flip")
    test.toggle(key="repair-retrain").set_value(True).run()
    test.button(key="repair-model.patch").click().run()
    test.button(key="repair-data.repair").click().run()
    assert launched == [
        ("model.patch", PatchConfig(sae=sae, features="7", scale=0.5, compare=dataset)),
        ("data.repair", RepairConfig(sae=sae, dataset=dataset, features="7", how="flip", retrain=True)),
    ]
    assert not test.exception


def test_what_was_repaired_links_on(open_page, text_of, space, planted):
    model, sae, dataset = (planted[kind] for kind in ("reward_model", "sae", "dataset"))
    with space.create(
        "reward_model", name="mild", parents=(model.id, sae.id), config={"features": "7", "scale": 0.0}
    ) as one:
        pass
    with space.create("comparison", name="both", parents=(dataset.id, model.id, one.kept.id)) as compared:
        compared.metrics["what"] = "models"
    with space.create("dataset", name="clean", parents=(dataset.id, sae.id, model.id)) as data:
        data.metrics |= {"num_dropped": 1, "num_looked_at": 40, "kind": "pairs"}
    try:
        test = open_page("features", feature="7", repair="true")
        words = re.sub(r"\\", "", text_of(test))
        assert "features 7, scale 0" in words and "1 pair of 40 dropped" in words
        links = " ".join(str(link.proto.query_string) for link in test.get("page_link"))
        assert compared.kept.id in links and data.kept.id in links
    finally:
        for artifact in (one.kept, compared.kept, data.kept):
            shutil.rmtree(artifact.folder)
