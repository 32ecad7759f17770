"""Read the results in a study's folder: values by arm, metric, seed and prompt."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.core.files import refuse_changed_rows
from boresight.core.schema import Prompt, prompt_of
from boresight.data.reading.split import read_split
from boresight.data.stored.digests import distinct_ids
from boresight.evaluation.matching import matched
from boresight.evaluation.systems import read_answers
from boresight.evaluation.win_rate import System
from boresight.experiments.study.answers import read_prompts_to_answer
from boresight.experiments.study.blocks import START
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import ArmRun, arm_runs
from boresight.experiments.study.results import by_prompt
from boresight.experiments.study.storage import Study, read_state_if_there
from boresight.scorers.judges import checks
from boresight.tasks.constraints.constraint import words
from boresight.training.forward import kind_of


@dataclass(frozen=True)
class StudyData:
    """Measured values of all finished runs, and the answers of their models."""

    measured: dict[str, dict[str, dict[int, dict[str, float]]]]
    """Values as `measured[arm][metric][seed][prompt]`; the start model is the arm `START`."""
    prompts: list[Prompt]
    answers: dict[ArmRun, System]


def read_study(study: Study) -> StudyData:
    """Read the results of all finished runs.

    Arms with a run that the guard stopped are omitted, since the mean of their other seeds would be too
    favorable.
    """
    prompts = read_prompts_to_answer(study) if study.plan.answers else []
    measured: defaultdict[str, defaultdict[str, dict[int, dict[str, float]]]]
    measured = defaultdict(lambda: defaultdict(dict))
    answers, prompts_by_row = {}, PromptsByRow()
    stopped = {name for name in study.plan.arms if study.stopped(name)}
    for run in filter(study.is_here, arm_runs(study.plan)):
        if run.arm in stopped:
            continue
        of_row = prompts_by_row.of(study.recipe(run))
        for name, values in logged_values(study.run_folder(run)).items():
            measured[run.arm][name][run.seed] = by_prompt(values, of_row if METRICS[name].by_row else {})
        if study.is_asked(run):
            answers[run] = _answers(study.job_folder(run), prompts)
    if (study.folder / START / "answers.jsonl").exists():
        answers[ArmRun(START, 0)] = _answers(study.folder / START, prompts)
    for run, system in answers.items():
        for name, values in answer_values(study, prompts, system).items():
            measured[run.arm][name][run.seed] = values
    by_arm = {arm: dict(names) for arm, names in measured.items()}
    return StudyData(by_arm, prompts, answers)


def logged_values(run: Path) -> dict[str, dict[str, float]]:
    """Return the held-out values of a run after training, by metric (`METRICS`) and row."""
    numbers = (read_state_if_there(run / "end.json") or {}).get("numbers", {})
    return {name: numbers[m.logged] for name, m in METRICS.items() if m.logged and m.logged in numbers}


def answer_values(study: Study, prompts: list[Prompt], system: System) -> dict[str, dict[str, float]]:
    """Return the metrics `good` and `words` of a system's answers, by prompt.

    Prompts without an answer are omitted; for `good` also those without a score.
    """
    assert study.plan.answers is not None
    scorer = checks.build(checks.Config(check=study.plan.answers.check))
    answered = [(p, answer) for p in prompts if (answer := system.answers.get(p.id)) is not None]
    scores = scorer.score([p for p, _ in answered], [answer for _, answer in answered])
    good = {p.id: s.value for (p, _), s in zip(answered, scores, strict=True) if s.value is not None}
    return {"good": good, "words": {p.id: float(len(words(answer))) for p, answer in answered}}


class PromptsByRow:
    """Reads the prompts of held-out rows. Data that several arms share are read once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def of(self, recipe: Recipe) -> dict[str, str]:
        """Return the prompt of each held-out row of a recipe, as JSON, by the row's id in its runs."""
        kind, data = kind_of(recipe).data, recipe.data.model_dump(mode="json")
        key = json.dumps([kind, data, recipe.split_seed])
        if key not in self._known:
            held_out = distinct_ids(read_split(recipe.data, kind, recipe.split_seed).eval.examples)
            self._known[key] = {example.id: json.dumps(prompt_of(example)) for example in held_out}
        return self._known[key]


def _answers(folder: Path, prompts: list[Prompt]) -> System:
    file = folder / "answers.jsonl"
    refuse_changed_rows(file)
    return matched(folder.name, prompts, read_answers(file), file)
