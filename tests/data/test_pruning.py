"""What a bounded cache deletes, by hand, and that a run whose rows are deleted under it does not notice."""

from __future__ import annotations

import io
import os
import time

import pytest
from rich.console import Console

from boresight.core.files import remove_folder
from boresight.core.wording import DAY
from boresight.data.stored import cache
from boresight.data.stored.pruning import CacheBound, mark_used, prune
from boresight.data.stored.token_rows import StoredRows
from boresight.data.tokenize import FullRows
from tests.data.test_stored_rows import examples, plain
from tests.tiny import tiny_tokenizer


def entry(folder, name, size, days):
    """A folder with two files of together `size` bytes, last used `days` ago."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "a").write_bytes(b"x" * (size // 2))
    (path / "b").write_bytes(b"x" * (size - size // 2))
    used = time.time() - days * DAY
    os.utime(path, (used, used))
    return path


def names(paths):
    return sorted(path.name for path in paths)


@pytest.mark.parametrize(
    ("most", "days", "left"),
    [
        (100, 50, ["a", "b", "c", "d"]),  # 4 + 3 + 2 + 5 = 14 bytes
        (14, 50, ["a", "b", "c", "d"]),
        (13, 50, ["a", "b", "c"]),
        (8, 50, ["a", "b"]),  # d would fit once c is gone, but was used before it
        (1, 50, ["a"]),  # the one just written, whatever its size
        (100, 25, ["a", "b", "c"]),
        (100, 5, ["a"]),
    ],
)
def test_the_least_recently_used_entries_go(most, days, left, tmp_path):
    """Used 0, 10, 20 and 30 days ago."""
    for name, size, ago in (("a", 4, 0), ("b", 3, 10), ("c", 2, 20), ("d", 5, 30)):
        entry(tmp_path, name, size, ago)
    deleted = prune(tmp_path, tmp_path / "a", CacheBound(most, days))
    assert names(tmp_path.iterdir()) == left
    assert names(found.path for found in deleted) == sorted({"a", "b", "c", "d"} - set(left))


def test_a_use_counts_and_the_entry_just_written_counts_first(tmp_path):
    """`kept` is the oldest by its time, as after a clock was set back; 3 + 3 bytes are within 6."""
    kept, other = entry(tmp_path, "kept", 3, 99), entry(tmp_path, "other", 3, 40)
    used = entry(tmp_path, "used", 3, 50)
    mark_used(used)
    mark_used(tmp_path / "gone")
    assert [found.path for found in prune(tmp_path, kept, CacheBound(6, 45))] == [other]
    assert kept.is_dir() and used.is_dir()


def test_a_cache_that_was_deleted_has_no_entries(tmp_path):
    assert prune(tmp_path / "gone", tmp_path / "gone" / "kept", CacheBound(1, 1)) == []


def test_files_are_entries_and_hidden_ones_are_none(tmp_path):
    (tmp_path / "old.json").write_text("12345")
    (tmp_path / ".new.json.1.part").write_text("12345")
    (tmp_path / "new.json").write_text("12345")
    os.utime(tmp_path / "old.json", (1, 1))
    prune(tmp_path, tmp_path / "new.json", CacheBound(5, 1e9))
    assert names(tmp_path.iterdir()) == [".new.json.1.part", "new.json"]


def test_an_entry_that_another_process_deletes_first_is_no_error(tmp_path, monkeypatch):
    from boresight.data.stored import pruning

    entry(tmp_path, "old", 3, 99)
    kept = entry(tmp_path, "kept", 3, 0)

    def beaten(path):
        remove_folder(path)
        remove_folder(path)  # raises, as the name is gone

    monkeypatch.setattr(pruning, "remove_folder", beaten)
    assert prune(tmp_path, kept, CacheBound(3, 50)) == []
    assert names(tmp_path.iterdir()) == ["kept"]


def rows_of(count, console=None):
    return FullRows(examples(count), tiny_tokenizer()).stored(console)


def test_a_run_prints_what_it_deletes_in_one_line_and_else_nothing(monkeypatch):
    printed = Console(file=io.StringIO(), width=1000)
    rows_of(3, printed)
    rows_of(4, printed)
    assert printed.file.getvalue() == ""
    monkeypatch.setattr(cache, "BOUND", CacheBound(1, 90))
    rows_of(5, printed)
    (line,) = printed.file.getvalue().splitlines()
    assert line.startswith("deleted 2 sets of token rows, 0.0 GB, from ")
    assert len([*cache._default_folder().iterdir()]) == 1


def test_rows_that_are_deleted_while_a_run_reads_them_stay_as_they_were(monkeypatch):
    first = rows_of(6)
    before = [*map(plain, first)]
    monkeypatch.setattr(cache, "BOUND", CacheBound(1, 90))
    rows_of(3)
    (left,) = cache._default_folder().iterdir()
    assert len(StoredRows(left)) == len(rows_of(3)), "those of the second run"
    assert [*map(plain, first)] == before


def test_rows_that_vanish_while_they_are_opened_are_made_again_in_silence(monkeypatch):
    """Another process deletes them after this one has found their folder."""
    before = [*map(plain, rows_of(6))]
    (place,) = cache._default_folder().iterdir()
    real, opened = cache.StoredRows, []

    def too_late(folder):
        if not opened:
            remove_folder(place)
        opened.append(folder)
        return real(folder)

    monkeypatch.setattr(cache, "StoredRows", too_late)
    printed = Console(file=io.StringIO(), width=1000)
    assert [*map(plain, rows_of(6, printed))] == before
    assert opened[0] == place and place.is_dir() and printed.file.getvalue() == ""
