"""One evaluation from recipe to page: answer, judge, test the judge, write it all down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from boresight.config import DataSection
from boresight.data.prepare import read_data
from boresight.data.schema import Prompt
from boresight.data.synthesize.ledger import Ledger
from boresight.errors import UserError
from boresight.evaluate import judges, trust
from boresight.evaluate.judges import reward_model
from boresight.evaluate.judges.base import Judge
from boresight.evaluate.judges.endpoint import EndpointConfig, Kept, LedgerCompleter
from boresight.evaluate.recipe import Asked, CountdownRecipe, SystemSection, WinRateRecipe
from boresight.evaluate.systems import ask_server, generate, matched, prompts_of, read_answers, write_answers
from boresight.evaluate.trust import Trust
from boresight.evaluate.win_rate import System, Tournament, WinRate, tournament
from boresight.shown import Shown
from boresight.whole_file import write_whole

if TYPE_CHECKING:
    from boresight.evaluate.countdown_run import CountdownEvaluation


@dataclass(frozen=True)
class Evaluation(Shown):
    """What an evaluation found. `pairs` compares every two systems; the first system is the reference."""

    folder: Path
    tournament: Tournament
    trust: Trust

    @property
    def pairs(self) -> tuple[WinRate, ...]:
        """Win rates, by prompt and in sum."""
        return self.tournament.pairs

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def show(self, console: Console) -> None:
        """Print rates, verdicts and what is known of the judge."""
        rates = [pair.rate_in_words for pair in self.pairs]
        for sentence in [*rates, *self.tournament.verdicts, *self.trust.sentences]:
            console.print(sentence, markup=False, highlight=False)
        console.print(f"report: {self.page}", markup=False, highlight=False)


def run_any(
    recipe: WinRateRecipe | CountdownRecipe, folder: Path, console: Console | None = None
) -> Evaluation | CountdownEvaluation:
    """Evaluate by a recipe of either kind into `folder`."""
    if isinstance(recipe, WinRateRecipe):
        return run(recipe, folder, console)
    from boresight.evaluate import countdown_run

    return countdown_run.run(recipe, folder, console or Console(soft_wrap=True))


def run(recipe: WinRateRecipe, folder: Path, console: Console | None = None) -> Evaluation:
    """Evaluate by `recipe` into `folder`, which holds the page afterwards.

    A folder that an interrupted evaluation of the same recipe left is continued: answers that were
    generated and replies that were paid for are used again.

    Raises:
        UserError: `folder` holds another evaluation, or anything in the recipe or the files is wrong.
    """
    from boresight.report.win_rate import write_win_rate_page

    console = console or Console(soft_wrap=True)
    open_folder(folder, recipe)
    prompts = read_prompts(recipe, console)
    console.print(f"{len(prompts):,} prompts, {len(recipe.systems)} systems", highlight=False)
    with ExitStack() as inside:
        judge = build_judge(recipe, inside, console)
        systems = [_answers(name, s, recipe, prompts, folder, console) for name, s in recipe.systems.items()]
        console.print(f"judging with {judge.name}", markup=False, highlight=False)
        found = tournament(prompts, systems, judge)
        believed = examine(judge, recipe, prompts, systems, found)
    write_results(folder, found, believed)
    evaluation = Evaluation(folder, found, believed)
    write_win_rate_page(evaluation.page, found, believed)
    evaluation.show(console)
    return evaluation


def read_prompts(recipe: Asked, console: Console) -> list[Prompt]:
    """The held-out prompts, each once."""
    if recipe.prompts is None:
        source = next(iter(recipe.systems.values())).answers or ""
        found = prompts_of(read_answers(source), source)
    else:
        section = DataSection(train=recipe.prompts, layout=recipe.layout, bad_rows="drop")
        loaded = read_data(recipe.prompts, "prompt", section)
        console.print(loaded.sentence, markup=False, highlight=False)
        found = [p for p in loaded.examples if isinstance(p, Prompt)]
    # A prompt that stands there twice would count as two independent ones.
    once = {json.dumps(p.prompt): p for p in reversed(found)}
    prompts = list(reversed(once.values()))[: recipe.limit]
    repeated = [id for id, count in Counter(p.id for p in prompts).items() if count > 1]
    if repeated:
        raise UserError(f"prompts: the id {repeated[0]!r} stands for several prompts; give each its own.")
    return prompts


def build_judge(recipe: WinRateRecipe, inside: ExitStack, console: Console) -> Judge:
    """The recipe's judge; one that models score for keeps its ledger open until `inside` closes."""
    completer: LedgerCompleter | Kept | None = None
    if isinstance(recipe.judge, EndpointConfig):
        completer = LedgerCompleter(recipe.judge, inside.enter_context(Ledger(recipe.ledger)), console)
    elif isinstance(recipe.judge, reward_model.Config):
        completer = Kept(inside.enter_context(Ledger(recipe.ledger)))
    judge: Judge = judges.get(recipe.judge_name).build(recipe.judge, completer, console)
    return judge


