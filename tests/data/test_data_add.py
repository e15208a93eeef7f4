import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rmviz.configs.data import DataConfig
from rmviz.data.add import run, source_name
from rmviz.data.keep import keep_dataset, prompt_position
from rmviz.data.load import dataset_frame, dataset_pairs, dataset_problems, dataset_texts
from rmviz.errors import DataError
from rmviz.jobs.run import run_job
from rmviz.store.workspace import Workspace
from rmviz.types import Pair, Text


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


def pairs(number: int, prompts: int = 0) -> list[Pair]:
    return [
        Pair(pair_id=f"p{n}", prompt=f"q{n % (prompts or number)}", chosen=f"a{n}", rejected=f"b{n}", extra={"n": n})
        for n in range(number)
    ]


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_the_job_keeps_what_is_good_and_lists_what_is_not(workspace, tmp_path):
    good = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b", "topic": "t"} for n in range(20)]
    transcripts = {"chosen": "\n\nHuman: x\n\nAssistant: a", "rejected": "\n\nHuman: x\n\nAssistant: b"}
    path = write_lines(
        tmp_path / "pairs.jsonl", [*good, transcripts, "{oops", {"prompt": "q"}, good[3], {"text": "alone"}]
    )
    told: list[tuple[int, int]] = []

    def listen(kind, step, total, *rest):
        told.append((step, total))

    artifact = run_job("data.add", DataConfig(source=str(path)), workspace, run, listen)
    assert artifact.name == "pairs"
    counts = {"num_pairs": 21, "num_texts": 43, "num_bad": 3, "num_duplicates": 1, "kind": "pairs"}
    assert counts.items() <= artifact.metrics.items()
    assert artifact.metrics["num_train"] + artifact.metrics["num_heldout"] == 22
    found = dataset_problems(artifact)
    assert found["total"] == 3
    assert [(problem["file"], problem["line"]) for problem in found["problems"]] == [
        ("pairs.jsonl", n) for n in (22, 23, 24)
    ]
    assert found["problems"][2]["reason"] == "duplicate of line 4"
    assert told[0] == (0, path.stat().st_size) and told[-1] == (path.stat().st_size,) * 2
    frame = dataset_frame(artifact)
    assert list(frame.columns) == ["pair_id", "prompt", "chosen", "rejected", "split", "file", "line", "topic"]
    assert frame["pair_id"].is_unique and frame["rejected"].isna().sum() == 1
    assert dataset_texts(artifact)[-1] == Text(text_id="L25", prompt="", reply="alone")
    again = run_job("data.add", DataConfig(source=str(path)), workspace, run)
    assert again.id == artifact.id


def test_a_limit_reads_so_many_rows(workspace, tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"text": str(n)} for n in range(9)])
    artifact = run_job("data.add", DataConfig(source=str(path), limit=4), workspace, run)
    assert artifact.metrics["num_texts"] == 4 and artifact.metrics["kind"] == "texts"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/no/such/file.jsonl", "there is no file or folder /no/such/file.jsonl"),
        ("no/such/file.jsonl", "there is no file or folder"),
        ("../x", "there is no file or folder"),
        ("a\0b", "cannot be"),
        ("x" * 300, "cannot be"),
    ],
)
def test_sources_that_do_not_exist(workspace, source, reason):
    with pytest.raises(DataError, match=reason):
        run_job("data.add", DataConfig(source=source), workspace, run)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the data has no row"),
        (b'{"prompt": "q"}\n{"a": 1}', "none of the 2 rows can be used: x.jsonl, line 1: no chosen and rejected"),
        (b"\x80\x04K\x01.", "line 1: not UTF-8 text"),
    ],
)
def test_a_file_with_nothing_good_is_refused_and_leaves_nothing(workspace, tmp_path, content, reason):
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        run_job("data.add", DataConfig(source=str(tmp_path / "x.jsonl")), workspace, run)
    assert workspace.list() == [] and not list((workspace.root / ".drafts").iterdir())


def test_hub_datasets(workspace, monkeypatch):
    import datasets
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    def answers(info, loaded=None):
        def dataset_info(self, dataset_id, **kwargs):
            if isinstance(info, BaseException):
                raise info

        def load_dataset(dataset_id, split):
            if loaded is None:
                raise FileNotFoundError(f"{dataset_id} is not here\nlong trace")
            return loaded

        monkeypatch.setattr(HfApi, "dataset_info", dataset_info)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    class Gated(GatedRepoError):
        def __init__(self):
            Exception.__init__(self, "secret-token")

    class Unknown(RepositoryNotFoundError):
        def __init__(self):
            Exception.__init__(self, "secret-token")

    config = DataConfig(source="owner/name")
    cases = {"is gated": Gated(), "no hub dataset of that name": Unknown(), "does not answer": ConnectionError()}
    for reason, error in cases.items():
        answers(error)
        with pytest.raises(DataError, match=reason) as caught:
            run_job("data.add", config, workspace, run)
        assert "secret-token" not in str(caught.value)
    answers(None)
    with pytest.raises(DataError, match=r"cannot be read \(split 'train'\): owner/name is not here$"):
        run_job("data.add", config, workspace, run)
    rows = datasets.Dataset.from_list([{"chosen": "a", "rejected": "b"}, {"chosen": "c", "rejected": "d"}])
    answers(ConnectionError(), rows)  # offline, but there is a local copy
    artifact = run_job("data.add", config, workspace, run)
    assert artifact.name == "name" and artifact.metrics["num_pairs"] == 2
    assert not datasets.config.HF_HUB_OFFLINE


