"""Detect damaged files in a model folder, such as truncated files and Git LFS pointers."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import read_json

MODEL_FILES = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    "config.json",  # transformers reads it also for a tokenizer
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
LFS_POINTER = b"version https://git-lfs"
"""First bytes of the text file that Git leaves in place of a large file (https://git-lfs.com)."""


def damage(file: Path, fault: str) -> str:
    """Return an error message for a file with a `fault`; a Git LFS pointer or a byte order mark is named as
    the cause."""
    start = _start(file)
    if start.startswith(codecs.BOM_UTF8):
        return f"model: {file} begins with a byte order mark; save it as UTF-8 without one."
    if start == LFS_POINTER:
        return f"model: {file} is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`."
    return f"model: {file} is damaged: {fault}; download or copy it again."


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(len(LFS_POINTER))


def refuse_damaged(folder: Path, names: Sequence[str]) -> None:
    """Raise a `UserError` if one of the JSON files in `folder` contains no JSON object; missing files are
    skipped."""
    for file in (folder / name for name in names):
        if file.is_file():
            read_object(file)


def read_object(file: Path) -> dict[str, object]:
    """Return the JSON object in a file.

    Raises:
        UserError: the file contains no JSON object, or begins with a byte order mark, which transformers and
            tokenizers refuse.
    """
    try:
        found = read_json(file)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _start(file).startswith(codecs.BOM_UTF8):
        raise UserError(damage(file, "it contains no JSON object"))
    return found
