"""`optim.lr: auto`: choose, once, a learning rate that was harmless in a ramp, and store it with the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from boresight.checks.forecast.ramp import Ramp
from boresight.config.recipe import Recipe
from boresight.runs.check.probe import probe_run


def choose_rate(
    recipe: Recipe,
    begun: Mapping[str, Any] | None,
    console: Console,
    arguments: Sequence[str] = ("RECIPE",),
) -> tuple[Recipe, Ramp | None]:
    """Replace `optim.lr: auto` by a number; returns the recipe, and the ramp if one was run.

    Args:
        begun: resolved recipe of the run to resume, whose rate and length are taken; None for a new run.
        arguments: recipe and overrides of the suggested command.

    Raises:
        UserError: as for `probe_run`.
    """
    if recipe.optim.lr != "auto":
        return recipe, None
    if begun:
        taken = [("optim", "lr"), ("train", "epochs"), ("train", "steps")]
        settings = [f"{section}.{name}={json.dumps(begun[section][name])}" for section, name in taken]
        return recipe.changed(settings), None
    probed = probe_run(recipe, console, arguments=arguments)
    probed.show(console)
    settings = probed.suggestion.settings
    console.print(f"optim.lr=auto: {' '.join(settings)}", markup=False, highlight=False)
    return recipe.changed(settings), probed.ramp
