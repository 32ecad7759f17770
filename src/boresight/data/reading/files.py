"""Raw records from a file, a saved `datasets` folder or a hub id, one after the other.

A record comes with its row: the line of a JSON Lines file, else its place in the list, both from 1.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError, first_line

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_BATCH = 1024
"""Parquet rows that are turned into Python objects at a time."""

Raw = Iterator[tuple[int, object]]


def records(source: str | Path, split: str = "train") -> Raw:
    """(row, record) pairs of `source`; JSON Lines and Parquet are streamed.

    `source` is a file (`.jsonl`, `.ndjson`, `.json`, `.parquet`, each also with `.gz`), a folder that
    `datasets` saved, or a hub id, `owner/name` or `owner/name:config`. `split` is for the last two.

    Raises:
        UserError: no such file or hub data set, an unknown file type, or a file that is broken; for
            broken JSON with its line.
    """
    path = Path(source)
    if path.is_dir():
        return enumerate(_saved_folder(path, split), 1)
    if path.is_file():
        if split != "train":
            raise UserError(f"{source}: a file has no split {split!r}; name the file that holds it.")
        return _file(path)
    if _is_hub_id(source):
        return enumerate(_hub(str(source), split), 1)
    raise UserError(f"{source}: no such file{_beside(path)}.")


def sha256(source: str | Path, split: str = "train") -> str:
    """Hex digest of a file's bytes, of a folder's files in order of name, or of a hub data set's records."""
    path, digest = Path(source), hashlib.sha256()
    if path.is_file():
        _add_file(digest.update, path)
    elif path.is_dir():
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(part.relative_to(path).as_posix().encode() + b"\0")
            _add_file(digest.update, part)
    else:
        for _, record in records(source, split):
            digest.update(json.dumps(record, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def _add_file(update: Callable[[bytes], None], path: Path) -> None:
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
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


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    """The file's bytes, decompressed where it is gzip, whatever its name says."""
    stream = path.open("rb")
    compressed = stream.read(2) == GZIP_MAGIC
    stream.seek(0)
    return gzip.GzipFile(fileobj=stream) if compressed else stream


def _json_lines(path: Path) -> Raw:
    # Lines end at \n alone: U+2028 and its like are legal inside JSON strings.
    with _open(path) as stream:
        for row, line in enumerate(stream, 1):
            if line.strip():
                yield row, _parse(path, line, row)


def _parse(path: Path, line: bytes, row: int) -> object:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(_broken(path, row, f"{error.msg}, column {error.colno}")) from error
    except UnicodeDecodeError as error:
        raise UserError(_broken(path, row, f"byte {error.start + 1} is not UTF-8")) from error
    except (ValueError, RecursionError) as error:
        raise UserError(_broken(path, row, str(error))) from error


def _broken(path: Path, row: int, why: str) -> str:
    return f"{path}: line {row} is not JSON ({why}); fix or delete the line."


def _json(path: Path) -> Raw:
    """A list of records, an object with one list of records, or JSON Lines under the name .json."""
    with _open(path) as stream:
        content = stream.read()
    if not content.strip():
        return iter(())
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _json_lines(path)
        raise UserError(_broken(path, error.lineno, f"{error.msg}, column {error.colno}")) from error
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise UserError(_broken(path, row, f"byte {error.start + 1} of the file is not UTF-8")) from error
    except (ValueError, RecursionError) as error:
        raise UserError(_broken(path, 1, str(error))) from error
    return enumerate(_record_list(path, value), 1)


def _record_list(path: Path, value: object) -> list[object]:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a single {type(value).__name__}, not a list of records.")
    lists = [column for column, items in value.items() if _is_record_list(items)]
    if len(lists) > 1:
        raise UserError(
            f"{path}: holds several lists, {', '.join(lists)}; put one of them into its own file."
        )
    return value[lists[0]] if lists else [value]


def _is_record_list(items: object) -> bool:
    """A list of objects that are not the messages of one conversation."""
    if not (isinstance(items, list) and items and all(isinstance(item, dict) for item in items)):
        return False
    return not {"role", "from"} & items[0].keys()


def _parquet(path: Path) -> Raw:
    import pyarrow
    import pyarrow.parquet

    with _open(path) as stream:
        seekable = io.BytesIO(stream.read()) if isinstance(stream, gzip.GzipFile) else stream
        try:
            batches = pyarrow.parquet.ParquetFile(seekable).iter_batches(PARQUET_BATCH)
            every = chain.from_iterable(batch.to_pylist() for batch in batches)
            yield from enumerate(every, 1)
        except pyarrow.ArrowException as error:
            raise UserError(f"{path}: is not a whole Parquet file ({error}).") from error


READERS: dict[str, Callable[[Path], Raw]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}


def _saved_folder(path: Path, split: str) -> Iterable[object]:
    if not ((path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()):
        raise UserError(f"{path}: is a folder that `datasets` did not save; name one of its files.")
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: `datasets` cannot load this folder ({first_line(error)}).") from error
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if split not in saved:
        raise UserError(f"{path}: has no split {split!r}{nearest(split, map(str, saved))}.")
    return saved[split]


def _is_hub_id(source: str | Path) -> bool:
    name = str(source)
    return HUB_ID.fullmatch(name) is not None and Path(name.removesuffix(".gz")).suffix not in READERS


def _hub(name: str, split: str) -> Iterable[object]:
    import datasets

    path, _, config = name.partition(":")
    try:
        return datasets.load_dataset(path, config or None, split=split)
    except Exception as error:
        why = first_line(error)
        raise UserError(
            f"{name}: neither a file here nor a data set that the hub gave (split {split!r}: {why})."
        ) from error


def _beside(path: Path) -> str:
    """A suggestion from the names in the same folder."""
    if not path.parent.is_dir():
        return f", and no folder {path.parent}"
    names = [other.name for other in path.parent.iterdir() if other.is_file()]
    suggestion = nearest(path.name, names)
    return suggestion if suggestion.startswith("; did") else ""
