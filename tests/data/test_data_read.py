import csv
import gzip
import json
import pickle
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.data.read import data_files, read_rows
from rmviz.errors import DataError

GOOD = {"prompt": "q", "chosen": "a", "rejected": "b"}
LINE = json.dumps(GOOD).encode()


def rows_of(path: Path):
    return list(read_rows(data_files(path), path if path.is_dir() else path.parent))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def problems(path: Path) -> dict[int, str]:
    return {row.line: row.problem for row in rows_of(path) if row.problem}


@pytest.mark.parametrize("name", ["x.jsonl", "x.JSONL", "x.ndjson", "x.json"])
def test_json_lines_with_bom_crlf_and_blank_lines(tmp_path, name):
    path = written(tmp_path / name, b"\xef\xbb\xbf" + LINE + b"\r\n\r\n  \n" + LINE)
    assert [(row.line, row.value) for row in rows_of(path)] == [(1, GOOD), (4, GOOD)]


def test_broken_json_lines_are_told_with_their_number(tmp_path):
    deep = b"[" * 100_000
    path = written(tmp_path / "x.jsonl", b"\n".join([LINE, b"{broken", b'{"a": "\xff"}', b"12", deep, LINE]))
    found = problems(path)
    assert sorted(found) == [2, 3, 5]
    assert "broken JSON" in found[2] and "not UTF-8" in found[3]
    assert [row.value for row in rows_of(path) if not row.problem] == [GOOD, 12, GOOD]


def test_gzip_and_a_file_cut_short(tmp_path):
    many = b"\n".join([LINE] * 3000)
    whole = gzip.compress(many)
    assert len(rows_of(written(tmp_path / "x.jsonl.gz", whole))) == 3000
    rows = rows_of(written(tmp_path / "y.jsonl.gz", whole[: len(whole) // 2]))
    assert rows[-1].line == 0 and "cannot be read to its end" in rows[-1].problem
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    assert any(row.problem for row in rows_of(written(tmp_path / "z.jsonl.gz", bytes(damaged))))


def test_a_json_list_goes_on_after_a_broken_element(tmp_path):
    content = b'[\n{"a": 1},\n{"a": 2,,},\n{"a": 3},\n{"a": "\xff"}\n]'
    rows = rows_of(written(tmp_path / "x.json", content))
    assert [(row.line, row.value) for row in rows if not row.problem] == [(2, {"a": 1}), (4, {"a": 3})]
    assert sorted(row.line for row in rows if row.problem) == [3, 5]


def test_csv_with_quotes_newlines_and_wrong_rows(tmp_path):
    content = 'prompt,chosen,rejected\r\nq,"a\nb, ""c""",d\r\n\r\nq,a\r\nq,"x"y,z\r\nq,é,b\r\n'.encode()
    rows = rows_of(written(tmp_path / "x.csv", content))
    assert [row.value["chosen"] for row in rows if not row.problem] == ['a\nb, "c"', "é"]
    assert {row.line: row.problem.split(" ")[0] for row in rows if row.problem} == {5: "3", 6: "broken"}


def test_an_unclosed_quote_costs_one_row_only(tmp_path):
    lines = ["prompt,chosen,rejected", 'q,"a,b', *(f"q,a{n},b" for n in range(5000))]
    rows = rows_of(written(tmp_path / "x.csv", "\n".join(lines).encode()))
    assert [row.line for row in rows if row.problem] == [2]
    assert len(rows) == 5001


def test_csv_bytes_that_are_no_utf8(tmp_path):
    rows = rows_of(written(tmp_path / "x.csv", b"chosen,rejected\na,\xff\na,b\n"))
    assert [row.problem for row in rows] == ["not UTF-8 text", ""]


def test_parquet_rows_and_a_damaged_one(tmp_path):
    path = tmp_path / "x.parquet"
    pd.DataFrame([GOOD, GOOD | {"chosen": None}]).to_parquet(path)
    assert [row.value["chosen"] for row in rows_of(path)] == ["a", None]
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read" in rows_of(path)[0].problem


def test_a_folder_is_read_in_order_of_names(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.jsonl", "a.jsonl", ".hidden.jsonl", "README.md"):
        written(tmp_path / name, LINE)
    assert [row.file for row in rows_of(tmp_path)] == ["a.jsonl", "b/2.jsonl"]
    done = [row.done for row in rows_of(tmp_path)]
    assert done == [len(LINE), 2 * len(LINE)]


@pytest.mark.parametrize("name", ["x.pkl", "x.pt", "x.bin", "x.pkl.gz"])
def test_pickles_are_refused_unread(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "canary",))

    path = written(tmp_path / name, pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="can run code"):
        data_files(path)
    as_jsonl = written(tmp_path / "x.jsonl", path.read_bytes())
    assert all(row.problem for row in rows_of(as_jsonl))
    assert not (tmp_path / "canary").exists()


def test_unknown_kinds_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a known kind"):
        data_files(written(tmp_path / "x.docx", b""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data file"):
        data_files(tmp_path / "empty")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("garbage")


@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.jsonl.gz", "x.csv.gz", "x.parquet"]))
def test_garbage_never_raises(folder, content, name):
    for row in rows_of(written(folder / name, content)):
        assert row.file == name


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.text(max_size=9), min_size=1), max_size=5))
def test_what_was_written_is_read(folder, values):
    assert [row.value for row in rows_of(written(folder / "y.json", json.dumps(values, indent=1).encode()))] == values
    lines = "\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    if lines.isprintable() or values == []:
        assert [row.value for row in rows_of(written(folder / "y.jsonl", lines.encode()))] == values


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=5))
def test_csv_round_trips(folder, values):
    path = folder / "z.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("chosen", "rejected"), *values])
    found = [tuple(row.value.values()) for row in rows_of(path) if not row.problem]
    assert found == values
