"""The command `boresight synthesize`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.core.interrupt import Interrupted
from boresight.synthesis.dry_run import estimate, print_estimate
from boresight.synthesis.filters import Sieve
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.synthesis.run import run_synthesis


def synthesize(
    path: Path, overrides: list[str], folder: Path | None, dry_run: bool, console: Console
) -> None:
    """Make the data set of a recipe, or print the planned requests and their cost.

    The folder has no time in its name: the same command resumes where it stopped.

    Raises:
        UserError: a wrong recipe, unreadable prompts, a spent budget, an endpoint that fails.
        Interrupted: Ctrl-C; all replies received so far are stored.
    """
    recipe = SynthesisRecipe.load(path, overrides)
    folder = folder or Path("runs") / path.stem
    if dry_run:
        sieve = Sieve()
        print_estimate(estimate(recipe, folder, sieve), recipe, sieve, console)
        return
    try:
        run_synthesis(recipe, folder, console).show(console)
    except KeyboardInterrupt:
        raise Interrupted(
            f"stopped; every response that had arrived is in {folder}: run the same command to resume."
        ) from None
