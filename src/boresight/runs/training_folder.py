"""The folder of a training run: which run it contains, which stages are complete, and its files.

    config.yaml        the resolved recipe; locked by the process that trains
    data.json          files, hashes and counts of training and held-out data, a digest of their tokens
    weights.json       missing or unexpected weights that `model.allow_weights` accepted, if there are any
    environment.json   versions, machine, commit
    choices.json       settings that the recipe leaves open: device, activations, processes
    start.json         answers and held-out numbers of the start model
    model/, end.json   the trained model and its held-out numbers, by row
    samples.jsonl      answers of both models
    evaluation.json    metrics before and after with intervals
    report.html        the page

A run consists of stages. Each stage writes a file that marks it as complete, so that the same command resumes
after it. The training loop also writes metrics and checkpoints, and `findings.monitor` the findings.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_jsonl, read_state, write_state
from boresight.findings.finding import Finding
from boresight.findings.monitor import write_findings
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.models.load import device_called
from boresight.models.precision import resolve_dtype
from boresight.runs.folder import LockedFolder
from boresight.runs.loading import Earlier
from boresight.training.checkpoints.checkpoint import (
    latest_sound,
    newest_first,
    step_of,
    stopped_by_guard,
)
from boresight.training.checkpoints.rewind import refuse_changed_logs, rewind, rewind_to_start
from boresight.training.checkpoints.trained import (
    end_file,
    is_trained,
    model_folder,
    refuse_changed_model,
    take_back,
)
from boresight.training.choices import read_choices

FREE = ("guard", "activations", "tokens_per_forward")
"""Settings of `train` that a resumed run may change.

