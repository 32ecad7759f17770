"""Tokenize examples in bulk, with counts of rows that were cut or dropped.

Rows of a whole data set are on the disk and read one at a time (`data.stored`); those of a sample are in
memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

from boresight.core.console import progress
from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.data.rendering.examples import Rendered, render_example
from boresight.data.rendering.tokens import assemble
from boresight.data.rows import Completion, Row, RowOrReason
from boresight.data.stop_tokens import EndOfTurn, end_of_turn
from boresight.data.stored.cache import cached_token_rows
from boresight.data.stored.token_rows import StoredRows
from boresight.data.stored.view import View
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console

Truncation = Literal["drop", "cut", "error"]
CHUNK = 256
"""Examples rendered and tokenized at a time: enough for the tokenizer's threads, and small in memory."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows in the order of their examples, with counts of cut and dropped ones.

    `total` counts all rows before dropping, `truncated` the remaining rows that lost the end of a completion,
    and with it the end-of-turn token. `dropped` has `(id, reason)` of every dropped row.
    """

    rows: Sequence[Row]
    places: Sequence[int]
    """Index of each row among all rows before dropping."""
    total: int
    truncated: int
    dropped: list[tuple[str, str]]


def tokenize(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    truncation: Truncation = "drop",
    console: Console | None = None,
) -> Tokenized:
    """Turn examples into rows of at most `max_length` tokens: prompt plus longest completion.

    A longer row is dropped (`drop`), loses the end of its completions (`cut`) or is an error. Whatever the
    policy, a row is dropped whose prompt leaves no room for an answer, or whose messages the template
    refuses.

    Raises:
        UserError: under `error`, the first row that would be dropped or cut; under every policy, no
            usable chat template, or one that refuses every row.
    """
    with progress(console, "tokenizing", len(examples)) as advance:
        made = _encode_all(examples, tokenizer, end_of_turn(tokenizer), advance)
        return fit([*chain.from_iterable(made)], max_length, truncation)


class TooLong(UserError):
    """A row is too long: the only reason to drop it that does not depend on its content."""


class FullRows:
    """Examples as rows of any length; each is rendered and tokenized once, on first access.

    An example has one row, or one for each assistant's turn where the chat template asks for it.

    Raises:
        UserError: no usable chat template.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
        self.examples = examples
        self.tokenizer, self._end = tokenizer, end_of_turn(tokenizer)
        self._sampled: dict[int, list[RowOrReason]] = {}
        self._stored: StoredRows | None = None

    def outcomes(self, indices: Sequence[int]) -> list[Sequence[RowOrReason]]:
        """Rows of each example at `indices`, a sample, or why there are none, in that order."""
        if self._stored is not None:
            return [self._stored.of_example(index) for index in indices]
        new = [index for index in indices if index not in self._sampled]
        made = self._encode(self.examples[i] for i in new)
        self._sampled.update(zip(new, made, strict=True))
        return [self._sampled[index] for index in indices]

    def stored(self, console: Console | None = None) -> StoredRows:
        """Rows of all examples, on the disk. Raises `OSError` as `cached_token_rows` does."""
        if self._stored is None:
            self._stored = cached_token_rows(
                self.examples, self.tokenizer, lambda: self._all(console), console
            )
            self._sampled.clear()
        return self._stored

    def _all(self, console: Console | None) -> Iterator[list[RowOrReason]]:
        """Rows of every example; those of a sample are not made again."""
        count = len(self.examples)
        with progress(console, "tokenizing", count - len(self._sampled)) as advance:
            rest = self._encode((self.examples[i] for i in range(count) if i not in self._sampled), advance)
            for index in range(count):
                known = self._sampled.get(index)
                yield next(rest) if known is None else known

    def _encode(
        self, examples: Iterable[Example], advance: Callable[[int], None] = lambda done: None
    ) -> Iterator[list[RowOrReason]]:
        return _encode_all(examples, self.tokenizer, self._end, advance)


def fit(outcomes: Sequence[RowOrReason], max_length: int, truncation: Truncation = "drop") -> Tokenized:
    """Rows within `max_length` by the policy that `tokenize` describes. Raises `UserError` as it does.

    Rows on the disk are not loaded into memory.
    """
    places, truncated = array("q"), 0
    dropped: list[tuple[str, str]] = []
    refused: UserError | None = None
    refusals = 0
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, Row):
            outcome = _fit(outcome, max_length, truncation)
        if isinstance(outcome, Row):
            places.append(place)
            truncated += outcome.truncated
            continue
        id, error = outcome
        if truncation == "error":
            raise error
        if not isinstance(error, TooLong):
            refused, refusals = refused or error, refusals + 1
        dropped.append((id, str(error).removeprefix(f"row {id!r}: ")))
    if refused and refusals == len(outcomes):
        raise refused
    rows = View(len(places), lambda n: _fitting(outcomes[places[n]], max_length, truncation))
    return Tokenized(rows, places, len(outcomes), truncated, dropped)


def _fitting(outcome: RowOrReason, max_length: int, truncation: Truncation) -> Row:
    """The same row as before."""
    assert isinstance(outcome, Row), "a row was there"
    fitting = _fit(outcome, max_length, truncation)
    assert isinstance(fitting, Row), "the row was fit before"
    return fitting


def _encode_all(
    examples: Iterable[Example], tokenizer: Tokenizer, end: EndOfTurn, advance: Callable[[int], None]
) -> Iterator[list[RowOrReason]]:
    rest = iter(examples)
    while chunk := list(islice(rest, CHUNK)):
        rendered = [_attempt(example, tokenizer, end) for example in chunk]
        rows = [row for made in rendered if isinstance(made, list) for row in made]
        texts = [text for row in rows for text in row.texts]
        encodings = iter(tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
        for made in rendered:
            if isinstance(made, list):
                yield [assemble(r, [*islice(encodings, len(r.texts))], tokenizer, end) for r in made]
            else:
                yield [made]
        advance(len(chunk))


def _attempt(
    example: Example, tokenizer: Tokenizer, end: EndOfTurn
) -> list[Rendered] | tuple[str, UserError]:
    """The example's rows as text, or its id and the user's error."""
    try:
        return render_example(tokenizer, example, end)
    except UserError as error:
        return example.id, error


def _fit(row: Row, max_length: int, truncation: Truncation) -> RowOrReason:
    """The row within `max_length`, by the policy."""
    room = max_length - len(row.prompt)
    longest = max((len(c.ids) for c in row.completions), default=0)
    if room <= 0:
        return _too_long(row.id, f"the prompt alone has {len(row.prompt):,}", max_length)
    if longest <= room:
        return row
    if truncation == "cut":
        cut = tuple(Completion(c.ids[:room], c.mask[:room]) for c in row.completions)
        return replace(row, completions=cut, truncated=True)
    return _too_long(row.id, f"prompt and longest answer have {len(row.prompt) + longest:,}", max_length)


def _too_long(id: str, what: str, max_length: int) -> RowOrReason:
    return id, TooLong(
        f"row {id!r}: too long, {what} tokens where max_length is {max_length:,}; raise data.max_length."
    )
