"""Read and write files with several completions per prompt.

    {"prompt": "2 + 2?", "completions": ["4", "5"], "truncated": [false, false]}
    {"id": "q7", "completion": "4", "finish_reason": "stop"}
    {"nums": [3, 4], "target": 7, "completion": "<answer>3 + 4</answer>"}

Files may come from any program or from an earlier evaluation. Rows with the same prompt are combined. A row
belongs to the prompt with the same text, or to the Countdown problem with the same target and numbers, in any
order. A row with neither belongs to the prompt with the same id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import write_hashed_jsonl
from boresight.core.schema import Prompt
from boresight.core.strict_model import is_count
from boresight.data.reading import names
from boresight.data.reading.files import records
from boresight.data.reading.same_prompt import prompt_key
from boresight.evaluation.response import MISSING, Response
from boresight.evaluation.systems import CUT_AT, PROMPT_FIELDS, answers_file, to_conversation, with_lists
from boresight.tasks.countdown.problems import LAYOUTS, problem_of
from boresight.tasks.countdown.prompts import countdown_prompt

SEVERAL = ("completions", "responses", "generations")
SINGLE = ("completion", "response", "output", "after", names.GOLD)
"""Columns that contain one completion, in order of precedence.

Next to another of these columns, `answer` is the reference answer for the reward.
"""
TRUNCATED = ("truncated", "finish_reason", "finish_reasons")
FINISHES = {"length": True, "max_tokens": True, "stop": False, "eos": False, "end_turn": False}
"""Whether each value of `finish_reason` means that the completion is truncated."""
WORDS = {"true": True, "false": False, "": None}
"""Truth values as text, in lower case, as in CSV files; None if the value is missing."""


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """One row of a file of completions.

    Attributes:
        where: file and row number, for errors.
        prompt: None if the row has only an id.
        responses: the completions of the row.
    """

    where: str
    id: str | None
    prompt: Prompt | None
    responses: tuple[Response, ...]


def read_completions(source: str | Path) -> list[CompletionRow]:
    """Read a file of completions, or the trained model's samples in a run folder.

    The file may have any type that training data may have.

    Raises:
        UserError: no such file, or a row without completions, or without a prompt and an id.
    """
    file = answers_file(source)
    return [_row(row, f"{file}, row {number}") for number, row in records(file)]


def write_completions(path: Path, prompts: Sequence[Prompt], found: Sequence[Sequence[Response]]) -> None:
    """Write responses `found[prompt][sample]` to a file that `read_completions` reads, atomically."""
    rows = (
        {
            "id": prompt.id,
            "prompt": prompt.prompt,
            "completions": [response.text for response in responses],
            "truncated": [response.truncated for response in responses],
            CUT_AT: [response.cut_at for response in responses],
        }
        for prompt, responses in zip(prompts, found, strict=True)
    )
    write_hashed_jsonl(path, rows)


def prompts_of_completions(rows: Sequence[CompletionRow]) -> list[Prompt]:
    """Return the prompt of every row, with the row's other columns in `meta`.

    Raises:
        UserError: a row has only an id.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        if row.prompt is None:
            raise UserError(f"{row.where}: `prompt` is missing; add it, or set prompts in the recipe.")
        found.append(Prompt(row.prompt.prompt, row.id or f"row-{number}", row.prompt.meta))
    return found


def matched_completions(
    prompts: Sequence[Prompt], rows: Sequence[CompletionRow], source: str | Path
) -> tuple[list[list[Response]], int]:
    """Match completions to prompts.

    Args:
        source: file of the rows, for errors.

    Returns:
        The responses as `result[prompt][sample]`, with one missing response for a prompt without a row, and
        the number of completions that belong to none of the prompts.

    Raises:
        UserError: no prompt has a completion, so the files do not belong together.
    """
    places: dict[str, int] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(_by_id(prompt.id), place)
        places[prompt_key(prompt)] = place
    found: list[list[Response]] = [[] for _ in prompts]
    others = 0
    for row in rows:
        key = _by_id(row.id) if row.prompt is None else prompt_key(row.prompt)
        if key in places:
            found[places[key]] += row.responses
        else:
            others += len(row.responses)
    if not any(found):
        raise UserError(
            f"{source}: completes none of the {len(prompts):,} prompts; its `prompt` (or, without it, its "
            "`id`) must be that of the prompts file."
        )
    return [responses or [MISSING] for responses in found], others


def _by_id(id: str | None) -> str:
    """Return a key for an id that cannot equal the key of a prompt."""
    return f"\0id {id}"


def _row(row: object, where: str) -> CompletionRow:
    if not isinstance(row, dict):
        raise UserError(f"{where}: not an object; write one with prompt and completions.")
    row = with_lists(row, where)
    column = next((name for name in (*SEVERAL, *SINGLE) if name in row), None)
    if column is None:
        raise UserError(f"{where}: there is no completion; name the column completion or completions.")
    texts = row[column] if column in SEVERAL else [row[column]]
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise UserError(f"{where}: {column} is not text; give the model's text, or null where it is missing.")
    ends, cuts = _truncated(row, len(texts), where), _cut_at(row, len(texts), where)
    responses = tuple(Response(*parts) for parts in zip(texts, ends, cuts, strict=True))
    id = None if row.get("id") is None else str(row["id"])
    return CompletionRow(where, id, _prompt(row, column, id, where), responses)


def _prompt(row: Mapping[str, Any], column: str, id: str | None, where: str) -> Prompt | None:
    """Return the prompt of a row; None if the row has only an id."""
    asked = next((name for name in PROMPT_FIELDS if row.get(name) is not None), None)
    if asked is not None:
        used = {asked, column, "id", CUT_AT, *TRUNCATED}
        meta = {key: value for key, value in row.items() if key not in used}
        return Prompt(to_conversation(row[asked], asked, where), id or "", meta)
    if any(numbers in row and target in row for numbers, target in LAYOUTS):
        return countdown_prompt(problem_of(row, where))
    if id is None:
        raise UserError(f"{where}: `prompt` and `id` are both missing; give one to match completions by.")
    return None


def _truncated(row: Mapping[str, Any], count: int, where: str) -> list[bool | None]:
    """Return whether each of `count` completions is truncated; None if the row does not contain it."""
    column = next((name for name in TRUNCATED if row.get(name) is not None), None)
    if column is None:
        return [None] * count
    given = row[column] if isinstance(row[column], list) else [row[column]] * count
    if len(given) != count:
        raise UserError(f"{where}: {column} has {len(given)} entries for {count} completions; give one each.")
    return list(_ends(given, column, where))


def _cut_at(row: Mapping[str, Any], count: int, where: str) -> list[int | None]:
    """Return the number of tokens after which the token limit cut each of `count` completions.

    None for a completion that was not cut, or if the row does not contain the number.
    """
    given = row.get(CUT_AT)
    if given is None:
        return [None] * count
    cuts: list[Any] = given if isinstance(given, list) else [given]
    if len(cuts) != count or any(cut is not None and not is_count(cut) for cut in cuts):
        raise UserError(f"{where}: {CUT_AT} is not a number of tokens or null for each completion.")
    return cuts


def _ends(given: Sequence[object], column: str, where: str) -> Iterator[bool | None]:
    for end in given:
        if end is None or isinstance(end, bool):
            yield end
        elif isinstance(end, str) and column != "truncated":
            yield FINISHES.get(end)
        elif isinstance(end, str) and end.lower() in WORDS:
            yield WORDS[end.lower()]
        else:
            raise UserError(f"{where}: {column} holds {str(end)[:40]!r}; give true, false or null.")
