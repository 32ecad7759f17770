"""The folder of a training run: which run is there, from which checkpoint it resumes, and what is written.

    config.yaml        the resolved recipe; locked by the process that trains
    data.json          files, hashes and counts of training and held-out data, a digest of their tokens
    weights.json       weights missing or left over that `model.allow_weights` accepted; only where there were
    environment.json   versions, machine, commit
    start.json         answers and held-out numbers of the start model, which cannot be measured again
    end.json           held-out numbers of the trained model, by row
    evaluation.json    metrics before and after with intervals; written last, by which a run is finished
    report.html        the page

The loop adds metrics, checkpoints and the model; findings and samples have their own modules.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.core.lock import FileLock
from boresight.findings.finding import Finding
from boresight.findings.monitor import write_findings
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.runs.folder import RunFolder
from boresight.training.checkpoints.checkpoint import latest_sound, step_of
from boresight.training.checkpoints.rewind import rewind


class TrainingFolder(RunFolder):
    """A run folder, and a context: what it has locked is released on exit.

    Args:
        path: the folder, which need not exist.
        claimed: the caller knows that no other process is in the folder; nothing is locked.
    """

    def __init__(self, path: Path, claimed: bool = False) -> None:
        super().__init__(path, noun="run", section="method")
        self.data, self.start, self.end = path / "data.json", path / "start.json", path / "end.json"
        self.evaluation, self.report = path / "evaluation.json", path / "report.html"
        self.weights = path / "weights.json"
        self._claimed = claimed
        self._lock = FileLock(self.recipe_file, optional=True)

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def recipe(self) -> dict[str, Any] | None:
        """The resolved recipe in the folder, with the defaults of settings that the run's version had not."""
        found = super().recipe()
        try:
            return Recipe.parse(found).to_dict() if found else found
        except UserError:  # of a version that had other settings, or torn: compared as it is
            return found

    def lock(self) -> None:
        """Lock the recipe in the folder; again does nothing.

        A second process would rewind the log of the first and delete its checkpoints. Where the file system
        has no locks, nothing prevents that.

        Raises:
            UserError: another process has the lock.
        """
        if not self._claimed and not self._lock.acquire():
            raise UserError(
                f"{self.path}: another process is training here; wait for it, or give another folder with "
                "--run."
            )

    @property
    def finished(self) -> bool:
        """Whether the run has been evaluated, which is its last step but for the page."""
        return self.evaluation.is_file()

    @property
    def resumable(self) -> bool:
        """Whether an unfinished run has come as far as its first checkpoint."""
        return self.start.is_file() and latest_sound(self.path) is not None

    @property
    def template_day(self) -> str | None:
        """The day that the run's chat template prints; None where it prints none."""
        train = read_state(self.data).get("train", {})
        return str(train["template_day"]) if "template_day" in train else None

    def clear(self) -> None:
        """Delete the folder. Raises `UserError` if another process is training in it."""
        if self.recipe_file.exists():
            self.lock()
        shutil.rmtree(self.path, ignore_errors=True)

    def find_checkpoint(self, recipe: Recipe, *, resume: bool) -> Path | None:
        """Checkpoint from which the run in the folder resumes; None if a new run begins.

        Args:
            recipe: what the caller wants to train.
            resume: there must be a run.

        Raises:
            UserError: no run to resume, a finished one, one without a sound checkpoint, one with another
                recipe, one that another process is training, or something that is no run.
        """
        if self.recipe() is None:
            if resume:
                raise UserError(f"{self.path}: there is no run to resume; leave --resume out to start one.")
            self.refuse_foreign()
            return None
        self.lock()
        if self.finished:
            page = "" if self.report.is_file() else f" (`boresight report {self.path}` writes its page)"
            raise UserError(f"{self.path}: this run is finished{page}; give another folder with --run.")
        found = latest_sound(self.path)
        if found is None:  # other files may then be missing or torn
            raise UserError(
                f"{self.path}: the run there ended before its first checkpoint (train.save_every); delete "
                "the folder and start again, or give another one with --run."
            )
        self.refuse_other(recipe.to_dict())
        return found

    def begin_run(
        self,
        recipe: Recipe,
        data: dict[str, Any],
        findings: Sequence[Finding],
        leftovers: Mapping[str, Leftovers],
    ) -> None:
        """Create the folder with everything that is known before training.

        Args:
            recipe: the resolved recipe.
            data: facts for `data.json`.
            findings: those of the preflight.
            leftovers: accepted ones of the model and its adapters, by name.

        Raises:
            UserError: another run has begun there in the meantime.
        """
        self.begin(recipe.to_dict())
        self.lock()
        write_state(self.data, data)
        if leftovers:
            write_state(self.weights, {name: asdict(found) for name, found in leftovers.items()})
        self.write_environment()
        write_findings(self.path, findings)

    def resume_from(self, checkpoint: Path, data: dict[str, Any]) -> int:
        """Drop what was written after `checkpoint`; returns its step.

        Raises:
            UserError: the run had other data, and which; or a log was changed.
        """
        old, new = read_state(self.data), json.loads(json.dumps(data))
        for side in new.keys() & old.keys():
            if "tokens_sha256" not in old[side]:  # of a version that kept no digest of the tokens
                del new[side]["tokens_sha256"]
        self._refuse_differences("data", old, new)
        rewind(self.path, checkpoint)
        return step_of(checkpoint)
