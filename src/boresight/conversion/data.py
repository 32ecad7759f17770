"""Translate the training and held-out data of a TRL config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boresight.conversion.translation import Translation
from boresight.core.did_you_mean import nearest
from boresight.data.reading.files import READERS

FILE_BUILDERS = {"json", "csv", "parquet"}
"""Names of the builders with which the package `datasets` reads files."""
SOURCE_OPTIONS = ("path", "name", "data_dir", "data_files", "split", "columns", "fraction")
NO_LIMIT = 131_072
"""Value of `data.max_length`, in tokens, for a config without a limit."""
HELD_OUT = 200
ALL = 1_000_000
"""Value of `data.eval_rows` for evaluating all held-out rows, as TRL does; no held-out set has more."""


def translate_data(t: Translation, sampled: bool) -> None:
    """Set the sources of training rows, the held-out rows, and the maximum length of a row.

    Args:
        sampled: whether the method trains on completions that it samples.
    """
    if t["datasets"]:
        _mixture(t)
    elif t["dataset_name"] is None:
        t.leave_open("data.train", "your-data.jsonl", "a file, a saved data set or a hub id")
    elif _is_file(t["dataset_name"]):
        t.put("data.train", t["dataset_name"], "dataset_name")
        for option in ("dataset_config", "dataset_train_split", "dataset_test_split"):
            t.remark(option, "unneeded", "a file has no configurations and splits")
    else:
        options = ("dataset_name", "dataset_config", "dataset_train_split")
        t.put("data.train", _named(t, t["dataset_train_split"]), *options)
    _held_out(t)
    _longest(t, sampled)


def _is_file(name: str) -> bool:
    """Whether `name` is a data file. A recipe accepts files here; TRL's `dataset_name` does not."""
    try:
        return Path(name.removesuffix(".gz")).suffix in READERS or Path(name).is_file()
    except OSError:  # a name that no file can have
        return False


def _named(t: Translation, split: str) -> str:
    """Return a split of the data set in the form of `data.train`, `NAME:CONFIG@SPLIT`."""
    config, named = t["dataset_config"], "" if split == "train" else f"@{split}"
    return f"{t['dataset_name']}{f':{config}' if config else ''}{named}"


def _mixture(t: Translation) -> None:
    """Translate the option `datasets`, a list of sources that TRL uses instead of `dataset_name`."""
    shares: dict[str, float | None] = {}
    missing: list[str] = []
    for entry in t["datasets"]:
        sources, fraction = _sources(t, entry, missing), _fraction(t, entry)
        if shares.keys() & sources or len(set(sources)) < len(sources):
            raise t.refuse("datasets", "a source is named twice; keep one of them")
        if fraction is not None and len(sources) > 1:
            missing.append("the files of a source with a fraction each have a share of their own: set these")
        shares |= dict.fromkeys(sources, fraction)
    for option in ("dataset_name", "dataset_config", "dataset_train_split", "dataset_test_split"):
        t.remark(option, "unneeded", "datasets is set, so TRL ignores it")
    if len(shares) > 1 and None in shares.values():
        if set(shares.values()) != {None}:
            raise t.refuse("datasets", "fraction must be set for all sources or for none")
        missing.append("TRL joins the rows of all; data.train takes shares: set them by the numbers of rows")
    shares = {source: 1.0 if share is None else share for source, share in shares.items() if share != 0}
    if not shares:
        raise t.refuse("datasets", "a fraction must be above 0")
    t.put("data.train", next(iter(shares)) if len(shares) == 1 else shares, "datasets")
    if missing:
        t.remark("datasets", "missing", "; ".join(dict.fromkeys(missing)))
    elif any(entry.get("columns") for entry in t["datasets"]):
        text = "columns are not selected: those of a layout are recognized (docs/data-formats.md)"
        t.remark("datasets", "differs", text)


def _fraction(t: Translation, entry: Mapping[str, Any]) -> float | None:
    """Return the fraction of a source in `datasets`; None if it has none."""
    fraction = entry.get("fraction")
    if fraction is None:
        return None
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not fraction >= 0:
        raise t.refuse("datasets", "fraction must be a number of at least 0")
    return float(fraction)


