"""Run an evaluation by a reward: generate or read completions, grade them, compare systems, write files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.files import refuse_changed_rows
from boresight.core.schema import Prompt
from boresight.core.wording import is_or_are, plural
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.stored.digests import distinct_ids
from boresight.evaluation.graded.comparison import RewardComparison
from boresight.evaluation.graded.completions import (
    CompletionRow,
    matched_completions,
    prompts_of_completions,
    read_completions,
    write_completions,
)
from boresight.evaluation.graded.grading import GradedSystem, Grader
from boresight.evaluation.prompts import read_prompts
from boresight.evaluation.recipe import EvaluationRecipe, RewardRecipe, SystemSection
from boresight.evaluation.response import Response
from boresight.evaluation.systems import refuse_missing_systems, responses_of
from boresight.llm.replies.failures import Stopped
from boresight.runs.evaluation_folder import EvaluationFolder
from boresight.runs.evaluations.against_reference import EvaluationAgainstReference
from boresight.runs.evaluations.answering_model import (
    model_digest,
    refuse_other_models,
    write_model_digest,
)
from boresight.runs.trained_prompts import print_trained_prompts
from boresight.scorers.correctness import threshold_of
from boresight.scorers.judge_reward import LEDGER, judge_settings
from boresight.scorers.judges.base import JudgeConfig, Scorer
from boresight.scorers.judges.endpoint import EndpointConfig
from boresight.scorers.open_judge import open_judge

if TYPE_CHECKING:
    from rich.console import Console

Given = Mapping[str, Sequence[CompletionRow]]


@dataclass(frozen=True)
class RewardEvaluation(EvaluationAgainstReference[RewardComparison]):
    """Result of an evaluation by a reward; the first system is the reference."""

    @property
    def results(self) -> dict[str, GradedSystem]:
        """The graded completions of every system, by name."""
        return {system.name: system for system in self.found.systems}

    @property
    def reference(self) -> str:
        """Name of the first system."""
        return self.found.systems[0].name

    @property
    def sentences(self) -> list[str]:
        """Verdicts, the first metric over training seeds, and warnings."""
        groups = [group.sentence for group in self.found.seed_groups]
        return [*self.found.verdicts, *groups, *self.found.notes]

    def show(self, console: Console) -> None:
        """Print the names of the rewards, then tables and sentences."""
        console.print(self.found.graded_by, markup=False, highlight=False)
        super().show(console)


def run_by_reward(
    recipe: RewardRecipe, folder: Path, console: Console, written: EvaluationRecipe | None = None
) -> RewardEvaluation:
    """Run an evaluation by a reward, and write its results and its page to `folder`.

    If `folder` holds an interrupted evaluation with the same recipe, it is continued: generated completions
    are reused.

    Args:
        written: recipe to store in the folder, if `recipe` was derived from it; None for `recipe`.

    Raises:
        UserError: `folder` holds something else, or anything in the recipe or the files is wrong.
    """
    refuse_missing_systems(recipe)
    given = {name: read_completions(s.answers) for name, s in recipe.systems.items() if s.answers is not None}
    prompts = _prompts(recipe, given, console)
    ready = {
        name: _matched(name, recipe.systems[name], prompts, rows, console) for name, rows in given.items()
    }
    _refuse_large_k(recipe, ready)
    print_trained_prompts(recipe, prompts, console)
    with EvaluationFolder(folder) as files, _grader(recipe, prompts, console) as grader:
        files.open((written or recipe).to_dict())  # after every check that can fail
        refuse_other_models(files, recipe)
        systems = []
        for name, section in recipe.systems.items():
            if name not in ready:
                ready[name] = _generated(name, section, recipe, prompts, files, console)
            systems.append(grader.grade(name, prompts, ready[name]))
            _refuse_without_scores(systems[-1], grader)
        rewards = (graded.reward for system in systems for graded in system.all)
        threshold = threshold_of(rewards, recipe.correct_at)
        found = RewardComparison(tuple(systems), recipe.k, threshold, recipe.seeds)
        _write(files, found)
    evaluation = RewardEvaluation(folder, found)
    evaluation.show(console)
    return evaluation


def _prompts(recipe: RewardRecipe, given: Given, console: Console) -> list[Prompt]:
    """Return the distinct prompts of the recipe or, if it names none, of the first system's completions."""
    if recipe.prompts is None:
        asked = prompts_of_completions(given[next(iter(recipe.systems))])
    else:
        asked = read_prompts(recipe, console)
    first: dict[str, Prompt] = {}
    for prompt in asked:
        first.setdefault(prompt_key(prompt), prompt)
    prompts = list(first.values())
    repeated = 0 if recipe.prompts is None else len(asked) - len(prompts)
    if repeated:
        said = f"{repeated:,} of {len(asked):,} prompts repeat an earlier one and are dropped."
        print_warning(console, said)
    if not prompts:
        raise UserError("prompts: there is no prompt to evaluate.")
    return list(distinct_ids(prompts[: recipe.limit]))


