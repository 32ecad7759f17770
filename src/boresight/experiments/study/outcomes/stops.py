"""Record why a run of a block has no results: a small file for each run that the guard stopped.

    dpo-seed1.stopped.json    {"why": "stopped by the guard at step 40: …", "checksum": …}

The file is committed with the results, so that every machine makes the same page from the same files.
"""

from __future__ import annotations

from pathlib import Path

from boresight.core.files import read_state, write_state
from boresight.experiments.study.outcomes.file import ENDING, REMEDY
from boresight.experiments.study.plan import arm_runs
from boresight.experiments.study.storage import Study


def stop_path(results: Path) -> Path:
    """Return the path of the file that records why the file `results` does not exist."""
    return results.with_name(f"{results.name.removesuffix(ENDING)}.stopped.json")


def read_stop(results: Path) -> str | None:
    """Return why the guard stopped the run whose file of results is missing; None if it did not stop it.

    Raises:
        UserError: the file with the reason is torn or was edited.
    """
    path = stop_path(results)
    return str(read_state(path, REMEDY, types={"why": str})["why"]) if path.exists() else None


def write_stops(study: Study) -> None:
    """Write the reason for each run of a block that the guard stopped, unless it is already written."""
    for run in arm_runs(study.plan):
        results, ended = study.outcome_file(run), study.outcome(run)
        if results is None or ended is None or not ended.stopped or read_stop(results) == ended.why:
            continue
        results.parent.mkdir(parents=True, exist_ok=True)
        write_state(stop_path(results), {"why": ended.why})
