"""Facts about the data that a first recipe depends on: their kind, number of rows and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import Example, Prompt
from boresight.data.reading.renaming.guess import command_with, pairs_in_words
from boresight.data.reading.renaming.mapping import Mapped
from boresight.data.reading.split import read_data
from boresight.data.rows import Row
from boresight.data.stored.digests import distinct_ids
from boresight.data.tokenize import FullRows
from boresight.data.tokenizer import Tokenizer
from boresight.methods.published import TRY_FIRST
from boresight.scorers.reward_function import BUILTIN, RewardFunction
from boresight.stats.quantiles import nearest_rank

SAMPLE = 500
"""Maximum number of examples that are tokenized; they are evenly spaced."""
VERIFIERS = ("countdown", "constraints", "ifeval", "math")
"""Built-in rewards that are tried on prompts, in this order."""
TRIED = 20
"""Maximum number of prompts on which each reward is tried."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Facts about a source of data.

    `rows` is the number of examples, `bad` the number of malformed rows, and `first_bad` the row number of
    the first of them, None if there is none. `layout` and `columns` are those that the user named, None
    without them.
    """

    source: str
    layout: str | None
    kind: str
    sentence: str
    rows: int
    bad: int
    first_bad: int | None
    lengths: Sequence[int]
    """Length of each sampled row in tokens: prompt plus longest completion, or the prompt alone."""
    verifier: str | None
    """Name of a built-in reward that can score every tried prompt; None without one or without prompts."""
    columns: Mapped | None = None

    @property
    def quantiles(self) -> tuple[int, int, int]:
        """Median, 99th percentile and maximum of the lengths, in tokens."""
        median, nearly_all, longest = nearest_rank(self.lengths, (0.5, 0.99, 1.0))
        return median, nearly_all, longest


def read_facts(
    source: str, kind: str | None, layout: str | None, columns: Mapped | None, tokenizer: Tokenizer
) -> DataFacts:
    """Read all rows of a source, tokenize a sample of them, and return the facts.

    Args:
        kind: kind of examples to read the source as, one of `convert.KINDS`; None detects it.
        layout: as `data.layout`; None detects it.
        columns: as `data.columns`.

    Raises:
        UserError: the source cannot be read; it has pairs under other column names, and `kind` and `layout`
            are None; or the chat template of the tokenizer can render none of the sampled rows.
    """
    named = None if columns is None else dict(columns)
    section = DataSection(train=source, layout=layout, columns=named, bad_rows="drop")
    loaded = read_data(source, kind, section)
    if kind is None and layout is None and loaded.as_pairs:
        raise UserError(
            f"{source}: {pairs_in_words(loaded.as_pairs)}: {command_with('init', source, loaded.as_pairs)}; "
            f"to learn from the prompts alone: --method {TRY_FIRST['prompt']}."
        )
    prompts = [example for example in loaded.examples[:TRIED] if isinstance(example, Prompt)]
    return DataFacts(
        source=source,
        layout=layout,
        kind=loaded.kind,
        sentence=loaded.sentence,
        rows=len(loaded.examples),
        bad=len(loaded.bad),
        first_bad=min((bad.row for bad in loaded.bad), default=None),
        lengths=_lengths(loaded.examples, tokenizer),
        verifier=_verifier(prompts) if prompts else None,
        columns=columns,
    )


def _lengths(examples: Sequence[Example], tokenizer: Tokenizer) -> list[int]:
    step = -(-len(examples) // SAMPLE)
    sampled = distinct_ids(examples[::step])
    rows: list[Row] = []
    refused: UserError | None = None
    made = FullRows(sampled, tokenizer).outcomes(range(len(sampled)))
    for outcome in chain.from_iterable(made):
        if isinstance(outcome, Row):
            rows.append(outcome)
        else:
            refused = refused or outcome[1]
    if not rows:
        assert refused is not None, "every example has a row or a reason"
        raise refused
    return [len(row.prompt) + max((len(c.ids) for c in row.completions), default=0) for row in rows]


def _verifier(prompts: Sequence[Prompt]) -> str | None:
    """Return the name of the first built-in reward that can score all of the prompts, or None."""
    for name in VERIFIERS:
        assert name in BUILTIN
        try:
            RewardFunction(name).refuse_lacking(prompts)
        except UserError:  # the rows lack a column, or a package is not installed
            continue
        return name
    return None
