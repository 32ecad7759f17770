"""Atomic writes of files and folders, and files of one JSON object per line (JSON Lines).

Content is written under a temporary name in the same folder, `.NAME.RANDOM.part`, which is renamed at the
end: readers find the old content or the new content, never a part of it, also after a crash. A killed writer
leaves its temporary file behind; `remove_leftovers` deletes those.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` if the block succeeds."""
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = True, durable: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder to fill, which becomes `folder` if the block succeeds.

    Args:
        replace: delete an older folder of that name. If False, a folder that another process has made in the
            meantime is kept, and this one is discarded.
        durable: flush the files to the disk before the folder gets its name, so that it is complete after a
            power failure too.

    Raises:
        OSError: the disk is full (with `durable`, this includes what only the flush reports) or not writable.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    try:
        temporary.mkdir()
        yield temporary
        if durable:
            for file in temporary.rglob("*"):
                if file.is_file():
                    flush_to_disk(file)
        if replace:
            replace_folder(temporary, folder)
        else:
            _rename_unless_there(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`, after deleting what has that name."""
    if folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)


def flush_to_disk(file: Path) -> None:
    """Return once the content of `file` is on the disk and not only in the system's cache."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders in `folder` that killed writers left; no writer may be at work."""
    for part in folder.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write `text` as UTF-8, atomically; `errors` as in `open`."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def create_text(path: Path, text: str) -> bool:
    """Create a file with `text` as UTF-8, atomically, unless it exists; returns whether this call did.

    Of several processes that try, also on other machines with the same disk, one succeeds.
    """
    temporary = _temporary(path)
    temporary.write_text(text, encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_json(path: Path, value: object, *, indent: int = 1) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises OSError if it cannot be read, ValueError if it holds no JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json_line(row) for row in rows)


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one line per object; a process killed meanwhile may leave a torn last line."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json_line(row) for row in rows)


def json_line(row: Mapping[str, Any]) -> str:
    """The object as one line of JSON, with its line break."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_jsonl(path: Path, malformed: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file; none if there is no file.

    Skips blank lines, and lines that hold no JSON object, such as the torn last line of a killed process.
    The numbers of the latter, from 1, are appended to `malformed`.
    """
    if not path.is_file():
        return
    # Iterating a file splits at line breaks only; str.splitlines would also split at U+2028 inside a string.
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            row = _object(line)
            if row is not None:
                yield row
            elif line.strip() and malformed is not None:
                malformed.append(number)


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _temporary(path: Path) -> Path:
    """A name that no other process uses, also on another machine with the same disk."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
