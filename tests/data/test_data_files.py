"""Raw records from every container, and what is said of broken ones."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from boresight.cli.main import main
from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.data.demo import data_path, split_name
from boresight.data.reading.files import records, sha256
from boresight.data.reading.split import read_split, refuse_absent_data

ROWS = [{"prompt": "a\u2028b"}, {"prompt": "é"}, {"prompt": "c"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
NUMBERED = list(enumerate(ROWS, 1))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.jsonl", LINES),
        ("r.ndjson", LINES),
        ("r.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("compressed_but_does_not_say_so.jsonl", gzip.compress(LINES, mtime=0)),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES),
        ("windows.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("no_newline_at_the_end.jsonl", LINES.rstrip()),
        ("r.json", json.dumps(ROWS).encode()),
        ("r.json.gz", gzip.compress(json.dumps(ROWS, indent=1).encode(), mtime=0)),
        ("one_object.json", json.dumps({"version": 1, "data": ROWS}).encode()),
        ("lines_called.json", LINES),
    ],
)
def test_every_text_container_gives_the_same_records(tmp_path: Path, name: str, content: bytes):
    """U+2028 inside a string is no line end, whatever `str.splitlines` thinks."""
    (tmp_path / name).write_bytes(content)
    assert list(records(tmp_path / name)) == NUMBERED


@pytest.mark.parametrize("name", ["r.parquet", "r.parquet.gz"])
def test_parquet_comes_row_by_row(tmp_path: Path, name: str):
    import pyarrow
    import pyarrow.parquet

    plain = tmp_path / "plain.parquet"
    rows = [{"n": n} for n in range(3000)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), plain)
    content = plain.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    assert list(records(tmp_path / name)) == list(enumerate(rows, 1))


def test_row_is_the_line_where_blank_lines_stand_between(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n\n  \n{"a": 2}\n')
    assert [row for row, _ in records(path)] == [1, 4]


def test_a_json_object_with_one_conversation_is_one_record(tmp_path: Path):
    record = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = tmp_path / "one.json"
    path.write_text(json.dumps(record))
    assert list(records(path)) == [(1, record)]


def test_records_are_streamed(tmp_path: Path):
    """The first record comes before the broken third line is looked at."""
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": \n')
    stream = records(path)
    assert next(stream) == (1, {"a": 1})
    assert next(stream) == (2, {"a": 2})
    with pytest.raises(UserError, match=r"r\.jsonl: line 3 is not JSON"):
        next(stream)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.jsonl", b'{"a": 1}\n{"a": 1,}\n', "line 2 is not JSON .*column 9.*; fix or delete the line"),
        ("r.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "line 2 is not JSON .byte 8 is not UTF-8"),
        ("r.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("r.jsonl", b'{"a": 1}{"a": 2}\n', "line 1 is not JSON .Extra data"),
        ("r.json", b'[\n{"a": 1},\n{"a": oops}\n]', "line 3 is not JSON"),
        ("r.json", b'[\n{"a": 1},\n{"a": "\xff"}\n]', "line 3 is not JSON"),
        ("r.json", b'{\n"a": 1}\n{"a": ' + b"9" * 5000 + b"}", "line 3 is not JSON .Exceeds the limit"),
        ("r.json", b'{\n"a": 1}\n' + b"[" * 100_000, "line 3 is not JSON .maximum recursion"),
        ("r.json", b'"text"', "holds a single str, not a list of records"),
        ("r.json", b'{"train": [{"a": 1}], "test": [{"a": 1}]}', "several lists, train, test; put one"),
        ("r.jsonl.gz", gzip.compress(LINES, mtime=0)[:-12], "gzip file is damaged"),
        ("r.jsonl.gz", gzip.compress(gzip.compress(LINES, mtime=0), mtime=0), "compressed by gzip twice"),
        ("r.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a pointer of Git LFS"),
        ("r.json", b"<!DOCTYPE html>\n<html></html>", "is a web page, not data; download the file itself"),
        ("r.csv", b"PK\x03\x04\x14\x00\x06\x00", "a zip archive or a spreadsheet"),
        ("r.jsonl", b"\x28\xb5\x2f\xfd\x04", "compressed by zstd"),
        ("r.jsonl", '{"a": 1}'.encode("utf-32"), "is UTF-32 text; save it as UTF-8"),
        ("r.parquet", b"PAR1 not really", "is not a whole Parquet file"),
        ("r.xlsx", b"a,b\n1,2\n", "file type is not one of .jsonl"),
    ],
)
def test_broken_files_are_one_sentence_with_the_place(tmp_path: Path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        list(records(path))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_missing_file_suggests_its_neighbour(tmp_path: Path):
    (tmp_path / "train.jsonl").write_bytes(LINES)
    with pytest.raises(UserError, match=r"no such file; did you mean 'train\.jsonl'"):
        records(tmp_path / "trian.jsonl")
    with pytest.raises(UserError, match="no such file, and no folder"):
        records("nowhere/trian.jsonl")


def test_a_file_has_no_splits(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(LINES)
    with pytest.raises(UserError, match="a file has no split 'test'"):
        records(f"{path}@test")


def test_sha256_is_of_the_bytes_as_they_lie(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(LINES)
    assert sha256(path) == hashlib.sha256(LINES).hexdigest()


def test_saved_folder_and_its_splits(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk(tmp_path / "two")
    assert list(records(tmp_path / "one")) == NUMBERED
    assert list(records(f"{tmp_path}/two@test")) == [(1, ROWS[2])]
    with pytest.raises(UserError, match="has no split 'tset'; did you mean 'test'"):
        records(f"{tmp_path}/two@tset")
    assert sha256(tmp_path / "one") == sha256(tmp_path / "one") != sha256(tmp_path / "two")


def test_an_at_sign_in_the_name_of_a_file_or_folder_is_no_split(tmp_path: Path):
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "r@2.jsonl").write_bytes(LINES)
    assert split_name(folder / "r@2.jsonl") == (str(folder / "r@2.jsonl"), "train")
    assert list(records(folder / "r@2.jsonl")) == NUMBERED
    with pytest.raises(UserError, match=r"/me@home/r\.jsonl: no such file"):
        records(folder / "r.jsonl")


def test_the_home_folder_may_be_a_tilde(tmp_path: Path, monkeypatch):
    """Shells do not expand it in `data.train=~/r.jsonl`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "r.jsonl").write_bytes(LINES)
    (tmp_path / "a@b.jsonl").write_bytes(LINES)
    for name in ("~/r.jsonl", "~/a@b.jsonl"):
        assert list(records(name)) == NUMBERED and sha256(name) == hashlib.sha256(LINES).hexdigest()
        refuse_absent_data(DataSection(train=name, eval=name))
    with pytest.raises(UserError, match=r"~/s\.jsonl: no such file; did you mean 'r\.jsonl'"):
        records("~/s.jsonl")


