"""Records found again by their content."""

import pytest

from rmviz.errors import ArtifactError, NotFoundError
from rmviz.store.kept import keep, kept


def test_the_same_content_has_the_same_id_and_is_written_once(tmp_path):
    values = {"a": "zwölf \ud800 <b>", "prompt": "x" * 10_000}
    key = keep(tmp_path, "drafts", values)
    path = tmp_path / "drafts" / f"{key}.json"
    before = path.stat().st_mtime_ns
    assert keep(tmp_path, "drafts", dict(reversed(values.items()))) == key
    assert path.stat().st_mtime_ns == before and list((tmp_path / "drafts").iterdir()) == [path]
    assert kept(tmp_path, "drafts", key)["prompt"] == "x" * 10_000
    assert keep(tmp_path, "drafts", values | {"a": "b"}) != key


@pytest.mark.parametrize("key", ["", "../secret", "0" * 20, "/etc/passwd", "x" * 500])
def test_what_is_not_kept_is_named(tmp_path, key):
    (tmp_path / "secret.json").write_text("{}")
    with pytest.raises(NotFoundError, match="is kept in drafts"):
        kept(tmp_path, "drafts", key)


def test_a_damaged_record_is_a_sentence(tmp_path):
    key = keep(tmp_path, "drafts", {"a": "b"})
    for content in ("{", "[1]"):
        (tmp_path / "drafts" / f"{key}.json").write_text(content)
        with pytest.raises(ArtifactError, match="delete the file"):
            kept(tmp_path, "drafts", key)
