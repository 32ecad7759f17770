"""Prepare the data of a recipe: tokenized training and held-out rows, with counts of both.

    datasets = DatasetCache()
    data = datasets.of(recipe, "preference")
    data.split.train.examples        read on first access
    prepare(data, tokenizer, console).train.rows

The preflight check and the training of a run share a cache, and so do the trials of a sweep in one process:
the same data are read once, and every example is tokenized once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any

import numpy as np
from rich.console import Console

from boresight.config.recipe import DataSection, Recipe
from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.data.demo import data_path
from boresight.data.reading.split import Part, Split, read_split
from boresight.data.rendering.clock import printed_day
from boresight.data.rendering.references import ignored_references
from boresight.data.rendering.split_turns import split_turns
from boresight.data.rows import Row
from boresight.data.stored.cache import tokenizer_key
from boresight.data.stored.digests import distinct_ids
from boresight.data.stored.view import View, picked
from boresight.data.tokenize import FullRows, fit
from boresight.data.tokenizer import Tokenizer

LOOKED_AT = 256
"""Number of examples of each split that `prepare_few` tokenizes first."""


@dataclass(frozen=True, slots=True)
class PreparedSide:
    """Training or held-out data: the examples that were kept, their rows in the same order, and counts.

    An example has one row, or one row per assistant turn if the chat template requires it. `facts` is the
    entry of the data in `data.json`.
    """

    examples: Sequence[Example]
    rows: Sequence[Row]
    owners: np.ndarray
    """Index of the example that each row is made from, int64 `(rows,)`."""
    facts: dict[str, Any]

    def pick(self, places: Sequence[int]) -> PreparedSide:
        """Return the rows at the indices `places` and their examples, with the facts of all rows."""
        examples, owners = np.unique(self.owners[np.asarray(places, dtype=np.int64)], return_inverse=True)
        return PreparedSide(picked(self.examples, examples), picked(self.rows, places), owners, self.facts)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared training and held-out data."""

    train: PreparedSide
    eval: PreparedSide

    def facts(self) -> dict[str, Any]:
        """Return the content of `data.json` in a run folder."""
        return {"train": self.train.facts, "eval": self.eval.facts}


@dataclass(slots=True)
class TokenRows:
    """Rows of both splits at full length under one tokenizer, and the result of `prepare`, if it has run."""

    tokenizer: Tokenizer
    train: FullRows
    eval: FullRows
    prepared: Prepared | None = None


class Dataset:
    """The data of a recipe: read when `split` is first accessed, tokenized after the first call of `rows`."""

    def __init__(self, data: DataSection, kind: str, seed: int, split: Split | None = None) -> None:
        self.section = data
        self._kind, self._seed = kind, seed
        self._rows: TokenRows | None = None
        if split is not None:
            self.split = split

    @cached_property
    def split(self) -> Split:
        """Training and held-out examples, read on first access.

        Raises:
            UserError: as `read_split` does.
        """
        return read_split(self.section, self._kind, self._seed)

    def first(self, count: int) -> Dataset:
        """Return a data set of the first `count` examples of each split.

        Raises:
            UserError: as `split` does.
        """
        train, held = (replace(p, examples=p.examples[:count]) for p in (self.split.train, self.split.eval))
        return Dataset(self.section, self._kind, self._seed, replace(self.split, train=train, eval=held))

    def rows(self, tokenizer: Tokenizer) -> TokenRows:
        """Return the rows of the examples under `tokenizer`.

        The rows of the previous call are reused if its tokenizer produces the same rows.

        Raises:
            UserError: no usable chat template, or data that cannot be read.
        """
        if self._rows is None or not _alike(self._rows.tokenizer, tokenizer):
            train, held = (distinct_ids(p.examples) for p in (self.split.train, self.split.eval))
            self._rows = TokenRows(tokenizer, FullRows(train, tokenizer), FullRows(held, tokenizer))
        return self._rows


class DatasetCache:
    """Cache of the data set that was read last, for the next run in this process."""

    def __init__(self) -> None:
        self._last: tuple[str, Dataset] | None = None

    def of(self, recipe: Recipe, kind: str) -> Dataset:
        """Return the data of a recipe as examples of `kind`.

        The cached data set is returned if the data settings, the split and the files are unchanged.

        Args:
            kind: one of `convert.KINDS`.
        """
        key = _content(recipe, kind)
        if self._last is None or self._last[0] != key:
            self._last = key, Dataset(recipe.data, kind, recipe.split_seed)
        return self._last[1]


def prepare(data: Dataset, tokenizer: Tokenizer, console: Console) -> Prepared:
    """Tokenize the data and keep the rows within `data.max_length`.

    Prints what was read, and counts every row that was dropped or cut.

    Raises:
        UserError: unreadable data, a malformed row under `bad_rows: error`, or no row left to train on.
    """
    rows = data.rows(tokenizer)
    if rows.prepared is not None:
        console.print("data: the same as in the last run of this process, tokenized already")
        return rows.prepared
    for line in data.split.lines:
        console.print(line, highlight=False, markup=False)
    for name, part in (("train", rows.train), ("held out", rows.eval)):
        if ignored := ignored_references(tokenizer, part.examples):
            print_warning(console, f"{name}: {ignored}")
    train = _side(data.section, data.split.train, rows.train, console, "train")
    if data.section.weight is not None:
        train = _with_weights(train, data.section.weight)
    prepared = Prepared(
        train=train,
        eval=_side(data.section, data.split.eval, rows.eval, console, "held out"),
    )
    if not prepared.train.rows:
        raise UserError(
            f"{' + '.join(data.section.sources)}: no row is left to train on after tokenizing; "
            f"raise data.max_length (now {data.section.max_length})."
        )
    rows.prepared = prepared
    return prepared


