"""Convert the results of verbs to JSON objects. `docs/output.md` lists their keys, which stay the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.core.wording import plural

if TYPE_CHECKING:
    from boresight.checks.data.verified import VerifiedFile
    from boresight.checks.forecast.forecast import Forecast
    from boresight.data.check_file import FileReport
    from boresight.findings.finding import Finding
    from boresight.reports.compare import Comparison
    from boresight.runs.check.overfit import OverfitResult
    from boresight.runs.check.preflight import Report
    from boresight.runs.explain import Explanation
    from boresight.synthesis.dry_run import Estimate

Keys = dict[str, Any]


def run_keys(folder: Path) -> Keys:
    """Return the object for a run folder, after `train` or after `evaluate` of the folder."""
    from boresight.reports.read_run import read_run

    run = read_run(folder)
    return {
        "run": folder,
        "report": run.page,
        "model": folder / "model",
        "method": run.method,
        "steps": run.last_step,
        "model_step": run.model_step,
        "metrics": [asdict(metric) for metric in run.metrics],
        "findings": _findings(run.findings),
    }


def check_keys(report: Report, overfit: OverfitResult | None) -> Keys:
    """Return the object for the preflight checks, and for the attempt to overfit rows, if any."""
    return {
        "passed": report.stop is None and (overfit is None or overfit.passed),
        "stop": report.stop,
        "findings": _findings(report.findings),
        "rows": report.rows,
        "forecast": report.forecast and _forecast(report.forecast),
        "memory_gb": report.load and report.load.memory_gb,
        "hours": report.load and report.load.hours,
        "overfit": overfit
        and {
            "passed": overfit.passed,
            "reached": overfit.reached,
            "steps": overfit.steps,
            "findings": _findings(overfit.findings),
        },
    }


def _forecast(found: Forecast) -> Keys:
    margin = found.margin
    return {
        "steps": found.steps,
        "learning_rate_sum": found.budget,
        "wanted_learning_rate_sum": found.wanted,
        "margin": margin and {"value": margin.middle, "low": margin.low, "high": margin.high},
        "loss": found.loss and list(found.loss),
    }


def explain_keys(found: Explanation) -> Keys:
    """Return the object for the diagnosis of a run."""
    return {
        "run": found.name,
        "outcome": found.outcome,
        "findings": _findings(found.findings),
        "looked_for": found.looked_for,
        "commands": found.commands,
    }


def explained(found: Explanation) -> str:
    """Return a diagnosis in one line: the number of findings and their names."""
    names = ", ".join(finding.name for finding in found.findings)
    return f"{plural(len(found.findings), 'finding')}: {names}" if names else "no findings"


def evaluation_keys(folder: Path, verdicts: Sequence[str]) -> Keys:
    """Return the object for an evaluation: its folder, its verdicts, and the content of `evaluation.json`."""
    from boresight.core.files import read_state

    numbers = read_state(folder / "evaluation.json")
    return {
        "folder": folder,
        "report": folder / "report.html",
        "verdicts": list(verdicts),
        "evaluation": numbers,
    }


def comparison_keys(found: Comparison) -> Keys:
    """Return the object for a comparison of runs."""
    return {
        "page": found.page,
        "runs": [run.folder for run in found.runs],
        "verdicts": found.verdicts,
        "metrics": {run.name: [asdict(metric) for metric in run.metrics] for run in found.runs},
        "differences": {difference.key: difference.values for difference in found.differences},
    }


def file_keys(report: FileReport, verified: VerifiedFile | None) -> Keys:
    """Return the object for a report on a data file, with the rows that a reward contradicts, if any."""
    loaded = report.loaded
    return {
        "source": loaded.source,
        "layout": loaded.layout,
        "kind": loaded.kind,
        "sha256": loaded.sha256,
        "rows": report.rows,
        "examples": len(loaded.examples),
        "bad_rows": [asdict(bad) for bad in report.bad],
        "counts": {count.label: count.count for count in report.counts},
        "lengths": report.lengths,
        "contradicted_rows": None
        if verified is None
        else [
            {"row": row.row, "contradictions": verified.contradictions(row)} for row in verified.contradicted
        ],
    }


def estimate_keys(estimates: Sequence[Estimate]) -> Keys:
    """Return the object for the planned requests of a synthesis, with their cost."""
    return {
        "requests": sum(e.requests - e.cached for e in estimates),
        "stages": [
            {
                "stage": e.stage,
                "model": e.endpoint.model,
                "requests": e.requests,
                "cached": e.cached,
                "tokens": e.tokens,
                "usd": e.usd,
                "minutes": e.minutes,
            }
            for e in estimates
        ],
    }


def _findings(found: Sequence[Finding]) -> list[Mapping[str, Any]]:
    return [finding.as_dict() for finding in found]
