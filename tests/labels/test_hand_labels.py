"""Labels by hand: written in one step, by many at once, out to CSV and back, and from the command line."""

import json
import multiprocessing

import pytest
from typer.testing import CliRunner

from rmviz import cli
from rmviz.errors import ArtifactError, ConfigError, DataError, RmvizError
from rmviz.labels.read import HAND, labels_csv, labels_from_csv, labels_of
from rmviz.store.hand_labels import HandLabel, file_of, hand_labels, new_label, set_labels
from rmviz.store.workspace import Workspace


@pytest.fixture
def sae(tmp_path):
    with Workspace(tmp_path).create("sae", name="s", config={"d_sae": 50}) as draft:
        pass
    return draft.kept


def told(space, *words):
    done = CliRunner().invoke(cli.app, [*map(str, words), "-w", str(space)])
    if isinstance(done.exception, RmvizError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_set_read_change_and_take_away(tmp_path, sae):
    assert hand_labels(tmp_path, sae.id) == {}
    set_labels(tmp_path, sae.id, {3: new_label(" births \n and babies", "LOWERS", "seen on hh")})
    kept = set_labels(tmp_path, sae.id, {1: new_label("politics")})
    assert list(kept) == [1, 3] == list(hand_labels(tmp_path, sae.id))
    one = hand_labels(tmp_path, sae.id)[3]
    assert (one.label, one.direction, one.note) == ("births and babies", "lowers", "seen on hh") and one.time > 0
    assert list(set_labels(tmp_path, sae.id, {3: None, 7: None})) == [1]
    assert hand_labels(tmp_path, "sae-other") == {}


def _give(root, sae, start):
    for feature in range(start, start + 10):
        set_labels(root, sae, {feature: new_label(f"label {feature}")})


def test_many_who_label_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_give, args=(tmp_path, "sae-x", start)) for start in (0, 10, 20)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert list(hand_labels(tmp_path, "sae-x")) == list(range(30))
    assert {path.name for path in file_of(tmp_path, "sae-x").parent.iterdir()} == {"sae-x.json", "lock"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 9, "labels": {}}',
                                  '{"version": 1, "labels": {"1": {"label": ""}}}'])  # fmt: skip
def test_a_damaged_file_is_a_sentence_and_stays(tmp_path, text):
    file_of(tmp_path, "sae-x").parent.mkdir()
    file_of(tmp_path, "sae-x").write_text(text)
    with pytest.raises(ArtifactError, match=r"put it right|newer rmviz"):
        set_labels(tmp_path, "sae-x", {1: new_label("a")})
    assert file_of(tmp_path, "sae-x").read_text() == text


def test_csv_and_back_is_the_same(sae):
    labels = {
        1: HandLabel(label='=HYPERLINK("http://evil.test")', note="+1"), 2: HandLabel(label='a, "b"; ’tis', direction="raises"),
    }  # fmt: skip
    text = labels_csv(labels)
    assert not [line for line in text.splitlines()[1:] if line.split(",")[1].startswith("=")]
    back = labels_from_csv("\ufeff" + text, sae)
    assert {f: (one.label, one.direction, one.note) for f, one in back.items()} == {
        f: (one.label, one.direction, one.note) for f, one in labels.items()
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels come as CSV"),
        ("a,b\n1,2\n", "no column feature"),
        ("feature,label\n1,a\nx,b\n", "line 3: feature must be a number"),
        ("feature,label\n50,a\n", "line 2: feature 50 does not exist"),
        ("feature,label\n1,\n", "line 2: a label must be some words"),
        ("feature,label,direction\n1,a,up\n", "line 2: direction must be raises, lowers or empty"),
        (f"feature,label\n1,{'x' * 201}\n", "at most 200 characters"),
    ],
)
def test_a_csv_that_cannot_be_used_changes_nothing(tmp_path, sae, text, message):
    set_labels(tmp_path, sae.id, {4: new_label("kept")})
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        told(tmp_path, "label", "import", "s", file)
    assert list(hand_labels(tmp_path, sae.id)) == [4]


def test_the_commands(tmp_path, sae):
    assert "No labels yet" in told(tmp_path, "label", "show", "s")
    told(tmp_path, "label", "set", "s", 3, "births", "--direction", "lowers", "--note", "n")
    shown = json.loads(told(tmp_path, "label", "show", "s", "--json"))
    assert [(one["feature"], one["label"], one["direction"], one["source"]) for one in shown] == [
        (3, "births", "lowers", HAND)
    ]
    told(tmp_path, "label", "export", "s", tmp_path / "out.csv")
    told(tmp_path, "label", "set", "s", 3, "")
    assert labels_of(Workspace(tmp_path), sae.id, []) == {}
    assert "1 labels taken over" in told(tmp_path, "label", "import", "s", tmp_path / "out.csv")
    assert hand_labels(tmp_path, sae.id)[3].note == "n"
    with pytest.raises(ConfigError, match="feature 99 does not exist: s has features 0 to 49"):
        told(tmp_path, "label", "set", "s", 99, "x")
