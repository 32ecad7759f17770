"""What `boresight check` says of an arm: as it is run here, and with the study's own numbers."""

from __future__ import annotations

from typing import Any

from boresight.checks.forecast import forecast
from boresight.checks.forecast.forecast import Forecast, curve_in_words
from boresight.checks.inputs import size_of
from boresight.config.recipe import Recipe
from boresight.data.prepare import DatasetCache
from boresight.findings.finding import Finding
from boresight.runs.preflight import preflight, steps_of


def check_arm(recipe: Recipe, datasets: DatasetCache) -> dict[str, Any]:
    """Forecast and findings of a recipe, data and model looked at, as `check.json` holds them."""
    report = preflight(recipe, datasets=datasets)
    told = in_numbers(report.forecast) if report.forecast else {}
    # What would have stopped the run leads, although the recipe lets it pass.
    found = sorted(report.findings, key=lambda f: f.name not in recipe.check.allow)
    return told | {"findings": [as_dict(f) for f in found]}


def at_full_size(recipe: Recipe) -> dict[str, Any] | None:
    """The forecast for a recipe from its numbers alone; None where they do not say how many steps it has."""
    steps = steps_of(recipe, recipe.data.limit)
    return in_numbers(forecast.forecast(recipe, steps, size_of(recipe, None))) if steps else None


def in_numbers(f: Forecast) -> dict[str, Any]:
    """A forecast as a plain dictionary; margin and loss only where a curve applies."""
    found: dict[str, Any] = {"steps": f.steps, "budget": f.budget}
    if f.margin is not None and f.loss is not None:
        found |= {
            "margin": [f.margin.low, f.margin.middle, f.margin.high],
            "flat": f.flat,
            "curve": curve_in_words(f),
        }
    return found


def as_dict(finding: Finding) -> dict[str, str]:
    """What the report tells of a finding."""
    return {
        "name": finding.name,
        "severity": finding.severity,
        "why": finding.why,
        "fix": finding.fix,
        "link": finding.link,
    }


def in_words(told: dict[str, Any] | None) -> str:
    """`sum of rates 2.1e-05: margin 0.11 nats (0.043 to 0.27), you will see a flat curve …`."""
    if not told:
        return "no forecast"
    lead = f"sum of rates {told['budget']:.1e} over {told['steps']:,} steps"
    if "margin" not in told:
        return f"{lead}: no calibrated curve for this method or a model of this size"
    low, middle, high = told["margin"]
    return f"{lead}: margin {middle:.2g} nats ({low:.2g} to {high:.2g}), {told['curve']}"


def first_finding(told: dict[str, Any] | None) -> str:
    """The worst finding in words, by name."""
    found = (told or {}).get("findings") or []
    if not found:
        return "nothing to say against it"
    first = found[0]
    return f"{first['severity']}, {first['name']}: {first['why']}"
