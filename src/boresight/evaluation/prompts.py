"""Read the prompts that the systems of an evaluation answer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from boresight.config.recipe import DataSection
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.split import read_data
from boresight.data.stored.digests import distinct_ids
from boresight.evaluation.matching import each_once, prompt_text
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.evaluation.systems import prompts_of, read_answers


def read_prompts(recipe: EvaluationRecipe, console: Console) -> list[Prompt]:
    """Read the held-out prompts from the recipe's file or from the first system's answers.

    Duplicate prompts are kept, with distinct ids; for `limit` they count once.

    Raises:
        UserError: the prompts cannot be read, or different prompts have the same id.
    """
    if recipe.prompts is None:
        source = next(iter(recipe.systems.values())).answers or ""
        found = prompts_of(read_answers(source), source)
    else:
        section = DataSection(train=recipe.prompts, layout=recipe.layout, bad_rows="drop")
        loaded = read_data(recipe.prompts, "prompt", section, mappable=False)
        console.print(loaded.sentence, markup=False, highlight=False)
        found = [p for p in loaded.examples if isinstance(p, Prompt)]
    kept = {prompt_text(p) for p in each_once(found)[: recipe.limit]}
    prompts = [p for p in found if prompt_text(p) in kept]
    _refuse_shared_ids(prompts)
    return list(distinct_ids(prompts))


def _refuse_shared_ids(prompts: Sequence[Prompt]) -> None:
    texts: dict[str, str] = {}
    for p in prompts:
        if texts.setdefault(p.id, prompt_text(p)) != prompt_text(p):
            raise UserError(f"prompts: the id {p.id!r} stands for several prompts; give each its own.")
