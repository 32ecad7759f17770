"""From a recipe's data section to tokenized training and held-out rows, with counts of both.

    datasets = DatasetCache()
    data = datasets.of(recipe, "preference")
    data.split.train.examples        read on first access
    prepare(data, tokenizer, console).train.rows

The preflight and the training of one run share a cache, and so do the trials of a sweep in one process: the
same data are read once and every example is tokenized once.
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
    """Training or held-out data: examples that were kept, their rows in the same order, and counts.

    A conversation has several rows where the chat template asks for one for each assistant's turn.
    """

    examples: Sequence[Example]
    rows: Sequence[Row]
    owners: np.ndarray
    """Which of the examples each row is made from, int64 `(rows,)`."""
    facts: dict[str, Any]

    def pick(self, places: Sequence[int]) -> PreparedSide:
        """The rows at `places` and the examples that they are made from, with the facts of the whole."""
        examples, owners = np.unique(self.owners[np.asarray(places, dtype=np.int64)], return_inverse=True)
        return PreparedSide(picked(self.examples, examples), picked(self.rows, places), owners, self.facts)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Training and held-out data."""

    train: PreparedSide
    eval: PreparedSide

    def facts(self) -> dict[str, Any]:
        """The content of `data.json` in a run folder."""
        return {"train": self.train.facts, "eval": self.eval.facts}


@dataclass(slots=True)
class TokenRows:
    """Rows of both parts at full length under one tokenizer, and what `prepare` made of them."""

    tokenizer: Tokenizer
    train: FullRows
    eval: FullRows
    prepared: Prepared | None = None


class Dataset:
    """The data of a recipe: read on first access, tokenized when `rows` is first called."""

    def __init__(self, data: DataSection, kind: str, seed: int, split: Split | None = None) -> None:
        self.section = data
        self._kind, self._seed = kind, seed
        self._rows: TokenRows | None = None
        if split is not None:
            self.split = split

    @cached_property
    def split(self) -> Split:
        """Training and held-out examples. Raises `UserError` as `read_split` does."""
        return read_split(self.section, self._kind, self._seed)

    def first(self, count: int) -> Dataset:
        """The first `count` examples of each split. Raises `UserError` as `split` does."""
        train, held = (replace(p, examples=p.examples[:count]) for p in (self.split.train, self.split.eval))
        return Dataset(self.section, self._kind, self._seed, replace(self.split, train=train, eval=held))

    def rows(self, tokenizer: Tokenizer) -> TokenRows:
        """Rows under `tokenizer`; those of the previous call if its tokenizer gives the same rows.

        Raises:
            UserError: no usable chat template, or data that cannot be read.
        """
        if self._rows is None or not _alike(self._rows.tokenizer, tokenizer):
            train, held = (distinct_ids(p.examples) for p in (self.split.train, self.split.eval))
            self._rows = TokenRows(tokenizer, FullRows(train, tokenizer), FullRows(held, tokenizer))
        return self._rows


class DatasetCache:
    """Keeps the data set that was read last in memory, for the next run in this process."""

    def __init__(self) -> None:
        self._last: tuple[str, Dataset] | None = None

    def of(self, recipe: Recipe, kind: str) -> Dataset:
        """Data of a recipe as examples of `kind`; the cached data set if settings, split and files are
        unchanged.

        Args:
            kind: one of `convert.KINDS`.
        """
        key = _content(recipe, kind)
        if self._last is None or self._last[0] != key:
            self._last = key, Dataset(recipe.data, kind, recipe.split_seed)
        return self._last[1]


def prepare(data: Dataset, tokenizer: Tokenizer, console: Console) -> Prepared:
    """Rows within `data.max_length`; prints what was read and counts everything that was dropped.

    Raises:
        UserError: unreadable data, a malformed row under `bad_rows: error`, or nothing left to train on.
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
    """The `count` shortest rows of each split whose answers differ, among those of its first examples.

    All examples are tokenized only if the first ones do not show whether `prepare` would refuse the data, or
    if they all have the same answer, which a method may refuse.

    Raises:
        UserError: as `prepare`.
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
    """The `count` shortest rows of one side, in their order, and the examples that they are made from.

    Rows with the answers of a shorter one come after all others.
    """
    by_length = np.argsort(np.fromiter((row.tokens for row in side.rows), np.int64), kind="stable").tolist()
    answers = [_answers(row) for row in side.rows]
    shortest: dict[bytes, int] = {}
    for i in by_length:
        shortest.setdefault(answers[i], i)
    copies = [bool(said) and shortest[said] != i for i, said in enumerate(answers)]
    return side.pick(sorted(sorted(by_length, key=lambda i: copies[i])[:count]))


def _answers(row: Row) -> bytes:
    """Digest of the answers of a row; empty where it has none."""
    said = repr([completion.ids.tobytes() for completion in row.completions]).encode()
    return blake2b(said, digest_size=16).digest() if row.completions else b""


def _content(recipe: Recipe, kind: str) -> str:
    """Cache key of the examples: the data section, its files' sizes and times, the split."""
    named = [data_path(name) for name in recipe.data.all_sources]
    files = [file for path in named for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    return repr((kind, recipe.data, recipe.split_seed, stats))


def _alike(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers make the same rows."""
    return one is other or tokenizer_key(one) == tokenizer_key(other)


def _with_weights(side: PreparedSide, column: str) -> PreparedSide:
    """The rows with the weights of the examples that they are made from.

    Raises:
        UserError: an example has no weight in `column`, or none that is a finite number above 0.
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
    """SHA-256 of all tokens and loss masks; it depends on template, tokenizer and library versions too."""
    hashed = sha256()
    for row in rows:
        hashed.update(f"{row.id}\n".encode() + row.prompt.tobytes())
        for completion in row.completions:
            hashed.update(b"|" + completion.ids.tobytes() + completion.mask.tobytes())
    return hashed.hexdigest()
