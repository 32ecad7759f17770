"""All files that we write: atomic files and folders, JSON Lines, and state files with a checksum.

Content is written under a temporary name in the same folder, `.NAME.RANDOM.part`, which is renamed at the
end: readers find the old content or the new content, never a part of it, also after a crash. A killed writer
leaves its temporary file behind; `remove_leftovers` deletes those.

Lines end at "\\n" and nowhere else: text may contain every other character that `str.splitlines` splits at.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from boresight.core.errors import UserError, system_error_number

NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
CHECKSUM = "checksum"
"""Key of a state file's digest, which covers all other keys."""

WritePoint = Literal["start", "temporary", "done", "append", "appended", "remove", "unnamed", "removed"]
"""Point of a write at which a process can die: before a write, after its temporary file is complete, and
after it; before and after lines are appended; before a folder is deleted, after it was renamed, and after
it."""

on_write: Callable[[WritePoint, Path, bytes], None] | None = None
"""Called at every point of every write with the final path, and with the bytes to be appended; set by
tests."""


def write_point(point: WritePoint, path: Path, data: bytes = b"") -> None:
    """Call `on_write` for a point of a write; it may end the process or raise an OSError."""
    if on_write is not None:
        on_write(point, path, data)


def cache_folder() -> Path:
    """Folder for results that other runs can reuse: `$XDG_CACHE_HOME/boresight`, or `~/.cache/boresight`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boresight"


def expanded(name: str | Path) -> Path:
    """The path with `~` and `~user` replaced; unchanged where there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` if the block succeeds."""
    temporary = _temporary(path)
    write_point("start", path)
    try:
        with _naming(path, temporary):
            yield temporary
            write_point("temporary", path)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    write_point("done", path)


@contextmanager
def _naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let errors of the system inside the block name `path`: those of a full disk name no file, others the
    temporary one."""
    try:
        yield
    except Exception as error:
        number = system_error_number(error)
        if not isinstance(error, OSError):
            if not number:
                raise
            raise OSError(number, os.strerror(number), str(path)) from error
        if number and error.filename in (None, temporary, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def atomic_folder(
    folder: Path, *, replace: bool = True, durable: bool = False, parents: bool = True
) -> Iterator[Path]:
    """Yield an empty temporary folder to fill, which becomes `folder` if the block succeeds.

    Args:
        replace: delete an older folder of that name. If False, a folder that another process has made in the
            meantime is kept, and this one is discarded.
        durable: flush the files to the disk before the folder gets its name, so that it is complete after a
            power failure too.
        parents: create missing parent folders. If False, one that was deleted is an error.

    Raises:
        OSError: the disk is full (with `durable`, this includes what only the flush reports) or not writable.
    """
    temporary = _temporary(folder)
    write_point("start", folder)
    if parents:
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _naming(folder, temporary):
            temporary.mkdir()
            yield temporary
            if durable:
                for file in temporary.rglob("*"):
                    if file.is_file():
                        flush_to_disk(file)
            write_point("temporary", folder)
            if replace:
                replace_folder(temporary, folder)
            else:
                _rename_unless_there(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_point("done", folder)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`, after deleting what has that name."""
    if folder.exists():
        remove_folder(folder)
    new.rename(folder)


def remove_folder(folder: Path) -> None:
    """Delete a folder. It loses its name first, so that no reader finds a part of it."""
    write_point("remove", folder)
    temporary = _temporary(folder)
    folder.rename(temporary)
    write_point("unnamed", folder)
    shutil.rmtree(temporary, ignore_errors=True)
    write_point("removed", folder)


def flush_to_disk(file: Path) -> None:
    """Return once the content of `file` is on the disk and not only in the operating system's cache."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files and folders in `folder` that killed writers left; call it only while no
    process writes there."""
    for part in folder.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; a lone surrogate, which UTF-8 cannot hold, as its escape."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def create_text(path: Path, text: str) -> bool:
    """Create a file with `text` as UTF-8, atomically, unless it exists; returns whether this call did.

    Of several processes that try, also on other machines with the same disk, one succeeds.
    """
    temporary = _temporary(path)
    write_point("start", path)
    try:
        with _naming(path, temporary):
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
            write_point("temporary", path)
            _name_unless_there(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    write_point("done", path)
    return True


def write_new_text(path: Path, text: str, force: bool, option: str) -> None:
    """Write a file that a user asked for, atomically.

    Args:
        force: replace a file of that name.
        option: name of the option for this file, for errors.

    Raises:
        UserError: a file of that name without `force`, a folder, or no folder to write into.
    """
    refuse_taken(path, force, option)
    if force:
        write_text(path, text)
    elif not create_text(path, text):
        refuse_taken(path, force, option)


def refuse_taken(path: Path, force: bool, option: str) -> None:
    """Raise the errors of `write_new_text` without writing."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file with {option}.")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; make it first.")
    if path.exists() and not force:
        raise UserError(
            f"{path}: is there already; name another file with {option}, or replace it by --force."
        )


