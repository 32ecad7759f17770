"""Run the preflight check of an arm, and forecast its published recipe at full size."""

from __future__ import annotations

from typing import Any

from boresight.checks.forecast import forecast
from boresight.checks.forecast.forecast import Forecast, curve_in_words
from boresight.checks.inputs import size_of
from boresight.config.recipe import Recipe
from boresight.core.wording import plural
from boresight.data.prepare import DatasetCache
from boresight.findings.finding import Finding
from boresight.runs.check.preflight import preflight, steps_of


def check_arm(recipe: Recipe, datasets: DatasetCache) -> dict[str, Any]:
    """Run the preflight check of a recipe; return its forecast and findings, as written to `check.json`."""
    report = preflight(recipe, datasets=datasets)
    numbers = forecast_numbers(report.forecast) if report.forecast else {}
    # Findings that the recipe allows come first: they would otherwise have stopped the run.
    found = sorted(report.findings, key=lambda f: f.name not in recipe.check.allow)
    return numbers | {"findings": [finding_as_dict(f) for f in found]}


def at_full_size(recipe: Recipe) -> dict[str, Any] | None:
    """Return the forecast for a recipe without reading its data; None if the number of steps needs them."""
    steps = steps_of(recipe, recipe.data.limit)
    return forecast_numbers(forecast.forecast(recipe, steps, size_of(recipe, None))) if steps else None


def forecast_numbers(f: Forecast) -> dict[str, Any]:
    """Convert a forecast to a dictionary, with a margin only if a calibrated curve applies.

    `basis` names the runs of the curve. `elsewhere` describes the margin of runs on other pairs, if no run on
    these pairs was measured.
    """
    found: dict[str, Any] = {"steps": f.steps, "budget": f.budget}
    if f.margin is not None and f.loss is not None:
        found |= {
            "margin": [f.margin.low, f.margin.middle, f.margin.high],
            "basis": f.margin.basis,
            "flat": f.flat,
            "curve": curve_in_words(f),
        }
    elif f.elsewhere is not None:
        found["elsewhere"] = (
            f"{f.elsewhere.bought} on {f.elsewhere.pairs}, borrowed from {f.elsewhere.source}"
        )
    return found


def finding_as_dict(finding: Finding) -> dict[str, str]:
    """Convert a finding to a dictionary of the parts that the report shows."""
    return {key: getattr(finding, key) for key in ("name", "severity", "why", "fix", "link")}


def forecast_in_words(check: dict[str, Any] | None) -> str:
    """Format the forecast of a `check.json`, as `sum of rates 2.1e-05 over 30 steps: margin 0.11 nats (0.043
    to 0.27), borrowed from …: you will see …`."""
    if not check or "budget" not in check:  # without data or a model there is none
        return "no forecast"
    lead = f"sum of rates {check['budget']:.1e} over {plural(check['steps'], 'step')}"
    if "elsewhere" in check:
        return f"{lead}: unknown, no run on these pairs has been measured; {check['elsewhere']}"
    if "margin" not in check:
        return f"{lead}: no calibrated curve for this method or a model of this size"
    low, middle, high = check["margin"]
    basis = f", {check['basis']}:" if "basis" in check else ","  # as older studies have it
    return f"{lead}: margin {middle:.2g} nats ({low:.2g} to {high:.2g}){basis} {check['curve']}"


def first_finding(check: dict[str, Any] | None) -> str:
    """Format the first finding of a `check.json`, or `no problems found`."""
    found = (check or {}).get("findings") or []
    if not found:
        return "no problems found"
    first = found[0]
    return f"{first['severity']}, {first['name']}: {first['why']}"
