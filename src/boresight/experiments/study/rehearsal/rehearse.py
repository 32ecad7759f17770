"""Run every arm of a plan for two steps on stand-ins, in a folder that is deleted if all of them pass."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import Terminal
from boresight.core.errors import UserError, named_first_line
from boresight.core.wording import format_duration, plural
from boresight.experiments.engine.worker import work
from boresight.experiments.study import plan as plans
from boresight.experiments.study.answers import answer_with_start_model
from boresight.experiments.study.arms import StudyArms
from boresight.experiments.study.blocks import Block
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.experiments.study.rehearsal.shrink import STEPS, shrunk
from boresight.experiments.study.rehearsal.stand_ins import StandIns
from boresight.experiments.study.report.outcome_page import write_outcome_page
from boresight.experiments.study.report.page import write_study_report
from boresight.experiments.study.storage import ArmOutcome, Study

PROMPTS, NEW_TOKENS = 2, 4
"""Number of prompts that an arm answers in a rehearsal, and maximum answer length in tokens."""
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True)
class RehearsedStudy(Study):
    """The study of a rehearsal, whose recipes are shrunk."""

    stand_ins: StandIns

    def recipe(self, run: ArmRun) -> Recipe:
        """Return the shrunk recipe of a run. Raises `UserError` if the recipe is wrong or has no stand-in."""
        start = self.start_of(run)
        judge = self.model_of(plans.judge_run(self.plan, run))
        made, base = plans.arm_recipe(self.plan, self.here, run, judge=judge), run
        while (below := self.start_of(base)) is not None:
            base = below
        model = plans.arm_recipe(self.plan, self.here, base).model.name
        return shrunk(made, self.stand_ins, model, self.model_of(start))


class RehearsedArms(StudyArms):
    """Experiment that runs the arms of a rehearsal and prints one line for each."""

    noun = "rehearsal"

    def begin(self, run: ArmRun) -> None:
        """Print nothing, since an arm takes only seconds."""

    def report(self, run: ArmRun, outcome: ArmOutcome) -> None:
        """Print how the arm ended."""
        how = outcome.why or f"passed after {format_duration(outcome.seconds)}"
        self.print(f"{self.number(run)} {run.arm}: {' '.join(how.split())}")


def rehearse_plan(plan: StudyPlan, here: Path, only: Sequence[str], console: Console) -> int:
    """Rehearse the arms of a plan, or those named in `only`; return the number of failures.

    Arms whose models they need are rehearsed as well. Nothing outside a temporary folder is written, and
    nothing is read from the network.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM.
    """
    folder = Path(tempfile.mkdtemp(prefix="boresight-rehearsal-"))
    wanted = _with_starts(plan, only or list(plan.arms))
    _say(console, f"{plural(len(wanted), 'arm')}, {STEPS} steps each, on stand-ins of their models and data")
    stand_ins, failures = StandIns(folder), 0
    try:
        with _offline(folder / "cache"):
            failures = _run(plan, here, wanted, stand_ins, console)
    finally:
        if not failures:
            shutil.rmtree(folder, ignore_errors=True)
    if failures:
        _say(console, f"{failures} failed; what they wrote is kept in {folder}")
    for name in stand_ins.missing:
        _say(console, f"before the plan itself: make {name}, which is not there yet")
    return failures


def _run(plan: StudyPlan, here: Path, wanted: Sequence[str], stand_ins: StandIns, console: Console) -> int:
    """Let the start model answer, run the arms, and write the reports; return the number of failures."""
    study: RehearsedStudy | None = None

    def begin() -> None:
        nonlocal study
        study = RehearsedStudy(_small(plan, wanted, stand_ins), here, stand_ins.folder / "study", stand_ins)
        study.folder.mkdir()
        answer_with_start_model(study, Terminal(file=io.StringIO()))

    failures = _failures("answers of the start model", begin, console)
    if study is None:
        return failures
    work(RehearsedArms(study, console))
    passed = [run.arm for run in plans.arm_runs(study.plan) if study.finished(run)]
    failures += len(wanted) - len(passed)
    if not passed:
        return failures
    shown = replace(study, plan=_part(study.plan, passed))  # a failed arm may not even have a valid recipe
    failures += _failures("report", partial(write_study_report, shown), console)
    if shown.plan.blocks:
        failures += _failures("page", partial(write_outcome_page, shown.plan, here), console)
    return failures


def _failures(what: str, step: Callable[[], object], console: Console) -> int:
    """Run a step that belongs to no arm; if it fails, print the error and return 1, else return 0."""
    try:
        step()
    except UserError as error:
        why = str(error)
    except Exception as error:
        why = named_first_line(error)
    else:
        return 0
    _say(console, f"{what}: failed: {why}")
    return 1


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _with_starts(plan: StudyPlan, only: Sequence[str]) -> list[str]:
    """Return the arms named in `only` and all arms whose models they need, in the plan's order."""
    wanted: set[str] = set()
    open_names = list(only)
    while open_names:
        name = open_names.pop()
        wanted.add(name)
        needed = {run.arm for run in plans.needed_runs(plan, ArmRun(name, plan.arms[name].seeds[0]))}
        open_names += needed - wanted
    return [name for name in plan.arms if name in wanted]


