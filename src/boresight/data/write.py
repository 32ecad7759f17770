"""Write canonical files, which `boresight.data.reading.load.read` and TRL read as the same examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import atomic_file, json_line, write_gzip
from boresight.core.plugins import import_extra
from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference, Prompt, is_scored
from boresight.data.reading.message_keys import WORDS


def write_examples(examples: Sequence[Example], path: str | Path) -> None:
    """Write examples of one kind to `.jsonl`, `.jsonl.gz` or `.parquet`; the write is atomic.

    `meta` becomes an object in JSON Lines. In Parquet, where a column has one type for all rows, it becomes
    the JSON string `meta_json`. Dates and other values that JSON lacks are written as text.

    Raises:
        UserError: no examples, examples of several kinds, messages that Parquet cannot store, an unknown file
            type, or a missing package.
    """
    path = Path(path)
    kinds = {type(example) for example in examples}
    if len(kinds) != 1:
        found = " and ".join(sorted(kind.__name__ for kind in kinds)) or "no examples"
        raise UserError(f"{path}: a file holds examples of one kind, not {found}.")
    writer = writer_of(path)
    if writer is _parquet:
        _refuse_more_than_words(examples, path)
    with atomic_file(path) as temporary:
        writer(examples, temporary)


def writer_of(path: Path) -> Callable[[Sequence[Example], Path], None]:
    """Return the function that writes files of the type of `path`.

    Raises:
        UserError: the file type is unknown, or a package is missing.
    """
    writer = next((WRITERS[end] for end in WRITERS if path.name.endswith(end)), None)
    if writer is None:
        raise UserError(f"{path}: cannot write this file type; name it {' or '.join(WRITERS)}.")
    if writer is _parquet:
        import_extra("pyarrow.parquet", "datasets", str(path))
    return writer


def to_record(example: Example) -> dict[str, Any]:
    """Return the canonical record of an example, without missing scores and without an empty `meta`."""
    match example:
        case Preference(prompt, chosen, rejected, id, better, worse, meta):
            turns = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            record = {"id": id, **turns, "score_chosen": better, "score_rejected": worse}
        case Demonstration(messages, id, meta):
            record = {"id": id, "messages": messages}
        case Labeled(prompt, completion, label, id, meta):
            record = {"id": id, "prompt": prompt, "completion": completion, "label": label}
        case Prompt(prompt, id, meta):
            record = {"id": id, "prompt": prompt}
    known = {column: value for column, value in record.items() if value is not None}
    return {**known, "meta": meta} if meta else known


def _lines(examples: Sequence[Example]) -> Iterator[bytes]:
    for example in examples:
        yield json_line(to_record(example), default=str)


def _jsonl(examples: Sequence[Example], path: Path) -> None:
    with path.open("wb") as stream:
        stream.writelines(_lines(examples))


def _jsonl_gz(examples: Sequence[Example], path: Path) -> None:
    write_gzip(path, _lines(examples))


def _parquet(examples: Sequence[Example], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
    turns, text, number = pyarrow.list_(message), pyarrow.string(), pyarrow.float64()
    columns = {
        Preference: {
            "prompt": turns,
            "chosen": turns,
            "rejected": turns,
            "score_chosen": number,
            "score_rejected": number,
        },
        Demonstration: {"messages": turns},
        Labeled: {"prompt": turns, "completion": turns, "label": pyarrow.bool_()},
        Prompt: {"prompt": turns},
    }[type(examples[0])]
    schema = pyarrow.schema({"id": text, **columns, "meta_json": text})
    table = pyarrow.Table.from_pylist([_flat(to_record(example)) for example in examples], schema)
    pyarrow.parquet.write_table(table, path)


def _refuse_more_than_words(examples: Sequence[Example], path: Path) -> None:
    if other := next((key for e in examples for m in _turns(e) for key in m if _is_more(key, m)), None):
        raise UserError(
            f"{path}: Parquet keeps role and words only, and a message has `{other}`; write .jsonl instead."
        )


def _is_more(key: str, message: Message) -> bool:
    """Return whether a key of a message changes the example, so that it must not be lost."""
    return key not in WORDS and not (key == "weight" and is_scored(message))


def _turns(example: Example) -> list[Message]:
    match example:
        case Preference(prompt, chosen, rejected):
            return [*prompt, *chosen, *rejected]
        case Labeled(prompt, completion):
            return [*prompt, *completion]
        case Demonstration(messages):
            return messages
        case Prompt(prompt):
            return prompt


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    meta = record.pop("meta", None)
    return {**record, "meta_json": json.dumps(meta, ensure_ascii=False, default=str)} if meta else record


WRITERS: dict[str, Callable[[Sequence[Example], Path], None]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl_gz,
    ".parquet": _parquet,
}