def write_json(path: Path, value: object, *, indent: int = 1) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, _json(value, indent=indent) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises OSError if it cannot be read, ValueError if it holds no JSON."""
    return json.loads(path.read_text(encoding="utf-8-sig"))


def write_state(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON with a checksum, atomically, for a later process to continue from."""
    write_json(path, with_checksum(value))


def create_state(path: Path, value: Mapping[str, Any]) -> bool:
    """Write an object as `write_state` does, unless the file exists; returns whether this call created it."""
    return create_text(path, _json(with_checksum(value), indent=1) + "\n")


def read_state(
    path: Path,
    remedy: str = "restore it, or give another folder with --run",
    *,
    types: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """Read an object written by `write_state`. Files of versions without checksums are read without a check.

    Args:
        remedy: end of the sentence of an error.
        types: keys that the object must have, and the types of their values.

    Raises:
        UserError: there is no such file, or it was torn or edited.
    """
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: this file is missing; {remedy}.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}.") from error
    except (ValueError, RecursionError):
        found = None
    intact = isinstance(found, dict) and checksum_holds(found)
    if not intact or any(not isinstance(found.get(key), kind) for key, kind in (types or {}).items()):
        raise UserError(f"{path}: this file is torn or was edited; {remedy}.")
    return {name: part for name, part in found.items() if name != CHECKSUM}


def with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object after a round trip through JSON, with the digest of its content."""
    plain = {name: part for name, part in json.loads(_json(value)).items() if name != CHECKSUM}
    return {**plain, CHECKSUM: _digest(plain)}


def checksum_holds(value: Mapping[str, Any]) -> bool:
    """Whether the digest of an object that was read matches its content; True without a digest."""
    digest = value.get(CHECKSUM)
    return digest is None or digest == _digest({k: v for k, v in value.items() if k != CHECKSUM})


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.writelines(json_line(row) for row in rows)


def write_gzip(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines to a gzip file, not atomically; equal lines give equal bytes."""
    # No name and no time in the header.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as stream:
        stream.writelines(lines)


def write_hashed_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically, for a later process to continue from; a hash is written
    first, in a second file.

    The second file, `NAME.sha256`, is what `sha256sum --check` reads.
    """
    content = b"".join(json_line(row) for row in rows)
    write_text(path.with_suffix(".sha256"), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def refuse_changed_rows(path: Path) -> None:
    """Raise a `UserError` if a file of `write_hashed_jsonl` is torn or was edited."""
    known = path.with_suffix(".sha256")
    if not known.is_file():  # of an earlier version
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if known.read_bytes().partition(b" ")[0] != digest.encode():
        raise UserError(
            f"{path}: this file is torn or was edited; restore it, or delete it to make it again."
        )


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one line per object; a process killed meanwhile may leave a torn last line."""
    data = b"".join(json_line(row) for row in rows)
    write_point("append", path, data)
    with _naming(path), path.open("ab") as file:
        file.write(data)
    write_point("appended", path)


def json_line(row: Mapping[str, Any], default: Callable[[Any], Any] | None = None) -> bytes:
    """The object as one line of JSON in UTF-8, with its line break; `default` as in `json.dumps`."""
    return (_json(row, default=default) + "\n").encode("utf-8")


def _json(value: object, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """JSON that UTF-8 can hold: a lone surrogate, as a model may produce one, is written as its escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without their "\\n"; bytes that are not UTF-8 become U+FFFD."""
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n").decode("utf-8", "replace")


def read_jsonl(path: Path, malformed: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file; none if there is no file.

    Skips blank lines, and lines that hold no JSON object, such as the torn last line of a killed process.
    The numbers of the latter, from 1, are appended to `malformed`.
    """
    if not path.is_file():
        return
    for number, line in enumerate(read_lines(path), start=1):
        row = _object(line)
        if row is not None:
            yield row
        elif line.strip() and malformed is not None:
            malformed.append(number)


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _temporary(path: Path) -> Path:
    """A name that no other process uses, also on another machine with the same disk."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")


def _name_unless_there(temporary: Path, path: Path) -> None:
    """Give a file its name. Raises FileExistsError if another file has it.

    Where the file system has no hard links (exFAT, many network file systems), the name is taken by an empty
    file, which the file then replaces.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        path.touch(exist_ok=False)
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _rename_unless_there(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:  # a folder that is empty is replaced, unless the system refuses: a mount point
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not folder.is_dir():
            raise
