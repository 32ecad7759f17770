"""Draw held-out rewards of a block's arms over verifier calls or steps, from the files of results."""

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
    """Draw the held-out reward over verifier calls, one curve per arm; None if no arm has evaluations.

    Arms that are rewarded by a reward model are drawn by `judged_curves` instead, since their reward is a
    score of that model and not of the verifier.
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
    """Draw the rewards of arms that a reward model rewards: one figure with its score, one per verifier.

    If the score of the reward model rises and the reward of the verifier does not, the reward model is
    over-optimized (Gao et al. 2022, arXiv 2210.10760).
    """
    judged = [arm for arm in found.arms if plan.arms[arm.arm].rewarded_by is not None]
    names = sorted({name for arm in judged for file in arm.files for name in file.parts}, key=_judge_first)
    return [_part_figure(plan, found, judged, name) for name in names]


def _judge_first(name: str) -> tuple[bool, str]:
    return name != JUDGED, name


def _part_figure(plan: StudyPlan, found: BlockResults, judged: Sequence[ArmResult], name: str) -> DrawnFigure:
    """Draw one of the rewards, `name`, of arms that a reward model rewards, over steps."""
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
    """Return one curve per arm, with a line for each seed that has `points`.

    Curves differ by color; when the colors are exhausted, also by dash.
    """
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
    """Return a guide at the start model's value; None unless all runs begin with this value at 0 calls."""
    first = {file.curve[0] for arm in having for file in arm.files if file.curve}
    at = {value for calls, value in first if calls == 0}
    return Guide(at=factor * at.pop(), label="start") if len(first) == len(at) == 1 else None