def prepare_few(data: Dataset, tokenizer: Tokenizer, console: Console, *, count: int) -> Prepared:
    """Prepare the `count` shortest rows of each split with different answers, for the preflight check.

    Only the first examples of each split are tokenized. All examples are tokenized if the first ones do not
    show whether `prepare` would refuse the data, or if they all have the same answer, which a method may
    refuse.

    Raises:
        UserError: as `prepare` does.
    """
    looked_at = data if data.section.truncation == "error" else data.first(LOOKED_AT)
    try:
        found = prepare(looked_at, tokenizer, console)
    except UserError:
        if looked_at is data:
            raise
        found = prepare(data, tokenizer, console)
    if looked_at is not data and len({_answers(row) for row in found.train.rows} - {b""}) == 1:
        found = prepare(data, tokenizer, console)
    return Prepared(train=_shortest(found.train, count), eval=_shortest(found.eval, count))


def _shortest(side: PreparedSide, count: int) -> PreparedSide:
    """Return the `count` shortest rows of a split, in their order, and their examples.

    A row with the same answers as a shorter row is only taken if the other rows are fewer than `count`.
    """
    by_length = np.argsort(np.fromiter((row.tokens for row in side.rows), np.int64), kind="stable").tolist()
    answers = [_answers(row) for row in side.rows]
    shortest: dict[bytes, int] = {}
    for i in by_length:
        shortest.setdefault(answers[i], i)
    copies = [bool(said) and shortest[said] != i for i, said in enumerate(answers)]
    return side.pick(sorted(sorted(by_length, key=lambda i: copies[i])[:count]))


def _answers(row: Row) -> bytes:
    """Return a digest of the answers of a row; empty if the row has no answer."""
    said = repr([completion.ids.tobytes() for completion in row.completions]).encode()
    return blake2b(said, digest_size=16).digest() if row.completions else b""


def _content(recipe: Recipe, kind: str) -> str:
    """Return the cache key of a data set: data section, sizes and times of its files, seed of the split."""
    named = [data_path(name) for name in recipe.data.all_sources]
    files = [file for path in named for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    return repr((kind, recipe.data, recipe.split_seed, stats))


def _alike(one: Tokenizer, other: Tokenizer) -> bool:
    """Return whether two tokenizers produce the same rows."""
    return one is other or tokenizer_key(one) == tokenizer_key(other)


def _with_weights(side: PreparedSide, column: str) -> PreparedSide:
    """Give each row the weight of its example, which is the value in `column`.

    Raises:
        UserError: an example has no weight in `column`, or its weight is not a finite number above 0.
    """
    weights = np.fromiter((_weight(example, column) for example in side.examples), np.float64)
    of_rows, rows = weights[side.owners], side.rows
    return replace(side, rows=View(len(rows), lambda n: replace(rows[n], weight=float(of_rows[n]))))


def _weight(example: Example, column: str) -> float:
    found = example.meta.get(column)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        what = f"is {repr(found)[:40]}" if column in example.meta else "is missing"
        raise UserError(f"row {example.id!r}: `{column}` {what}; data.weight needs a number above 0 there.")
    return float(found)


def _side(data: DataSection, part: Part, full: FullRows, console: Console, name: str) -> PreparedSide:
    made = full.stored(console)
    tokens = fit(made, data.max_length, data.truncation)
    split = split_turns(View(len(made.ends), made.of_example))
    facts = {
        "path": part.path,
        "layout": part.layout,
        "sha256": part.sha256,
        "tokens_sha256": digest(tokens.rows),
        "rows": tokens.total,
        "kept": len(tokens.rows),
        "truncated": tokens.truncated,
        "dropped": len(tokens.dropped),
        "bad": [asdict(bad) for bad in part.bad],
        "dropped_ids": [id for id, _ in tokens.dropped],
    }
    if data.columns is not None:
        facts["columns"] = data.columns
    if (day := printed_day(full.tokenizer)) is not None:
        facts["template_day"] = day
    if split is not None:
        print_warning(console, f"{name}: {split.sentence}")
        facts["split_turns"] = asdict(split)
    if tokens.truncated or tokens.dropped:
        print_warning(
            console,
            f"{name}: {len(tokens.rows):,} of {tokens.total:,} rows kept; {len(tokens.dropped):,} dropped, "
            f"{tokens.truncated:,} cut at max_length {data.max_length} (data.truncation={data.truncation})",
        )
    owners = np.searchsorted(made.ends, np.asarray(tokens.places, dtype=np.int64), side="right")
    return PreparedSide(full.examples, tokens.rows, owners, facts).pick(range(len(owners)))


def digest(rows: Sequence[Row]) -> str:
    """Return the SHA-256 of the ids, tokens and loss masks of all rows.

    It depends on the chat template, the tokenizer and the versions of the libraries too.
    """
    hashed = sha256()
    for row in rows:
        hashed.update(f"{row.id}\n".encode() + row.prompt.tobytes())
        for completion in row.completions:
            hashed.update(b"|" + completion.ids.tobytes() + completion.mask.tobytes())
    return hashed.hexdigest()