def _small(plan: StudyPlan, wanted: Sequence[str], stand_ins: StandIns) -> StudyPlan:
    """Reduce the plan to the arms `wanted`, with one seed each and few prompts.

    Raises:
        UserError: a model or data set has no stand-in.
    """
    part = _part(plan, wanted)
    arms = {name: arm.model_copy(update={"seeds": [0]}) for name, arm in part.arms.items()}
    answers = part.answers
    if answers is not None:
        start = answers.start if answers.start in plan.arms else stand_ins.model(answers.start)
        prompts = stand_ins.head(answers.prompts, PROMPTS)
        small = {"start": start, "prompts": prompts, "max_new_tokens": NEW_TOKENS}
        answers = answers.model_copy(update=small)
    blocks = {name: _small_block(block, stand_ins) for name, block in part.blocks.items()}
    outcomes = str(stand_ins.folder / "outcomes")
    changes = {"arms": arms, "answers": answers, "blocks": blocks, "outcomes": outcomes, "protocol": None}
    return part.model_copy(update=changes)


def _small_block(block: Block, stand_ins: StandIns) -> Block:
    """Reduce a block to few test prompts and short answers, or to few pairs."""
    if block.pairs is not None:
        return block.model_copy(update={"pairs": stand_ins.data(block.pairs), "limit": PROMPTS})
    assert block.prompts is not None
    prompts = stand_ins.head(block.prompts, PROMPTS)
    small = {"prompts": prompts, "limit": PROMPTS, "samples": min(2, block.samples)}
    return block.model_copy(update=small | {"max_new_tokens": NEW_TOKENS})


def _part(plan: StudyPlan, wanted: Sequence[str]) -> StudyPlan:
    """Reduce the plan to the arms `wanted`, and to the figures, comparisons and questions about them."""
    arms = {name: plan.arms[name] for name in wanted}
    answers = plan.answers
    if answers is not None:
        answers = answers.model_copy(update={"shown": [name for name in answers.shown if name in arms]})
    figures = {
        name: figure.model_copy(update={"arms": kept})
        for name, figure in plan.figures.items()
        if (kept := [arm for arm in figure.arms if arm in arms])
    }
    compared = [c for c in plan.comparisons if {*c.of, *c.to} <= arms.keys()]
    asked = [q for q in plan.questions if plans.arms_of(q) <= arms.keys()]
    about: dict[str, Any] = {"comparisons": compared, "figures": figures, "questions": asked}
    return plan.model_copy(update={"arms": arms, "answers": answers} | about)


@contextmanager
def _offline(cache: Path) -> Iterator[None]:
    """Disable access to the hub inside the block, and use `cache` as the folder of caches."""
    wanted = {**dict.fromkeys(OFFLINE, "1"), "XDG_CACHE_HOME": str(cache)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
