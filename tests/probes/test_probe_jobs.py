"""Both probes on a tiny model: their figures by plain scoring and plain ablation, and what an interruption changes (nothing)."""

import random
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from qdaif.fakes import Counting

from rmviz.ablation.naive import naive_effects
from rmviz.configs.probes import EuphemismConfig, SpecConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_texts
from rmviz.errors import ConfigError, DataError
from rmviz.models.load import from_artifact
from rmviz.probes import euphemism, spec
from rmviz.probes.export import export
from rmviz.sae.files import load_sae_artifact
from rmviz.store.tables import load_table
from rmviz.types import Pair, Text
from rmviz.world.grammar import euphemised

VEILED = EuphemismConfig(
    sae="sae",
    dataset="data",
    topic="pregnancy",
    maker="world",
    split="all",
    shard_size=7,
    num_resamples=50,
    min_similarity=0.3,
)
CHECK = SpecConfig(sae="sae", dataset="data", topics="politics, cooking, pregnancy", maker="world", split="all",
                   shard_size=9, num_resamples=50, min_similarity=0.3)  # fmt: skip


@pytest.fixture(scope="module")
def veiled(space, tmp_path_factory):
    return euphemism.run(VEILED, space, Counting(tmp_path_factory.mktemp("veiled")))


@pytest.fixture(scope="module")
def checked(space, tmp_path_factory):
    return spec.run(CHECK, space, Counting(tmp_path_factory.mktemp("spec")))


def content(artifact):
    return {name: artifact.path(name).read_bytes() for name in artifact.files}


def test_the_gap_is_what_plain_scoring_gives(space, veiled):
    rm = from_artifact(space.resolve("rm"))
    cases = load_table(veiled.path("cases.parquet"))
    own = cases[cases["item"] == "pregnancy"]
    assert veiled.kind == "probe" and len(own) == veiled.metrics["num_texts"] > 5
    gaps = []
    for case in own.itertuples():
        rng = random.Random(f"{VEILED.seed} pregnancy {case.text_id}")
        assert case.without_words == euphemised(case.with_words, "pregnancy", rng) != case.with_words
        pair = [
            Text(text_id=str(i), prompt=case.prompt, reply=r)
            for i, r in enumerate((case.with_words, case.without_words))
        ]
        rewards = rm.score(pair)
        gaps.append(float(rewards[0] - rewards[1]))
    np.testing.assert_allclose(own["gap"], gaps, atol=1e-4)
    assert veiled.metrics["gap"] == pytest.approx(np.mean(gaps), abs=1e-4)
    assert veiled.metrics["gap_low"] <= veiled.metrics["gap"] <= veiled.metrics["gap_high"]


def test_what_features_carry_is_what_naive_ablation_gives(space, veiled):
    rm, sae = from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae"))
    cases = load_table(veiled.path("cases.parquet"))
    own = cases[cases["item"] == "pregnancy"]
    sides = []
    for column in ("with_words", "without_words"):
        texts = [
            Text(text_id=str(i), prompt=c.prompt, reply=getattr(c, column)) for i, c in enumerate(own.itertuples())
        ]
        sides.append(naive_effects(rm, sae, rm.encode(texts), range(sae.d_sae)))
    carried = (sides[0] - sides[1]).mean(axis=0)
    table = load_table(veiled.path("features.parquet"))
    table = table[table["item"] == "pregnancy"]
    np.testing.assert_allclose(table["carried"], carried[table["feature"]], atol=1e-4)
    assert table["carried"].abs().is_monotonic_decreasing


def test_given_features_are_ablated_on_all_of_the_data(space, tmp_path):
    everything = ",".join(map(str, range(48)))
    made = euphemism.run(replace(VEILED, features=everything), space, Counting(tmp_path))
    from rmviz.ablation.engine import EffectEngine

    engine = EffectEngine(from_artifact(space.resolve("rm")), load_sae_artifact(space.resolve("sae")))
    cases = load_table(made.path("cases.parquet"))
    own = cases[cases["item"] == "pregnancy"]
    left = []
    for column in ("with_words", "without_words"):
        texts = [
            Text(text_id=str(i), prompt=c.prompt, reply=getattr(c, column)) for i, c in enumerate(own.itertuples())
        ]
        left.append(engine.emptied(engine.rm.encode(texts))[:, 0])
    assert made.metrics["remaining"] == pytest.approx(float((left[0] - left[1]).mean()), abs=1e-4)


