"""The prompts that the systems of an evaluation answer."""

from __future__ import annotations

import json
from collections import Counter

from rich.console import Console

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.split import read_data
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.evaluation.systems import prompts_of, read_answers


def read_prompts(recipe: EvaluationRecipe, console: Console) -> list[Prompt]:
    """The held-out prompts, each once, from the recipe's file or the first system's answers.

    Raises:
        UserError: unreadable prompts, or one id for several.
    """
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
