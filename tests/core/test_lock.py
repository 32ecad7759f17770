"""Locks that only one holder has, and that cost nothing of the file they lie on."""

from __future__ import annotations

import errno
import fcntl

import pytest

from boresight.core.errors import UserError
from boresight.core.lock import FileLock
from boresight.llm.ledger import Ledger


@pytest.mark.parametrize("optional", [False, True])
def test_one_holder_at_a_time(tmp_path, optional):
    """Two files opened in one process exclude each other as those of two processes do."""
    path = tmp_path / "lock"
    path.write_text("kept")
    first, second = (FileLock(path, optional=optional) for _ in range(2))
    assert first.acquire() and first.acquire() and not second.acquire()
    first.release()
    assert second.acquire() and path.read_text() == "kept"
    first.release()  # of what it no longer has
    assert not first.acquire()


def test_a_file_system_without_locks_refuses_unless_the_lock_is_optional(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    said = r"lock: the file system cannot lock it \(no locks available\); use a folder on another one"
    with pytest.raises(UserError, match=said):
        FileLock(tmp_path / "lock").acquire()
    with pytest.raises(UserError, match=r"judgements.lock: the file system cannot lock it"):
        Ledger(tmp_path / "judgements.sqlite")
    assert FileLock(tmp_path / "lock", optional=True).acquire()


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "missing" / "lock", optional=True).acquire()
