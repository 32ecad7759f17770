"""The command `boresight synthesize`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.config.recipe_files import recipe_stem
from boresight.core.interrupt import Interrupted
from boresight.synthesis.dry_run import Estimate, estimate, print_estimate
from boresight.synthesis.filters import Sieve
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.synthesis.run import Made, run_synthesis


def synthesize(
    path: Path, overrides: list[str], folder: Path | None, dry_run: bool, console: Console
) -> Made | list[Estimate]:
    """Make the data set of a recipe or, with `dry_run`, print and return estimates of its requests and cost.

    The default folder has no time in its name: the same command resumes where it stopped.

    Raises:
        UserError: a wrong recipe, unreadable prompts, a spent budget, an endpoint that fails.
        Interrupted: after Ctrl-C; all replies received so far are stored.
    """
    recipe = SynthesisRecipe.load(path, overrides)
    folder = folder or Path("runs") / recipe_stem(path)
    if dry_run:
        sieve = Sieve()
        estimates = estimate(recipe, folder, sieve)
        print_estimate(estimates, recipe, sieve, console)
        return estimates
    try:
        made = run_synthesis(recipe, folder, console)
        made.show(console)
        return made
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; every response that had arrived is in {folder}: run the same command to resume."
        ) from None
