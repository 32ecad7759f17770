"""How many Countdown problems are solved: accuracy, format rate and pass@k, with intervals by problem.

Accuracy and format rate stay apart: their blend, the public 0 / 0.1 / 1 score, is 0.12 for 2.2 % correct
with perfect form as for 12 % correct with none. Several completions of one problem are one cluster. A
completion that is None (its generation failed) is missing and counted, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import write_jsonl
from boresight.stats.intervals import (
    SHARE,
    Interval,
    clustered_share,
    paired_difference,
    pass_at_k,
)
from boresight.stats.paired import Measured
from boresight.tasks.countdown.problems import Problem, problem_of
from boresight.tasks.countdown.scorer import CountdownScore, Mode, score


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """One problem, its completions in order, and their scores; a missing completion has neither."""

    problem: Problem
    completions: tuple[str | None, ...]
    scores: tuple[CountdownScore | None, ...]

    @property
    def correct(self) -> list[bool | None]:
        """Whether each completion is a solution; None where it is missing."""
        return [None if s is None else s.correct for s in self.scores]

    @property
    def formatted(self) -> list[bool | None]:
        """Whether each completion holds an answer of the right form; None where it is missing."""
        return [None if s is None else s.formatted for s in self.scores]

    def pass_at(self, k: int) -> float | None:
        """Chance that one of k samples is right; None with fewer than k completions."""
        present = [c for c in self.correct if c is not None]
        return pass_at_k(len(present), sum(present), k) if len(present) >= k else None

    def as_dict(self) -> dict[str, Any]:
        """One line of the results file, which `evaluate_records` takes again."""
        return {
            "id": self.problem.id,
            **self.problem.meta,
            "completions": list(self.completions),
            "scores": [None if s is None else asdict(s) for s in self.scores],
        }


Measure = Callable[[ProblemResult], float | None]
"""One problem's share; None when it has none."""


@dataclass(frozen=True, slots=True)
class CountdownResult:
    """Rates over all problems. In an interval, `n` counts problems and `missing` what could not be scored.

    `pass_at` maps k to the unbiased pass@k, averaged over problems; pass@1 is the accuracy.
    """

    mode: Mode
    accuracy: Interval
    format_rate: Interval
    pass_at: dict[int, Interval]
    problems: tuple[ProblemResult, ...]

    def rate(self, name: str) -> Interval:
        """`accuracy`, `format_rate` or `pass_at_k`, by name."""
        rates = {"accuracy": self.accuracy, "format_rate": self.format_rate}
        return (rates | {f"pass_at_{k}": rate for k, rate in self.pass_at.items()})[name]

    def as_dict(self) -> dict[str, Any]:
        """The rates, without the problems."""
        return {
            "mode": self.mode,
            "accuracy": self.accuracy.as_dict(),
            "format_rate": self.format_rate.as_dict(),
            "pass_at": {str(k): interval.as_dict() for k, interval in self.pass_at.items()},
        }

    def write(self, path: str | Path) -> None:
        """Save the problems with completions and scores as JSON Lines, atomically."""
        write_jsonl(Path(path), (result.as_dict() for result in self.problems))


def evaluate_completions(
    problems: Sequence[Problem],
    completions: Sequence[Sequence[str | None]],
    ks: Sequence[int] = (1,),
    mode: Mode = "strict",
) -> CountdownResult:
    """Score `completions[i]`, one or more texts without their prompt, for `problems[i]`.

    Several completions of a problem count as one unit: its mean. A problem with fewer than k completions is
    missing from pass@k.

    Raises:
        UserError: no problem, or no problem with k completions.
    """
    if len(problems) != len(completions):
        raise ValueError(f"got {len(problems)} problems and completions of {len(completions)}")
    results = tuple(_score_problem(p, texts, mode) for p, texts in zip(problems, completions, strict=True))
    if not results:
        raise UserError("countdown: there is no problem to evaluate.")
    most = max(sum(c is not None for c in texts) for texts in completions)
    for k in ks:
        if not 1 <= k <= most:
            raise UserError(f"countdown: pass@{k} needs k from 1 to {most}, the completions per problem.")
    return CountdownResult(
        mode=mode,
        accuracy=clustered_share([result.correct for result in results]),
        format_rate=clustered_share([result.formatted for result in results]),
        pass_at={k: clustered_share([[result.pass_at(k)] for result in results]) for k in ks},
        problems=results,
    )


