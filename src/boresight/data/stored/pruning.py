"""Limit the size of a cache folder: its least recently used entries are deleted.

An entry is a file or a folder that can be made again. The time of its last use is its modification time,
which `mark_used` sets. Several processes may mark and delete entries at the same time. A file that a process
has mapped into memory stays readable after its deletion, since the system frees it with its last mapping.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from boresight.core.files import remove_folder
from boresight.core.wording import DAY


@dataclass(frozen=True)
class CacheBound:
    """Maximum size of a cache folder in bytes, and maximum age of its entries in days."""

    bytes: int
    days: float
    """Maximum number of days since the last use."""


@dataclass(frozen=True)
class CacheEntry:
    """A file or folder of a cache, its size in bytes, and the time of its last use in seconds since 1970."""

    path: Path
    bytes: int
    used: float


def mark_used(entry: Path) -> None:
    """Record that an entry is used now; does nothing if it is missing or the cache is read-only."""
    with suppress(OSError):
        os.utime(entry)


def prune(folder: Path, kept: Path, bound: CacheBound) -> list[CacheEntry]:
    """Delete the entries of `folder` beyond the limit, least recently used first; return the deleted entries.

    The entry `kept`, which was just written, is not deleted, whatever its size. Entries that cannot be
    deleted stay too, and so do hidden ones, which are being written or deleted.
    """
    entries = sorted(_entries(folder), key=lambda entry: (entry.path != kept, -entry.used))
    total, oldest, deleted = 0, time.time() - bound.days * DAY, []
    for entry in entries:
        total += entry.bytes
        beyond = total > bound.bytes or entry.used < oldest
        if beyond and entry.path != kept and _delete(entry.path):
            deleted.append(entry)
    return deleted


def _entries(folder: Path) -> Iterator[CacheEntry]:
    paths: list[Path] = []
    with suppress(OSError):  # the whole cache was deleted
        paths = [*folder.iterdir()]
    for path in paths:
        if path.name.startswith("."):
            continue
        with suppress(OSError):  # another process has just deleted it
            files = [*path.iterdir()] if path.is_dir() else [path]
            yield CacheEntry(path, sum(file.stat().st_size for file in files), path.stat().st_mtime)


def _delete(path: Path) -> bool:
    """Delete an entry, and return whether it existed and could be deleted."""
    try:
        remove_folder(path) if path.is_dir() else path.unlink()
    except OSError:
        return False
    return True
