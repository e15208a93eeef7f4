"""Named sets of features: kept in the workspace, handed over to jobs as they want them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.configs.map import feature_list
from rmviz.configs.models import feature_scales
from rmviz.errors import ConfigError, NotFoundError
from rmviz.features import sets
from rmviz.features.sets import OFF, Edit

NUMBERS = st.floats(-2, 3).map(lambda x: round(x * 4) / 4)
EDITS = st.dictionaries(
    st.integers(0, 10**8), st.builds(Edit, st.sampled_from(["scale", "value"]), NUMBERS), max_size=20
)


@given(EDITS)
def test_edits_are_read_back_as_they_were_written(edits):
    assert sets.parsed_edits(sets.written_edits(edits)) == edits


@given(st.dictionaries(st.integers(0, 10**6), NUMBERS, min_size=1))
def test_a_patch_takes_the_set_as_it_is(numbers):
    edits = {feature: Edit("scale", number) for feature, number in numbers.items()}
    wanted = {feature: number for feature, number in numbers.items() if number != 1}
    if not wanted:
        with pytest.raises(ConfigError, match="nothing would change"):
            sets.patch_list(edits)
        return
    assert feature_scales(sets.patch_list(edits), 0.0) == wanted == sets.scales_of(edits)


def test_a_job_that_switches_off_takes_what_is_off_only():
    assert feature_list(sets.off_list({17: OFF, 3: OFF})) == (3, 17)
    with pytest.raises(ConfigError, match="feature 4 is scaled or set"):
        sets.off_list({3: OFF, 4: Edit("scale", 0.5)})
    with pytest.raises(ConfigError, match="feature 9 is set to a value"):
        sets.patch_list({3: OFF, 9: Edit("value", 2.0)})
    with pytest.raises(ConfigError, match="is empty"):
        sets.off_list({})


@pytest.mark.parametrize("text", ["nonsense", "1:nan,2:inf,3@nan", "-1:0,3:", "7", "4@", "1:0:0", "9999999999:0"])
def test_what_is_no_edit_is_left_out(text):
    assert sets.parsed_edits(text) == {}
    assert sets.parsed_edits(f"{text},5@2.5, 6:7") == {5: Edit("value", 2.5), 6: Edit("scale", 3.0)}


def test_a_set_is_saved_renamed_and_deleted(tmp_path):
    made = sets.save_set(tmp_path, "sae-1", "  politics/now ", {3: OFF, 9: Edit("value", 2.0)})
    assert made.name == "politics-now" and sets.saved_set(tmp_path, made.id) == made
    other = sets.save_set(tmp_path, "sae-2", "politics-now", {4: OFF})
    assert sets.saved_sets(tmp_path, "sae-1") == ([made], [])
    assert sets.saved_sets(tmp_path)[0] == [other, made]
    renamed = sets.rename_set(tmp_path, made.id, "<b>war</b>")
    assert (renamed.id, renamed.edits, renamed.name) == (made.id, made.edits, "<b>war<-b>")
    assert sets.rename_set(tmp_path, made.id, renamed.name) == renamed
    sets.delete_set(tmp_path, made.id)
    sets.delete_set(tmp_path, made.id)
    assert sets.saved_sets(tmp_path) == ([other], [])
    assert [path.suffix for path in (tmp_path / sets.FOLDER).iterdir()] == [".json"], "nothing half-written is left"


def test_what_cannot_be_saved_is_said(tmp_path):
    made = sets.save_set(tmp_path, "sae-1", "war", {3: OFF})
    with pytest.raises(ConfigError, match="another set of this SAE is called 'war'"):
        sets.save_set(tmp_path, "sae-1", "war", {4: OFF})
    for name, edits, words in ((" / ", {3: OFF}, "needs a name"), ("x", {}, "at least one feature")):
        with pytest.raises(ConfigError, match=words):
            sets.save_set(tmp_path, "sae-1", name, edits)
    for set_id in ("../../etc/passwd", "0" * 8):
        with pytest.raises(NotFoundError):
            sets.saved_set(tmp_path, set_id)
    assert sets.saved_sets(tmp_path)[0] == [made]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"features": {"3": {"scale": NaN}}}', '{"features": {"3": {"eval": 1}}}', "\xff"]
)
def test_a_damaged_set_hides_no_other(tmp_path, content):
    made = sets.save_set(tmp_path, "sae-1", "war", {3: OFF})
    text = content.replace('{"features"', '{"name": "x", "sae": "sae-1", "created": 1, "features"')
    (tmp_path / sets.FOLDER / "00000000.json").write_bytes(text.encode("latin-1"))
    found, problems = sets.saved_sets(tmp_path)
    assert found == [made] and len(problems) == 1
    assert "00000000.json" in problems[0] and "delete the file" in problems[0]


def test_the_file_says_all_in_plain_words(tmp_path):
    made = sets.save_set(tmp_path, "sae-1", "war", {3: OFF, 9: Edit("value", 2.0)})
    values = json.loads((tmp_path / sets.FOLDER / f"{made.id}.json").read_text())
    assert values["features"] == {"3": {"scale": 0.0}, "9": {"value": 2.0}}
    assert (values["name"], values["sae"]) == ("war", "sae-1")