def evaluate_records(
    rows: Iterable[tuple[int, object]], source: str, ks: Sequence[int] = (1,), mode: Mode = "strict"
) -> CountdownResult:
    """Evaluate completions made elsewhere.

    Every row has a problem (`nums` or `numbers`, and `target`) and its `completion`, a text, or
    `completions`, a list; null marks a missing one. Rows of the same problem are put together.

    Args:
        rows: (row, record) pairs of a file.
        source: name of the file, for errors.

    Raises:
        UserError: a row that lacks a problem or a completion; the message names the row and the field.
    """
    problems: dict[str, Problem] = {}
    completions: dict[str, list[str | None]] = {}
    for number, row in rows:
        where = f"{source}, row {number}"
        if not isinstance(row, dict):
            raise UserError(f"{where}: not a JSON object; write one object per problem.")
        problem = problem_of(row, where, f"row-{number}")
        problems.setdefault(problem.key, problem)
        completions.setdefault(problem.key, []).extend(_completions_of(row, where))
    return evaluate_completions(list(problems.values()), list(completions.values()), ks, mode)


def compare_countdown(before: CountdownResult | None, after: CountdownResult) -> list[Measured]:
    """Accuracy, format rate and pass@k before, after, and the difference; only after, without a before.

    Differences are paired by problem, whatever the order of its numbers, over each problem's mean.

    Raises:
        UserError: the two have no problem in common.
    """
    rates: dict[str, tuple[str, Measure]] = {
        "accuracy": ("Countdown accuracy", lambda r: _mean(r.correct)),
        "format_rate": ("answers of the right form", lambda r: _mean(r.formatted)),
    }
    for k in sorted(after.pass_at.keys() - {1}):
        rates[f"pass_at_{k}"] = (f"pass@{k}", _pass_at(k))
    return [_compared(name, label, before, after, value) for name, (label, value) in rates.items()]


def _compared(
    name: str, label: str, before: CountdownResult | None, after: CountdownResult, value: Measure
) -> Measured:
    difference = None
    if before is not None:
        difference = paired_difference(_by_problem(before, value), _by_problem(after, value), bounds=SHARE)
    return Measured(
        name=name,
        label=label,
        unit="share",
        better="higher",
        before=None if before is None else before.rate(name),
        after=after.rate(name),
        difference=difference,
    )


def _by_problem(result: CountdownResult, value: Measure) -> dict[str, float | None]:
    """The value of each problem; of a problem that was asked several times, the mean."""
    values: dict[str, list[float | None]] = {}
    for one in result.problems:
        values.setdefault(one.problem.key, []).append(value(one))
    return {key: _mean(of_problem) for key, of_problem in values.items()}


def _score_problem(problem: Problem, completions: Sequence[str | None], mode: Mode) -> ProblemResult:
    scores = tuple(
        None if text is None else score(text, problem.numbers, problem.target, mode) for text in completions
    )
    return ProblemResult(problem, tuple(completions), scores)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _pass_at(k: int) -> Measure:
    return lambda result: result.pass_at(k)


def _completions_of(row: Mapping[str, Any], where: str) -> list[str | None]:
    if "completions" in row:
        field, texts = "completions", row["completions"]
    elif "completion" in row:
        field, texts = "completion", [row["completion"]]
    else:
        raise UserError(f"{where}: the field completion (or completions) is missing; give the model's text.")
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise UserError(f"{where}: {field} is not text; give the model's text, or null where it is missing.")
    return texts
