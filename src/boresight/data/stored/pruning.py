"""A bound on a folder of the cache: its least recently used entries are deleted.

An entry is a file or a folder that can be made again; the time of its last use is its modification time,
which `mark_used` sets. Any number of processes may do both at once. What a process has mapped into memory
stays readable after it was deleted, since the system frees a file with its last mapping.
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
    """Size of a folder and age of its entries, beyond which entries are deleted."""

    bytes: int
    days: float
    """Days since the last use."""


@dataclass(frozen=True)
class CacheEntry:
    """A file or folder of a cache, with its size and the time of its last use in seconds since 1970."""

    path: Path
    bytes: int
    used: float


def mark_used(entry: Path) -> None:
    """Record that an entry is used now; does nothing where it is missing or the cache is read-only."""
    with suppress(OSError):
        os.utime(entry)


def prune(folder: Path, kept: Path, bound: CacheBound) -> list[CacheEntry]:
    """Delete the entries of `folder` beyond the bound, least recently used first; returns the deleted ones.

    The entry `kept`, the one just written, stays whatever its size. Entries that cannot be deleted stay too,
    and so do hidden ones, which are being written or deleted.
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
    """Whether the entry was there and could be deleted."""
    try:
        remove_folder(path) if path.is_dir() else path.unlink()
    except OSError:
        return False
    return True
