"""What a run changed: answers and held-out numbers of the start model, and of the trained one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from boresight.core.files import read_state, write_state
from boresight.core.schema import Prompt
from boresight.methods.base import MethodConfig
from boresight.models.sharding import whole
from boresight.runs.training_folder import TrainingFolder
from boresight.stats import paired
from boresight.stats.paired import ByRow, Measured
from boresight.training.distributed import collectives
from boresight.training.loop import Task, evaluate_now
from boresight.training.probes import answers, likelihood


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model's answers to the prompts of a run, in their order, and its held-out numbers by row."""

    answers: list[str]
    numbers: ByRow


def measure_start(
    task: Task, folder: TrainingFolder, prompts: Sequence[Prompt], console: Console
) -> Snapshot:
    """Measure the start model and keep it in the folder: a resumed run cannot measure it again."""
    start = Snapshot(answer(task, prompts, console), evaluate_now(task, 0)[1])
    if collectives.is_first():
        write_state(folder.start, asdict(start))
    return start


def read_start(folder: TrainingFolder) -> Snapshot:
    """The start model as `measure_start` wrote it."""
    return Snapshot(**read_state(folder.start))


def answer(task: Task, prompts: Sequence[Prompt], console: Console) -> list[str]:
    """Answers of the policy in its current state, in the order of the prompts."""
    with whole(task.policy):
        return answers.answer_all(task.policy, task.tokenizer, prompts, task.recipe.evaluate, console)


def likelihood_of_answers(
    task: Task, prompts: Sequence[Prompt], before: Snapshot, after: Snapshot
) -> list[Measured]:
    """Log-likelihood of both sides' answers under the start model, nats per token."""
    with whole(task.policy):
        return likelihood.under_start_model(
            task.policy, task.tokenizer, prompts, before.answers, after.answers
        )


def write_outcome(
    folder: TrainingFolder,
    prompts: Sequence[Prompt],
    before: Snapshot,
    after: Snapshot,
    further: Sequence[Measured],
    method: MethodConfig,
    console: Console,
) -> None:
    """Write numbers, samples, metrics and the report, and print the metrics; `further` are added to them."""
    from boresight.reports.page import write_report
    from boresight.reports.tables.terminal import evaluation_table

    write_state(folder.end, {"numbers": after.numbers})
    metrics = paired.paired_metrics(before.numbers, after.numbers, method.margin_unit)
    metrics += answers.write_samples(folder.path, prompts, before.answers, after.answers)
    metrics += further
    write_state(folder.evaluation, {"metrics": [metric.as_dict() for metric in metrics]})
    console.print(evaluation_table(metrics))
    write_report(folder.path, console)
