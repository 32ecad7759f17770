"""Read raw records from a file, a saved `datasets` folder or a hub data set, as a stream.

Each record comes with its row number, from 1: the line number in a JSON Lines file, else the position in the
list of records. Text is UTF-8, or UTF-16 with a byte order mark.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError, first_line
from boresight.core.plugins import import_extra
from boresight.data.columns import is_message
from boresight.data.demo import data_path, split_name
from boresight.data.reading.compressed.expansion import Decompressed, Expansion
from boresight.data.reading.shapes import as_table

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
SPACE = re.compile(r"\s*")
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"par1"
ADDRESS = re.compile(r"[a-z][a-z0-9+]*://")
HUB_ADDRESS = re.compile(r"(?:https://huggingface\.co/datasets/|hf://datasets/)([\w.-]+/[\w.-]+)/?")
EXCEL_SEPARATOR = re.compile("sep=(.)", re.IGNORECASE)
"""Pattern of a first line of a CSV file in which Excel names the separator."""
LISTED = 3
"""Maximum number of data files in a folder that an error lists."""
WEB_PAGE = "a web page, not data; download the file itself (on the hub: /resolve/ in place of /blob/)"
OTHERS = (
    (b"version https://git-lfs", "a pointer of Git LFS and not the data; fetch them with `git lfs pull`"),
    (b"<!doctype html", WEB_PAGE),
    (b"<html", WEB_PAGE),
    (b"pk\x03\x04", "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it, or compress it by gzip"),
    (GZIP_MAGIC, "compressed by gzip twice; decompress it once"),
    (b"\xfd7zxz", "compressed by xz; decompress it, or compress it by gzip"),
    (b"\xff\xfe\x00\x00", "UTF-32 text; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text; save it as UTF-8"),
    (b"arrow1", "an Arrow file; save it as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream, as the cache of `datasets` has them; save it as Parquet"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet of an old Excel; save the sheet as CSV"),
    (b"sqlite format", "a database of SQLite; export the table as CSV or JSON Lines"),
    (b"%pdf", "a PDF and no data"),
    (PARQUET_MAGIC, "a Parquet file; name it .parquet"),
)
"""Unsupported file types by the first bytes of a file, in lower case; file names are often wrong."""
LONGEST_START = 32
"""Number of bytes at the beginning of a file that are compared with `OTHERS`."""
LONGEST_CELL = 2**31 - 1
"""Maximum length of a CSV cell, in characters; long answers exceed the default of `csv`, 131,072."""

KEEP_ONE, FIX_LINE = "keep one of them", "fix or delete the line"
"""Advice for a key that occurs twice, and for a line that is not JSON."""
BLOCK = 1 << 20
"""Number of bytes of a file that are hashed at a time."""
PARQUET_BATCH = 256
"""Number of Parquet rows that are converted to Python objects at a time."""

Raw = Iterator[tuple[int, object]]


@dataclass(frozen=True, slots=True)
class Unparsed:
    """Stands for a row that cannot be parsed, if the rows after it can.

    `message` completes the sentence "row 3 …", or "`field` …". `fix` is what to do, if the message does not
    include it. `place` is what the row number counts: rows, or lines of text.
    """

    message: str
    fix: str = ""
    place: str = "row"
    field: str = ""

    def sentence(self, row: int) -> str:
        """Return the error, such as `line 3 is not JSON (…); fix or delete the line.`"""
        field, fix = self.field and f": `{self.field}`", self.fix and f"; {self.fix}"
        return f"{self.place} {row}{field} {self.message}{fix}."


def records(source: str | Path) -> Raw:
    """Return the rows of `source` as `raw_rows` does, but raise for a row that cannot be parsed.

    Raises:
        UserError: as `raw_rows` does, or a row cannot be parsed.
    """
    return _parsed(data_path(source), raw_rows(source))


def _parsed(path: Path, rows: Raw) -> Raw:
    for row, record in rows:
        if isinstance(record, Unparsed):
            raise UserError(f"{path}: {record.sentence(row)}")
        yield row, record


def raw_rows(source: str | Path) -> Raw:
    """Return `(row, record)` pairs of `source`; JSON Lines and Parquet are streamed.

    The record is `Unparsed` for a line of JSON Lines that is not JSON, for a JSON record with a repeated key,
    of which JSON would keep the last value, and for a CSV row with more cells than the header.

    Args:
        source: a file (`.jsonl`, `.ndjson`, `.json`, `.parquet`, `.csv`, `.tsv`, each also with `.gz`), a
            folder that `datasets` saved, a hub id (`owner/name` or `owner/name:config`), or data of the demo
            (`demo:NAME`). A folder or a hub id may be followed by `@split`.

    Raises:
        UserError: there is no such file or hub data set, the file type is unknown, or the file cannot be
            parsed; for a JSON list the error contains the line.
    """
    path = data_path(source)
    name, split = split_name(source)
    if path.is_dir():
        return enumerate(_saved_folder(path, split), 1)
    if path.is_file():
        if split != "train":
            raise UserError(f"{source}: a file has no split {split!r}; name the file that holds it.")
        return _file(path)
    refuse_absent(source)
    return enumerate(_hub(name, split), 1)


def refuse_absent(source: str | Path) -> None:
    """Raise a `UserError` for a file or folder that does not exist; nothing is read or downloaded."""
    path = data_path(source)
    if not (path.is_dir() or path.is_file() or is_hub_id(split_name(source)[0])):
        raise UserError(f"{source}: {_absent(str(source), path)}.")


def sha256(source: str | Path) -> str:
    """Return the SHA-256 of a source as hex digits.

    Hashed are the bytes of a file, the files of a folder in the order of their names, or the records of a hub
    data set.
    """
    path, digest = data_path(source), hashlib.sha256()
    if path.is_file():
        _add_file(digest.update, path)
    elif path.is_dir():
        _refuse_unsaved(path)  # the root of a file system is a folder too
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(part.relative_to(path).as_posix().encode() + b"\0")
            _add_file(digest.update, part)
    else:
        for _, record in raw_rows(source):
            digest.update(json.dumps(record, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def _add_file(update: Callable[[bytes], None], path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            update(block)


def _file(path: Path) -> Raw:
    name = path.name.lower().removesuffix(".gz")
    reader = READERS.get(Path(name).suffix)
    if reader is None:
        raise UserError(f"{path}: this file type is not one of {', '.join(READERS)} (each also with .gz).")
    return _guarded(path, reader)


def _guarded(path: Path, reader: Callable[[Path], Raw]) -> Raw:
    try:
        yield from reader(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip file is damaged ({error}); fetch or compress it again.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _open(path: Path, parquet: bool = False) -> IO[bytes]:
    """Open a file as UTF-8 bytes: gzip is decompressed and UTF-16 converted.

    Gzip is recognized by content, not by name.

    Args:
        parquet: whether Parquet is expected.

    Raises:
        UserError: the content has an unsupported type.
    """
    stream = path.open("rb")
    compressed = _is_compressed(stream)
    opened: IO[bytes] = stream
    if compressed:
        opened = io.BufferedReader(Decompressed(gzip.GzipFile(fileobj=stream), path))
    start = opened.read(LONGEST_START)
    opened.seek(0)
    other = next(((known, what) for known, what in OTHERS if start.lower().startswith(known)), None)
    if other is None and _is_wide(start):
        other = start, "UTF-16 text without a byte order mark; save it as UTF-8"
    if other is not None and not (parquet and other[0] == PARQUET_MAGIC):
        opened.close()
        raise UserError(f"{path}: is {other[1]}.")
    wide = start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    if not wide:
        return opened
    with opened:
        try:
            return io.BytesIO(opened.read().decode("utf-16").encode())
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}: begins as UTF-16 and is not ({error.reason}); save it as UTF-8."
            ) from error


def _is_wide(start: bytes) -> bool:
    """Whether every second byte is 0, as in English text in UTF-16."""
    first, second = start[::2], start[1::2]
    return bool(second) and ((all(first) and not any(second)) or (all(second) and not any(first)))


def _is_compressed(stream: IO[bytes]) -> bool:
    """Whether a file is gzip, by its first bytes."""
    magic = stream.read(2)
    stream.seek(0)
    return magic == GZIP_MAGIC


def _json_lines(path: Path) -> Raw:
    # Lines end at \n alone: U+2028 and its like are legal inside JSON strings.
    if _is_one_value(path):
        yield from _json(path)
        return
    with _open(path) as stream:
        for row, line in enumerate(stream, 1):
            if line.strip():
                value = _parse(line)
                yield row, {"messages": value} if _is_conversation(value) else value


def _is_one_value(path: Path) -> bool:
    """Return whether a file is a single JSON value.

    It is an object or a list over several lines, or a list on one line.
    """
    with _open(path) as stream:
        first = stream.readline().strip().removeprefix(codecs.BOM_UTF8)
        if first in (b"{", b"["):
            return True
        return first.startswith(b"[") and not any(line.strip() for line in stream)


def _parse(line: bytes) -> object:
    """Parse a line of JSON Lines; `Unparsed` if it is not JSON or has a repeated key."""
    objects = _Objects()
    try:
        # The line break is removed: after it, the parser would report column 1 of the next line.
        value = json.loads(line.decode("utf-8-sig").rstrip(), object_pairs_hook=objects)
    except json.JSONDecodeError as error:
        return _not_json(f"{error.msg}, column {error.colno}")
    except UnicodeDecodeError as error:
        return _not_json(f"byte {error.start + 1} is not UTF-8")
    except (ValueError, RecursionError) as error:
        return _not_json(str(error))
    return objects.checked(value)


def _not_json(why: str) -> Unparsed:
    return Unparsed(f"is not JSON ({why})", FIX_LINE, "line")


class _Objects:
    """Builds the objects of a JSON text, and records which of them have a repeated key.

    JSON keeps the last value of such a key, so that an answer would be lost silently.
    """

    def __init__(self) -> None:
        self._repeated: dict[int, tuple[dict[str, Any], str]] = {}  # by id(object); the objects are kept

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build the object with these keys and values."""
        made = dict(pairs)
        if len(made) < len(pairs):
            self._repeated[id(made)] = made, _repeated(key for key, _ in pairs)
        return made

    def checked(self, value: object) -> object:
        """Return the record, or `Unparsed` if an object in it has a repeated key.

        Objects that are built afterwards belong to the next record.
        """
        keys = [key for _, key in self._repeated.values()]
        self._repeated.clear()
        return _repeats(keys[0]) if keys else value

    def checked_list(self, path: Path, value: object, listed: list[object]) -> list[object]:
        """Return the records `listed`, with `Unparsed` in place of those that contain a repeated key.

        Args:
            path: the file, for errors.
            value: the value of the whole JSON text.
            listed: the records that `value` contains.

        Raises:
            UserError: the object that contains the records has a repeated key, so records may be lost.
        """
        if not self._repeated:
            return listed
        if id(value) in self._repeated and not any(record is value for record in listed):
            raise UserError(f"{path}: {_repeats(self._repeated[id(value)][1]).message}; {KEEP_ONE}.")
        return [record if (key := self._first(record)) is None else _repeats(key) for record in listed]

    def _first(self, value: object) -> str | None:
        """Return the first repeated key in the value or inside it; None if there is none."""
        if id(value) in self._repeated:
            return self._repeated[id(value)][1]
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return next((key for item in inner if (key := self._first(item)) is not None), None)


