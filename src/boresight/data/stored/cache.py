"""Cache of token rows, in a folder named by a digest of everything that they depend on.

A run on the same data, or a resumed run, maps the rows that the first run has written. Rows that were not
used for long are deleted (`BOUND`). If the cache folder cannot be written, rows are stored in temporary
files, whose space is freed when the process ends.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.files import atomic_folder, cache_folder, remove_folder
from boresight.core.lock import FileLock
from boresight.core.schema import Example
from boresight.core.wording import plural
from boresight.data.rendering.clock import printed_day
from boresight.data.rows import RowOrReason
from boresight.data.stored.pruning import CacheBound, mark_used, prune
from boresight.data.stored.token_rows import StoredRows, write_row_hashes, write_token_rows
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console

LIBRARIES = ("jinja2", "numpy", "tokenizers", "transformers")
"""Libraries whose versions are part of the cache key, besides the code of `boresight.data`."""
LOCK = "writer.lock"
"""Name of the lock file that is held while a folder is written.

A temporary folder whose lock is not held was left by a killed run.
"""
BOUND = CacheBound(bytes=10 * 10**9, days=90)
"""Maximum size and age of the cache.

10 GB are some two billion tokens. Every version of this code has its own rows, so older rows accumulate.
"""

NOT_RENDERED = ("meta", "as_text")
"""Fields of an example that its tokens do not depend on."""

MakeRows = Callable[[], Iterable[Sequence[RowOrReason]]]
"""Function that yields, for every example, its rows or the reasons why it has none."""


def cached_token_rows(
    examples: Sequence[Example], tokenizer: Tokenizer, make: MakeRows, console: Console | None = None
) -> StoredRows:
    """Return the rows of the examples under the tokenizer, from the cache or from `make`.

    New rows are stored in the cache. A damaged cache folder is replaced, and folders beyond the limit are
    deleted; both are printed.

    Raises:
        OSError: the rows fit into neither the cache folder nor a temporary one.
    """
    place = _default_folder() / _key(examples, tokenizer)
    found = _read(place, console)
    if found is not None:
        return found
    try:
        _remove_abandoned(place.parent)
        with atomic_folder(place, replace=False) as folder:
            _write(folder, make)
            rows = StoredRows(folder)  # mapped before another process can find and delete it
    except OSError as error:
        found = _in_temporary_folder(make, f"{place.parent}: {error.strerror or error}", console)
        if found is None:
            raise
        return found
    _prune(place, console)
    return rows


def tokenizer_key(tokenizer: Tokenizer) -> str:
    """Return a digest of everything in the tokenizer that rows depend on.

    This is its vocabulary, its chat template, the special tokens that the template uses, and the date that it
    prints.
    """
    template = str(tokenizer.chat_template)
    parts = (
        template,
        printed_day(tokenizer),
        sorted(
            (name, str(token)) for name, token in tokenizer.special_tokens_map.items() if name in template
        ),
        tokenizer.backend_tokenizer.to_str(),
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _read(place: Path, console: Console | None) -> StoredRows | None:
    """Return the rows in a folder; None if it does not exist or is damaged.

    A damaged folder is deleted.
    """
    if not place.is_dir():
        return None
    mark_used(place)
    try:
        rows = StoredRows(place)
        rows.refuse_damaged()
        return rows
    except UserError as error:
        if not place.is_dir():  # another process has deleted it since
            return None
        if console is not None:
            print_warning(
                console, f"token rows of an earlier run are damaged, so they are made again: {error}"
            )
        with suppress(FileNotFoundError):
            remove_folder(place)
    return None


def _prune(place: Path, console: Console | None) -> None:
    """Delete rows until the cache is within its limit, and print what was deleted in one line."""
    deleted = prune(place.parent, place, BOUND)
    if deleted and console is not None:
        size = sum(entry.bytes for entry in deleted) / 1e9
        sentence = f"deleted {plural(len(deleted), 'set')} of token rows, {size:.1f} GB, from {place.parent}"
        reason = f"it keeps {BOUND.bytes / 1e9:.0f} GB, and for {BOUND.days} days without use"
        console.print(f"{sentence}: {reason}", markup=False, highlight=False)


def _write(folder: Path, make: MakeRows) -> None:
    lock = FileLock(folder / LOCK, optional=True)
    lock.acquire()
    try:
        write_row_hashes(folder, write_token_rows(folder, make()))
    finally:
        lock.release()


def _remove_abandoned(cache: Path) -> None:
    """Delete unfinished folders that killed runs have left."""
    for lock in cache.glob(f".*.part/{LOCK}"):
        held = FileLock(lock)
        with suppress(UserError):  # no locks on this file system: the writer may still run
            if held.acquire():
                shutil.rmtree(lock.parent, ignore_errors=True)
                held.release()


def _in_temporary_folder(make: MakeRows, why: str, console: Console | None) -> StoredRows | None:
    """Return rows in deleted temporary files, which exist until the process ends; None if they do not fit."""
    if console is not None:
        print_warning(console, f"token rows cannot be kept for another run: {why}")
    with suppress(OSError), tempfile.TemporaryDirectory(prefix="boresight-rows-") as folder:
        write_token_rows(Path(folder), make())
        return StoredRows(Path(folder))
    return None


def _key(examples: Sequence[Example], tokenizer: Tokenizer) -> str:
    digest = hashlib.sha256(f"{tokenizer_key(tokenizer)} {_code()}".encode())
    for example in examples:
        shown = [(name, getattr(example, name)) for name in example.__slots__ if name not in NOT_RENDERED]
        digest.update(f"{type(example).__name__} {shown!r}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return a digest of the code that makes rows, and of the versions of the libraries that it uses."""
    digest = hashlib.sha256(" ".join(version(name) for name in LIBRARIES).encode())
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _default_folder() -> Path:
    return cache_folder() / "tokens"