def test_a_split_is_named_alike_to_every_reader(tmp_path: Path, capsys, monkeypatch):
    """`data check`, the run folder and suggestions name it; a process that caches data finds the folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    rows = datasets.Dataset.from_list([{"prompt": f"q{n}", "good": "a", "bad": "b"} for n in range(3)])
    datasets.DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk("two")
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", "two@test"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "two@test\nread 1 prompt," in said
    assert "boresight data check two@test --columns" in said
    columns = {"chosen": "good", "rejected": "bad"}
    split = read_split(DataSection(train="two@test", columns=columns), "preference", seed=0)
    assert split.train.path == "two@test" and split.train.sha256 == sha256("two")
    assert data_path("two@test") == Path("two")


def test_other_folders_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match="`datasets` did not save; name one of its files"):
        records(tmp_path)


def test_hub_id_with_config_and_split(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(path, config, split):
        asked.append((path, config, split))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(records("owner/name:main@test")) == NUMBERED
    assert list(records("owner/name")) == NUMBERED
    assert asked == [("owner/name", "main", "test"), ("owner/name", None, "train")]
    assert len(sha256("owner/name")) == 64


def test_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach the Hub.\nA long story follows")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError, match=r"^owner/name: neither a file here nor a data set") as error:
        records("owner/name")
    assert "Couldn't reach the Hub)." in str(error.value)
    assert "long story" not in str(error.value)
