"""The forecast of a run as a table in the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from boresight.checks.forecast.expectation import Elsewhere, Expectation
from boresight.checks.forecast.forecast import Forecast, curve_in_words
from boresight.checks.run.machine import Load
from boresight.core.console import name_table
from boresight.core.wording import format_duration, percent, plural


def forecast_table(f: Forecast, rows: int | None, load: Load | None, probe: str) -> Table:
    """Return the forecast of a run, its memory and its time as a table.

    Args:
        rows: number of training rows; None if unknown.
        load: size of the run, from which memory and time are known; None without it.
        probe: command that measures the margin.
    """
    lines = [*_budget(f, rows), *_expected(f, probe), *load_lines(load), *_advice(f), ("", "")]
    return name_table(((name, Text(value)) for name, value in lines), title="forecast", style="dim")


def _budget(f: Forecast, count: int | None) -> list[tuple[str, str]]:
    size = f", {f.parameters / 1e6:,.1f} M parameters" if f.parameters else ""
    rows = f"{plural(count, 'row')}, " if count else ""
    return [
        ("run", f"{f.recipe.method_name} on {f.recipe.model.name}{size}"),
        ("steps", f"{rows}{plural(f.steps, 'step')} of {f.recipe.train.batch}"),
        ("sum of learning rates", f"{f.budget:.2e}: bounds how far any weight can move"),
    ]


def _expected(f: Forecast, probe: str) -> list[tuple[str, str]]:
    if f.margin is None or f.loss is None:
        return _unknown(f, probe)
    accuracy = f", accuracy about {f.margin.accuracy:.2f}" if f.margin.accuracy else ""
    m = f.margin
    return [
        ("expected margin", f"{m.middle:.2g} nats ({m.low:.2g} to {m.high:.2g}){accuracy}, held out"),
        ("expected loss", curve_in_words(f)),
        _source(m, probe),
    ]


def _source(m: Expectation, probe: str) -> tuple[str, str]:
    if not m.borrowed:
        return "known from", m.source
    return "borrowed from", f"{m.source}, not measured with your model on your pairs: `{probe}` measures it"


def _unknown(f: Forecast, probe: str) -> list[tuple[str, str]]:
    if f.ramp is not None:
        return [("expected margin", "unknown: no gain beyond the noise of the ramp")]
    if f.elsewhere is None:
        return [("expected margin", "no calibrated curve for this method or a model of this size")]
    unknown = f"unknown: these pairs have not been measured; `{probe}` measures them"
    return [("expected margin", unknown), *_if_alike(f.elsewhere)]


def _if_alike(e: Elsewhere) -> list[tuple[str, str]]:
    """Return a line with the margin on the pairs that `check.like` names; empty if it is not set."""
    if e.declared is None:
        return []
    bought = f"{e.bought} with this sum, borrowed from {e.source}"
    return [(f"if like {e.declared}", f"{bought}; that these pairs are like those is declared by check.like")]


def load_lines(load: Load | None) -> list[tuple[str, str]]:
    """Return a line with memory and time of the run and their source; empty if `load` is None."""
    if load is None:
        return []
    hours = load.hours
    duration = "" if hours is None else f", about {format_duration(3600 * hours)} of training steps"
    return [("machine", f"about {load.memory_gb:.1f} GB{duration}, {load.basis}")]


def _advice(f: Forecast) -> list[tuple[str, str]]:
    movable = percent(f.movable)
    pure = f"{movable} of weights of a typical size would move in a step, were they kept in bfloat16"
    return [
        ("bfloat16", pure),
        ("usual settings", f"{f.ladder} ({f.ladder.source})"),
        ("published", "; ".join(map(str, f.published))),
    ]
