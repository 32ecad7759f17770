"""Measure a run's start model and trained model: answers and held-out numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.files import read_jsonl, read_state, remove_leftovers, write_state
from boresight.core.schema import Prompt
from boresight.models.sharding import whole
from boresight.runs.training_folder import TrainingFolder
from boresight.stats import paired
from boresight.stats.paired import ByRow, DuplicatePrompts, Measured
from boresight.training.checkpoints import trained
from boresight.training.checkpoints.checkpoint import drop_unwanted
from boresight.training.checkpoints.rewind import logs_now
from boresight.training.distributed import collectives
from boresight.training.guard.kept import drop_kept
from boresight.training.loop import Task, evaluate_now, measure_again
from boresight.training.probes import answers, likelihood
from boresight.training.probes.answers import GeneratedAnswer


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Measurements of a model: its answers to the prompts of a run, in their order, and its held-out
    numbers by row."""

    answers: list[GeneratedAnswer]
    numbers: ByRow

    @property
    def texts(self) -> list[str]:
        """Text of each answer."""
        return [answer.text for answer in self.answers]

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements as a dictionary, as in `start.json`."""
        cut_at = [answer.cut_at for answer in self.answers]
        return {"answers": self.texts, "answers_cut_at": cut_at, "numbers": self.numbers}


def measure_start(
    task: Task, folder: TrainingFolder, prompts: Sequence[Prompt], console: Console
) -> Snapshot:
    """Measure the start model, log its held-out numbers as step 0, and write `start.json`.

    The file also contains the size and hash of every log at that point.
    """
    start = Snapshot(answer(task, prompts, console), evaluate_now(task, 0)[1])
    if collectives.is_first():
        write_state(folder.start, start.as_dict() | {"logs": logs_now(folder.path)})
    return start


def measure_start_again(
    task: Task, folder: TrainingFolder, prompts: Sequence[Prompt], console: Console
) -> Snapshot:
    """Measure the start model and write `start.json`, for a run whose log has these numbers already."""
    start = Snapshot(answer(task, prompts, console), measure_again(task, 0))
    if collectives.is_first():
        write_state(folder.start, start.as_dict())
    return start


def read_start(folder: TrainingFolder) -> Snapshot | None:
    """Read the measurements of the start model from `start.json`; None if there is no such file."""
    if not folder.start.is_file():
        return None
    remedy = "delete this file, and the start model is measured again"
    kept = read_state(folder.start, remedy, types={"answers": list, "numbers": dict})
    ends = kept.get("answers_cut_at") or repeat(None)  # earlier versions did not write it
    return Snapshot(list(map(GeneratedAnswer, kept["answers"], ends)), kept["numbers"])


def kept_answers(folder: TrainingFolder, prompts: Sequence[Prompt]) -> list[GeneratedAnswer] | None:
    """Read the trained model's answers from `samples.jsonl`.

    Returns None if the file was changed after it was written, or if the answer to one of the prompts is
    missing.
    """
    if not trained.is_unchanged(folder.path, folder.samples):
        return None
    found = {
        line.get("id"): GeneratedAnswer(text, line.get("after_cut_at"))
        for line in read_jsonl(folder.samples)
        if isinstance(text := line.get("after"), str)
    }
    answered = [found[prompt.id] for prompt in prompts if prompt.id in found]
    return answered if len(answered) == len(prompts) else None


def answer(task: Task, prompts: Sequence[Prompt], console: Console) -> list[GeneratedAnswer]:
    """Generate the answers of the policy in its current state, in the order of the prompts."""
    with whole(task.policy):
        return answers.answer_all(task.policy, task.tokenizer, prompts, task.recipe.evaluate, console)


def likelihood_of_answers(
    task: Task, prompts: Sequence[Prompt], before: Snapshot, after: Snapshot
) -> list[Measured]:
    """Return the log-likelihood of both models' answers under the start model, nats per token.

    Empty if the start model is not in memory, as after full fine-tuning.
    """
    with whole(task.policy), task.arithmetic():
        return likelihood.under_start_model(
            task.policy,
            task.tokenizer,
            prompts,
            before.texts,
            after.texts,
            task.tokens_per_forward,
            task.same_prompts.answers,
        )


def write_outcome(
    folder: TrainingFolder,
    task: Task,
    prompts: Sequence[Prompt],
    before: Snapshot,
    after: Snapshot,
) -> list[Measured]:
    """Write samples and metrics of a run; returns the metrics.

    All processes must call this function; the first one writes.
    """
    first = collectives.is_first()
    folder.refuse_replaced()  # generating answers may have taken long
    same, method = task.same_prompts, task.recipe.method
    checks = _write_samples(folder, prompts, before, after, same.answers) if first else []
    of_answers = [
        *answers.answer_lengths(task.tokenizer, prompts, before.answers, after.answers, same.answers),
        *likelihood_of_answers(task, prompts, before, after),
    ]
    metrics = [
        *paired.paired_metrics(before.numbers, after.numbers, method.margin_unit, method.metric_labels, same),
        *checks,
        *of_answers,
    ]
    if first:
        numbers = {
            metric.name: metric.after_by_row for metric in of_answers
        }  # others: end.json, samples.jsonl
        found = {"metrics": [metric.as_dict() for metric in metrics], "numbers": numbers}
        write_state(folder.evaluation, found | {paired.SAME_PROMPTS: same.as_dict()})
    return metrics


def _write_samples(
    folder: TrainingFolder,
    prompts: Sequence[Prompt],
    before: Snapshot,
    after: Snapshot,
    same: DuplicatePrompts,
) -> list[Measured]:
    """Write both models' answers and the hash of their file; returns the metrics of checks on the answers.

    While the file has that hash, a later evaluation reads the answers instead of generating them.
    """
    checks = answers.write_samples(folder.path, prompts, before.answers, after.answers, same)
    if prompts:
        trained.write_hashes(folder.path, [folder.samples])
    return checks


def write_run_report(folder: TrainingFolder, recipe: Recipe, console: Console) -> None:
    """Delete temporary files and unwanted checkpoints, and write the report, which ends the run."""
    from boresight.reports.page import write_report

    folder.refuse_replaced()
    drop_kept(folder.path)
    if recipe.train.save_every is None:
        drop_unwanted(folder.path, keep_stop=recipe.train.guard is not None)
    for place in (folder.path, folder.path / "checkpoints"):
        remove_leftovers(place)
    write_report(folder.path, console)
