"""The command `boresight study`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from boresight.config.recipe_files import recipe_names, recipe_path, recipe_stem
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.wording import format_duration, plural
from boresight.experiments.study import plan as plans
from boresight.experiments.study.arms import run_arms
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.study.report.arm_settings import rate_in_words
from boresight.experiments.study.storage import Study, open_study, refuse_other_outcomes, study_settings
from boresight.reports.tables.files import pipe_table

PLAN = "study/plan-"
"""Prefix of the names of plans for a scale."""
UNUSED = {
    "--list": ("prints the plan and runs nothing", ("--report-only", "--rehearse", "--minutes", "--run")),
    "--report-only": ("runs nothing", ("--arm", "--minutes", "--rehearse")),
    "--rehearse": ("takes two steps of every arm", ("--minutes",)),
    "--plan": ("is a plan in place of that of a scale", ("--scale",)),
}
"""What an option of the command does, and the options that have no effect together with it."""


@dataclass(frozen=True)
class UnfinishedRuns:
    """Numbers of runs of a study that ended without a result."""

    failed: int = 0
    stopped: int = 0
    """Runs that the guard stopped."""


def run_study(
    scale: str | None,
    plan: Path | None,
    folder: Path | None,
    only: Sequence[str],
    listed: bool,
    console: Console,
    overrides: Sequence[str] = (),
    rehearsing: bool = False,
    minutes: float | None = None,
    report_only: bool = False,
) -> UnfinishedRuns:
    """Run, rehearse or print a plan, or write its report; return the number of runs without a result.

    The default folder has no time in its name: the same command continues where it stopped. If all runs have
    finished, it writes the report again.

    Args:
        scale: selects the plan of this scale; `cpu` if neither `scale` nor `plan` is given.

    Raises:
        UserError: a wrong plan or recipe, a folder that contains something else, or an option without effect.
        Interrupted: after Ctrl-C or SIGTERM; what was computed is kept.
    """
    _refuse_unused(
        {
            "--list": listed,
            "--report-only": report_only,
            "--rehearse": rehearsing,
            "--plan": plan is not None,
            "--scale": scale is not None,
            "--minutes": minutes is not None,
            "--arm": bool(only),
            "--run": folder is not None,
        }
    )
    path = recipe_path(plan or plan_of_scale(scale or "cpu"))
    loaded = load_plan(path, overrides)
    plans.refuse_unknown_arms(loaded, list(only))
    if listed:
        console.print(listing(loaded, path.parent, only), markup=False, highlight=False, soft_wrap=True)
        return UnfinishedRuns()
    folder = folder or Path("runs") / f"study-{recipe_stem(path).removeprefix('plan-')}"
    if report_only:
        _print_reports(console, _written(loaded, path.parent, folder, overrides))
        return UnfinishedRuns()
    if rehearsing:
        from boresight.experiments.study.rehearsal.cost import print_expected_cost
        from boresight.experiments.study.rehearsal.rehearse import rehearse_plan

        failures = rehearse_plan(loaded, path.parent, only, console)
        print_expected_cost(loaded, path.parent, folder, only, console)
        return UnfinishedRuns(failures)
    from boresight.experiments.study.outcomes.collection import Outcomes
    from boresight.experiments.study.outcomes.questions import answer_questions, question_sentence
    from boresight.experiments.study.outcomes.stops import write_stops
    from boresight.experiments.study.report.outcome_page import write_outcome_page
    from boresight.experiments.study.report.page import write_study_report

    plans.refuse_missing_protocol(loaded)
    opened = open_study(loaded, path.parent, folder)
    try:
        run_arms(opened, console, only, minutes)
        for answered in answer_questions(Outcomes(loaded)):
            console.print(question_sentence(answered), markup=False, highlight=False)
    finally:
        _print_reports(console, [write_study_report(opened)])
        if loaded.blocks:
            write_stops(opened)
            _print_reports(console, [write_outcome_page(loaded, path.parent, overrides)])
    ended = [outcome for outcome in map(opened.outcome, plans.arm_runs(loaded)) if outcome is not None]
    return UnfinishedRuns(sum(o.failed for o in ended), sum(o.stopped for o in ended))


def _refuse_unused(given: Mapping[str, bool]) -> None:
    """Raise a `UserError` for an option that would have no effect beside another."""
    for option, (what, unused) in UNUSED.items():
        found = [other for other in unused if given[other]]
        if given[option] and found:
            raise UserError(f"{option} {what}; leave out {' and '.join(found)}.")


def _written(plan: StudyPlan, here: Path, folder: Path, overrides: Sequence[str]) -> list[Path]:
    """Write the report of a plan and return the paths of its pages.

    A plan with blocks is reported from its files of results, any other plan from the folder of its runs.
    """
    from boresight.experiments.study.report.outcome_page import write_outcome_page
    from boresight.experiments.study.report.page import write_study_report

    if plan.blocks:
        refuse_other_outcomes(Study(plan, here, folder))
        return [write_outcome_page(plan, here, overrides)]
    if study_settings(folder) is None:
        lacking = "has no settings.yaml of a study" if folder.is_dir() else "does not exist"
        raise UserError(
            f"{folder}: there is no study to report, the folder {lacking}; run the plan first, restore the "
            "file, or name the study's folder with --run."
        )
    return [write_study_report(open_study(plan, here, folder))]


def _print_reports(console: Console, pages: Sequence[Path]) -> None:
    for page in pages:
        console.print(f"report: {page}", markup=False, highlight=False)


def plan_of_scale(scale: str) -> str:
    """Return the name of the plan for a scale. Raises `UserError` if there is none."""
    scales = {name.removeprefix(PLAN): name for name in recipe_names(StudyPlan) if name.startswith(PLAN)}
    if scale not in scales:
        raise UserError(f"--scale: there is no plan for {scale!r}{nearest(scale, scales)}.")
    return scales[scale]


def listing(plan: StudyPlan, here: Path, only: Sequence[str] = ()) -> str:
    """Format the plan as a table, with the estimated time of each arm and in total."""
    rows, total = [], 0.0
    for name, arm in plan.arms.items():
        if only and name not in only:
            continue
        recipe = plans.arm_recipe(plan, here, plans.ArmRun(name, arm.seeds[0]))
        minutes = arm.minutes * len(arm.seeds)
        total += minutes
        rows.append(
            [
                name,
                recipe.method_name,
                "LoRA" if recipe.model.lora else "all weights",
                rate_in_words(recipe),
                str(recipe.train.steps or plural(recipe.train.epochs or 1, "epoch")),
                str(recipe.train.batch),
                ", ".join(map(str, arm.seeds)),
                format_duration(60 * minutes),
            ]
        )
    head = ["arm", "method", "trains", "lr", "steps", "batch", "seeds", "about"]
    return f"{plan.title}: about {format_duration(60 * total)}\n\n{pipe_table(head, rows)}"
