"""A learning-rate ramp in the terminal."""

from __future__ import annotations

from rich.table import Table

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.ramp import Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean


def answers_in_words(found: AnswerDistance | None) -> list[tuple[str, str]]:
    """Likelihood of the pairs' answers and of its own samples under the start model, as one line; empty
    without data."""
    if found is None:
        return []
    known = {"chosen": found.chosen, "rejected": found.rejected, "own": found.own}
    said = ", ".join(f"{name} {level.mean:.2f}" for name, level in known.items() if level.n)
    return [("answers", f"{said} nats per token under the start model ({found.own.n} prompts)")]


def ramp_table(ramp: Ramp) -> Table:
    """Table of the measurements after each step, in nats; likelihoods and KL are per token."""
    table = Table(
        title="learning-rate ramp, nats; chosen, rejected and KL per token",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("sum of rates", "gain", "accuracy", "chosen", "rejected", "KL"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in ramp.points:
        table.add_row(*_cells(point))
    return table


def _cells(point: RampPoint) -> list[str]:
    values = (
        point.gain,
        point.accuracy,
        point.chosen_per_token,
        point.rejected_per_token,
        point.kl_per_token,
    )
    digits = (2, 2, 3, 3, 3)
    return [f"{point.budget:.2e}", *(_cell(*cell) for cell in zip(values, digits, strict=True))]


def _cell(value: RowMean | None, digits: int) -> str:
    """The mean with half of its interval; without it where every row has the same value, or for one row."""
    if value is None:
        return "–"
    return f"{value.mean:.{digits}f}" + (f" ±{value.half_width:.{digits}f}" if value.half_width > 0 else "")
