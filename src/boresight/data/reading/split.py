"""Read the data section of a recipe and split the examples into training and held-out examples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import Example, Prompt
from boresight.core.wording import plural
from boresight.data import layouts
from boresight.data.reading.files import refuse_absent
from boresight.data.reading.load import BadRow, Loaded, read
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.scored_turns import count_scored, only_last
from boresight.data.reading.sources.generated import PREFIX, read_generated
from boresight.data.reading.sources.mixture import mix
from boresight.data.rendering.system_turns import count_system_turns, drop_system, fold_system
from boresight.data.stored.digests import group_numbers
from boresight.data.stored.view import each_changed, picked


@dataclass(frozen=True, slots=True)
class Part:
    """Training or held-out examples, and the source that they were read from."""

    examples: Sequence[Example]
    path: str
    layout: str
    sha256: str
    bad: list[BadRow]

    @classmethod
    def of(cls, examples: Sequence[Example], loaded: Loaded) -> Part:
        """Make a part of some of the examples of a source."""
        return cls(examples, loaded.source, loaded.layout, loaded.sha256, loaded.bad)


@dataclass(frozen=True, slots=True)
class Split:
    """Training and held-out examples.

    `lines` describes both for the terminal. `shortage` is the reason why fewer rows than `data.eval_rows` are
    held out; "" if there are as many.
    """

    train: Part
    eval: Part
    lines: list[str]
    shortage: str = ""


def read_split(data: DataSection, kind: str, seed: int) -> Split:
    """Read the data and split them with `seed` into training and held-out examples.

    Args:
        data: data section of the recipe.
        kind: one of `convert.KINDS`.
        seed: seed of the split.

    Raises:
        UserError: unreadable data, a malformed row under `bad_rows: error`, or `score: last` for prompts.
    """
    if data.score == "last" and kind == "prompt":
        raise UserError("data.score: prompts have no answer to learn from; remove the setting.")
    sources = {name: _scored(read_data(name, kind, data), data) for name in data.sources}
    lines = [f"train: {source.sentence}" for source in sources.values()]
    if len(sources) == 1:
        (loaded,) = sources.values()
    else:
        loaded = mix(sources, data.sources, seed)
        lines.append(f"train: {loaded.sentence}")
    if data.eval:
        source = _scored(read_data(data.eval, kind, data), data)
        lines.append(f"held out: {source.sentence}")
        available = half(source.examples, data.eval_half)
        train, held = loaded.examples, draw_examples(available, data.eval_rows, seed)
        shortage = _empty_half(source.examples, available, data.eval_half)
        if len(held) < len(available):
            lines.append(
                f"held out: {len(held):,} of {len(available):,} rows are measured; "
                "data.eval_rows is the limit."
            )
    else:
        source = loaded
        train, both = hold_out(loaded.examples, data.eval_rows, seed)
        held = half(both, data.eval_half)
        shortage = _shortage(loaded.examples, len(both), data.eval_rows)
        if shortage:
            lines.append(
                f"held out: {plural(len(both), 'row')} where data.eval_rows={data.eval_rows}; {shortage}."
            )
        shortage = _empty_half(both, held, data.eval_half) or shortage
    if data.limit:
        train = draw_examples(train, data.limit, seed)
    return Split(Part.of(train, loaded), Part.of(held, source), lines, shortage)


def _shortage(examples: Sequence[Example], held: int, wanted: int) -> str:
    """Return why `hold_out` held out fewer rows than `wanted`; "" if it did not."""
    if held >= wanted:
        return ""
    limit = len(examples) // 5
    reasons = [f"at most a fifth of the {len(examples):,} rows is held out"] if limit < wanted else []
    if held < min(wanted, limit):
        smallest = np.bincount(group_numbers(map(prompt_key, examples))).min()
        number = f"each prompt has {smallest:,} rows or more, which" if not held else "rows with one prompt"
        reasons.append(f"{number} stay together")
    return ", and ".join(reasons)


def _empty_half(examples: Sequence[Example], found: Sequence[Example], which: str | None) -> str:
    """Return the reason for an empty evaluation set: no held-out row is in the requested half; else ""."""
    empty = which is not None and len(examples) > 0 and not found
    return f"the {which} half has none of the held-out rows ({len(examples):,})" if empty else ""


def _scored(loaded: Loaded, data: DataSection) -> Loaded:
    """Apply `data.score` to the examples, and add the number of trained turns to the sentence."""
    if data.score == "all":
        return loaded
    examples = each_changed(loaded.examples, only_last)
    kept, turns = count_scored(examples), count_scored(loaded.examples)
    sentence = f"{loaded.sentence}; {kept:,} of {plural(turns, 'assistant turn')} learned (data.score=last)"
    return replace(loaded, examples=examples, sentence=sentence)


def read_data(name: str, kind: str | None, data: DataSection, *, mappable: bool = True) -> Loaded:
    """Read a source as `data.train` names it, and apply `data.system`.

    Args:
        name: a file, a folder or a hub id, the last two with an optional `@split`; or `generate:NAME`.
        kind: one of `convert.KINDS`; None keeps the kind of the source.
        data: data section of the recipe.
        mappable: whether `data.columns` applies to the source, so that messages may suggest a value for it.
    """
    return _with_system(read_source(name, kind, data, mappable=mappable), data)


def read_source(
    name: str, kind: str | None, data: DataSection, limit: int | None = None, *, mappable: bool = True
) -> Loaded:
    """Read a source as `read_data` does, but without a change of system turns.

    Args:
        limit: maximum number of rows.
    """
    if name.startswith(PREFIX):
        if data.columns is not None:
            raise UserError(f"data.columns: {name} is no file whose columns have names; remove the setting.")
        made = read_generated(name, kind)
        return replace(made, examples=made.examples[:limit], rows=made.rows[:limit])
    return read(
        name,
        kind=kind,
        bad_rows=data.bad_rows,
        layout=data.layout,
        columns=data.columns,
        limit=limit,
        mappable=mappable,
    )


def refuse_absent_data(data: DataSection) -> None:
    """Raise a `UserError` for a data file or a layout that does not exist; no data are read."""
    if data.layout is not None:
        layouts.get(data.layout)
    for name in data.all_sources:
        if not name.startswith(PREFIX):
            refuse_absent(name)


def prompts_in(source: str) -> list[Prompt]:
    """Return the prompts of a source, named as in `data.train`; its rows may also have answers."""
    found = read_data(source, "prompt", DataSection(train=source), mappable=False).examples
    return [example for example in found if isinstance(example, Prompt)]


def as_trained(loaded: Loaded, data: DataSection) -> Loaded:
    """Apply `data.system` and `data.score` to the examples."""
    return _scored(_with_system(loaded, data), data)


def _with_system(loaded: Loaded, data: DataSection) -> Loaded:
    """Apply `data.system` to the examples, and add the number of system turns to the sentence."""
    if data.system == "keep":
        return loaded
    change, done = {"fold": (fold_system, "folded into the user's"), "drop": (drop_system, "left out")}[
        data.system
    ]
    turns = plural(count_system_turns(loaded.examples), "system turn")
    sentence = f"{loaded.sentence}; {turns} {done} (data.system={data.system})"
    return replace(loaded, examples=each_changed(loaded.examples, change), sentence=sentence)


def hold_out(
    examples: Sequence[Example], rows: int, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Split off about `rows` held-out examples, at most a fifth of all; returns `(train, held_out)`.

    Examples with the same `prompt_key` are in the same split.
    """
    rows = min(rows, len(examples) // 5)
    of_group = group_numbers(map(prompt_key, examples))
    sizes = np.bincount(of_group)
    held, groups = 0, []
    for group in np.random.default_rng((seed, 0)).permutation(len(sizes)):
        if held + sizes[group] <= rows:
            groups.append(group)
            held += sizes[group]
        if held == rows:
            break
    is_held = np.isin(of_group, groups)
    train, held_out = (picked(examples, np.flatnonzero(side)) for side in (~is_held, is_held))
    return train, held_out


def draw_examples(examples: Sequence[Example], count: int, seed: int) -> Sequence[Example]:
    """Sample `count` of the examples with the seed and keep their order; all examples if there are fewer."""
    return picked(examples, np.sort(np.random.default_rng((seed, 1)).permutation(len(examples))[:count]))


def half(examples: Sequence[Example], which: str | None) -> Sequence[Example]:
    """Return the examples of one half, `selection` or `confirmation`; all examples if `which` is None.

    A digest of the prompt's key determines the half.
    """
    if which is None:
        return examples
    odd = which == "confirmation"
    first = (hashlib.sha256(prompt_key(example).encode()).digest()[0] % 2 for example in examples)
    return picked(examples, np.flatnonzero(np.fromiter(first, np.int64) == odd))
