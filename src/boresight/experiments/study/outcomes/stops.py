"""Why a run of a block has no results: a small file in their place for each run that the guard stopped.

    dpo-seed1.stopped.json    {"why": "stopped by the guard at step 40: …", "checksum": …}

It is committed with the results, so that the page of the same files is the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

from boresight.core.files import read_state, write_state
from boresight.experiments.study.outcomes.file import ENDING, REMEDY
from boresight.experiments.study.plan import arm_runs
from boresight.experiments.study.storage import Study


def stop_path(results: Path) -> Path:
    """Path of the file that stands in the place of a file of results."""
    return results.with_name(f"{results.name.removesuffix(ENDING)}.stopped.json")


def read_stop(results: Path) -> str | None:
    """Why a run has no file of results; None if no guard stopped it. Raises `UserError` if the file is torn
    or was edited."""
    path = stop_path(results)
    return str(read_state(path, REMEDY, types={"why": str})["why"]) if path.exists() else None


def write_stops(study: Study) -> None:
    """Write why each run of a block that the guard stopped has no results, unless that is written already."""
    for run in arm_runs(study.plan):
        results, ended = study.outcome_file(run), study.outcome(run)
        if results is None or ended is None or not ended.stopped or read_stop(results) == ended.why:
            continue
        results.parent.mkdir(parents=True, exist_ok=True)
        write_state(stop_path(results), {"why": ended.why})
