"""From a recipe's data section to tokenised training and held-out rows, with an account of both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from boresight.config.recipe import DataSection, Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Example, Preference
from boresight.data.reading.generated import PREFIX, read_generated
from boresight.data.reading.load import Loaded, read
from boresight.data.rows import Row
from boresight.data.tokenize import tokenize


@dataclass(frozen=True, slots=True)
class Side:
    """Training or held-out data: examples that were kept, their rows in the same order, and counts."""

    examples: Sequence[Example]
    rows: Sequence[Row]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Both sides."""

    train: Side
    eval: Side

    def facts(self) -> dict[str, Any]:
        """What `data.json` of a run holds."""
        return {"train": self.train.facts, "eval": self.eval.facts}


_last: dict[str, Prepared] = {}
"""What this process prepared last: a sweep's trials differ in other things than their data."""


def prepare(recipe: Recipe, kind: str, tokenizer: Any, console: Console) -> Prepared:
    """Read, split and tokenise; says what it read, and counts everything it left out.

    The same data, settings and tokenizer as last time in this process are not read and tokenised again.

    Raises:
        UserError: unreadable data, a bad row under `bad_rows: error`, or nothing left to train on.
    """
    key = _content(recipe, kind, tokenizer)
    if key in _last:
        console.print("data: the same as in the last run of this process, tokenised already")
        return _last[key]
    _last.clear()
    _last[key] = _prepare(recipe, kind, tokenizer, console)
    return _last[key]


def _content(recipe: Recipe, kind: str, tokenizer: Any) -> str:
    """What the rows depend on: the data section, its files' sizes and times, the tokenizer, the split."""
    named = [Path(name) for name in (recipe.data.train, recipe.data.eval) if name]
    files = [file for path in named for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    fast = getattr(tokenizer, "backend_tokenizer", None)  # a slow one has none, and is told by its name
    text = fast.to_str() if fast is not None else repr(tokenizer)
    digest = hashlib.sha256(f"{text}{tokenizer.chat_template}".encode()).hexdigest()
    return repr((kind, recipe.data, recipe.split_seed, recipe.model.name, stats, digest))


def _prepare(recipe: Recipe, kind: str, tokenizer: Any, console: Console) -> Prepared:
    data = recipe.data
    loaded = read_data(data.train, kind, data)
    _say(console, "train", loaded)
    if data.eval:
        held = read_data(data.eval, kind, data)
        _say(console, "held out", held)
        there = half(held.examples, data.eval_half)
        test = draw(there, data.eval_rows, recipe.split_seed)
        if len(test) < len(there):
            console.print(
                f"held out: {len(test):,} of {len(there):,} rows are measured; data.eval_rows is the limit.",
                highlight=False,
            )
        train = list(loaded.examples)
    else:
        held = loaded
        train, test = split(loaded.examples, data.eval_rows, recipe.split_seed)
        test = half(test, data.eval_half)
    if data.limit:
        train = draw(train, data.limit, recipe.split_seed)
    sides = Prepared(
        train=_side(recipe, loaded, train, tokenizer, console, "train"),
        eval=_side(recipe, held, test, tokenizer, console, "held out"),
    )
    if not sides.train.rows:
        raise UserError(
            f"{data.train}: no row is left to train on after tokenising; "
            f"raise data.max_length (now {data.max_length})."
        )
    return sides


def read_data(name: str, kind: str, data: DataSection) -> Loaded:
    """Read a file, folder or hub id, the last two with an optional `@split`, or make `generate:NAME`."""
    if name.startswith(PREFIX):
        return read_generated(name, kind)
    split = "train"
    if not Path(name).exists() and "@" in name:
        name, _, split = name.rpartition("@")
    return read(name, kind=kind, split=split, layout=data.layout, bad_rows=data.bad_rows)


def split(examples: Sequence[Example], rows: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out about `rows` examples, at most a fifth; examples with the same prompt stay together."""
    rows = min(rows, len(examples) // 5)
    by_prompt: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        by_prompt.setdefault(_prompt_key(example), []).append(index)
    groups = list(by_prompt.values())
    held: set[int] = set()
    for group in np.random.default_rng((seed, 0)).permutation(len(groups)):
        if len(held) + len(groups[group]) <= rows:
            held.update(groups[group])
        if len(held) == rows:
            break
    train = [example for index, example in enumerate(examples) if index not in held]
    return train, [examples[index] for index in sorted(held)]


def draw(examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """`count` of the examples chosen with the seed, in their own order; all of them where there are fewer."""
    chosen = np.random.default_rng((seed, 1)).permutation(len(examples))[:count]
    return [examples[i] for i in sorted(chosen)]


def half(examples: Sequence[Example], which: str | None) -> list[Example]:
    """Examples whose prompt falls into `selection` or `confirmation`, by a digest of its text; None: all."""
    if which is None:
        return list(examples)
    odd = which == "confirmation"
    return [e for e in examples if hashlib.sha256(_prompt_key(e).encode()).digest()[0] % 2 == odd]


def prompt_of(example: Example) -> list[Any]:
    """The messages an answer would follow."""
    if hasattr(example, "prompt"):
        return list(example.prompt)
    return list(example.messages[:-1])


def _prompt_key(example: Example) -> str:
    return repr([(m["role"], m["content"]) for m in prompt_of(example)])


def _side(
    recipe: Recipe, loaded: Loaded, examples: list[Example], tokenizer: Any, console: Console, name: str
) -> Side:
    data = recipe.data
    examples = _distinct_ids(examples)
    tokens = tokenize(
        examples, tokenizer, max_length=data.max_length, truncation=data.truncation, console=console
    )
    kept = {row.id for row in tokens.rows}
    facts = {
        "path": loaded.source,
        "layout": loaded.layout,
        "sha256": loaded.sha256,
        "rows": len(examples),
        "kept": len(tokens.rows),
        "truncated": tokens.truncated,
        "dropped": len(tokens.dropped),
        "bad": [asdict(bad) for bad in loaded.bad],
        "dropped_ids": [id for id, _ in tokens.dropped],
    }
    if tokens.truncated or tokens.dropped:
        console.print(
            f"{name}: {len(tokens.rows):,} of {len(examples):,} rows kept; {len(tokens.dropped):,} left out, "
            f"{tokens.truncated:,} cut at max_length {data.max_length} (data.truncation={data.truncation})",
            style="yellow",
            highlight=False,
        )
    left = [example for example in examples if example.id in kept]
    return Side(left, [_with_scores(row, e) for row, e in zip(tokens.rows, left, strict=True)], facts)


def _distinct_ids(examples: Sequence[Example]) -> list[Example]:
    """Examples whose ids are told apart: everything measured by row is kept under its id."""
    seen: Counter[str] = Counter()
    distinct = []
    for example in examples:
        seen[example.id] += 1
        again = seen[example.id]
        distinct.append(example if again == 1 else replace(example, id=f"{example.id}#{again}"))
    return distinct


def _with_scores(row: Row, example: Example) -> Row:
    """The row with the source's scores, where it has both."""
    if not isinstance(example, Preference) or None in (example.chosen_score, example.rejected_score):
        return row
    return replace(row, scores=(example.chosen_score, example.rejected_score))


def _say(console: Console, name: str, loaded: Loaded) -> None:
    console.print(f"{name}: {loaded.sentence}", highlight=False, markup=False)
