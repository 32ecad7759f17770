"""Held-out rewards of a block's arms over their verifier calls or steps, from the files of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from boresight.experiments.study.blocks import JUDGED
from boresight.experiments.study.outcomes.block_results import ArmResult, BlockResults
from boresight.experiments.study.outcomes.file import OutcomeFile
from boresight.experiments.study.plan import Guide, PlannedFigure, StudyPlan
from boresight.experiments.study.report.figures import ArmCurve, DrawnFigure, SeedLine
from boresight.experiments.study.report.result_tables import metric_label
from boresight.reports.drawing.plot import DASHES

COLORS = ("run-1", "run-2", "run-3", "run-4", "run-5", "run-6")


def block_curves(plan: StudyPlan, found: BlockResults) -> DrawnFigure | None:
    """One curve per arm that has evaluations, a faint line per seed; None where no arm has any.

    Arms that a reward model rewards are in `judged_curves`: its score is no reward of the verifier.
    """
    verified = [arm for arm in found.arms if plan.arms[arm.arm].rewarded_by is None]
    having = [arm for arm in verified if any(file.curve for file in arm.files)]
    if not having:
        return None
    heights = [value for arm in having for file in arm.files for _, value in file.curve]
    percent = all(0 <= value <= 1 for value in heights)
    factor = 100 if percent else 1
    curves = _curves_of(plan, having, lambda file: file.curve, factor)
    figure = PlannedFigure(
        title=f"{found.block.title}: held-out reward over verifier calls",
        metric="reward",
        split="eval",
        unit="%" if percent else "",
        arms=[arm.arm for arm in having],
        guide=_start(having, factor),
    )
    without = [plan.arms[arm.arm].title for arm in verified if arm not in having and arm.files]
    return DrawnFigure(f"{found.name}-curves", figure, curves, without, "verifier calls")


def judged_curves(plan: StudyPlan, found: BlockResults) -> list[DrawnFigure]:
    """Scores of the reward models that reward arms, and the verifier's on the same answers, a figure each.

    Where the first rises and the second does not, the model is over-optimized (Gao et al. 2022, arXiv
    2210.10760).
    """
    judged = [arm for arm in found.arms if plan.arms[arm.arm].rewarded_by is not None]
    names = sorted({name for arm in judged for file in arm.files for name in file.parts}, key=_judge_first)
    return [_part_figure(plan, found, judged, name) for name in names]


def _judge_first(name: str) -> tuple[bool, str]:
    return name != JUDGED, name


def _part_figure(plan: StudyPlan, found: BlockResults, judged: Sequence[ArmResult], name: str) -> DrawnFigure:
    """One reward of the arms that a reward model rewards, over steps."""
    heights = [value for arm in judged for file in arm.files for _, value in file.parts.get(name, [])]
    percent = name != JUDGED and all(0 <= value <= 1 for value in heights)
    curves = _curves_of(plan, judged, lambda file: file.parts.get(name, []), 100 if percent else 1)
    title = "Score of the reward model" if name == JUDGED else f"Verifier: {metric_label(name)}"
    axis = "score" if name == JUDGED else "reward"
    figure = PlannedFigure(
        title=f"{title}, held out, over steps",
        metric=axis,
        split="eval",
        unit="%" if percent else "",
        arms=[arm.arm for arm in judged],
    )
    return DrawnFigure(f"{found.name}-judged-{name.replace(':', '-')}", figure, curves, [])


def _curves_of(
    plan: StudyPlan,
    arms: Sequence[ArmResult],
    points: Callable[[OutcomeFile], list[tuple[int, float]]],
    factor: int,
) -> list[ArmCurve]:
    """One curve per arm, a line per seed that has `points`; colors first, then dashes distinguish them."""
    dashes = list(DASHES)
    return [
        ArmCurve(
            plan.arms[arm.arm].title,
            COLORS[place % len(COLORS)],
            [_line(found, factor) for file in arm.files if (found := points(file))],
            dashes[place // len(COLORS) % len(dashes)],
        )
        for place, arm in enumerate(arms)
    ]


def _line(curve: list[tuple[int, float]], factor: int) -> SeedLine:
    return SeedLine([calls for calls, _ in curve], [factor * value for _, value in curve])


def _start(having: list[ArmResult], factor: int) -> Guide | None:
    """The start model's value, where all runs measured the same before their first verifier call."""
    first = {file.curve[0] for arm in having for file in arm.files if file.curve}
    at = {value for calls, value in first if calls == 0}
    return Guide(at=factor * at.pop(), label="start") if len(first) == len(at) == 1 else None
