"""A study's folder: an ordinary run folder for every arm and seed, and what was made of them.

    settings.yaml                  every recipe, resolved; another one is refused here
    environment.json               versions, machine, commit
    start/answers.jsonl            what the start model answers
    dpo-tuned-seed0/check.json     what `boresight check` says before it is trained
    dpo-tuned-seed0/run/           the run
    dpo-tuned-seed0/answers.jsonl  what the trained model answers
    dpo-tuned-seed0/outcome.json   written last: this arm is finished, or why it failed
    report/                        index.html, results.md, results.csv, figures/

Nothing is kept anywhere else, so whatever is killed, the folder says what is left to do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from boresight.config.dotted import differences
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_json, write_text
from boresight.experiments.study import plan as plans
from boresight.experiments.study.plan import Job, Plan
from boresight.reports.facts import texts


@dataclass(frozen=True)
class Outcome:
    """How an arm ended: `seconds` over all attempts, and `why` it failed, empty where it did not."""

    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Study:
    """A plan and the folder it is carried out in; `here` is the folder that the plan's paths start from."""

    plan: Plan
    here: Path
    folder: Path

    def place(self, job: Job) -> Path:
        """Folder of one arm and seed."""
        return self.folder / job.name

    def run(self, job: Job) -> Path:
        """Its run folder."""
        return self.place(job) / "run"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.folder / "report"

    def recipe(self, job: Job) -> Recipe:
        """The recipe of a run, its start model named."""
        start = self.plan.arms[job.arm].starts_from
        named = str(self.run(Job(start, job.seed))) if start else None
        return plans.recipe_of(self.plan, self.here, job, named)

    def answers(self, job: Job) -> bool:
        """Whether the trained model of this arm is asked the held-out prompts."""
        asked = self.plan.answers
        return asked is not None and self.plan.arms[job.arm].group in asked.groups

    def outcome(self, job: Job) -> Outcome | None:
        """How it ended; None while it has not."""
        path = self.place(job) / "outcome.json"
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def finished(self, job: Job) -> bool:
        """Whether it has ended well."""
        outcome = self.outcome(job)
        return outcome is not None and not outcome.why

    def close(self, job: Job, outcome: Outcome) -> None:
        """Write how it ended."""
        write_json(self.place(job) / "outcome.json", asdict(outcome))


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def open_folder(plan: Plan, here: Path, folder: Path) -> Study:
    """Begin a study in `folder`, or go on with the one there.

    Raises:
        UserError: the folder holds something else, or a study with other settings; names what differs.
    """
    path = folder / "settings.yaml"
    if folder.is_dir() and any(folder.iterdir()) and not path.exists():
        raise UserError(f"{folder}: the folder holds something that is no study; give another with --run.")
    wanted = plans.resolved(plan, here)
    if path.exists():
        refuse_other(folder, yaml.safe_load(path.read_text(encoding="utf-8")), wanted)
        return Study(plan, here, folder)
    from boresight.runs.environment import environment

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "environment.json", environment())
    write_text(path, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    return Study(plan, here, folder)


def refuse_other(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise a `UserError` that names the first setting in which two studies differ."""
    differing = differences(texts(old), texts(new), absent="absent")
    if not differing:
        return
    key, (was, now) = next(iter(differing.items()))
    more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
    raise UserError(
        f"{folder}: holds a study with other settings: {key.removeprefix('recipes.')} was {was} and is "
        f"{now}{more}; put it back, or give another folder with --run."
    )