def _repeats(key: str) -> Unparsed:
    return Unparsed(f"has the key {key!r} twice", KEEP_ONE)


def _repeated(names: Iterable[str]) -> str:
    """Return the first name that occurs twice; "" if none does."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _broken(path: Path, row: int, why: str) -> str:
    return f"{path}: line {row} is not JSON ({why}); {FIX_LINE}."


def _json(path: Path) -> Raw:
    """Read a list of records, an object with one list of records, or JSON Lines in a `.json` file."""
    with _open(path) as stream:
        content = stream.read()
    if not content.strip():
        return iter(())
    objects = _Objects()
    try:
        value = json.loads(content.decode("utf-8-sig").rstrip(), object_pairs_hook=objects)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            one_line = b"\n" not in content[: error.pos].strip()
            return _json_lines(path) if one_line else enumerate(_one_after_another(path, content), 1)
        raise UserError(_broken(path, error.lineno, f"{error.msg}, column {error.colno}")) from error
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(_broken(path, row, f"byte {error.start + 1} of the file is not UTF-8")) from error
    except (ValueError, RecursionError) as error:
        raise UserError(_broken(path, 1, str(error))) from error
    return enumerate(objects.checked_list(path, value, _record_list(path, value)), 1)


def _one_after_another(path: Path, content: bytes) -> Iterator[object]:
    """Yield JSON values that span several lines and are separated only by white space."""
    text, at = content.decode("utf-8-sig"), 0
    objects = _Objects()
    decoder = json.JSONDecoder(object_pairs_hook=objects)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UserError(_broken(path, error.lineno, f"{error.msg}, column {error.colno}")) from error
        except (ValueError, RecursionError) as error:  # as in `_json`
            raise UserError(_broken(path, text.count("\n", 0, at) + 1, str(error))) from error
        yield objects.checked(value)
        at = cast("re.Match[str]", SPACE.match(text, at)).end()


def _record_list(path: Path, value: object) -> list[object]:
    if isinstance(value, list):
        return [{"messages": item} if _is_conversation(item) else item for item in value]
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a single {type(value).__name__}, not a list of records.")
    if (table := as_table(value)) is not None:
        return table
    lists = [column for column, items in value.items() if _is_record_list(items)]
    if len(lists) > 1:
        raise UserError(
            f"{path}: holds several lists, {', '.join(lists)}; put one of them into its own file."
        )
    return value[lists[0]] if lists else [value]


def _is_record_list(items: object) -> bool:
    """Return whether a value is a list of objects that are not the messages of one conversation."""
    if not (isinstance(items, list) and items and all(isinstance(item, dict) for item in items)):
        return False
    return not {"role", "from"} & items[0].keys()


def _is_conversation(item: object) -> bool:
    return isinstance(item, list) and bool(item) and all(is_message(turn) for turn in item)


def _csv(path: Path) -> Raw:
    """Read the rows of a table with a header; an empty cell is a missing value.

    The separator is detected from the header: comma, tab, vertical bar, or semicolon, which spreadsheets
    write in many countries. Rows without any value are skipped.
    """
    csv.field_size_limit(LONGEST_CELL)
    with _open(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        try:
            separator, spaced = _dialect(text)
            table = csv.DictReader(text, delimiter=separator, strict=True, skipinitialspace=spaced)
            table.fieldnames = [column.strip() for column in table.fieldnames or ()]
            _refuse_repeated_columns(path, table.fieldnames)
            for row, record in enumerate(table, 1):
                if None in record:
                    yield row, Unparsed("has more cells than the header", "quote cells with commas")
                elif found := {column: value for column, value in record.items() if value}:
                    yield row, found
        except csv.Error as error:
            raise UserError(f"{path}: is not a whole CSV file ({error}); quote its cells.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8.") from error


def _dialect(text: io.TextIOWrapper) -> tuple[str, bool]:
    """Return the separator of a table, and whether a space follows it.

    Afterwards the stream is at the header: blank lines and Excel's `sep=;` have been read.
    """
    while True:
        start, line = text.tell(), text.readline()
        if stated := EXCEL_SEPARATOR.fullmatch(line.rstrip("\r\n")):
            return stated[1], False
        if line.strip() or not line:
            text.seek(start)
            return _separator(line)


def _separator(header: str) -> tuple[str, bool]:
    """Return the most frequent separator outside of quotes, and whether a space follows it."""
    plain = "".join(header.split('"')[::2])
    separator = max("\t,;|", key=plain.count) if plain else ","
    return separator if separator in plain else ",", f"{separator} " in plain


def _refuse_repeated_columns(path: Path, columns: Iterable[str]) -> None:
    if twice := _repeated(columns):
        raise UserError(f"{path}: has the column {twice!r} twice; rename or remove one of them.")


def _parquet(path: Path) -> Raw:
    parquet = import_extra("pyarrow.parquet", "datasets", str(path))
    import pyarrow

    with _open(path, parquet=True) as stream:
        compressed = isinstance(getattr(stream, "raw", None), Decompressed)
        seekable = io.BytesIO(stream.read()) if compressed else stream  # Parquet is read from its end
        try:
            opened = parquet.ParquetFile(seekable)
            _refuse_repeated_columns(path, opened.schema_arrow.names)
            batches = opened.iter_batches(PARQUET_BATCH)
            yield from enumerate(chain.from_iterable(_rows(path, batches)), 1)
        except pyarrow.ArrowException as error:
            raise UserError(f"{path}: is not a whole Parquet file ({error}).") from error


def _rows(path: Path, batches: Iterable[Any]) -> Iterator[list[object]]:
    """Yield the rows of each batch.

    Raises:
        UserError: the rows take far more memory than the file has bytes, as `Expansion` defines.
    """
    expansion = Expansion(path)
    for batch in batches:
        expansion.add(batch.nbytes)
        yield batch.to_pylist()


READERS: dict[str, Callable[[Path], Raw]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
}


def _saved_folder(path: Path, split: str) -> Iterable[object]:
    _refuse_unsaved(path)
    datasets = import_extra("datasets", "datasets", str(path))
    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: `datasets` cannot load this folder ({first_line(error)}).") from error
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise UserError(f"{path}: has no split {split!r}{nearest(split, map(str, saved))}.")
    return saved[split]


def _refuse_unsaved(folder: Path) -> None:
    if not ((folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file()):
        names = (
            file.relative_to(folder).as_posix() for file in (*folder.glob("*.*"), *folder.glob("data/*.*"))
        )
        found = sorted(name for name in names if Path(name.removesuffix(".gz")).suffix in READERS)
        such = f", such as {', '.join(found[:LISTED])}" if found else ""
        raise UserError(f"{folder}: is a folder that `datasets` did not save; name one of its files{such}.")


def is_hub_id(source: str | Path) -> bool:
    """Return whether a source has the form of a hub id, and not the name of a data file."""
    name = str(source)
    return HUB_ID.fullmatch(name) is not None and Path(name.removesuffix(".gz")).suffix not in READERS


def _hub(name: str, split: str) -> Iterable[object]:
    datasets = import_extra("datasets", "datasets", f"{name}: no such file, and a data set of the hub")
    path, _, config = name.partition(":")
    try:
        return datasets.load_dataset(path, config or None, split=split)
    except Exception as error:
        why = first_line(error)
        raise UserError(
            f"{name}: neither a file here nor a data set that the hub gave (split {split!r}: {why})."
        ) from error


def _absent(source: str, path: Path) -> str:
    """Return why a source that is neither a file nor a folder nor a hub id cannot be read."""
    if ADDRESS.match(source):
        hub = HUB_ADDRESS.fullmatch(source)
        return f"is an address; {f'give the hub id, {hub[1]}' if hub else 'download the file first'}"
    if path.is_symlink():
        return f"is a link to {path.readlink()}, where there is no file"
    return f"no such file{_beside(path)}"


def _beside(path: Path) -> str:
    """Return a suggestion of a file with a similar name in the same folder; "" if there is none."""
    if not path.parent.is_dir():
        return f", and no folder {path.parent}"
    names = [other.name for other in path.parent.iterdir() if other.is_file()]
    suggestion = nearest(path.name, names)
    return suggestion if suggestion.startswith("; did") else ""
