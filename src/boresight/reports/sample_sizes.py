"""Number of rows, prompts or answers over which the metrics of a chart are means."""

from __future__ import annotations

from collections.abc import Collection

from boresight.core.strict_model import is_count
from boresight.core.wording import plural
from boresight.reports.facts import lookup
from boresight.reports.read_run import RunData

OF_ANSWERS = ("reward", "stopped_share", "repetition_share", "distinct_share", "answer_len")
"""Beginnings of the names of metrics that are means over answers; a line of the log has their number as
`answers`."""


def sample_sizes(run: RunData, metrics: Collection[str]) -> list[str]:
    """Return a list with a sentence on n of a training step and of each held-out set.

    The list is empty if nothing is known.
    """
    batch = lookup(run.config, "train", "batch")
    is_trained = any(metric in line for line in run.train for metric in metrics)
    is_known = is_count(batch) and batch > 0
    sizes = [f"n = {plural(batch, 'row')} per step in training"] if is_trained and is_known else []
    held_out = (held_out_size(run, metric) for metric in metrics)
    sizes += [f"n = {size} held out" for size in dict.fromkeys(held_out) if size]
    return [f"{', '.join(sizes)}."] if sizes else []


def held_out_size(run: RunData, metric: str) -> str:
    """Return the size of a metric's held-out set as text, such as `64 rows`; '' if it is unknown.

    The unit is answers for metrics of answers; otherwise prompts where rows share prompts, and rows
    elsewhere.
    """
    size = held_out_count(run, metric)
    rows, prompts = (lookup(run.data, "eval", key) for key in ("kept", "prompts"))
    of_rows = "row" if prompts is None or prompts == rows else "prompt"
    return plural(size, "answer" if metric.startswith(OF_ANSWERS) else of_rows) if size else ""


def held_out_count(run: RunData, metric: str) -> int:
    """Return the number of independent values over which a metric is a mean; 0 if it is unknown.

    The values are answers for metrics of answers; otherwise prompts or, if their number is unknown, held-out
    rows.
    """
    lines = [line for line in run.eval if metric in line]
    if not lines:
        return 0
    measured = next((m.after.n for m in run.metrics if m.name == metric and m.after), None)
    kept, prompts = (lookup(run.data, "eval", key) for key in ("kept", "prompts"))
    found = lines[-1].get("answers") if metric.startswith(OF_ANSWERS) else prompts or kept
    size = measured if measured is not None else found
    if isinstance(size, float) and size.is_integer():
        size = int(size)
    return size if is_count(size) else 0
