"""Match answers of systems to prompts.

A set may contain a prompt several times (221 pairs of HH-RLHF have 102 prompts), and an answers file then
contains several answers to it. The first answer of one system is compared with the first of the other, the
second with the second, and so on. A comparison with the same prompt and answers as an earlier one is dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.schema import Message, Prompt
from boresight.data.stored.digests import distinct_ids
from boresight.evaluation.win_rate import System


@dataclass(frozen=True, slots=True)
class SystemAnswer:
    """One row of an answers file, with a prompt, an id, or both."""

    id: str | None
    prompt: list[Message] | None
    answer: str | None
    cut_at: int | None = None
    """Number of tokens after which the token limit cut the answer; None if it was not cut or is unknown."""


def prompt_text(prompt: Prompt) -> str:
    """Return the text by which prompts are matched: the roles and contents of all turns, as JSON."""
    return _text(prompt.prompt)


def each_once(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts without duplicates: the first prompt of each text, in the given order."""
    first: dict[str, Prompt] = {}
    for p in prompts:
        first.setdefault(prompt_text(p), p)
    return list(first.values())


def matched(
    name: str, prompts: Sequence[Prompt], answers: Sequence[SystemAnswer], source: str | Path
) -> System:
    """Match answers to prompts by text, or by id for rows without a prompt, and return them as a system.

    The nth of several equal prompts gets the nth answer; a single answer is used for all of them. The answer
    to a prompt without one is None.

    Args:
        name: name of the system.
        source: file of the answers, for errors.

    Raises:
        UserError: no prompt has an answer, so the files do not belong together.
    """
    by_text, by_id = _grouped(answers)
    first_id = {prompt_text(p): p.id for p in each_once(prompts)}
    places: Counter[str] = Counter()
    found: dict[str, SystemAnswer] = {}
    for p in prompts:
        text = prompt_text(p)
        given = by_text.get(text) or by_id.get(p.id) or by_id.get(first_id[text], [])
        place = 0 if len(given) == 1 else places[text]
        places[text] += 1
        if place < len(given):
            found[p.id] = given[place]
    if not found:
        raise UserError(
            f"{source}: answers none of the {len(prompts):,} prompts; "
            "its `prompt` (or, without it, its `id`) must be that of the prompts file."
        )
    cut_at = {id: row.cut_at for id, row in found.items() if row.cut_at is not None}
    return System(name, {p.id: found[p.id].answer if p.id in found else None for p in prompts}, cut_at)


def repeated(prompts: Sequence[Prompt], files: Sequence[Sequence[SystemAnswer]]) -> list[Prompt]:
    """Return the prompts, with copies of those that a file answers more often than they occur.

    Copies come last, and all ids are distinct.
    """
    counts = Counter(map(prompt_text, prompts))
    groups = list(map(_grouped, files))
    copies = []
    for p in each_once(prompts):
        text = prompt_text(p)
        answered = (len(by_text.get(text) or by_id.get(p.id, [])) for by_text, by_id in groups)
        copies += [p] * (max(answered, default=0) - counts[text])
    return list(distinct_ids([*prompts, *copies]))


def distinct_comparisons(prompts: Sequence[Prompt], systems: Sequence[System]) -> list[Prompt]:
    """Return the prompts without those whose text and answers of all systems equal an earlier prompt's."""
    first: dict[tuple[str | None, ...], Prompt] = {}
    for p in prompts:
        first.setdefault((prompt_text(p), *(system.answers.get(p.id) for system in systems)), p)
    return list(first.values())


Grouped = Mapping[str, Sequence[SystemAnswer]]


def _grouped(answers: Sequence[SystemAnswer]) -> tuple[Grouped, Grouped]:
    """Return the answers with a prompt by its text, and those without one by id, each in the given order."""
    by_text: dict[str, list[SystemAnswer]] = {}
    by_id: dict[str, list[SystemAnswer]] = {}
    for row in answers:
        if row.prompt is not None:
            by_text.setdefault(_text(row.prompt), []).append(row)
        else:
            by_id.setdefault(str(row.id), []).append(row)
    return by_text, by_id


def _text(turns: Sequence[Message]) -> str:
    return json.dumps([[m["role"], m["content"]] for m in turns])
