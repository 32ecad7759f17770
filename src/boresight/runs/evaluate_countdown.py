"""How many Countdown problems systems solve, from recipe to files: draw or read, grade, compare, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.core.errors import UserError
from boresight.core.files import refuse_changed_rows, write_hashed_jsonl
from boresight.core.printable import Printable
from boresight.data.reading.files import records
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.shapes import read_text
from boresight.evaluation.prompts import read_prompts
from boresight.evaluation.recipe import CountdownRecipe
from boresight.evaluation.systems import answer_texts, refuse_missing_systems
from boresight.reports.tables.terminal import evaluation_table
from boresight.runs.evaluation_folder import EvaluationFolder
from boresight.runs.trained_prompts import print_trained_prompts
from boresight.stats.paired import Measured
from boresight.stats.verdict import verdict
from boresight.tasks.countdown.evaluation import (
    CountdownResult,
    compare_countdown,
    evaluate_completions,
    evaluate_records,
)
from boresight.tasks.countdown.problems import problem_of
from boresight.tasks.countdown.scorer import Mode

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class CountdownEvaluation(Printable):
    """What was found of every system, by name; the first is the reference."""

    folder: Path
    results: Mapping[str, CountdownResult]

    @property
    def reference(self) -> str:
        """Name of the first system."""
        return next(iter(self.results))

    @property
    def metrics(self) -> dict[str, list[Measured]]:
        """Accuracy, format rate and pass@k of every system but the reference, measured against it; of a
        system that stands alone, by itself."""
        first = self.results[self.reference]
        if len(self.results) == 1:
            return {self.reference: compare_countdown(None, first)}
        return {
            name: compare_countdown(first, r) for name, r in self.results.items() if name != self.reference
        }

    def show(self, console: Console) -> None:
        """Print a table and a sentence for every system."""
        for name, measured in self.metrics.items():
            difference = measured[0].difference
            against = f"{self.reference} (before) and {name} (after)" if difference else name
            console.print(f"{against}, {self.results[name].mode} grading", markup=False, highlight=False)
            console.print(evaluation_table(measured))
            if difference:
                said = verdict(difference, self.reference, name, unit="share")
                console.print(said, markup=False, highlight=False)
        console.print(f"problem by problem: {self.folder}", markup=False, highlight=False)


def run_countdown(recipe: CountdownRecipe, folder: Path, console: Console) -> CountdownEvaluation:
    """Evaluate by `recipe` into `folder`: `evaluation.json`, and every completion in `problems-SYSTEM.jsonl`.

    A folder that an interrupted evaluation of the same recipe left is continued.

    Raises:
        UserError: `folder` holds something else, or anything in the recipe or the files is wrong.
    """
    wanted = recipe.countdown
    given = {
        name: evaluate_file(system.answers, wanted.pass_at, wanted.mode)
        for name, system in recipe.systems.items()
        if system.answers is not None
    }
    asked = read_prompts(recipe, console) if recipe.prompts else []
    prompts = list({prompt_key(p): p for p in reversed(asked)}.values())[::-1]
    problems = [problem_of(p.meta, f"prompts, {p.id}", p.id) for p in prompts]
    refuse_missing_systems(recipe)
    print_trained_prompts(recipe, prompts, console)
    with EvaluationFolder(folder) as files:
        files.open(recipe.to_dict())
        results = {}
        for name, system in recipe.systems.items():
            kept = files.problems(name)
            if name in given:
                results[name] = given[name]
            elif kept.exists():
                refuse_changed_rows(kept)
                results[name] = evaluate_file(kept, wanted.pass_at, wanted.mode)
            else:
                texts = answer_texts(name, system, prompts, recipe, wanted.samples, files.ledger, console)
                results[name] = evaluate_completions(problems, texts, wanted.pass_at, wanted.mode)
            write_hashed_jsonl(kept, (problem.as_dict() for problem in results[name].problems))
        found = CountdownEvaluation(folder, results)
        files.write_results(_summary(found))
    found.show(console)
    return found


def _summary(found: CountdownEvaluation) -> dict[str, Any]:
    """What `evaluation.json` holds."""
    metrics = [
        {**m.as_dict(), "name": m.name if len(found.metrics) == 1 else f"{m.name}:{name}"}
        for name, measured in found.metrics.items()
        for m in measured
    ]
    return {"metrics": metrics, "systems": {name: result.as_dict() for name, result in found.results.items()}}


def evaluate_file(path: str | Path, ks: Sequence[int] = (1,), mode: Mode = "strict") -> CountdownResult:
    """Evaluate completions in a file of any type that data may have; rows are those of `evaluate_records`.

    Raises:
        UserError: no such file, or a row that lacks a problem or a completion.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file; give one of problems and completions.")
    rows = ((number, read_text(row) if isinstance(row, dict) else row) for number, row in records(path))
    return evaluate_records(rows, str(path), ks, mode)
