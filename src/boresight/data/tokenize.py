"""Tokenize examples in bulk, and count the rows that are cut or dropped.

The rows of a whole data set are stored on the disk and read one at a time (`data.stored`); those of a sample
are kept in memory.
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
"""Number of examples that are rendered and tokenized at a time: enough for the tokenizer's threads."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows in the order of their examples, with counts of cut and dropped rows.

    `total` is the number of rows before dropping. `truncated` is the number of remaining rows that lost the
    end of a completion, and with it the end-of-turn token. `dropped` contains `(id, reason)` of every dropped
    row.
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
    """Tokenize examples into rows of at most `max_length` tokens: prompt plus longest completion.

    A longer row is dropped (`drop`), loses the end of its completions (`cut`) or raises (`error`). Under
    every policy but `error`, a row is dropped if its prompt leaves no room for an answer, or if the template
    refuses its messages.

    Raises:
        UserError: under `error`, the first row that would be dropped or cut; under every policy, no usable
            chat template, or one that refuses every row.
    """
    with progress(console, "tokenizing", len(examples)) as advance:
        made = _encode_all(examples, tokenizer, end_of_turn(tokenizer), advance)
        return fit([*chain.from_iterable(made)], max_length, truncation)


class TooLong(UserError):
    """A row is too long. Other reasons to drop a row depend on its content."""


class FullRows:
    """Examples as rows of any length; each example is rendered and tokenized once, on first access.

    An example has one row, or one row per assistant turn if the chat template requires it.

    Raises:
        UserError: no usable chat template.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
        self.examples = examples
        self.tokenizer, self._end = tokenizer, end_of_turn(tokenizer)
        self._sampled: dict[int, list[RowOrReason]] = {}
        self._stored: StoredRows | None = None

    def outcomes(self, indices: Sequence[int]) -> list[Sequence[RowOrReason]]:
        """Return, for each example at `indices`, its rows or the reason why it has none.

        The rows of such a sample are kept in memory.
        """
        if self._stored is not None:
            return [self._stored.of_example(index) for index in indices]
        new = [index for index in indices if index not in self._sampled]
        made = self._encode(self.examples[i] for i in new)
        self._sampled.update(zip(new, made, strict=True))
        return [self._sampled[index] for index in indices]

    def stored(self, console: Console | None = None) -> StoredRows:
        """Return the rows of all examples, which are stored on the disk.

        Raises:
            OSError: as `cached_token_rows` does.
        """
        if self._stored is None:
            self._stored = cached_token_rows(
                self.examples, self.tokenizer, lambda: self._all(console), console
            )
            self._sampled.clear()
        return self._stored

    def _all(self, console: Console | None) -> Iterator[list[RowOrReason]]:
        """Yield the rows of every example; rows that `outcomes` has made are not made again."""
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
    """Limit rows to `max_length` by the policy that `tokenize` describes; rows on the disk stay there.

    Raises:
        UserError: as `tokenize` does.
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
    """Return a row of the result of `fit`, limited again."""
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
    """Return the rows of an example as text, or its id and the error if it cannot be rendered."""
    try:
        return render_example(tokenizer, example, end)
    except UserError as error:
        return example.id, error


def _fit(row: Row, max_length: int, truncation: Truncation) -> RowOrReason:
    """Limit a row to `max_length` by the policy, or return the reason why it is dropped."""
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
