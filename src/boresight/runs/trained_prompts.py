"""Warn about prompts of an evaluation that its systems were trained on, according to their run folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.demo import data_path
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.sources.generated import PREFIX
from boresight.data.reading.split import read_split
from boresight.data.stored.digests import DigestSet
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.training.forward import kind_of


def print_trained_prompts(recipe: EvaluationRecipe, prompts: Sequence[Prompt], console: Console) -> None:
    """Print a warning for each system that was trained on some of the prompts, with their number.

    A system whose training data cannot be read here gets a warning as well. Systems that do not come from a
    run folder are skipped, because their training data are unknown.
    """
    keys = [prompt_key(p) for p in prompts]
    sources = {name: system.model or system.answers for name, system in recipe.systems.items()}
    for name, source in sources.items():
        for run, trained in _runs(Path(source)) if source else ():
            try:
                known = _trained_on(trained)
            except UserError as error:
                said = f"were not compared with the training data of {run}: {str(error).rstrip('.')}"
                print_warning(console, f"{name}: the prompts {said}")
                continue
            if count := sum(key in known for key in keys):
                said = f"{count:,} of {len(keys):,} prompts are trained on in {run}, so its answers to them"
                print_warning(console, f"{name}: {said} measure memory")


def _runs(folder: Path) -> Iterator[tuple[Path, Recipe]]:
    """Yield the run in a folder with its recipe, then the run of its start model, and so on."""
    seen: set[Path] = set()
    while folder not in seen and (folder / "config.yaml").is_file():
        seen.add(folder)
        try:
            recipe = Recipe.of_run(folder / "config.yaml")
        except UserError:
            return  # no training run, or a recipe of an earlier version with settings that no longer exist
        yield folder, recipe
        folder = Path(recipe.model.name)


def _trained_on(recipe: Recipe) -> DigestSet:
    """Return the keys of the prompts that a run was trained on.

    Raises:
        UserError: the training data of the run cannot be read here.
    """
    for source in recipe.data.all_sources:
        if not (source.startswith(PREFIX) or data_path(source).exists()):
            raise UserError(f"{source} is not here.")
    split = read_split(recipe.data, kind_of(recipe).data, recipe.split_seed)
    return DigestSet(map(prompt_key, split.train.examples))
