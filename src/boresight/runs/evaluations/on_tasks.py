"""Run tasks of lm-evaluation-harness on models, compare the models by document, and write the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.evaluation.harness.comparison import TaskComparison
from boresight.evaluation.harness.documents import Document, read_documents, write_documents
from boresight.evaluation.harness.run_tasks import open_tasks, run_tasks
from boresight.evaluation.recipe import HarnessRecipe
from boresight.evaluation.systems import refuse_missing_systems
from boresight.models.source import print_note_on_base
from boresight.runs.evaluation_folder import EvaluationFolder
from boresight.runs.evaluations.against_reference import EvaluationAgainstReference
from boresight.runs.evaluations.answering_model import (
    model_digest,
    refuse_other_models,
    write_model_digest,
)

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TaskEvaluation(EvaluationAgainstReference[TaskComparison]):
    """Result of an evaluation on tasks; the first system is the reference."""

    @property
    def results(self) -> dict[str, Sequence[Document]]:
        """The documents of every system, by name."""
        return dict(self.found.systems)

    @property
    def reference(self) -> str:
        """Name of the first system."""
        return self.found.reference

    @property
    def sentences(self) -> list[str]:
        """Verdicts, and warnings about missing values."""
        return [*self.found.verdicts, *self.found.notes]


def run_on_tasks(recipe: HarnessRecipe, folder: Path, console: Console) -> TaskEvaluation:
    """Run an evaluation on tasks, and write its results and its page to `folder`.

    If `folder` holds an interrupted evaluation with the same recipe, it is continued with the missing
    systems.

    Raises:
        UserError: the harness is not installed, `folder` holds something else, or anything in the recipe or
            its tasks is wrong.
    """
    from boresight.reports.evaluations.tasks import write_tasks_page

    refuse_missing_systems(recipe)
    tasks = open_tasks(recipe.lm_eval)
    with EvaluationFolder(folder) as files:
        files.open(recipe.to_dict())  # after every check that can fail
        refuse_other_models(files, recipe)
        systems = {name: _documents(name, recipe, tasks, files, console) for name in recipe.systems}
        found = TaskComparison(systems)
        files.write_results(found.as_dict())
        write_tasks_page(files.report, found)
    evaluation = TaskEvaluation(folder, found)
    evaluation.show(console)
    return evaluation


def _documents(
    name: str, recipe: HarnessRecipe, tasks: Any, files: EvaluationFolder, console: Console
) -> list[Document]:
    """Return a system's scored documents: from the folder if it has them, else by running the tasks now."""
    from boresight.models.checkpoint.leftovers import Allowed
    from boresight.models.load import load_model, load_tokenizer

    kept = files.documents(name)
    if not kept.exists():
        model, settings = recipe.systems[name].model or "", recipe.generate
        named = ", ".join(recipe.lm_eval.tasks)
        console.print(f"{name}: running {named} on {model}", markup=False, highlight=False)
        print_note_on_base(model, console)
        allowed, digest = Allowed(tuple(settings.allow_weights)), model_digest(model)
        policy = load_model(model, device=settings.device, allowed=allowed)
        found = run_tasks(policy, load_tokenizer(model), recipe.lm_eval, tasks, recipe.limit)
        write_model_digest(kept, digest)
        write_documents(kept, found)
    return read_documents(kept)
