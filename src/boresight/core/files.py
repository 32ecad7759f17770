"""Functions that write all files: atomic files and folders, JSON Lines, and state files with a checksum.

Content is written under a temporary name in the same folder, `.NAME.RANDOM.part`, which is renamed at the
end: readers find the old content or the new content, never a part of it, also after a crash. A killed writer
leaves its temporary file behind; `remove_leftovers` deletes such files.

Lines end only at "\\n": text may contain every other character at which `str.splitlines` splits.
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
"""Key of the SHA-256 digest in a state file, which covers all other keys."""

WritePoint = Literal["start", "temporary", "done", "append", "appended", "remove", "unnamed", "removed"]
"""Point of a write at which a process can die.

`start`, `temporary` and `done`: before a write, after its temporary file is complete, after the rename.
`append` and `appended`: before and after lines are appended. `remove`, `unnamed` and `removed`: before a
folder is deleted, after it was renamed, after its content was deleted.
"""

on_write: Callable[[WritePoint, Path, bytes], None] | None = None
"""Function that tests set; it is called at every point of every write with the point, the final path, and the
bytes to append."""


def write_point(point: WritePoint, path: Path, data: bytes = b"") -> None:
    """Call `on_write` for one point of a write; in tests it may end the process or raise an OSError."""
    if on_write is not None:
        on_write(point, path, data)


def cache_folder() -> Path:
    """Return the folder for results that other runs reuse: `$XDG_CACHE_HOME/boresight` or
    `~/.cache/boresight`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boresight"


def expanded(name: str | Path) -> Path:
    """Return the path with `~` and `~user` replaced, or unchanged if there is no such user."""
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
    """Inside the block, make system errors name `path`.

    Without this, errors of a full disk name no file, and other errors name the temporary file.
    """
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
        replace: delete an existing folder of that name. If False, keep an existing folder that is not empty,
            which another process may have created in the meantime, and discard the new one.
        durable: flush the files to the disk before the folder is renamed, so that it is complete after a
            power failure too.
        parents: create missing parent folders. If False, a missing parent folder is an error.

    Raises:
        OSError: the disk is full or not writable; with `durable`, also errors that only the flush reports.
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
    """Rename `new` to `folder`, and delete an existing folder of that name first."""
    if folder.exists():
        remove_folder(folder)
    new.rename(folder)


def remove_folder(folder: Path) -> None:
    """Delete a folder; it is renamed first, so that no reader finds it partly deleted."""
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
    """Delete temporary files and folders that killed writers left in `folder`.

    Call it only while no process writes to the folder.
    """
    for part in folder.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically.

    A lone surrogate, which UTF-8 cannot encode, is written as its escape sequence.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def create_text(path: Path, text: str) -> bool:
    """Create a file with `text` as UTF-8, atomically, unless it exists; return whether it was created.

    If several processes try, also on other machines that share the disk, exactly one succeeds.
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
    """Write a file that a user requested, atomically.

    Args:
        force: replace an existing file.
        option: name of the command-line option for this file, for errors.

    Raises:
        UserError: the file exists and `force` is not set, the path is a folder, or its parent folder is
            missing.
    """
    refuse_taken(path, force, option)
    if force:
        write_text(path, text)
    elif not create_text(path, text):
        refuse_taken(path, force, option)


def refuse_taken(path: Path, force: bool, option: str) -> None:
    """Raise a `UserError` if `write_new_text` cannot write the file: it exists without `force`, the path is a
    folder, or its parent folder is missing."""
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
    """Return the value in a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file does not contain JSON.
    """
    return json.loads(path.read_text(encoding="utf-8-sig"))


def write_state(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON with a checksum, atomically, for a later process to read with `read_state`."""
    write_json(path, with_checksum(value))


def create_state(path: Path, value: Mapping[str, Any]) -> bool:
    """Write an object as JSON with a checksum, atomically, unless the file exists; return whether it was
    created."""
    return create_text(path, _json(with_checksum(value), indent=1) + "\n")


def read_state(
    path: Path,
    remedy: str = "restore it, or give another folder with --run",
    *,
    types: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """Read an object written by `write_state`, and verify its checksum.

    Files written by versions without checksums are accepted unchecked.

    Args:
        remedy: end of the sentence of an error.
        types: required keys of the object, and the types of their values.

    Raises:
        UserError: the file is missing, incomplete, or was edited.
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
    """Return the object, converted to plain JSON values, with the digest of its content added."""
    plain = {name: part for name, part in json.loads(_json(value)).items() if name != CHECKSUM}
    return {**plain, CHECKSUM: _digest(plain)}


def checksum_holds(value: Mapping[str, Any]) -> bool:
    """Whether the digest in an object matches the object's other keys; True if it contains no digest."""
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
    """Write one JSON object per line and, in a second file, the SHA-256 hash of the first, both atomically.

    The hash is written first, to a file with the suffix `.sha256`, in the format of `sha256sum --check`. A
    later process verifies it with `refuse_changed_rows`.
    """
    content = b"".join(json_line(row) for row in rows)
    write_text(path.with_suffix(".sha256"), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def refuse_changed_rows(path: Path) -> None:
    """Raise a `UserError` if a file written by `write_hashed_jsonl` is incomplete or was edited."""
    known = path.with_suffix(".sha256")
    if not known.is_file():  # of an earlier version
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if known.read_bytes().partition(b" ")[0] != digest.encode():
        raise UserError(
            f"{path}: this file is torn or was edited; restore it, or delete it to make it again."
        )


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one JSON object per line; a process killed meanwhile may leave an incomplete last line."""
    data = b"".join(json_line(row) for row in rows)
    write_point("append", path, data)
    with _naming(path), path.open("ab") as file:
        file.write(data)
    write_point("appended", path)


def json_line(row: Mapping[str, Any], default: Callable[[Any], Any] | None = None) -> bytes:
    """Return the object as one line of JSON in UTF-8, with its line break; `default` as in `json.dumps`."""
    return (_json(row, default=default) + "\n").encode("utf-8")


def _json(value: object, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """Return `value` as JSON that can be encoded as UTF-8.

    A lone surrogate, which a model may generate, is replaced by its escape sequence.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without their "\\n"; bytes that are not UTF-8 become U+FFFD."""
    with path.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n").decode("utf-8", "replace")


def read_jsonl(path: Path, malformed: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file; none if the file is missing.

    Blank lines are skipped, and so are malformed lines, such as the incomplete last line of a killed process.
    The numbers of malformed lines, counted from 1, are appended to `malformed`.
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
    """Return a temporary path in the same folder that no other process uses, also on other machines that
    share the disk."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")


def _name_unless_there(temporary: Path, path: Path) -> None:
    """Give the temporary file the name `path`, unless another file has that name.

    On file systems without hard links (exFAT, many network file systems), an empty file is created at `path`
    to reserve the name, and then replaced.

    Raises:
        FileExistsError: another file has that name.
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
    except OSError as error:  # rename replaces an empty folder, except a mount point
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not folder.is_dir():
            raise
