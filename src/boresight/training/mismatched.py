"""Add answers to other prompts, and estimate the KL between policy and reference from them.

    KL(pi || ref) ~ mean of log pi(y'|x) - log ref(y'|x)

over the rows of a batch, where y' is an answer to another prompt (the mismatched answer). The choice of y' is
fixed, so that the reference scores it only once, together with the row's own answer after the same prompt.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.data.rows import Completion, Row
from boresight.data.stored.view import View, concatenated, each_changed
from boresight.models.kernels.to_device import like
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy
from boresight.models.precision import widest_float
from boresight.models.reference.distinct import row_key
from boresight.models.reference.frozen import Reference, StoredReference
from boresight.training.distributed import collectives


def with_mismatched(
    rows: Sequence[Row], max_length: int, others: Sequence[Row] = ()
) -> tuple[Sequence[Row], int]:
    """Return `(rows with a mismatched answer, count)`.

    The mismatched answer is that of the next row whose prompt and answer both differ, in the order of `rows`
    and then `others`, cyclically. If there is none, it is that of the next row whose answer differs; `count`
    is the number of such rows. Answers are truncated so that a row's prompt and the answer have at most
    `max_length` tokens.

    Raises:
        UserError: all rows have the same answer (for example because there is only one row), or no other
            answer has a scored token that fits.
    """
    pool = concatenated(rows, others)
    circle = _Pool(pool)
    partners, same_prompt = array("q"), 0
    for place, row in enumerate(rows):
        partner, same = circle.partner(place, max_length - len(row.prompt))
        partners.append(partner)
        same_prompt += same

    def given(place: int) -> Row:
        row, answer = rows[place], pool[partners[place]].completions[0]
        room = max_length - len(row.prompt)
        return replace(row, mismatched=Completion(answer.ids[:room], answer.mask[:room]))

    return View(len(rows), given), same_prompt


class _Pool:
    """Rows with one answer each, searched cyclically for a mismatched answer."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.prompts = _Circle(_digests(row.prompt for row in rows))
        self.answers = _Circle(_digests(row.completions[0].ids for row in rows))

    def partner(self, place: int, room: int) -> tuple[int, bool]:
        """Return the index of the row whose answer row `place` receives.

        The second value is whether both rows have the same prompt.

        Raises:
            UserError: there is no such row.
        """
        for circles in ((self.prompts, self.answers), (self.answers,)):
            found = self._next(place, room, *circles)
            if found is not None:
                return found, len(circles) == 1
        if self.answers.changes_after(place) < len(self.rows):
            raise UserError(
                f"row {self.rows[place].id!r}: behind its prompt no other answer has a scored token within "
                "data.max_length; raise it."
            )
        raise UserError(
            "data.train: no two rows have different answers, and the KL is estimated from prompts with the "
            "answers of other rows; add rows."
        )

    def _next(self, place: int, room: int, *circles: _Circle) -> int | None:
        """Return the index of the next row that differs from row `place` in all `circles`.

        Its answer must have a scored token among the first `room` tokens. None if there is no such row.
        """
        on = 1
        while on < len(self.rows):
            alike = [
                circle.changes_after(place + on) for circle in circles if circle.equal(place, place + on)
            ]
            other = (place + on) % len(self.rows)
            if not alike and self.rows[other].completions[0].mask[:room].any():
                return other
            on += max(alike, default=1)
        return None


def _digests(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Return a digest of 16 bytes for each array, `(n,)`; equal arrays have equal digests."""
    joined_digests = bytearray()
    for values in arrays:
        joined_digests += blake2b(values.tobytes(), digest_size=16).digest()
    return np.frombuffer(joined_digests, "V16")


class _Circle:
    """Values in cyclic order, with the distance from each to the next different value.

    All distances are computed once, in linear time.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        count = len(values)
        self._after = array("q", [count]) * count
        for place in reversed(range(2 * count)):
            here, following = place % count, (place + 1) % count
            changes = values[here] != values[following]
            self._after[here] = 1 if changes else min(count, 1 + self._after[following])

    def equal(self, one: int, other: int) -> bool:
        """Return whether the values at two places are equal."""
        return bool(self.values[one % len(self.values)] == self.values[other % len(self.values)])

    def changes_after(self, place: int) -> int:
        """Return the distance to the next different value; the number of all values if there is none."""
        return self._after[place % len(self.values)]


def together(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows with a mismatched answer as rows of two completions, the row's own first.

    Other rows are unchanged.
    """
    return each_changed(rows, lambda r: replace(r, completions=_both(r)) if r.mismatched else r)


def _both(row: Row) -> tuple[Completion, ...]:
    return (*row.completions, row.mismatched) if row.mismatched else row.completions


def mismatched_alone(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that have a mismatched answer, with it in place of their own."""
    return [replace(row, completions=(row.mismatched,)) for row in rows if row.mismatched]


def each_alone(reference: StoredReference, rows: Sequence[Row]) -> StoredReference:
    """Return the reference's log-probabilities of each answer, own or mismatched, as a row of one completion.

    They are taken from the log-probabilities of `together(rows)`.
    """
    alone = {}
    for row, sums in zip(rows, reference(together(rows)), strict=True):
        count = len(row.completions)
        alone[row_key(row)] = sums[:count]
        for other in mismatched_alone([row]):
            alone[row_key(other)] = sums[count:]
    return StoredReference(alone)


@torch.no_grad()
def estimate_kl(
    policy: Policy, reference: Reference, forwards: Sequence[tuple[Sequence[Row], bool]]
) -> Tensor:
    """Estimate the KL from the mismatched answers of a batch, in nats, float64 and without gradient.

    All processes must call it. Dropout is off. With one process the device is not synchronized.

    Args:
        forwards: this process's share of `mismatched_alone(rows)`, as `(rows of one forward, whether it
            counts)`.
    """
    training = policy.training
    policy.eval()
    ratios = []
    for group, counts in forwards:
        logps = completion_logprobs(policy, group).sums
        ratios += [logps - like(reference(group), logps)] if counts else []
    policy.train(training)
    exact = widest_float(policy.device)
    total = torch.cat(ratios).to(exact).sum() if ratios else torch.zeros((), dtype=torch.float64)
    count = sum(map(len, ratios))
    if collectives.world() == 1:
        return total / count
    totals, counts_of_all = zip(*collectives.gather([float(total), count]), strict=True)
    return torch.tensor(math.fsum(totals) / sum(counts_of_all), dtype=torch.float64)
