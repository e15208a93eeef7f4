import re
import runpy
from pathlib import Path

import pytest

from rmviz.configs.compare import CompareConfig
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui.overview import newest_of_each

HERE = Path(__file__).parent
build_comparison = runpy.run_path(str(HERE / "compared.py"))["build_comparison"]
make_job = runpy.run_path(str(HERE / "job_folders.py"))["make_job"]
build_crosscoder = runpy.run_path(str(HERE / "crosscoded.py"))["build_crosscoder"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("crosscoded") / "workspace"


@pytest.fixture(scope="module")
def kept(root):
    build_comparison(root)
    return build_crosscoder(root)


@pytest.fixture
def page(open_page, root, kept):
    return lambda **params: open_page("compare", root=root, comparison=params.pop("comparison", kept.id), **params)


def test_features_that_one_model_has_are_listed_by_effect(page, text_of):
    test = page()
    assert not test.exception and not test.error
    shown = test.dataframe[0].value
    assert set(shown["feature"]) == {3, 7} and shown["effect_first"].abs().is_monotonic_decreasing
    assert page(show="second").dataframe[0].value["feature"].tolist() == [11]
    assert len(page(show="shared").dataframe[0].value) == 57
    words = text_of(test)
    assert (
        "reward with the feature − reward without it" in words
        and "n = 50 features" in words
        and "n = 80 texts" in words
    )


def test_a_link_opens_a_feature_with_its_texts_and_shows_no_markup_of_the_data(page, text_of):
    test = page(feature="7")
    assert "Feature 7" in text_of(test) and "activation 1" in text_of(test)
    for element in test.get("html"):
        assert not re.search(r"<(img|script|svg|iframe)", str(element.value), re.IGNORECASE)
    assert page(feature="99").warning and page(feature="<img>").warning


def test_noise_as_large_as_all_differences_leaves_nothing(open_page, text_of, tmp_path):
    build_crosscoder(tmp_path, noise=0.25)
    assert "No feature is only first" in text_of(open_page("compare", root=tmp_path))


def test_a_comparison_leads_to_the_crosscoder_of_its_models_or_to_the_command(page, text_of):
    assert set(page(comparison="steps", view="crosscoder").dataframe[0].value["feature"]) == {3, 7}
    words = text_of(page(comparison="steps", view="crosscoder", second="reward-model-1"))
    assert "rmviz train crosscoder reward-model-0 reward-model-1 dataset-x" in words


def test_models_without_an_sae_say_how_to_train_one(page, text_of):
    assert "rmviz sae train reward-model-2 dataset-x" in text_of(page(comparison="steps", view="splice"))


def test_a_compare_job_names_all_models_that_it_was_made_from(open_page, text_of, tmp_path):
    ids = []
    for kind in ("reward_model", "reward_model", "dataset"):
        with Workspace(tmp_path).create(kind, name=f"{kind} {len(ids)}") as draft:
            (draft.folder / "x").write_bytes(b"")
        ids.append(draft.kept.id)
    config = CompareConfig(models=f"{ids[0]}, {ids[1]}", dataset=ids[2])
    key = make_job(tmp_path, "compare", config, "failed", error="no")
    test = open_page("jobs", root=tmp_path, job=key)
    shown = text_of(test) + " ".join(str(link.label) for link in test.get("page_link"))
    assert "model: reward\\_model 0" in shown and "model: reward\\_model 1" in shown and "dataset: dataset 2" in shown


def test_the_overview_leads_to_the_newest_of_each_sort_of_comparison():
    def made(name, what):
        return Artifact(id=name, kind="comparison", name=name, key="", created=0.0, config={}, parents=(), files={},
                        metrics={"what": what}, folder=Path())  # fmt: skip

    all_ = [made("c", "crosscoder"), made("b", "models"), made("a", "models"), made("m", "difference")]
    assert [one.name for one in newest_of_each(all_)] == ["c", "b", "m"]
