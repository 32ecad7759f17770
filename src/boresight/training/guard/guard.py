"""Check the bounds of the guard at every evaluation.

The model is stored while it is within all bounds; the run is stopped when one is exceeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boresight.config.guard import GuardSection
from boresight.findings.finding import Finding, error
from boresight.findings.monitor import read_findings
from boresight.stats.paired import ByRow, SamePrompts
from boresight.training.checkpoints.checkpoint import stopped_by_guard
from boresight.training.checkpoints.resume_command import resume_command
from boresight.training.distributed import collectives
from boresight.training.guard import kept
from boresight.training.guard.bounds import Reading, readings


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

    def look(self, step: int, now: ByRow) -> Finding | None:
        """Check an evaluation, and return the finding that stops the run.

        The run stops if the whole interval of a number is above its bound. The model is stored if the
        estimates of all numbers are within their bounds. If an estimate is above its bound but its interval
        is not, the run continues and the model is not stored.

        Returns:
            None if the run continues, and in processes other than the first.
        """
        found = self.readings(now)
        if collectives.from_first(all(reading.inside for reading in found)):
            self._keep(step, now)
        exceeded = [reading for reading in found if reading.exceeded]
        return guard_stopped(self.run, step, exceeded) if exceeded and collectives.is_first() else None

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


def guard_stopped(run: Path, step: int, exceeded: Sequence[Reading]) -> Finding:
    """Create the finding `guard-stopped`: numbers exceed bounds by more than their intervals.

    `exceeded` are the held-out changes that do.
    """
    models = kept.kept_models(run)
    step_kept = kept.step_of_kept(models[0]) if models else step
    continuing = resume_command(run, "train.guard=null")
    if any(reading.field == "length" for reading in exceeded):
        continuing += ". If answers of another length are the aim, train with train.guard.length=null"
    which = "the start model" if step_kept == 0 else f"the model of step {step_kept:,}"
    return error(
        "guard-stopped",
        f"At step {step:,}: {'; '.join(map(str, exceeded))}. The run ends with {which}.",
        f"Lower optim.lr (`boresight check --probe` measures how far), or continue: {continuing}",
        step=step,
        numbers=tuple((reading.field, reading.change.value) for reading in exceeded),
    )
