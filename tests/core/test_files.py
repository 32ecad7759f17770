"""Files and folders that appear complete or not at all, and JSON Lines that survive a killed writer."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from boresight.core import files
from boresight.core.errors import UserError
from boresight.core.files import (
    append_jsonl,
    atomic_file,
    atomic_folder,
    create_state,
    create_text,
    read_json,
    read_jsonl,
    read_lines,
    read_state,
    refuse_changed_rows,
    remove_folder,
    remove_leftovers,
    write_hashed_jsonl,
    write_json,
    write_jsonl,
    write_state,
    write_text,
)

LINE_SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x1cf"
"""Characters that str.splitlines splits at; the first three stand unescaped in JSON."""


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_text_replaces_the_old_one(tmp_path):
    path = tmp_path / "page.html"
    for text in ("one", "zwei: ü"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names(tmp_path) == ["page.html"]


def test_a_file_is_created_whole_and_once(tmp_path):
    path = tmp_path / "outcome.json"
    assert create_text(path, "first") and not create_text(path, "second")
    assert path.read_text() == "first" and names(tmp_path) == ["outcome.json"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK])
def test_a_file_is_created_whole_and_once_without_hard_links(tmp_path, monkeypatch, number):
    def link(source, target):
        raise OSError(number, os.strerror(number), str(source))

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "outcome.json"
    assert create_text(path, "first") and not create_text(path, "second")
    assert path.read_text() == "first" and names(tmp_path) == ["outcome.json"]

    def replace(self, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match=r"other\.json"):
        create_text(tmp_path / "other.json", "{}")
    assert names(tmp_path) == ["outcome.json"]


def test_an_error_of_a_hard_link_that_is_no_lack_of_them_is_raised(tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match=r"No space left on device: .*outcome\.json"):
        create_text(tmp_path / "outcome.json", "first")
    assert names(tmp_path) == []


def test_json_keeps_its_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, None]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "ü": [\n  1,\n  null\n ]\n}\n'
    assert read_json(tmp_path / "a.json") == {"ü": [1, None]}
    write_json(tmp_path / "a.json", {"a": 1}, indent=2)
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_jsonl(path, [{"a": 1}, {"a": object()}])
    assert path.read_text() == "old" and names(tmp_path) == ["a.jsonl"]


def test_an_interrupted_folder_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "made") as target:
        (target / "config.json").touch()
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_replaces_the_old_one_with_all_its_files(tmp_path):
    for file in ("old", "new"):
        with atomic_folder(tmp_path / "deep" / "made") as target:
            (target / file).touch()
    assert names(tmp_path / "deep") == ["made"] and names(tmp_path / "deep" / "made") == ["new"]


def test_two_builders_at_once_make_one_whole_folder(tmp_path):
    """Both are inside their build at the same time: the first rename wins, the second is discarded."""
    both_inside = threading.Barrier(2)

    def build():
        with atomic_folder(tmp_path / "made", replace=False) as target:
            both_inside.wait(timeout=10)
            for name in ("a", "b"):
                (target / name).write_text(threading.current_thread().name)

    with ThreadPoolExecutor(2) as pool:
        builders = [pool.submit(build) for _ in range(2)]
    for builder in builders:
        builder.result()  # the second one does not fail for being second
    assert names(tmp_path) == ["made"]
    a, b = ((tmp_path / "made" / name).read_text() for name in ("a", "b"))
    assert a == b  # one builder's files, not a mixture


def test_a_file_in_the_way_is_no_folder_of_another_process(tmp_path):
    (tmp_path / "made").touch()
    with pytest.raises(NotADirectoryError), atomic_folder(tmp_path / "made", replace=False):
        pass
    assert names(tmp_path) == ["made"]


def test_a_folder_that_the_system_does_not_replace_is_no_folder_of_another_process(tmp_path, monkeypatch):
    """An empty mount point, of which nobody has made a folder with these files."""

    def rename(self, target):
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))

    (tmp_path / "made").mkdir()
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match=r"busy: .*made"), atomic_folder(tmp_path / "made", replace=False):
        pass
    assert names(tmp_path) == ["made"]


def test_a_durable_folder_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    flushed = []

    def flush(file):
        assert not (tmp_path / "made").exists()
        flushed.append(file.name)

    monkeypatch.setattr(files, "flush_to_disk", flush)
    with atomic_folder(tmp_path / "made", durable=True) as target:
        (target / "inner").mkdir()
        for name in ("a", "inner/b"):
            (target / name).touch()
    assert sorted(flushed) == ["a", "b"]


def test_leftovers_of_killed_writers_go(tmp_path):
    (tmp_path / "kept").touch()
    killed = [atomic_folder(tmp_path / "model"), atomic_file(tmp_path / "a.json")]
    folder, file = (write.__enter__() for write in killed)
    file.touch()
    (folder / "config.json").touch()
    assert len(names(tmp_path)) == 3
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["kept"]


def test_jsonl_comes_back_as_it_was(tmp_path):
    rows = [{"text": LINE_SEPARATORS, "ü": None}, {"text": "\r\n"}, {}]
    write_jsonl(tmp_path / "a.jsonl", rows[:1])
    append_jsonl(tmp_path / "a.jsonl", rows[1:])
    malformed = []
    assert list(read_jsonl(tmp_path / "a.jsonl", malformed)) == rows and not malformed
    assert "ü" in (tmp_path / "a.jsonl").read_text(encoding="utf-8")


def test_what_is_no_json_object_is_skipped_and_numbered(tmp_path):
    lines = [b'{"step": 1}', b"", b"[1]", b'{"text": "\xff"}', b"  ", b'{"step": 2, "lo']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    malformed = []
    assert list(read_jsonl(tmp_path / "a.jsonl", malformed)) == [{"step": 1}, {"text": "\ufffd"}]
    assert malformed == [3, 6]
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"step": 1}, {"text": "\ufffd"}]


def test_no_file_has_no_lines(tmp_path):
    assert list(read_jsonl(tmp_path / "a.jsonl")) == []


def test_a_row_per_line(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"a": LINE_SEPARATORS}] * 3)
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").open(encoding="utf-8")] == [
        {"a": LINE_SEPARATORS}
    ] * 3


@pytest.fixture
def points(monkeypatch):
    """Every point of a write, as (point, name, bytes to append)."""
    seen = []
    monkeypatch.setattr(files, "on_write", lambda point, path, data: seen.append((point, path.name, data)))
    return seen


def test_every_write_passes_the_points_where_a_process_can_die(tmp_path, points):
    write_text(tmp_path / "a.txt", "a")
    create_text(tmp_path / "b.json", "{}")
    append_jsonl(tmp_path / "c.jsonl", [{"a": 1}, {"a": 2}])
    with atomic_folder(tmp_path / "d"):
        pass
    remove_folder(tmp_path / "d")
    whole = ("start", "temporary", "done")
    assert [(point, name) for point, name, _ in points] == [
        *((point, "a.txt") for point in whole),
        *((point, "b.json") for point in whole),
        ("append", "c.jsonl"),
        ("appended", "c.jsonl"),
        *((point, "d") for point in whole),
        *((point, "d") for point in ("remove", "unnamed", "removed")),
    ]
    assert points[6][2] == (tmp_path / "c.jsonl").read_bytes() == b'{"a": 1}\n{"a": 2}\n'


def _empty_folder(path):
    with atomic_folder(path):
        pass


@pytest.mark.parametrize("stage", ["start", "temporary"])
def test_a_full_disk_at_any_point_leaves_what_was_there(tmp_path, monkeypatch, stage):
    write_text(tmp_path / "a.txt", "old")

    def full(point, path, data):
        if point == stage:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "on_write", full)
    writes = [
        lambda: write_text(tmp_path / "a.txt", "new"),
        lambda: create_text(tmp_path / "b.json", "{}"),
        lambda: _empty_folder(tmp_path / "c"),
    ]
    for write in writes:
        with pytest.raises(OSError, match="No space"):
            write()
    assert names(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


@contextlib.contextmanager
def files_end_at(size):
    """No file may become larger: the system refuses as it does on a full disk, in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _folder_of_weights(folder):
    with atomic_folder(folder) as target:
        save_file({"w": np.zeros(1000)}, target / "model.safetensors")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 2000),
        lambda path: create_text(path, "x" * 2000),
        lambda path: write_jsonl(path, [{"a": n} for n in range(500)]),
        lambda path: append_jsonl(path, [{"a": n} for n in range(500)]),
        _folder_of_weights,
    ],
)
def test_an_error_in_the_middle_of_a_write_names_what_was_to_be_written(tmp_path, write):
    """write() names no file, safetensors raises no OSError, and a temporary name means nothing to a user."""
    with files_end_at(1000), pytest.raises(OSError, match="File too large") as failed:
        write(tmp_path / "new")
    assert (failed.value.errno, failed.value.filename) == (errno.EFBIG, str(tmp_path / "new"))
    assert not list(tmp_path.glob(".*"))


