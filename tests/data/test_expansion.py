"""A small compressed file that stands for a huge one is refused before it fills the memory."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from boresight.core.errors import UserError
from boresight.data.reading import files
from boresight.data.reading.compressed import expansion

ROW = {"prompt": "a question", "completion": "an answer"}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(expansion, "ALLOWED", 2**20)


def records(file):
    return list(files.records(file))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_gzip_of_zeros(suffix, small, tmp_path):
    file = tmp_path / f"rows.{suffix}.gz"
    file.write_bytes(gzip.compress(b"\0" * 2**24))
    assert file.stat().st_size < 2**15
    with pytest.raises(UserError, match=r"expands to more than 200 times its size and 1 MiB"):
        records(file)


def test_gzip_of_one_row_again_and_again(small, tmp_path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((json.dumps(ROW) + "\n").encode() * 300_000))
    with pytest.raises(UserError, match="expands"):
        records(tmp_path / "rows.jsonl.gz")


@pytest.mark.parametrize("suffix", ["parquet", "parquet.gz"])
def test_parquet_of_one_long_word(suffix, small, tmp_path):
    """Stored once and repeated by number, so that its pages are small too."""
    table = pyarrow.table({"prompt": pyarrow.array(["a" * 10_000] * 20_000).dictionary_encode()})
    file = tmp_path / f"rows.{suffix}"
    pyarrow.parquet.write_table(table, file, store_schema=False)
    if suffix.endswith("gz"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert file.stat().st_size < 2**15
    with pytest.raises(UserError, match="expands"):
        records(file)


@pytest.mark.parametrize("rows", [3, 5_000])
def test_what_repeats_itself_a_lot_is_data(rows, tmp_path):
    lines = "".join(json.dumps(ROW | {"id": n}) + "\n" for n in range(rows))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert [row for row, _ in records(tmp_path / "rows.jsonl.gz")] == list(range(1, rows + 1))


def test_reading_the_beginning_again_does_not_count_twice(monkeypatch, tmp_path):
    """The first bytes are looked at, and JSON under the name of JSON Lines is read anew."""
    monkeypatch.setattr(expansion, "ALLOWED", 400)
    monkeypatch.setattr(expansion, "RATIO", 1)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(json.dumps([ROW] * 4, indent=1).encode()))
    assert len(records(tmp_path / "rows.jsonl.gz")) == 4
