"""Run a win-rate evaluation: answer, judge, check the judge, and write the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from boresight.core.console import Terminal
from boresight.core.files import refuse_changed_rows
from boresight.core.printable import Printable
from boresight.core.schema import Prompt
from boresight.core.wording import plural
from boresight.evaluation import judge_controls
from boresight.evaluation.judge_controls import Trust
from boresight.evaluation.matching import distinct_comparisons, each_once, matched, repeated
from boresight.evaluation.prompts import read_prompts
from boresight.evaluation.recipe import (
    CountdownRecipe,
    EvaluationRecipe,
    HarnessRecipe,
    RewardRecipe,
    SystemSection,
    TrustSection,
    WinRateRecipe,
)
from boresight.evaluation.systems import (
    as_system,
    read_answers,
    refuse_missing_systems,
    responses_of,
    write_answers,
)
from boresight.evaluation.win_rate import System, Tournament, WinRate, tournament
from boresight.runs.evaluation_folder import EvaluationFolder
from boresight.runs.evaluations.answering_model import (
    model_digest,
    refuse_other_models,
    write_model_digest,
)
from boresight.runs.trained_prompts import print_trained_prompts
from boresight.scorers.judges.base import Judge
from boresight.scorers.judges.recorded import RecordedJudge
from boresight.scorers.open_judge import open_judge
from boresight.stats.agreement import PreferenceAgreement

if TYPE_CHECKING:
    from boresight.runs.evaluations.by_reward import RewardEvaluation
    from boresight.runs.evaluations.on_tasks import TaskEvaluation


@dataclass(frozen=True)
class Evaluation(Printable):
    """Result of a win-rate evaluation; the first system is the reference."""

    folder: Path
    tournament: Tournament
    trust: Trust

    @property
    def pairs(self) -> tuple[WinRate, ...]:
        """Win rate of every pair of systems, with the comparison of each prompt."""
        return self.tournament.pairs

    @property
    def verdicts(self) -> list[str]:
        """One sentence per pair of systems."""
        return self.tournament.verdicts

    @property
    def page(self) -> Path:
        """Path of the report."""
        return self.folder / "report.html"

    def show(self, console: Console) -> None:
        """Print win rates, verdicts and the results of the judge's checks."""
        rates = [pair.rate_in_words for pair in self.pairs]
        sentences = [*rates, *self.tournament.verdicts, self.tournament.distinct_answers]
        for sentence in [*sentences, *self.trust.sentences]:
            console.print(sentence, markup=False, highlight=False)
        console.print(f"report: {self.page}", markup=False, highlight=False)


def run_evaluation(
    recipe: EvaluationRecipe, folder: Path, console: Console | None = None
) -> Evaluation | RewardEvaluation | TaskEvaluation:
    """Run the evaluation of a recipe of any kind, and write its results to `folder`."""
    if isinstance(recipe, WinRateRecipe):
        return run_win_rate(recipe, folder, console)
    if isinstance(recipe, HarnessRecipe):
        from boresight.runs.evaluations.on_tasks import run_on_tasks

        return run_on_tasks(recipe, folder, console or Terminal(soft_wrap=True))
    from boresight.runs.evaluations.by_reward import run_by_reward

    by_reward = recipe.by_reward() if isinstance(recipe, CountdownRecipe) else recipe
    assert isinstance(by_reward, RewardRecipe)
    return run_by_reward(by_reward, folder, console or Terminal(soft_wrap=True), recipe)


def run_win_rate(recipe: WinRateRecipe, folder: Path, console: Console | None = None) -> Evaluation:
    """Run a win-rate evaluation, and write its results and its page to `folder`.

    If `folder` holds an interrupted evaluation with the same recipe, it is continued: generated answers and
    paid replies are reused.

    Raises:
        UserError: `folder` holds another evaluation, or anything in the recipe or the files is wrong.
    """
    console = console or Terminal(soft_wrap=True)
    with EvaluationFolder(folder) as files:
        evaluation = _evaluated(recipe, files, console)
    evaluation.show(console)
    return evaluation