def test_pairs_come_back_as_they_were(workspace):
    given_pairs = pairs(30)
    artifact = keep_dataset(workspace, given_pairs, name="d", heldout=0.3, seed=1)
    assert dataset_pairs(artifact) == given_pairs
    train, heldout = dataset_pairs(artifact, "train"), dataset_pairs(artifact, "heldout")
    assert sorted([*train, *heldout], key=lambda pair: int(pair.pair_id[1:])) == given_pairs
    assert (len(train), len(heldout)) == (artifact.metrics["num_train"], artifact.metrics["num_heldout"])
    assert set(dataset_frame(artifact, "heldout")["pair_id"]) == {pair.pair_id for pair in heldout}
    texts = dataset_texts(artifact)
    assert [text.side for text in texts[:4]] == ["chosen", "rejected"] * 2
    assert texts[:2] == list(given_pairs[0].texts)


def test_a_sample_is_deterministic_nested_and_in_order(workspace):
    artifact = keep_dataset(workspace, pairs(200), name="d", heldout=0.0, seed=0)
    few, many = (dataset_pairs(artifact, num_pairs=n, seed=3) for n in (10, 50))
    assert len(few) == 10 and dataset_pairs(artifact, num_pairs=10, seed=3) == few
    assert set(map(hash_of, few)) < set(map(hash_of, many))
    assert [pair.extra["n"] for pair in many] == sorted(pair.extra["n"] for pair in many)
    assert dataset_pairs(artifact, num_pairs=10, seed=4) != few
    assert len(dataset_texts(artifact, num_pairs=7)) == 14


def hash_of(pair: Pair) -> str:
    return pair.pair_id


def test_the_split_keeps_prompts_together_and_its_share(workspace):
    artifact = keep_dataset(workspace, pairs(4000, prompts=1000), name="d", heldout=0.2, seed=5)
    frame = dataset_frame(artifact)
    assert frame.groupby("prompt")["split"].nunique().max() == 1
    assert abs((frame["split"] == "heldout").mean() - 0.2) < 0.05
    other = dataset_frame(keep_dataset(workspace, pairs(4000, prompts=1000), name="d", heldout=0.2, seed=6))
    assert (frame["split"] != other["split"]).any()


@pytest.mark.parametrize("heldout", [0.001, 0.999])
@pytest.mark.parametrize("number", [2, 3])
def test_tiny_data_has_both_sides(workspace, heldout, number):
    metrics = keep_dataset(workspace, pairs(2 * number, prompts=number), name="d", heldout=heldout, seed=0).metrics
    assert min(metrics["num_train"], metrics["num_heldout"]) == 2


def test_one_prompt_is_not_split(workspace):
    assert keep_dataset(workspace, pairs(3, prompts=1), name="d", heldout=0.1, seed=0).metrics["num_heldout"] in (0, 3)


def test_lone_surrogates_are_refused_by_row(workspace):
    bad = Pair(pair_id="x", prompt="q\ud800", chosen="a", rejected="b")
    artifact = keep_dataset(workspace, [bad, *pairs(2)], name="d", heldout=0.0, seed=0)
    assert artifact.metrics["num_pairs"] == 2 and "surrogate" in dataset_problems(artifact)["problems"][0]["reason"]


def test_extra_columns_that_clash_are_renamed(workspace):
    pair = Pair(pair_id="x", prompt="q", chosen="a", rejected="b", extra={"split": "mine"})
    assert dataset_frame(keep_dataset(workspace, [pair], name="d", heldout=0.0, seed=0))["split (data)"].tolist() == [
        "mine"
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=1, max_size=6, unique=True))
def test_any_pairs_survive_the_disk(workspace, values):
    made = [Pair(pair_id=str(n), prompt=p, chosen=c, rejected=r) for n, (p, c, r) in enumerate(values)]
    assert dataset_pairs(keep_dataset(workspace, made, name="d", heldout=0.5, seed=0)) == made


@given(st.text(), st.integers(0, 9))
def test_positions_lie_in_the_unit_interval(prompt, seed):
    assert 0 <= prompt_position(prompt, seed) < 1


def test_names_of_sources():
    assert source_name("/a/b/pairs.v2.jsonl.gz") == "pairs.v2" and source_name("owner/name") == "name"


def test_the_data_folder_imports_nothing_heavy():
    code = "import sys, rmviz.data.add, rmviz.data.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets"} & set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_rows_stream(workspace, tmp_path):
    path = tmp_path / "many.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for n in range(1_000_000):
            row = {"prompt": f"question {n // 2} " + "x" * 200, "chosen": f"a{n}" * 20, "rejected": f"b{n}" * 20}
            file.write(json.dumps(row) + "\n")
    code = f"""
import resource
from rmviz.configs.data import DataConfig
from rmviz.data.add import run
from rmviz.jobs.run import run_job
from rmviz.store.workspace import Workspace
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run_job("data.add", DataConfig(source={str(path)!r}), Workspace({str(workspace.root)!r}), run)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 500
    assert workspace.list("dataset")[0].metrics["num_pairs"] == 1_000_000
