import json
import re

import pytest

from rmviz.errors import BackendError, ModelError
from rmviz.store.workspace import Workspace

PAGES = ["overview", "features", "playground", "data"]
EMPTY = [*PAGES, "maps"]


@pytest.mark.parametrize("page", EMPTY)
def test_an_empty_workspace_says_what_to_do(page, open_page, text_of, tmp_path):
    test = open_page(page, root=tmp_path / "nothing here")
    words = text_of(test)
    assert "rmviz demo --workspace" in words
    assert f"'{tmp_path / 'nothing here'}'" in words, "the path is quoted for the shell"
    assert not test.error
    assert not (tmp_path / "nothing here").exists(), "looking makes nothing"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_with_its_title(page, open_page):
    test = open_page(page)
    assert test.title[0].value.lower() == page
    assert not test.error


@pytest.mark.parametrize("page", PAGES)
def test_text_from_data_never_becomes_markup(page, open_page):
    params = (
        {"pair": "pair-0000"} if page == "data" else {"prompt": "Human: <img src=x onerror=alert(1)>", "a": "</script>"}
    )
    test = open_page(page, **params)
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    for kind in ("markdown", "caption", "warning", "error", "info"):
        for element in getattr(test, kind):
            unescaped = re.sub(r"\\.", "", str(element.value))
            assert "![" not in unescaped and "](" not in unescaped and "<img" not in unescaped
            assert "http://evil" not in str(element.value)


def test_overview_counts_lists_and_links(open_page, text_of, planted):
    test = open_page()
    tables = [frame.value for frame in test.dataframe]
    assert any("FVU" in table and table["FVU"].tolist() == ["0.21"] for table in tables)
    assert any("bad rows" in table and table["bad rows"].tolist() == ["2"] for table in tables)
    assert "What to do next" not in text_of(test)
    links = [link.proto for link in test.get("page_link")]
    assert any(planted["features"].id in str(link.query_string) for link in links)


def test_overview_shows_jobs_that_run_or_failed(open_page):
    test = open_page()
    jobs = next(frame.value for frame in test.dataframe if "progress" in frame.value)
    assert dict(zip(jobs["job"], jobs["state"], strict=True)) == {"effects": "running", "sae.train": "failed"}
    assert jobs["progress"].tolist() == [0.4, 0.4]
    assert jobs["error"].str.contains("no hookpoint").sum() == 1


def test_overview_names_the_next_step(open_page, text_of, tmp_path):
    with Workspace(tmp_path).create("dataset", name="mine") as draft:
        (draft.folder / "pairs.parquet").write_bytes(b"")
    words = text_of(open_page(root=tmp_path))
    assert "What to do next" in words and "rmviz model add" in words and draft.kept.id in words


def test_overview_shows_the_calibration(open_page, text_of, fake):
    figures = {"topic_spearman": 0.95, "misalignment_rank": 5, "organism_max_error": 2e-6}
    file = fake.root / "calibration.json"
    file.write_text(json.dumps(figures))
    try:
        words = text_of(open_page())
    finally:
        file.unlink()
    assert "0.95" in words and words.count("reached") == 2 and words.count("missed") == 1


def test_features_ranks_filters_and_opens_the_first(open_page, text_of):
    test = open_page("features")
    rows = test.dataframe[0].value
    assert len(rows) == 60
    assert rows["effect"].abs().is_monotonic_decreasing
    assert f"Feature {rows['feature'].iloc[0]}" in text_of(test)
    assert "poor" in test.warning[0].value
    test.toggle(key="hide_template").set_value(True).run()
    assert not test.dataframe[0].value["mark"].str.contains("template").any()
    test.text_input(key="q").set_value("#17").run()
    assert test.dataframe[0].value["feature"].tolist() == [17]
    test.text_input(key="q").set_value("no such word").run()
    assert "No feature matches" in test.info[0].value


def test_features_order_and_ranking(open_page):
    test = open_page("features", by="margin", order="negative")
    assert test.dataframe[0].value["effect"].is_monotonic_increasing
    assert not test.exception