@contextmanager
def _grader(recipe: RewardRecipe, prompts: Sequence[Prompt], console: Console) -> Iterator[Grader]:
    """Context manager that yields the grader, after a check that every prompt has what its rewards need."""
    if recipe.rank_by is None:
        grader = Grader(recipe.reward, recipe.reading)
        grader.rewards.refuse_lacking(prompts)
        yield grader
        return
    _refuse_shared_ledger(recipe, recipe.rank_by)
    with open_judge(recipe.rank_by, recipe.ledger, console) as ranker:
        if not isinstance(ranker, Scorer):
            raise UserError(
                f"rank_by: {ranker.name} compares two answers and gives no number; name one that scores."
            )
        grader = Grader(recipe.reward, recipe.reading, ranker)
        grader.rewards.refuse_lacking(prompts)
        yield grader


def _refuse_shared_ledger(recipe: RewardRecipe, rank_by: JudgeConfig) -> None:
    """Raise a `UserError` if `rank_by` and a reward would open the same ledger.

    A ledger can only be open once.
    """
    behind_endpoint = (
        isinstance(judge_settings(reward.judge), EndpointConfig)
        for reward in recipe.reward
        if reward.judge is not None
    )
    same = Path(recipe.ledger).resolve() == Path(LEDGER).resolve()
    if rank_by.needs_ledger and same and any(behind_endpoint):
        raise UserError(f"ledger: {recipe.ledger} is that of reward.judge too; give another path.")


def _matched(
    name: str,
    section: SystemSection,
    prompts: Sequence[Prompt],
    rows: Sequence[CompletionRow],
    console: Console,
) -> list[list[Response]]:
    """Return the completions in a system's file, as `result[prompt][sample]`.

    Completions of other prompts are dropped, and a warning with their number is printed.
    """
    responses, others = matched_completions(prompts, rows, section.answers or "")
    if others:
        verb = is_or_are(others)
        said = f"{name}: {plural(others, 'completion')} {verb} of none of the prompts and {verb} dropped."
        print_warning(console, said)
    return responses


def _generated(
    name: str,
    section: SystemSection,
    recipe: RewardRecipe,
    prompts: Sequence[Prompt],
    files: EvaluationFolder,
    console: Console,
) -> list[list[Response]]:
    """Return a model's completions, as `result[prompt][sample]`.

    They are read from the folder if it has them, else generated and written there.
    """
    kept = next((file for file in (files.answers(name), files.problems(name)) if file.exists()), None)
    if kept is None:
        digest = section.model and model_digest(section.model)
        found = responses_of(name, section, prompts, recipe, recipe.samples, files.ledger, console)
        write_model_digest(files.answers(name), digest)
        write_completions(files.answers(name), prompts, found)
        return found
    refuse_changed_rows(kept)
    responses, _ = matched_completions(prompts, read_completions(kept), kept)
    return responses


def _refuse_large_k(recipe: RewardRecipe, ready: Mapping[str, Sequence[Sequence[Response]]]) -> None:
    """Raise a `UserError` if a k is larger than the number of completions of every prompt."""
    sizes = [len(responses) for found in ready.values() for responses in found]
    most = max([*sizes, *([recipe.samples] if len(ready) < len(recipe.systems) else [])])
    if max(recipe.k) > most:
        raise UserError(
            f"k: {max(recipe.k)} is more than the completions per prompt; give k from 1 to {most}."
        )


def _refuse_without_scores(system: GradedSystem, grader: Grader) -> None:
    """Raise `Stopped` if all completions lack the same requested grade: reward, rank or reading."""
    said = f"not one of {len(system.all):,} completions of {system.name} has a"
    if all(graded.reward is None for graded in system.all):
        reason = system.all[0].failure.rstrip(".")
        raise Stopped(f"reward: {said} score, for instance: {reason}; correct the reward.")
    if grader.ranker is not None and all(graded.rank is None for graded in system.all):
        raise Stopped(f"rank_by: {said} score; correct the judge, or leave it out.", other_recipe=True)
    if grader.reader is not None and all(graded.reading is None for graded in system.all):
        raise Stopped(f"reading: {said} reading, since the function raises; correct it.")


def _write(files: EvaluationFolder, found: RewardComparison) -> None:
    """Write every completion, the numbers and the page."""
    from boresight.reports.evaluations.graded import write_graded_page

    for system in found.systems:
        files.write_completions(system.name, system.lines(found.threshold))
    files.write_results(found.as_dict())
    write_graded_page(files.report, found)