def _evaluated(recipe: WinRateRecipe, files: EvaluationFolder, console: Console) -> Evaluation:
    """Generate, judge and write everything; the part of `run_win_rate` during which the folder is locked."""
    from boresight.reports.evaluations.win_rate import write_win_rate_page

    given = {name: read_answers(s.answers) for name, s in recipe.systems.items() if s.answers is not None}
    refuse_missing_systems(recipe)
    prompts = repeated(read_prompts(recipe, console), list(given.values()))
    print_trained_prompts(recipe, each_once(prompts), console)
    with open_judge(recipe.judge, recipe.ledger, console) as judge:
        files.open(recipe.to_dict())  # after every check that can fail, so that none leaves a folder behind
        refuse_other_models(files, recipe)
        systems = [
            matched(name, prompts, given[name], s.answers)
            if s.answers is not None
            else _generated(name, s, recipe, prompts, files, console)
            for name, s in recipe.systems.items()
        ]
        prompts = distinct_comparisons(prompts, systems)
        console.print(f"{_count(prompts)}, {plural(len(recipe.systems), 'system')}", highlight=False)
        console.print(f"judging with {judge.name}", markup=False, highlight=False)
        found = tournament(prompts, systems, judge)
        believed = examine(judge, recipe, prompts, systems, found)
    write_results(files, found, believed)
    write_win_rate_page(files.report, found, believed)
    return Evaluation(files.path, found, believed)


def examine(
    judge: Judge,
    recipe: WinRateRecipe,
    prompts: Sequence[Prompt],
    systems: Sequence[System],
    found: Tournament,
) -> Trust:
    """Run the sanity checks of the judge on the answers of the first two systems.

    Recorded verdicts exist for these answers only, so that a judge of recorded verdicts is given no controls
    and no repeated requests.
    """
    wanted = recipe.trust
    if isinstance(judge, RecordedJudge):
        return _examined_record(judge, wanted)
    a, b = ([s.answers.get(p.id) for p in prompts] for s in (systems[1], systems[0]))
    controls = judge_controls.planted_controls(judge, prompts, b, wanted.controls) if wanted.controls else ()
    itself = judge_controls.self_agreement(judge, prompts, a, b, wanted.repeats) if wanted.repeats else None
    people, unjudged = _with_people(judge, wanted)
    compared = [c for pair in found.pairs for c in pair.comparisons]
    unknown = {
        "No planted case could be judged.": wanted.controls and not controls,
        "No repeated request was answered.": wanted.repeats and itself is None,
    }
    return Trust(
        controls=controls,
        itself=itself,
        order=judge_controls.order_effects([c.judgment for c in compared], [c.prompt for c in compared]),
        people=people,
        notes=(*(sentence for sentence, holds in unknown.items() if holds), *unjudged),
    )


def _examined_record(judge: RecordedJudge, wanted: TrustSection) -> Trust:
    notes = judge.notes  # read first: the comparison with human labels uses further verdicts
    people, unjudged = _with_people(judge, wanted)
    return Trust(people=people, raters=judge.raters, notes=(*notes, *unjudged))


def _with_people(judge: Judge, wanted: TrustSection) -> tuple[PreferenceAgreement | None, list[str]]:
    """Compare the judge with human labels, if the recipe names a file of them.

    Returns the agreement (None if there is none), and a list with a sentence if no pair could be judged.
    """
    if wanted.people is None:
        return None, []
    found = judge_controls.human_agreement(judge, Path(wanted.people))
    return found, [] if found else [f"Not one pair of {wanted.people} could be judged."]


def write_results(folder: EvaluationFolder, found: Tournament, believed: Trust) -> None:
    """Write win rates and sanity checks to `evaluation.json`, and every comparison to `comparisons.jsonl`."""
    metrics = [
        {
            "name": f"win_rate:{pair.candidate}:{pair.reference}",
            "label": f"win rate of {pair.candidate} over {pair.reference}",
            "before": None,
            "after": pair.rate.as_dict(),
            "difference": None,
            "unit": "share",
            "better": "higher",
        }
        for pair in found.pairs
    ]
    results = {"metrics": metrics, **found.as_dict(), "trust": believed.as_dict()}
    lines = [
        {"reference_system": pair.reference, "candidate_system": pair.candidate, **comparison.as_dict()}
        for pair in found.pairs
        for comparison in pair.comparisons
    ]
    folder.write_comparisons(lines)
    folder.write_results(results)


def _generated(
    name: str,
    section: SystemSection,
    recipe: WinRateRecipe,
    prompts: Sequence[Prompt],
    folder: EvaluationFolder,
    console: Console,
) -> System:
    """Return a model's answers, one per distinct prompt.

    They are read from the folder if it has them, else generated and written there.
    """
    kept = folder.answers(name)
    if not kept.exists():
        asked, digest = each_once(prompts), section.model and model_digest(section.model)
        found = responses_of(name, section, asked, recipe, 1, folder.ledger, console)
        write_model_digest(kept, digest)
        write_answers(kept, asked, as_system(name, asked, found))
    refuse_changed_rows(kept)
    return matched(name, prompts, read_answers(kept), kept)


def _count(prompts: Sequence[Prompt]) -> str:
    different = len(each_once(prompts))
    more = f" with {len(prompts):,} answers each system" if len(prompts) > different else ""
    return f"{plural(different, 'prompt')}{more}"