def test_a_link_opens_its_feature(open_page, text_of, planted):
    test = open_page("features", features=planted["features"].id, feature="42")
    words = text_of(test)
    assert "Feature 42<" in words and "95 % interval" in words and re.search(r"n = \d+ texts?\.", words)
    assert test.query_params["feature"] == "42"


@pytest.mark.parametrize("feature", ["99999999", "-1", "abc", "", "1" * 5000, "<img src=x>", "٣"])
def test_a_bad_feature_in_the_link_is_said_and_the_first_is_shown(feature, open_page, text_of):
    test = open_page("features", feature=feature)
    assert any("does not exist" in warning.value for warning in test.warning)
    assert re.search(r"Feature \d+<", text_of(test))


def test_a_link_to_another_artifact_is_said(open_page):
    test = open_page("features", features="features-gone")
    assert any("features-gone" in re.sub(r"\\", "", warning.value) for warning in test.warning)


@pytest.mark.parametrize("view", ["volcano", "map", "all"])
def test_the_figures_of_all_features_draw(view, open_page):
    test = open_page("features", view=view)
    assert not test.exception and not test.error


def test_playground_without_text_asks_for_one(open_page):
    test = open_page("playground")
    assert any("Type a reply" in info.value for info in test.info)


def test_playground_shows_reward_features_and_the_off_format_mark(open_page, text_of):
    test = open_page("playground", prompt="the sea", a=" the old sailor spoke")
    words = text_of(test)
    assert "Text · reward" in words and "no Human" in words
    rows = test.dataframe[0].value
    assert rows["effect"].abs().is_monotonic_decreasing
    assert test.query_params["a"] == " the old sailor spoke"


def test_playground_scales_from_the_link_change_the_reward(open_page, text_of, fake):
    clean = text_of(open_page("playground", prompt="Human: a", a=" the old sailor spoke"))
    test = open_page("playground", prompt="Human: a", a=" the old sailor spoke")
    feature = int(test.dataframe[0].value["feature"].iloc[0])
    effect = float(test.dataframe[0].value["effect"].iloc[0])
    test = open_page("playground", prompt="Human: a", a=" the old sailor spoke", scales=f"{feature}:0")
    words = text_of(test)
    assert "→" in words and "→" not in clean
    change = float(re.search(r'change <span class="\w+">(.+?)</span>', words).group(1).replace("−", "-"))
    assert change == pytest.approx(-effect, abs=1e-3), "switching off takes the effect away"
    test.button(key="all-on").click().run()
    assert "→" not in text_of(test)
    test.button(key="undo").click().run()
    assert "→" in text_of(test)


def test_playground_slider_scales_a_feature(open_page, text_of):
    test = open_page("playground", prompt="Human: a", a=" the old sailor spoke")
    feature = int(test.dataframe[0].value["feature"].iloc[0])
    effect = float(test.dataframe[0].value["effect"].iloc[0])
    test = open_page("playground", prompt="Human: a", a=" the old sailor spoke", scales=f"{feature}:0")
    next(slider for slider in test.slider if slider.label == f"Scale of feature {feature}").set_value(3.0).run()
    change = float(re.search(r'change <span class="\w+">(.+?)</span>', text_of(test)).group(1).replace("−", "-"))
    assert change == pytest.approx(2 * effect, abs=1e-2)


def test_playground_pair_has_a_margin(open_page, text_of):
    test = open_page("playground", mode="pair", prompt="Human: a", a=" the old sailor", b=" rain fell")
    words = text_of(test)
    assert "Reply A · reward" in words and "Reply B · reward" in words and "Margin A − B" in words
    rows = test.dataframe[0].value
    assert (rows["on margin"] - (rows["effect A"] - rows["effect B"])).abs().max() < 1e-9


def test_playground_takes_an_example_from_the_data(open_page, text_of):
    test = open_page("playground")
    test.button(key="example").click().run()
    assert "Text · reward" in text_of(test)