def test_a_missing_parent_names_the_file_too(tmp_path):
    with pytest.raises(FileNotFoundError) as failed:
        write_text(tmp_path / "nowhere" / "a.txt", "")
    assert failed.value.filename == str(tmp_path / "nowhere" / "a.txt")


def test_a_folder_in_a_deleted_one_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "run" / "model", parents=False):
        pass
    assert names(tmp_path) == []


STATE = {"answers": ["a\u2028b", "\ud800"], "numbers": {"loss": math.nan, "2": 1e-7}, 10: None, 9: True}


def test_a_state_file_comes_back_as_it_was(tmp_path):
    path = tmp_path / "start.json"
    write_state(path, STATE)
    found = read_state(path)
    assert math.isnan(found["numbers"].pop("loss"))
    numbers = {"2": 1e-7}
    assert found == {"answers": ["a\u2028b", "\ud800"], "numbers": numbers, "10": None, "9": True}
    assert not create_state(path, {}) and create_state(tmp_path / "b.json", {"a": 1})
    assert read_state(tmp_path / "b.json") == {"a": 1}


def test_every_changed_byte_of_a_state_file_is_found(tmp_path):
    """One bit of every byte, and every shorter file: a sentence, or the same object (white space)."""
    path = tmp_path / "start.json"
    write_state(path, {"seed": 3, "text": "ä b"})
    content, whole = path.read_bytes(), read_state(path)
    changed = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(len(content))]
    same = 0
    for other in [*changed, *(content[:i] for i in range(len(content)))]:
        path.write_bytes(other)
        try:
            found = read_state(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ") and "is torn or was edited" in str(error)
            continue
        assert found == whole or "checksum" not in json.loads(path.read_text()), other
        same += found == whole
    assert same == 1  # without the line break at the end


def test_a_state_file_without_a_checksum_is_of_an_older_version(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_state(tmp_path / "a.json") == {"a": 1}
    for name, content in [("b", "[1]"), ("c", "[" * 100_000), ("d", '{"a": 1')]:
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match="torn or was edited; start anew"):
            read_state(tmp_path / name, "start anew")
    with pytest.raises(UserError, match=r"e: this file is missing; restore it, or give another folder"):
        read_state(tmp_path / "e")
    assert read_state(tmp_path / "a.json", types={"a": int}) == {"a": 1}
    for types in ({"a": list}, {"b": int}):
        with pytest.raises(UserError, match="torn or was edited"):
            read_state(tmp_path / "a.json", types=types)


def test_a_lone_surrogate_is_written_as_its_escape(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "half \ud800 ü"}])
    assert (tmp_path / "a.jsonl").read_bytes() == '{"text": "half \\ud800 ü"}\n'.encode()
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [{"text": "half \ud800 ü"}]


