"""Tables of a learning-rate ramp for the terminal."""

from __future__ import annotations

from rich.table import Table

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.ramp import Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean


def answers_in_words(found: AnswerDistance | None) -> list[tuple[str, str]]:
    """Return `(label, text)` with the likelihood of the pairs' answers and of the model's own samples.

    These are mean log-probabilities under the start model, nats per token. The list is empty if `found` is
    None.
    """
    if found is None:
        return []
    known = {"chosen": found.chosen, "rejected": found.rejected, "own": found.own}
    said = ", ".join(f"{name} {level.mean:.2f}" for name, level in known.items() if level.n)
    return [("answers", f"{said} nats per token under the start model ({found.own.n} prompts)")]


def ramp_table(ramp: Ramp) -> Table:
    """Return a table with one row per measurement of the ramp, in nats.

    Gain and accuracy are means over the measured rows; `chosen` and `rejected` are changes of
    log-probabilities per token, and KL is per token.
    """
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
    """Format a mean with half the width of its interval, such as `0.12 ±0.03`; a dash for None.

    The half-width is omitted if it is zero or unknown, as for a single row.
    """
    if value is None:
        return "–"
    return f"{value.mean:.{digits}f}" + (f" ±{value.half_width:.{digits}f}" if value.half_width > 0 else "")
