"""Count columns that are not read although they may belong to the prompt or judge the answer.

They are named in the sentence about the file: a model trained on questions without the passage that they
refer to learns to invent, and an answer that a reviewer marked as bad would be imitated.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

from boresight.core.schema import Demonstration, Example, prompt_of
from boresight.core.wording import plural
from boresight.data.columns import read_label
from boresight.data.reading import names

JUDGES = frozenset(
    ["thumbs", "like", "liked", "good", "helpful", "correct", "correctness", "right", "valid", "verified",
     "pass", "passed", "accepted", "approved", "preferred", "chosen", "success", "successful", "solved",
     "feedback", "judgment", "judgement", "verdict", "rating", "score", "reward", "quality", "vote"],
)  # fmt: skip
"""Words in the name of a column that judges an answer."""
WORD = re.compile(r"[a-z]+")


class UnreadColumns:
    """Counts unread columns over the examples of one file."""

    def __init__(self) -> None:
        self._context: Counter[str] = Counter()
        self._verdicts: dict[str, Counter[bool | None]] = defaultdict(Counter)
        self._demonstrations = 0

    def add(self, example: Example) -> None:
        """Count the unread columns of an example, which are in `example.meta`."""
        for column in names.CONTEXT:
            value = example.meta.get(column)
            if isinstance(value, str) and value.strip() and not _is_in(value, example):
                self._context[column] += 1
        if isinstance(example, Demonstration):
            self._demonstrations += 1
            for column, value in example.meta.items():
                if _is_verdict(column):
                    self._verdicts[column][read_label(value)] += 1

    @property
    def context(self) -> list[str]:
        """Columns with text that is not part of the prompt, the most frequent first."""
        return [column for column, _ in self._context.most_common()]

    def sentence(self, reads_context: str) -> str:
        """Return the counts, as text to be appended to the summary sentence; "" if there are none.

        Args:
            reads_context: a value of `data.columns` that adds the first column of `context` to the prompt; ""
                if there is none.
        """
        said = [f"`{column}` ({plural(count, 'row')})" for column, count in self._context.most_common()]
        how = f" (data.columns={reads_context} adds it)" if reads_context else ""
        parts = [f"; text that is in no prompt: {', '.join(said)}{how}"] if said else []
        for column, found in self._verdicts.items():
            if found[True] and found[False] and found.total() == found[True] + found[False]:
                parts.append(
                    f"; `{column}` is negative in {found[False]:,} of {self._demonstrations:,} rows, and "
                    f"they are learned: if it judges the answers, data.columns='{{label: {column}}}' reads it"
                )
        return "".join(parts)


@cache
def _is_verdict(column: str) -> bool:
    return not JUDGES.isdisjoint(WORD.findall(column.lower()))


def _is_in(value: str, example: Example) -> bool:
    """Return whether the text is already part of the prompt."""
    return any(value.strip() in message["content"] for message in prompt_of(example))
