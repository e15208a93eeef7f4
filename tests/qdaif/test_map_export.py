"""What leaves rmviz: pictures, tables and pages whose texts are text; and the command line."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from qdaif.conftest import SMALL
from qdaif.fakes import Counting
from typer.testing import CliRunner

from rmviz import cli
from rmviz.configs.axes import parse_grid
from rmviz.errors import ConfigError
from rmviz.qdaif import job, recipe
from rmviz.qdaif.export import export
from rmviz.qdaif.picture import colour, heat_map
from rmviz.store.experiments import read_experiment
from rmviz.worker import execute

EVIL = "<script>alert(1)</script>"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


class Evil:
    name = EVIL

    def written(self, requests, *, seed):
        return [f"{EVIL}\n<img src=x onerror=alert({seed} {i})> \x07 \u2028 a word" for i in range(len(requests))]


@pytest.fixture(scope="module")
def evil_map(space, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "opened_generator", lambda *_: Evil())
        config = replace(SMALL, name=EVIL, rows="to<i>ne: <b>a</b>, b & c", columns="", num_attempts=12)
        return job.run(config, space, Counting(tmp_path_factory.mktemp("evil")))


def test_the_page_stands_alone_and_reads_no_text_as_markup(evil_map, tmp_path):
    export(evil_map, tmp_path / "map.html")
    page = (tmp_path / "map.html").read_text()
    parser = Tags()
    parser.feed(page)
    assert not {"script", "img", "b", "i", "link", "iframe"} & parser.tags
    assert EVIL in "".join(parser.text) and "http-equiv" in page and "default-src 'none'" in page
    assert "src=" not in page.replace("&lt;img src=x", "")


def test_pictures_are_valid_and_say_what_they_show(evil_map, map_artifact, tmp_path):
    for artifact, name in ((evil_map, "evil"), (map_artifact, "map")):
        export(artifact, tmp_path / f"{name}.svg", "best")
        texts = "".join(ElementTree.parse(tmp_path / f"{name}.svg").getroot().itertext())
        assert "seed 0" in texts and artifact.id in texts and "n = " in texts
        export(artifact, tmp_path / f"{name}.png", "best", "asked")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width > 400 and len(image.getcolors(1 << 20)) > 20
    assert "romantic" in texts and "haiku" in texts


def test_the_table_is_all_attempts(map_artifact, tmp_path):
    export(map_artifact, tmp_path / "map.parquet")
    assert len(pd.read_parquet(tmp_path / "map.parquet")) == 24


@pytest.mark.parametrize(
    ("name", "value", "by"),
    [("a.gif", "best", "judged"), ("a", "best", "asked"), ("a.svg", "x", "judged"), ("a.svg", "best", "x")],
)
def test_what_cannot_be_written_is_refused(map_artifact, tmp_path, name, value, by):
    with pytest.raises(ConfigError):
        export(map_artifact, tmp_path / name, value, by)


def test_a_map_without_figures_is_still_a_picture():
    nothing = heat_map(np.full((2, 1), np.nan), ["a", "b"], [""], title="t", notes=[], hatched=np.ones((2, 1), bool),
                       counts=np.zeros((2, 1), int), unit="u")  # fmt: skip
    assert "empty" in nothing.svg() and nothing.png().startswith(b"\x89PNG")
    assert colour(0) == "#440154" and colour(1) == "#fde725" and colour(-3) == colour(0)


def invoked(*words):
    result = CliRunner().invoke(cli.app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_of_maps(space, tmp_path):
    root = ["-w", space.root]
    options = ["--judge", "asked", "--columns", "", "--num-attempts", 4, "--max-new-tokens", 4, "--num-resamples", 5]
    made = json.loads(invoked("map", "run", "rm", "lm", "--name", "by hand", *options, "--json", *root))
    assert made["kind"] == "map" and made["metrics"]["num_attempts"] == 4
    told = invoked("map", "show", "by hand", *root)
    assert "haiku" in told and "p " in told and "sonnet" in told
    shown = json.loads(invoked("map", "show", "by hand", "--value", "best", "--by", "asked", "--json", *root))
    assert len(shown["cells"]) == 5 and shown["id"] == made["id"]
    assert json.loads(invoked("map", "diff", "by hand", "other-rm", "--json", *root))["metrics"]["what"] == "difference"
    assert json.loads(invoked("map", "diff", "by hand", "by hand", "--json", *root))["kind"] == "comparison"
    assert (
        json.loads(invoked("map", "ablate", "by hand", "sae", "1,2", "--json", *root))["metrics"]["what"] == "ablation"
    )
    invoked("map", "export", "by hand", tmp_path / "m.svg", *root)
    assert (tmp_path / "m.svg").exists()


def test_the_recipe_reports_its_figures(space, monkeypatch):
    class Grammar:
        name = "grammar"

        def written(self, requests, *, seed):
            from qdaif.fakes import GrammarGenerator

            return GrammarGenerator().written(requests, seed=seed)

    monkeypatch.setattr(job, "opened_generator", lambda *_: Grammar())
    monkeypatch.setattr(recipe, "_STEPS", ())
    monkeypatch.setattr(recipe, "_NAMES", ("rm", "lm"))
    found = recipe.map_recipe(space, lambda kind, config: execute(kind, config, space), 2, 12)
    assert {
        "coverage",
        "truth_spearman",
        "truth_ceiling",
        "sonnet_p",
        "reflective_p",
        "seconds",
        "loop_share",
        "qd_score",
    } <= set(found)
    assert set(found["qd_score"]) == {"qdaif", "random", "fixed_seed", "quality_only"}
    assert all({"mean", "low", "high"} <= set(one) for one in found["qd_score"].values())
    json.dumps(found, allow_nan=False)
    config = {"name": "map", "num_seeds": 2, "num_attempts": 12}
    experiment = read_experiment(execute("recipe", config, space))
    told = experiment.told()
    assert told["map"] == found["map"] and told["truth_spearman"] == found["truth_spearman"]
    assert told["seconds"] == experiment.seconds and told["seconds_a_run"] == found["seconds"]
    assert {row["arm"] for row in experiment.curves[0].rows} == set(found["qd_score"])
    assert found["map"] in experiment.links and experiment.found[0].endswith("of the cells.")


def test_the_true_best_of_a_cell_is_tone_and_genre_and_the_best_topics():
    truth = recipe.true_bests(parse_grid(SMALL.rows, SMALL.columns))
    assert truth[0] == 1.0 + 1.0 + 4.0 and truth[3] == -0.5 + 0.5 + 4.0
