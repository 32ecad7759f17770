"""Find and read the files of results of a plan: existing, missing and unplanned ones."""

from __future__ import annotations

from pathlib import Path

from boresight.experiments.study.blocks import START
from boresight.experiments.study.outcomes.file import ENDING, OutcomeFile, outcome_path, read_outcome_file
from boresight.experiments.study.outcomes.stops import read_stop
from boresight.experiments.study.plan import ArmRun, StudyPlan


class Outcomes:
    """The files of results of a plan, by block and arm. Every file is read once, when it is first needed.

    The argument `arm` is the name of an arm of the plan, or `START` for the start model of the block.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self.plan = plan
        self.folder = Path(str(plan.outcomes))
        self._read: dict[Path, OutcomeFile] = {}

    def paths(self, block: str, arm: str) -> list[Path]:
        """Return the paths of all planned files of an arm, one per seed, whether or not they exist."""
        if arm == START:
            return [outcome_path(self.folder, block, None)]
        return [outcome_path(self.folder, block, ArmRun(arm, seed)) for seed in self.plan.arms[arm].seeds]

    def results(self, block: str, arm: str) -> list[OutcomeFile]:
        """Read the files of an arm that exist. Raises `UserError` if one is torn or was edited."""
        return [self._content(path) for path in self.paths(block, arm) if path.exists()]

    def missing(self, block: str, arm: str) -> list[Path]:
        """Return the paths of the planned files of an arm that do not exist."""
        return [path for path in self.paths(block, arm) if not path.exists()]

    def stops(self, block: str, arm: str) -> dict[Path, str]:
        """Return why the guard stopped runs of an arm, by the path of the run's missing file of results.

        Raises:
            UserError: a file with a reason is torn or was edited.
        """
        found = {path: read_stop(path) for path in self.missing(block, arm)}
        return {path: why for path, why in found.items() if why is not None}

    def arms(self, block: str) -> list[str]:
        """Return the arms of a block in the plan's order, without its start model."""
        return [name for name, arm in self.plan.arms.items() if arm.block == block]

    def unplanned(self) -> list[Path]:
        """Return files of results that do not belong to the plan, such as those of a removed arm."""
        wanted = {
            path
            for block in self.plan.blocks
            for arm in (START, *self.arms(block))
            for path in self.paths(block, arm)
        }
        return sorted(path for path in self.folder.glob(f"*/*{ENDING}") if path not in wanted)

    def _content(self, path: Path) -> OutcomeFile:
        if path not in self._read:
            self._read[path] = read_outcome_file(path)
        return self._read[path]