def test_pages_and_tables_take_a_lone_surrogate_too(tmp_path):
    write_text(tmp_path / "page.html", "half \ud800 ü")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "half \\ud800 ü"
    assert create_text(tmp_path / "new", "\udfff") and (tmp_path / "new").read_bytes() == b"\\udfff"


def test_lines_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "a").write_bytes(f"{LINE_SEPARATORS}\r\n\n\xe4\rb".encode())
    assert list(read_lines(tmp_path / "a")) == [f"{LINE_SEPARATORS}\r", "", "ä\rb"]


def test_every_changed_byte_of_hashed_rows_is_found(tmp_path, points):
    path = tmp_path / "answers-a.b.jsonl"
    write_hashed_jsonl(path, [{"id": 1, "answer": LINE_SEPARATORS}, {"id": 2, "answer": "\ud800"}])
    assert [name for point, name, _ in points if point == "done"] == ["answers-a.b.sha256", path.name]
    content = path.read_bytes()
    assert (tmp_path / "answers-a.b.sha256").read_text() == f"{sha256(content).hexdigest()}  {path.name}\n"
    refuse_changed_rows(path)
    changed = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(len(content))]
    for other in [*changed, *(content[:i] for i in range(len(content)))]:
        path.write_bytes(other)
        with pytest.raises(UserError, match="is torn or was edited; restore it, or delete it"):
            refuse_changed_rows(path)
    (tmp_path / "answers-a.b.sha256").unlink()
    refuse_changed_rows(path)  # as earlier versions wrote it
