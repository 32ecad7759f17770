"""Check the bounds of the guard at every evaluation.

The model is stored while it is within all bounds; the run is stopped when one is exceeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boresight.config.guard import GuardSection
from boresight.findings.finding import Finding, error
from boresight.findings.monitor import read_findings
from boresight.stats.paired import ByRow, SamePrompts
from boresight.training.checkpoints.checkpoint import stopped_by_guard
from boresight.training.checkpoints.resume_command import resume_command
from boresight.training.distributed import collectives
from boresight.training.guard import kept
from boresight.training.guard.bounds import Reading, readings

NOT_KEPT = "not_kept"
"""Key of a checkpoint's progress: a sentence on the last evaluation since the stored model, which was neither
within all bounds nor stopped the run."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The guard of one run: its bounds, and the numbers of the start model by row."""

    run: Path
    bounds: GuardSection
    before: ByRow
    save_policy: Callable[[Path], None]
    """Function that writes the current policy to a folder; all processes call it."""
    same_prompts: SamePrompts = field(default_factory=SamePrompts)
    """Rows and prompts that share a prompt; each set of them counts as one unit of an interval."""

    def readings(self, now: ByRow) -> list[Reading]:
        """Return the changes that can be compared with a bound at this evaluation."""
        return readings(self.bounds, self.before, now, self.same_prompts)

    def begin(self, step: int) -> None:
        """Store the start model, if the run has not taken a step and no model is stored."""
        if step == 0 and not collectives.any_process(bool(kept.kept_models(self.run))):
            self._keep(0, self.before)

    def look(self, progress: dict[str, Any], now: ByRow) -> Finding | None:
        """Check the evaluation after `progress["step"]` steps, and return the finding that stops the run.

        The run stops if the whole interval of a number is above its bound. The model is stored if the
        estimates of all numbers are within their bounds. If an estimate is above its bound but its interval
        is not, the run continues and the model is not stored; `progress` then has the reason, for the finding
        of a later stop.

        Returns:
            None if the run continues, and in processes other than the first.
        """
        step, found = int(progress["step"]), self.readings(now)
        earlier = progress.pop(NOT_KEPT, "")
        exceeded = [reading for reading in found if reading.exceeded]
        if collectives.from_first(all(reading.inside for reading in found)):
            self._keep(step, now)
        elif not exceeded:
            progress[NOT_KEPT] = not_kept_in_words(step, found)
        if not exceeded or not collectives.is_first():
            return None
        return guard_stopped(self.run, step, exceeded, earlier)

    def end(self) -> bool:
        """Make the last stored model the trained model; return False if none was stored."""
        found = kept.kept_models(self.run)
        if found and collectives.is_first():
            kept.end_with(self.run, found[0])
        collectives.wait()
        return bool(found)

    def _keep(self, step: int, numbers: ByRow) -> None:
        kept.keep_model(self.run, step, numbers, self.save_policy)


def guard_stop(run: Path) -> Finding | None:
    """Return the finding `guard-stopped` of a run that the guard stopped; None for other runs."""
    if not stopped_by_guard(run):
        return None
    return next((found for found in reversed(read_findings(run)) if found.name == "guard-stopped"), None)


def guard_stop_in_words(run: Path) -> str | None:
    """Return text such as `stopped by the guard at step 3: …`; None for a run that the guard did not stop."""
    stop = guard_stop(run)
    return None if stop is None else f"stopped by the guard {stop.why[:1].lower()}{stop.why[1:]}"


def not_kept_in_words(step: int, found: Sequence[Reading]) -> str:
    """Return a sentence such as `The model of step 5 is not kept: …` with the readings beyond bounds."""
    outside = "; ".join(str(reading) for reading in found if not reading.inside)
    return f"The model of step {step:,} is not kept: {outside}."


def guard_stopped(run: Path, step: int, exceeded: Sequence[Reading], not_kept: str = "") -> Finding:
    """Create the finding `guard-stopped`: numbers exceed bounds by more than their intervals.

    Args:
        exceeded: the held-out changes that do.
        not_kept: why the model of an earlier evaluation is not the one to end with; '' if there is none, or
            if it is unknown.
    """
    models = kept.kept_models(run)
    step_kept = kept.step_of_kept(models[0]) if models else step
    continuing = resume_command(run, "train.guard=null")
    if any(reading.field == "length" for reading in exceeded):
        continuing += ". If answers of another length are the aim, train with train.guard.length=null"
    ending = f"The run ends with {kept.model_in_words(step_kept)}. {not_kept}".strip()
    return error(
        "guard-stopped",
        f"At step {step:,}: {'; '.join(map(str, exceeded))}. {ending}",
        f"Lower optim.lr (`boresight check --probe` measures how far), or continue: {continuing}",
        step=step,
        numbers=tuple((reading.field, reading.change.value) for reading in exceeded),
    )
