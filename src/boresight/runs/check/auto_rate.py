"""Choose the learning rate for `optim.lr: auto` from a ramp, so that the sum of learning rates is harmless.

The rate is stored with the run, so a resumed run does not need another ramp.
"""

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
        begun: resolved recipe of the run to resume, from which rate and length are taken; None for a new run.
        arguments: recipe and overrides of the current command, for the command that is suggested.

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
