"""Tokenise examples in bulk, with an account of what was cut or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal

from boresight.core.console import progress
from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.data.rendering.examples import Rendered, render_example
from boresight.data.rendering.tokens import assemble
from boresight.data.rows import Completion, Row
from boresight.data.stop_tokens import EndOfTurn, end_of_turn
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rich.console import Console

Truncation = Literal["drop", "cut", "error"]
CHUNK = 256
"""Examples rendered and tokenised at a time: enough for the tokenizer's threads, little to hold."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Rows in the order of their examples, and what became of the others.

    `total` counts all rows that there might be, `truncated` the kept rows that lost the end of a completion,
    and with it the end-of-turn token. `dropped` gives id and reason of every one that is left out.
    """

    rows: list[Row]
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

    A longer row is left out (`drop`), loses the end of its completions (`cut`) or is an error. Whatever
    the policy, a row is left out whose prompt leaves no room for an answer, or whose messages the
    template refuses.

    Raises:
        UserError: under `error`, the first row that would be left out or cut; under every policy, no
            usable chat template, or one that suits no row at all.
    """
    made = FullRows(examples, tokenizer).outcomes(console=console)
    return fit([*chain.from_iterable(made)], max_length, truncation)


class TooLong(UserError):
    """The one reason to leave a row out that is about its size, not its content."""


RowOrReason = Row | tuple[str, UserError]
"""A row, or the id of an example and why it makes none."""


class FullRows:
    """Examples as rows of any length; each is rendered and tokenized once, when it is first asked for.

    An example has one row, or one for each assistant's turn where the chat template asks for it.

    Raises:
        UserError: no usable chat template.
    """

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer) -> None:
        self.examples = examples
        self.tokenizer, self._end = tokenizer, end_of_turn(tokenizer)
        self._known: dict[int, list[RowOrReason]] = {}

    def outcomes(
        self, indices: Sequence[int] | None = None, console: Console | None = None
    ) -> list[list[RowOrReason]]:
        """Rows of each example at `indices` (None: of all), or why there are none, in that order."""
        wanted = range(len(self.examples)) if indices is None else indices
        new = [index for index in wanted if index not in self._known]
        with progress(console, "tokenizing", len(new)) as advance:
            made = _encode_all((self.examples[i] for i in new), self.tokenizer, self._end, advance)
            self._known.update(zip(new, made, strict=True))
        return [self._known[index] for index in wanted]


def fit(outcomes: Sequence[RowOrReason], max_length: int, truncation: Truncation = "drop") -> Tokenized:
    """Rows within `max_length` by the policy, as `tokenize` describes it. Raises `UserError` as it does."""
    rows: list[Row] = []
    dropped: list[tuple[str, str]] = []
    refused: UserError | None = None
    refusals = 0
    for outcome in outcomes:
        if isinstance(outcome, Row):
            outcome = _fit(outcome, max_length, truncation)
        if isinstance(outcome, Row):
            rows.append(outcome)
            continue
        id, error = outcome
        if truncation == "error":
            raise error
        if not isinstance(error, TooLong):
            refused, refusals = refused or error, refusals + 1
        dropped.append((id, str(error).removeprefix(f"row {id!r}: ")))
    if refused and refusals == len(outcomes):
        raise refused
    return Tokenized(rows, len(outcomes), sum(row.truncated for row in rows), dropped)


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