def test_playground_opens_a_text_of_the_scan(open_page, text_of, planted):
    test = open_page("playground", effects=planted["effects"].id, text="pair-0005/chosen", show="3")
    assert "Human:" in test.text_area[0].value and "activation of feature" in text_of(test)


@pytest.mark.parametrize("scales", ["nonsense", "1:nan,2:inf", "9" * 3000, "-1:0,3:", "7:1e300"])
def test_bad_scales_in_the_link_do_no_harm(scales, open_page):
    test = open_page("playground", prompt="Human: a", a=" the old sailor", scales=scales)
    assert not test.exception and not test.error


def test_long_texts_are_marked_and_kept_out_of_the_link(open_page, text_of):
    test = open_page("playground", prompt="Human: a", a=" word" * 400)
    assert any("were cut" in warning.value for warning in test.warning)
    assert "a" not in test.query_params and len(test.query_params["texts"]) == 20
    again = open_page("playground", texts=test.query_params["texts"])
    assert again.text_area[1].value == " word" * 400
    lost = open_page("playground", texts="0" * 20)
    assert any("is kept in drafts of this workspace" in warning.value for warning in lost.warning)


def test_an_error_of_the_backend_is_a_sentence(open_page, fake):
    fake.broken = ModelError("the SAE reads width 64, the model gives 128; choose another SAE")
    test = open_page("playground", prompt="Human: a", a=" the old sailor")
    assert test.error[0].value.startswith("The SAE reads width 64")
    fake.broken = BackendError("the backend stopped twice over this request")
    test.run()
    assert "stopped twice" in test.error[0].value
    fake.broken = None
    test.button(key="retry").click().run()
    assert not test.error


def test_a_notice_of_the_backend_is_told(open_page, fake):
    fake.told = ["the backend had stopped (killed) and was started again"]
    test = open_page("playground", prompt="Human: a", a=" the old sailor")
    assert "started again" in test.toast[0].value


def test_data_lists_wrong_pairs_first(open_page, text_of):
    test = open_page("data")
    margins = test.dataframe[0].value["margin"]
    assert margins.is_monotonic_increasing and len(margins) == 40
    assert "chance 50 %" in text_of(test)
    test.toggle(key="wrong").set_value(True).run()
    assert (test.dataframe[0].value["margin"] <= 0).all()


def test_data_opens_a_pair_with_the_difference_marked(open_page, text_of):
    words = text_of(open_page("data", pair="pair-0003"))
    assert "pair-0003" in words and "<ins>" in words and "<b>rejected</b>" in words


def test_data_lists_bad_rows_with_their_lines(open_page):
    table = open_page("data", view="bad").dataframe[0].value
    assert table["line"].tolist() == [7, 9] and table["reason"].tolist() == ["chosen is empty", "not JSON"]


def test_data_scores_when_no_scan_has(open_page, planted, fake, tmp_path, monkeypatch):
    only = {planted[kind].folder for kind in ("dataset", "reward_model")}
    for folder in only:
        target = tmp_path / "w" / folder.parent.name / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder)
    test = open_page("data", root=tmp_path / "w")
    assert "margin" not in [name for name in test.dataframe[0].value if test.dataframe[0].value[name].notna().any()]
    test.number_input[0].set_value(10)
    test.button[0].click().run()
    assert fake.requests.count("/score") == 1
    assert test.dataframe[0].value["margin"].notna().sum() == 10


def test_a_damaged_file_is_a_sentence(open_page, tmp_path):
    made = {}
    with Workspace(tmp_path).create("features", name="broken") as draft:
        (draft.folder / "features.parquet").write_bytes(b"PAR1")
        (draft.folder / "pages.parquet").write_bytes(b"PAR1")
    made["folder"] = draft.kept.folder
    (made["folder"] / "pages.parquet").write_bytes(b"PAR")
    test = open_page("features", root=tmp_path)
    assert "is damaged" in test.error[0].value
