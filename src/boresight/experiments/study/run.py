"""Carry a plan out: one arm after the other, each in its own folder, each as far as it has not come yet."""

from __future__ import annotations

import gc
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from boresight.core.console import progress_bar
from boresight.core.errors import UserError
from boresight.core.files import write_json
from boresight.core.interrupt import Interrupted
from boresight.data.prepare import DatasetCache
from boresight.experiments.engine.attempt import error_sentence
from boresight.experiments.study import storage
from boresight.experiments.study.plan import Job, jobs
from boresight.experiments.study.storage import Outcome, Study
from boresight.experiments.sweep.table import time_in_words


def work(study: Study, console: Console, only: Sequence[str] = ()) -> None:
    """Bring every arm (or those named in `only`) to its end. An arm that fails does not stop the others.

    Raises:
        Interrupted: a signal; what was computed is kept, and the same command goes on.
    """
    wanted = [job for job in jobs(study.plan) if not only or job.arm in only]
    left = [job for job in wanted if not study.finished(job)]
    clock, datasets = Clock(study, left), DatasetCache()
    if left and study.plan.answers:
        with _stopping():
            start_answers(study, console)
    for job in left:
        lead = f"[{wanted.index(job) + 1}/{len(wanted)}] {study.plan.arms[job.arm].title}, seed {job.seed}"
        console.print(f"{lead}; {clock.in_words()}", markup=False, highlight=False)
        with _stopping():
            outcome = attempt(study, job, console, datasets, lead)
        clock.done(job, outcome.seconds)
        ended = outcome.why or f"finished after {time_in_words(outcome.seconds)}"
        console.print(f"    {ended}", markup=False, highlight=False)


@contextmanager
def _stopping() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted("the study stopped; run the same command to go on.") from None


def attempt(study: Study, job: Job, console: Console, datasets: DatasetCache, lead: str) -> Outcome:
    """Bring one arm to its end and write how it ended; what goes wrong in it becomes the reason."""
    place = study.place(job)
    place.mkdir(parents=True, exist_ok=True)
    before, started = float(storage.read_json(place / "spent.json") or 0.0), time.monotonic()
    why = ""
    try:
        with (place / "output.txt").open("a", encoding="utf-8") as file:
            own = Console(file=file, width=120, soft_wrap=True)
            carry_out(study, job, own, console, datasets, lead)
    except UserError as error:
        why = str(error)
    except Interrupted:
        raise
    except Exception as error:  # a failed arm is a line of the report, whatever went wrong
        (place / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        why = error_sentence(error)
    finally:
        spent = before + time.monotonic() - started
        write_json(place / "spent.json", spent)
        gc.collect()  # or the last model stays while the next one is loaded
    outcome = Outcome(spent, f"failed: {why}" if why else "")
    study.close(job, outcome)
    return outcome


def carry_out(
    study: Study, job: Job, own: Console, console: Console, datasets: DatasetCache, lead: str
) -> None:
    """Check, train, answer: whatever of it is not there yet."""
    from boresight.experiments.study.preflight import look
    from boresight.runs.train import run_to_end

    arm, place = study.plan.arms[job.arm], study.place(job)
    if arm.starts_from and not study.finished(Job(arm.starts_from, job.seed)):
        raise UserError(f"{arm.starts_from} with seed {job.seed}, from which it starts, is not finished.")
    recipe = study.recipe(job)
    if not (place / "check.json").exists():
        write_json(place / "check.json", look(recipe, datasets))
    with Steps(console, lead) as steps:
        run_to_end(recipe, study.run(job), own, [steps], datasets=datasets)
    if study.answers(job) and not (place / "answers.jsonl").exists():
        ask(study, str(study.run(job)), place / "answers.jsonl", own)
    if not arm.keep_weights and not _is_start(study, job.arm):
        shutil.rmtree(study.run(job) / "model", ignore_errors=True)


def start_answers(study: Study, console: Console) -> None:
    """What the start model says, asked once for all arms."""
    path = study.folder / "start" / "answers.jsonl"
    asked = study.plan.answers
    if asked is None or path.exists():
        return
    start = asked.start
    if start in study.plan.arms:
        return  # an arm, which answers as all arms do
    path.parent.mkdir(exist_ok=True)
    console.print(f"{start} answers first", markup=False, highlight=False)
    ask(study, start, path, console)


def ask(study: Study, model: str, path: Path, console: Console) -> None:
    """Write a model's answers to the held-out prompts."""
    from boresight.evaluation.recipe import GenerateSection
    from boresight.evaluation.systems import generate_answers, write_answers

    assert study.plan.answers is not None
    prompts = read_prompts(study)
    settings = GenerateSection(max_new_tokens=study.plan.answers.max_new_tokens)
    write_answers(path, prompts, generate_answers(model, model, prompts, settings, console))


def read_prompts(study: Study) -> list[Any]:
    """The held-out prompts, with what their answers are checked by. Raises `UserError`."""
    from boresight.config.recipe import DataSection
    from boresight.data.reading.split import read_data

    assert study.plan.answers is not None
    source = study.plan.answers.prompts
    return list(read_data(source, "prompt", DataSection(train=source)).examples)


def _is_start(study: Study, arm: str) -> bool:
    return any(other.starts_from == arm for other in study.plan.arms.values())


@dataclass
class Clock:
    """Time left: the plan's minutes, corrected by how the arms that have ended compare with them."""

    study: Study
    left: list[Job]
    planned: float = 0.0
    took: float = 0.0

    def done(self, job: Job, seconds: float) -> None:
        """An arm has ended."""
        self.planned += 60 * self.study.plan.arms[job.arm].minutes
        self.took += seconds
        self.left = [other for other in self.left if other != job]

    def seconds(self) -> float:
        """Estimate for all that is left."""
        rate = self.took / self.planned if self.planned else 1.0
        return rate * sum(60 * self.study.plan.arms[job.arm].minutes for job in self.left)

    def in_words(self) -> str:
        """`about 31 min left`."""
        return f"about {time_in_words(self.seconds())} left"


@dataclass
class Steps:
    """A bar over the steps of the run in hand; nothing where there is no terminal."""

    console: Console
    lead: str
    bar: Progress = field(init=False)

    def __enter__(self) -> Steps:
        self.bar = progress_bar(self.console)
        self.task = self.bar.add_task(self.lead, total=None, note="")
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Take one line of metrics."""
        from boresight.training.logging.logger import shown

        if split == "train":
            self.bar.update(self.task, completed=step, note=shown(numbers))
