"""The folder of an evaluation: its prompts, its recipe, and JSON without NaN."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.split import read_data
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.evaluation.systems import prompts_of, read_answers
from boresight.runs.folder import RunFolder


def read_prompts(recipe: EvaluationRecipe, console: Console) -> list[Prompt]:
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


def open_folder(folder: Path, recipe: EvaluationRecipe) -> None:
    """Begin an evaluation in `folder`, or continue the one there. Raises `UserError` as `RunFolder.open`."""
    RunFolder(folder, noun="evaluation", section="systems").open(recipe.to_dict())


def file_name(name: str) -> str:
    """A system's name as part of a file's."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def finite(value: Any) -> Any:
    """The value with None for infinity and NaN, which JSON lacks: a limit that is not known is null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
