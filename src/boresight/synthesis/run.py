"""Run a synthesis in one folder: prompts → answers → judge → pairs → card.

    runs/NAME/
      config.yaml      the resolved recipe
      ledger.sqlite    every paid response; if it is deleted, all requests are sent again
      prompts.jsonl    the prompts
      answers.jsonl    every answer with its score, or the reason why it has none
      pairs.jsonl      the data for `boresight train`
      card.md          description of the data set
      pairs.parquet    the same pairs, if Parquet can represent them and its package is installed

Run the same command again to resume. Requests in the ledger are not sent again, so a change of the recipe
costs only the requests that it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.core.console import print_warning
from boresight.core.errors import UserError, first_line
from boresight.core.files import atomic_file, json_line, write_text
from boresight.core.printable import Printable
from boresight.core.schema import Preference, Prompt
from boresight.core.wording import is_or_are, plural
from boresight.data.write import write_examples
from boresight.llm.endpoint import EndpointSection
from boresight.llm.replies.failures import Stopped, continuing
from boresight.llm.session import Session
from boresight.runs.folder import RunFolder
from boresight.scorers.judges.endpoint import EndpointConfig
from boresight.synthesis.answers import Answers, identical_samples, make_answers
from boresight.synthesis.card import Tally, card
from boresight.synthesis.filters import Sieve
from boresight.synthesis.judge import Judged, Scored, judge_all
from boresight.synthesis.judge_config import RubricConfig, endpoint_of
from boresight.synthesis.pairs import make_pairs
from boresight.synthesis.prompts import make_prompts, read_prompt_source
from boresight.synthesis.recipe import SynthesisRecipe

LEDGER = "ledger.sqlite"
RESULTS = ("pairs.jsonl", "pairs.parquet", "card.md")
SPENDING = ("budget", "stuck_after")
"""Sections of the recipe that affect how much data is made, but not its content."""


@dataclass(frozen=True, slots=True)
class Made(Printable):
    """The result of a synthesis: `pairs` preference pairs in `folder`, described by `card`."""

    folder: Path
    pairs: int
    card: Path

    @property
    def file(self) -> Path:
        """Path of the pairs, a file for `boresight train`."""
        return self.folder / "pairs.jsonl"

    def show(self, console: Console) -> None:
        """Print the number and the path of the pairs."""
        line = f"{plural(self.pairs, 'pair')} in {self.file}; {self.card} describes them."
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def run_synthesis(recipe: SynthesisRecipe, folder: Path, console: Console | None = None) -> Made:
    """Make the data set of a recipe in `folder`, or resume making it.

    Raises:
        Stopped: the budget is spent (pairs from the replies so far are written), or an endpoint fails.
        UserError: the prompts cannot be read, or there is no pair.
    """
    with continuing("run the same command again"):
        return _made(recipe, folder, console)


def _made(recipe: SynthesisRecipe, folder: Path, console: Console | None) -> Made:
    source = read_prompt_source(recipe.prompts, recipe.seed)
    _refuse_foreign(folder)
    endpoints, ledger = used_endpoints(recipe), folder / LEDGER
    with Session(
        ledger, endpoints, recipe.budget, stuck_after=recipe.stuck_after, console=console
    ) as session:
        # No file is changed before this line: the session has locked the ledger.
        _begin(recipe, folder)
        say = partial(console.print, highlight=False, markup=False) if console else (lambda _: None)
        warn = partial(print_warning, console) if console else say
        sieve, tally = Sieve(), Tally()
        prompts = _prompts(session, recipe, folder, source, sieve)
        make_answers(session, recipe, prompts)
        answered = Answers(session.ledger, recipe, prompts)
        identical = identical_samples(recipe, answered)
        for sentence in identical:
            warn(sentence)
        judged = _written(judge_all(session, recipe, answered), folder / "answers.jsonl", tally)
        pairs = list(make_pairs(judged, recipe.pairs, sieve))
        if not pairs:
            _remove(folder, RESULTS)
            raise UserError(_nothing(folder, session, sieve))
        write_examples(pairs, folder / "pairs.jsonl")
        over = session.client.over_budget
        text = card(recipe, tally, pairs, sieve, session.ledger, identical, session.unpriced, over)
        write_text(folder / "card.md", text)
        if why := _without_parquet(pairs, folder):
            warn(f"pairs.parquet is not written ({why}); pairs.jsonl has the same pairs.")
        if sieve.counts:
            say(f"dropped: {sieve.say()}")
        if over:
            raise Stopped(
                f"{over} is reached: {plural(len(pairs), 'pair')} {is_or_are(len(pairs))} written from what "
                "was bought; raise it."
            )
    return Made(folder, len(pairs), folder / "card.md")


def used_endpoints(recipe: SynthesisRecipe) -> list[EndpointSection]:
    """Return the endpoints that the recipe uses, with that of a judge, each once. Only these need keys."""
    names = [answers.by for answers in recipe.answers.values()]
    names += [recipe.prompts.new.by] if recipe.prompts.new else []
    names += [recipe.judge.by] if isinstance(recipe.judge, RubricConfig) else []
    used = [recipe.endpoints[name] for name in dict.fromkeys(names)]
    if isinstance(recipe.judge, EndpointConfig):
        its = endpoint_of(recipe.judge)
        if (its.base_url, its.model) not in {(e.base_url, e.model) for e in used}:
            used.append(its)
    return used


def _refuse_foreign(folder: Path) -> None:
    """Raise a `UserError` if the folder contains something that is no synthesis, such as a run.

    A folder with a ledger is accepted, also without a recipe: a process may have been killed between writing
    the ledger, its first file, and the recipe.
    """
    ledger = folder / LEDGER
    if not (ledger.exists() or ledger.with_suffix(".lock").exists()):
        _run_folder(folder).refuse_foreign()


def _run_folder(folder: Path) -> RunFolder:
    return RunFolder(folder, noun="synthesis", section="endpoints")


def _begin(recipe: SynthesisRecipe, folder: Path) -> None:
    """Delete the results of another recipe and write the recipe.

    If this run fails, the folder must not contain a recipe with the results of another one.
    """
    old = _run_folder(folder).recipe()
    if old is not None and _what(SynthesisRecipe.completed(old)) != _what(recipe.to_dict()):
        _remove(folder, ("answers.jsonl", *RESULTS))
    write_text(folder / "config.yaml", recipe.to_yaml())


def _what(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {section: value for section, value in recipe.items() if section not in SPENDING}


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _without_parquet(pairs: Sequence[Preference], folder: Path) -> str:
    """Write `pairs.parquet`; return '' or, if it cannot be written, the reason.

    An earlier `pairs.parquet` is deleted if the new one cannot be written.
    """
    path = folder / "pairs.parquet"
    try:
        write_examples(pairs, path)
    except (UserError, ValueError, TypeError) as error:  # pyarrow's errors are of the latter two types
        _remove(folder, [path.name])
        return first_line(error).removeprefix(f"{path}: ").rstrip(".")
    return ""


def _prompts(
    session: Session, recipe: SynthesisRecipe, folder: Path, source: list[Prompt], sieve: Sieve
) -> list[Prompt]:
    prompts = make_prompts(session, recipe, source, sieve)
    if not prompts:
        raise UserError(f"prompts: none is left ({sieve.say() or 'there were none'}); give others.")
    write_examples(prompts, folder / "prompts.jsonl")
    return prompts


def _written(judged: Iterator[Judged], path: Path, tally: Tally) -> Iterator[Judged]:
    """Count each row, write it to the file `path`, and yield it. The file appears after the last row."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for row in judged:
            tally.add(row)
            line = {"id": row.prompt.id, "prompt": row.prompt.prompt, "flipped": row.flipped}
            answers = [_record(scored) for scored in row.scored]
            file.write(json_line({**line, "answers": answers}))
            yield row


def _record(scored: Scored) -> dict[str, Any]:
    answer = scored.answer
    record = {
        "source": answer.source,
        "model": answer.model,
        "response": answer.key,
        "text": answer.text,
        "score": scored.score,
        "axes": scored.axes,
        "failure": answer.reply.failure or scored.failure or None,
    }
    return {name: value for name, value in record.items() if value is not None}


def _nothing(folder: Path, session: Session, sieve: Sieve) -> str:
    why = session.client.over_budget
    reason = f"{why} is reached" if why else sieve.say() or "no answers"
    return f"{folder}: no pair was made ({reason}); the ledger is kept, change the recipe and run again."