def test_a_spec_check_ranks_all_that_is_asked(checked):
    table = load_table(checked.path("verdicts.parquet"))
    assert sorted(table["item"]) == ["cooking", "politics", "pregnancy"] and table["rank"].tolist() == [1, 2, 3]
    assert set(table["verdict"]) <= {"matters", "does not matter", "open"}
    assert checked.metrics["worst"] == table["item"][0]


@pytest.mark.parametrize(("job", "config", "fixture"), [(euphemism, VEILED, "veiled"), (spec, CHECK, "checked")])
@pytest.mark.parametrize("calls", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_an_interrupted_probe_goes_on_and_ends_the_same_to_the_byte(
    space, tmp_path, request, job, config, fixture, calls
):
    whole = request.getfixturevalue(fixture)
    with pytest.raises(KeyboardInterrupt):
        job.run(config, space, Counting(tmp_path, calls))
    assert any(tmp_path.glob("shard-*"))
    assert content(job.run(config, space, Counting(tmp_path))) == content(whole)


def test_word_lists_of_ones_own_are_literal_and_texts_that_stay_are_counted(space, tmp_path):
    config = EuphemismConfig(sae="sae", dataset="data", words="midwife=midwife, womb=.*, the=a, (=x", split="all",
                             num_resamples=20, control="pregnancy")  # fmt: skip
    made = euphemism.run(config, space, Counting(tmp_path))
    cases = load_table(made.path("cases.parquet"))
    holding = [
        t
        for t in dataset_texts(space.resolve("data"))
        if any(w in t.reply.lower().replace(".", " ").split() for w in ("the", "midwife", "womb"))
    ]
    counts = made.read_json("probe.json")["counts"]["words"]
    assert counts["num_holding"] == len(holding)
    assert len(cases[cases["item"] == "words"]) == len(holding) - counts["num_unchanged"] - counts["num_too_different"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": "chess"}, "no topic called 'chess'"),
        ({"topic": ""}, "say which words are probed"),
        (
            {"topic": "", "maker": "words", "words": "zebra=horse"},
            "no reply in the all part of data holds a word of words",
        ),
        ({"topic": "", "maker": "words", "words": "the=the"}, "the edit changes nothing in"),
        ({"features": "4711"}, "feature 4711 does not exist"),
        ({"split": "heldout"}, "has no texts in its heldout part"),
    ],
)
def test_what_cannot_be_probed_is_a_sentence(space, tmp_path, changes, message):
    with pytest.raises((ConfigError, DataError), match=message):
        euphemism.run(replace(VEILED, **changes), space, Counting(tmp_path))


def test_edits_in_what_the_model_never_reads_are_counted(space, tmp_path):
    long = "the midwife " + "river " * 300
    pairs = [
        Pair(pair_id=f"q{i}", prompt="Say.", chosen=long + f"{i}", rejected="the womb near it all so far")
        for i in range(4)
    ]
    keep_dataset(space, pairs, name="long", heldout=0.0, seed=0)
    config = SpecConfig(
        sae="sae", dataset="long", words="birth: midwife=nurse, womb=belly", split="all", num_resamples=20
    )
    made = spec.run(config, space, Counting(tmp_path))
    counts = made.read_json("probe.json")["counts"]["birth"]
    assert counts["num_cut_away"] == 4 and made.metrics["num_texts"] == 4


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes = set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_export_stands_alone_and_escapes_everything(space, tmp_path, veiled):
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    pairs = [
        Pair(pair_id=f"<b>{i}", prompt=evil, chosen=f"the womb {evil} {i}", rejected=f"a womb {evil}") for i in range(4)
    ]
    keep_dataset(space, pairs, name="evil", heldout=0.0, seed=0)
    config = SpecConfig(
        sae="sae",
        dataset="evil",
        words="<i>list: womb=<u>belly</u>",
        split="all",
        num_resamples=20,
        min_similarity=0,
        name=evil,
    )
    made = spec.run(config, space, Counting(tmp_path / "job"))
    for artifact in (made, veiled):
        export(artifact, tmp_path / "page.html")
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        seen = Tags()
        seen.feed(text)
        assert not seen.tags & {"script", "img", "i", "u", "b", "link", "a", "iframe"}
        assert not seen.attributes & {"src", "href", "onerror"} and "http" not in text.replace("http-equiv", "")
    with pytest.raises(ConfigError, match=r"written as \.html"):
        export(made, tmp_path / "page.pdf")