They change no training step, only when the run ends and how much memory it takes.
"""
SPLIT = re.compile(r"(?<=[^/ ])@[^/@ ]+")
"""Matches the split in the name of a data source, such as `@train` in `org/data@train`."""


class Stage(Enum):
    """Stages that a run reaches, in order.

    `NOTHING`: there is no run; `BEGUN`: the folder exists; `UNDER_WAY`: there is a checkpoint; `TRAINED`: the
    model is written; `EVALUATED`: the metrics are written, and only the report may be missing.
    """

    NOTHING, BEGUN, UNDER_WAY, TRAINED, EVALUATED = range(5)


@dataclass(frozen=True, slots=True)
class Place:
    """Point from which a run resumes: its stage, and the checkpoint if training has begun."""

    stage: Stage
    checkpoint: Path | None = None

    def __str__(self) -> str:
        """Describe the point in words, such as `after step 20` or `with its evaluation`."""
        return {
            Stage.NOTHING: "from its start",
            Stage.BEGUN: "from its start",
            Stage.UNDER_WAY: f"after step {step_of(self.checkpoint)}" if self.checkpoint else "",
            Stage.TRAINED: "with its evaluation",
            Stage.EVALUATED: "with its report",
        }[self.stage]


class TrainingFolder(LockedFolder):
    """The folder of a training run, and a context manager: locks are released on exit.

    Args:
        path: the folder, which need not exist.
        claimed: the caller has locked the folder, so it is not locked again.
    """

    def __init__(self, path: Path, claimed: bool = False) -> None:
        super().__init__(path, "run", "method", Recipe, "training")
        self.data, self.start = path / "data.json", path / "start.json"
        self.end, self.model = end_file(path), model_folder(path)
        self.evaluation, self.report = path / "evaluation.json", path / "report.html"
        self.samples, self.weights = path / "samples.jsonl", path / "weights.json"
        self.choices_file = path / "choices.json"
        self._claimed = claimed

    def lock(self) -> None:
        """Lock the folder; does nothing if this object holds the lock.

        Without the lock a second process would rewind the log of the first and delete its checkpoints. On a
        file system without locks this is not prevented.

        Raises:
            UserError: another process has the lock.
        """
        if not self._claimed:
            super().lock()

    def refuse_replaced(self) -> None:
        """Raise a `UserError` if the folder was deleted or replaced since it was locked."""
        if not self._lock.intact:
            raise UserError(
                f"{self.path}: this folder was deleted or replaced during the run, so it stops; do not "
                "change the folder of a run, and start the command again."
            )

    @property
    def trained(self) -> bool:
        """Whether training has ended and the model has been written."""
        return is_trained(self.path)

    @property
    def evaluated(self) -> bool:
        """Whether both models have been measured."""
        return self.evaluation.is_file()

    @property
    def finished(self) -> bool:
        """Whether all stages are complete."""
        return self.evaluated and self.report.is_file()

    @property
    def last_step(self) -> int:
        """Number of the last logged training step; 0 if none is logged."""
        logged = read_jsonl(self.path / "metrics.jsonl")
        return max((int(line.get("step", 0)) for line in logged if line.get("split") == "train"), default=0)

    def earlier(self) -> Earlier:
        """Return the values that a resumed run takes over from the folder."""
        train = self._known_data()["train"] if self.data.is_file() else {}
        return Earlier(train.get("template_day"), read_choices(self.choices_file))

    def find_place(self, recipe: Recipe, *, resume: bool) -> Place:
        """Return the stage that the run in the folder has reached, with the checkpoint to resume from.

        Args:
            recipe: recipe of the caller.
            resume: raise an error if there is no run.

        Raises:
            UserError: there is no run to resume; the run is finished (except if the guard stopped it and
                `recipe` has no guard); all of its checkpoints are damaged; it has another recipe; another
                process is training it; or the folder holds something else than a run.
        """
        if self.recipe() is None:
            if resume:
                raise UserError(f"{self.path}: there is no run to resume; leave --resume out to start one.")
            self.refuse_foreign()
            return Place(Stage.NOTHING)
        self.lock()
        in_spite = recipe.train.guard is None and stopped_by_guard(self.path)
        if self.finished and not in_spite:
            raise UserError(
                f"{self.path}: this run is finished (`boresight evaluate {shlex.quote(str(self.path))}` "
                "measures it again); "
                "give another folder with --run."
            )
        self.refuse_other_run(recipe)
        found = latest_sound(self.path)
        if self.evaluated and not in_spite:
            return Place(Stage.EVALUATED)
        if self.trained or found:
            self._known_data()  # by which other data are noticed: without it, the run is not resumed
        if self.trained and not in_spite:
            refuse_changed_model(self.path)
            return Place(Stage.TRAINED)
        if found is None and (damaged := newest_first(self.path)):
            raise UserError(
                f"{damaged[0]}: not the checkpoint that was written, and there is no other; put its files "
                "back, or give another folder with --run."
            )
        return Place(Stage.BEGUN if found is None else Stage.UNDER_WAY, found)

    def refuse_other_run(self, recipe: Recipe) -> None:
        """Raise a `UserError` if the recipe differs in more than settings that may change.

        The settings in `FREE` may differ, since they change no training step. `model.dtype` may differ if one
        is `auto` and the other the precision that `auto` selects on this device.
        """
        wanted, begun = recipe.to_dict(), self.recipe() or {}
        train = {**wanted["train"], **{key: begun.get("train", {}).get(key) for key in FREE}}
        model, before = wanted["model"], begun.get("model", {}).get("dtype")
        if before and before != model["dtype"]:
            device = device_called(recipe.model.device)
            if resolve_dtype(before, device) == resolve_dtype(model["dtype"], device):
                model = {**model, "dtype": before}
        self.refuse_other({**wanted, "train": train, "model": model})

    def begin_run(
        self,
        recipe: Recipe,
        data: dict[str, Any],
        findings: Sequence[Finding],
        leftovers: Mapping[str, Leftovers],
    ) -> None:
        """Create the folder with everything known before training, or restart a run that took no step.

        Args:
            recipe: the resolved recipe.
            data: facts for `data.json`.
            findings: findings of the preflight.
            leftovers: missing or unexpected weights that the recipe allows, by model or adapter.

        Raises:
            UserError: another process has begun a run there in the meantime, or the run there began with
                other data.
        """
        if self.recipe() is None:
            self.begin(recipe.to_dict())
        self.lock()
        self.refuse_other_data(data)
        measured = self.start.is_file()
        rewind_to_start(self.path, self.start if measured else None)
        write_state(self.data, data)
        if leftovers:
            write_state(self.weights, {name: asdict(found) for name, found in leftovers.items()})
        self.write_environment(recipe.model.device)
        if not measured:  # otherwise the log has these findings already, and those of the first evaluation
            write_findings(self.path, findings)

    def resume_from(self, checkpoint: Path, data: dict[str, Any]) -> int:
        """Delete everything written after `checkpoint`, and return the step of the checkpoint.

        The model, metrics and report of a run that the guard stopped are deleted, too.

        Raises:
            UserError: the run had other data (named in the message), or a log was changed. Nothing was
                removed then.
        """
        self.refuse_other_data(data)
        refuse_changed_logs(self.path, checkpoint)
        for file in (self.report, self.evaluation):
            file.unlink(missing_ok=True)
        take_back(self.path)
        rewind(self.path, checkpoint)
        return step_of(checkpoint)

    def _known_data(self) -> dict[str, Any]:
        """Read the facts in `data.json`.

        Raises:
            UserError: the file is missing, incomplete or edited.
        """
        return read_state(self.data, types={"train": dict, "eval": dict})

    def refuse_other_data(self, data: dict[str, Any]) -> None:
        """Raise a `UserError` that names the difference if the run began with other data."""
        if not self.data.is_file():
            return
        old, new = self._known_data(), json.loads(json.dumps(data))
        if "prompts" not in old:  # an earlier version wrote no digest of the prompts
            new.pop("prompts", None)
        for side in new.keys() & old.keys():
            if "tokens_sha256" not in old[side]:  # an earlier version wrote no digest of the tokens
                new[side].pop("tokens_sha256", None)
            if "prompts" not in old[side]:  # an earlier version wrote no number of prompts
                new[side].pop("prompts", None)
            # An earlier version wrote no names of splits.
            if SPLIT.sub("", new[side].get("path", "")) == old[side].get("path"):
                new[side]["path"] = old[side]["path"]
        self._refuse_differences("data", old, new)