def examine(
    judge: Judge,
    recipe: WinRateRecipe,
    prompts: Sequence[Prompt],
    systems: Sequence[System],
    found: Tournament,
) -> Trust:
    """Whether the judge can be believed, on the answers of the first two systems."""
    wanted = recipe.trust
    a, b = ([s.answers.get(p.id) for p in prompts] for s in (systems[1], systems[0]))
    controls = trust.planted_controls(judge, prompts, b, wanted.controls) if wanted.controls else ()
    itself = trust.self_agreement(judge, prompts, a, b, wanted.repeats) if wanted.repeats else None
    people = trust.human_agreement(judge, Path(wanted.people)) if wanted.people else None
    unknown = {
        "No planted case could be judged.": wanted.controls and not controls,
        "No question was answered when it was asked again.": wanted.repeats and itself is None,
        f"Not one pair of {wanted.people} could be judged.": wanted.people and people is None,
    }
    return Trust(
        controls=controls,
        itself=itself,
        order=trust.order_effects([c.judgement for pair in found.pairs for c in pair.comparisons]),
        people=people,
        notes=tuple(sentence for sentence, holds in unknown.items() if holds),
    )


def write_results(folder: Path, found: Tournament, believed: Trust) -> None:
    """`evaluation.json`, and `comparisons.jsonl` with a line a prompt and pair."""
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
    write_whole(folder / "comparisons.jsonl", "".join(as_json(line) + "\n" for line in lines))
    write_whole(folder / "evaluation.json", as_json(results, indent=1) + "\n")


def open_folder(folder: Path, recipe: Asked) -> None:
    """Make the folder of an evaluation, or go on in one that the same recipe left.

    Raises:
        UserError: it holds anything else.
    """
    from boresight.train.environment import environment

    config = folder / "config.yaml"
    if config.exists() and config.read_text(encoding="utf-8") != recipe.to_yaml():
        raise UserError(f"{folder}: holds an evaluation by another recipe; give another folder with --run.")
    if folder.is_dir() and any(folder.iterdir()) and not config.exists():
        raise UserError(f"{folder}: holds something else already; give another folder with --run.")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(config, recipe.to_yaml())
    write_whole(folder / "environment.json", as_json(environment(), indent=1) + "\n")


def _answers(
    name: str,
    section: SystemSection,
    recipe: WinRateRecipe,
    prompts: Sequence[Prompt],
    folder: Path,
    console: Console,
) -> System:
    """A system's answers: from where the recipe says, or as this folder already has them."""
    if section.answers is not None:
        return matched(name, prompts, read_answers(section.answers), section.answers)
    kept = folder / f"answers-{file_name(name)}.jsonl"
    if kept.exists():
        return matched(name, prompts, read_answers(kept), kept)
    if section.base_url is not None:
        system = ask_server(name, section, prompts, recipe.generate, console)
    else:
        system = generate(name, section.model or "", prompts, recipe.generate, console)
    write_answers(kept, prompts, system)
    return system


def file_name(name: str) -> str:
    """A system's name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON, which has no infinity: a limit that is not known is null."""
    return json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
