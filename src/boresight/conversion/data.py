"""Training and held-out rows of a config of TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boresight.conversion.translation import Translation
from boresight.core.did_you_mean import nearest
from boresight.data.reading.files import READERS

FILE_BUILDERS = {"json", "csv", "parquet"}
"""Names under which `datasets` reads files."""
SOURCE_OPTIONS = ("path", "name", "data_dir", "data_files", "split", "columns", "fraction")
NO_LIMIT = 131_072
"""`data.max_length` where TRL has no limit, tokens."""
HELD_OUT = 200


def translate_data(t: Translation, sampled: bool) -> None:
    """Set the sources of rows, the held-out ones, and the longest row."""
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
    """Whether a name is that of a data file, which TRL does not take and a recipe does."""
    try:
        return Path(name.removesuffix(".gz")).suffix in READERS or Path(name).is_file()
    except OSError:  # a name that no file can have
        return False


def _named(t: Translation, split: str) -> str:
    """`NAME:CONFIG@SPLIT`, as in `data.train`."""
    config, named = t["dataset_config"], "" if split == "train" else f"@{split}"
    return f"{t['dataset_name']}{f':{config}' if config else ''}{named}"


def _mixture(t: Translation) -> None:
    """`datasets`, which TRL takes in place of `dataset_name`."""
    shares: dict[str, float | None] = {}
    for entry in t["datasets"]:
        for source in _sources(t, entry):
            fraction = entry.get("fraction")
            if fraction is not None and (isinstance(fraction, bool) or not isinstance(fraction, int | float)):
                raise t.refuse("datasets", "fraction must be a number")
            shares[source] = fraction
    for option in ("dataset_name", "dataset_config"):
        t.remark(option, "unneeded", "datasets is set, so TRL ignores it")
    if len(shares) == 1:
        t.put("data.train", next(iter(shares)), "datasets")
        return
    t.put("data.train", {source: share or 1.0 for source, share in shares.items()}, "datasets")
    if None in shares.values():
        text = "TRL joins the rows of all; data.train takes shares: set them by the numbers of rows"
        t.remark("datasets", "missing", text)


def _sources(t: Translation, entry: Any) -> list[str]:
    """Sources of one entry, as in `data.train`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise t.refuse("datasets", "must be a list of mappings, each with a path")
    for name in entry:
        if name not in SOURCE_OPTIONS:
            raise t.refuse("datasets", f"a source has no {name}{nearest(str(name), SOURCE_OPTIONS)}")
    if entry.get("data_dir"):
        t.remark("datasets", "missing", "data_dir is not read: name the files (data_files)")
    files, split = entry.get("data_files"), entry.get("split") or "train"
    if isinstance(files, dict):
        files = files.get(split, [])
    if entry["path"] in FILE_BUILDERS:
        found = [files] if isinstance(files, str) else files
        if not found or not all(isinstance(file, str) for file in found):
            raise t.refuse("datasets", "data_files must be paths of files")
        return list(found)
    if files:
        t.remark("datasets", "missing", "data_files of a hub id is not read: save these rows as a file")
    config = entry.get("name")
    return [f"{entry['path']}{f':{config}' if config else ''}{'' if split == 'train' else f'@{split}'}"]


def _held_out(t: Translation) -> None:
    if t["eval_strategy"] in ("no", None):
        why = "nothing is held out, as in TRL; 200 would show whether the run learns"
        t.put("data.eval_rows", 0, "eval_strategy", why=why)
        for option in ("eval_steps", "dataset_test_split", "test_split_size"):
            t.remark(option, "unneeded", "eval_strategy is no, so TRL does not evaluate")
    elif not t["datasets"] and t["dataset_name"] is not None and not _is_file(t["dataset_name"]):
        t.put("data.eval", _named(t, t["dataset_test_split"]), "dataset_test_split")
    elif t["test_split_size"] is None:
        why = "held out of the training rows, where TRL requires a test split"
        t.put("data.eval_rows", HELD_OUT, "eval_strategy", why=why)
    else:
        t.put("data.eval_rows", _held_out_rows(t), "test_split_size", why="held out of the training rows")


def _held_out_rows(t: Translation) -> int:
    size = t["test_split_size"]
    if size >= 1:
        t.exact("test_split_size")
        return int(size)
    if t.rows is None:
        t.remark("test_split_size", "missing", f"a share of the rows needs --rows; {HELD_OUT} are written")
        return HELD_OUT
    return round(size * t.rows)


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
    """Where nothing limits a row; earlier versions cut the prompts that are sampled from."""
    limit = t["max_prompt_length"]
    if not sampled or limit is None:
        t.put("data.max_length", NO_LIMIT, "max_length", why="TRL has no limit")
        return
    t.put("data.max_length", limit + 1, "max_prompt_length", why="a longer prompt is dropped")
    t.remark("max_prompt_length", "differs", "a longer prompt is dropped, where TRL cut its beginning")