def _sources(t: Translation, entry: Any, missing: list[str]) -> list[str]:
    """Return the sources of one entry of `datasets`, in the form of `data.train`.

    Descriptions of parts of the entry that cannot be translated are appended to `missing`.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise t.refuse("datasets", "must be a list of mappings, each with a path")
    for name in entry:
        if name not in SOURCE_OPTIONS:
            raise t.refuse("datasets", f"a source has no {name}{nearest(str(name), SOURCE_OPTIONS)}")
    if entry.get("data_dir"):
        missing.append("data_dir is not read: name the files (data_files)")
    files, split = entry.get("data_files"), entry.get("split") or "train"
    if isinstance(files, dict):
        files = files.get(split, [])
    if entry["path"] in FILE_BUILDERS:
        found = [files] if isinstance(files, str) else files
        if not found or not all(isinstance(file, str) for file in found):
            raise t.refuse("datasets", "data_files must be paths of files")
        return list(found)
    if files:
        missing.append("data_files of a hub id is not read: save these rows as a file")
    config = entry.get("name")
    return [f"{entry['path']}{f':{config}' if config else ''}{'' if split == 'train' else f'@{split}'}"]


def _held_out(t: Translation) -> None:
    """Set the held-out rows: those of a split, those split off the training rows, or none."""
    evaluates = t["eval_strategy"] not in ("no", None)
    splits = t["test_split_size"] is not None and (t["datasets"] or (evaluates and not _has_splits(t)))
    if splits:
        _split_off(t, evaluates)
    elif not evaluates:
        why = "nothing is held out, as in TRL; 200 would show whether the run learns"
        t.put("data.eval_rows", 0, "eval_strategy", why=why)
    elif _has_splits(t):
        t.put("data.eval", _named(t, t["dataset_test_split"]), "dataset_test_split")
        t.put("data.eval_rows", ALL, why="TRL evaluates the whole split")
    else:
        why = "held out of the training rows, where TRL requires a test split"
        t.put("data.eval_rows", HELD_OUT, "eval_strategy", why=why)
    if not evaluates:
        for option in ("eval_steps", "dataset_test_split"):
            t.remark(option, "unneeded", "eval_strategy is no, so TRL does not evaluate")
    if not splits and t["test_split_size"] is not None:
        t.remark("test_split_size", "unneeded", "acts with datasets only, so TRL ignores it")


def _has_splits(t: Translation) -> bool:
    """Whether the training data are a hub id, which may have a test split."""
    return not t["datasets"] and t["dataset_name"] is not None and not _is_file(t["dataset_name"])


def _split_off(t: Translation, evaluates: bool) -> None:
    """Hold out the rows of `test_split_size`; TRL does not train on them, even if it does not evaluate."""
    held = _split_rows(t)
    t.put("data.eval_rows", held, "test_split_size", why="held out of the training rows")
    if t.rows is not None:
        t.rows -= min(held, t.rows // 5)
    if not evaluates:
        text = "the rows of test_split_size are held out, as in TRL, and measured, which TRL does not"
        t.remark("eval_strategy", "differs", text)


def _split_rows(t: Translation) -> int:
    """Return the number of rows that `test_split_size` stands for.

    Raises:
        UserError: the package `datasets` would refuse the size.
    """
    size, rows = t["test_split_size"], t.rows
    if size <= 0 or (size >= 1 and not float(size).is_integer()):
        raise t.refuse("test_split_size", "must be a share below 1 or a whole number of rows")
    if size < 1 and rows is None:
        t.remark("test_split_size", "missing", f"a share of the rows needs --rows; {HELD_OUT} are written")
        return HELD_OUT
    held = int(size) if size >= 1 else math.ceil(size * (rows or 0))
    if rows is not None and held > rows // 5:
        text = f"a recipe holds out at most a fifth of the rows: {rows // 5} of {rows}, and TRL {held}"
        t.remark("test_split_size", "differs", text)
    else:
        t.exact("test_split_size")
    return held


def _longest(t: Translation, sampled: bool) -> None:
    if "max_length" not in t.values or t["max_length"] is None:
        _longest_prompt(t, sampled)
    else:
        t.put("data.max_length", t["max_length"], "max_length", why="tokens of prompt and answer")
    if not sampled:
        t.put("data.truncation", "drop" if t.trainer == "reward" else "cut", why="as in TRL")
    if not sampled and t["max_completion_length"] is not None:
        t.remark("max_completion_length", "missing", "data.max_length counts prompt and completion together")


def _longest_prompt(t: Translation, sampled: bool) -> None:
    """Set the maximum length for a config without `max_length`.

    Sampled methods of earlier versions have `max_prompt_length`, to which they cut prompts. Other methods
    have no limit.
    """
    limit = t["max_prompt_length"]
    if not sampled or limit is None:
        t.put("data.max_length", NO_LIMIT, "max_length", why="TRL has no limit")
        return
    t.put("data.max_length", limit + 1, "max_prompt_length", why="a longer prompt is dropped")
    t.remark("max_prompt_length", "differs", "a longer prompt is dropped, where TRL cut its beginning")
