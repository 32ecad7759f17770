"""One worker: claim a trial, run it, write how it ended; again until nothing is left.

Any number of workers may share a folder, on any machines that see it. None of them leads.

    python -m boresight.experiments.sweep.worker FOLDER
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.data.prepare import DatasetCache
from boresight.experiments.sweep import search, storage
from boresight.experiments.sweep.claim import Claim, take
from boresight.experiments.sweep.confirm import confirm_trials
from boresight.experiments.sweep.prune import Pruned, judge, read_curve
from boresight.experiments.sweep.space import value_words
from boresight.experiments.sweep.storage import Outcome, Sweep, Trial

ATTEMPTS = 2
"""How often a trial may take its worker down with it before it counts as failed."""
POLL_SECONDS = 1.0


class TakenOver(Exception):
    """Another worker has this trial now; what is being computed here is of no use."""


def work(sweep: Sweep, console: Console) -> None:
    """Run trials until none is left, confirmation included.

    Raises:
        Interrupted: a signal; the trial in hand is saved and goes on when the sweep does.
    """
    datasets = DatasetCache()  # trials differ in other things than their data
    while left := unfinished(sweep):
        for trial in left:
            claim = take(sweep.trial_folder(trial))
            if claim is None:
                continue
            if sweep.outcome(trial) is None:  # it may have ended between the two looks
                attempt(sweep, trial, claim, console, datasets)
            break
        else:
            time.sleep(POLL_SECONDS)  # others have them; one may die, and then there is the confirmation


def unfinished(sweep: Sweep) -> list[Trial]:
    """Trials without an outcome: those of the search, and when all have ended those of the confirmation."""
    left = [trial for trial in sweep.search_trials() if sweep.outcome(trial) is None]
    return left or [trial for trial in confirm_trials(sweep) if sweep.outcome(trial) is None]


def attempt(sweep: Sweep, trial: Trial, claim: Claim, console: Console, datasets: DatasetCache) -> None:
    """Run one trial and write its outcome; what goes wrong in a trial does not stop the worker."""
    started = time.monotonic()
    try:
        with claim.kept_alive():
            outcome = ended(sweep, trial, claim, started, datasets)
    except TakenOver:
        return
    except (KeyboardInterrupt, Interrupted):
        claim.release()
        raise Interrupted("the sweep stopped; run the same command to go on.") from None
    if claim.held:
        sweep.close(trial, outcome)
        console.print(sentence(sweep, trial, outcome), markup=False, highlight=False)


def ended(sweep: Sweep, trial: Trial, claim: Claim, started: float, datasets: DatasetCache) -> Outcome:
    """Run the trial, and how that ended."""

    def outcome(state: storage.State, value: float | None, why: str) -> Outcome:
        return Outcome(state, value, time.monotonic() - started, why, claim.lost + 1)

    if claim.lost >= ATTEMPTS:
        return outcome("failed", None, _died(claim.lost))
    try:
        value = run_trial(sweep, trial, claim, datasets)
        why = "" if value is not None else f"no held-out row gave a {sweep.recipe.metric}"
        return outcome("finished" if value is not None else "failed", value, why)
    except Pruned as pruned:
        curve = read_curve(sweep.run_folder(trial), sweep.recipe.metric, 1)
        return outcome("pruned", curve[max(curve)], str(pruned))
    except UserError as error:
        return outcome("failed", None, str(error))
    except (TakenOver, Interrupted):
        raise
    except Exception as error:  # a trial's failure is a line of the table, whatever it was
        text = traceback.format_exc()
        (sweep.trial_folder(trial) / "error.txt").write_text(text, encoding="utf-8")
        return outcome("failed", None, explained(error))


def run_trial(sweep: Sweep, trial: Trial, claim: Claim, datasets: DatasetCache) -> float | None:
    """Run, or go on with, the trial's run; returns its held-out mean."""
    from boresight.runs.train import run_to_end

    if trial.setting is not None:
        search.draw(sweep, trial.setting)
    recipe, folder = sweep.recipe_of(trial), sweep.run_folder(trial)
    with (sweep.trial_folder(trial) / "output.txt").open("a", encoding="utf-8") as file:
        console = Console(file=file, width=120, soft_wrap=True)
        overseer = Overseer(sweep, trial, claim, recipe)
        run_to_end(recipe, folder, console, [overseer], claimed=True, datasets=datasets)
    values = sweep.by_prompt(trial)
    if not values:
        raise UserError(
            f"metric: {recipe.method_name} measures no {sweep.recipe.metric} on this held-out data."
        )
    return storage.mean_of(values)


@dataclass(frozen=True)
class Overseer:
    """Listens to a trial's metrics and ends it: when it falls behind, or somebody else has it."""

    sweep: Sweep
    trial: Trial
    claim: Claim
    recipe: Recipe

    def __call__(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Take one line of metrics. Raises `Pruned` or `TakenOver`."""
        if not self.claim.held:
            raise TakenOver
        rule = self.sweep.recipe.prune
        if split != "eval" or step == 0 or rule is None or self.trial.confirms:
            return
        metric = self.sweep.recipe.metric
        mine = read_curve(self.sweep.run_folder(self.trial), metric, self.recipe.train.batch)
        others = [
            read_curve(self.sweep.run_folder(other), metric, self.sweep.recipe_of(other).train.batch)
            for other in self.sweep.search_trials()
            if other != self.trial and self.sweep.run_folder(other).exists()
        ]
        why = mine and judge(mine, others, rule, self.sweep.recipe.better)
        if why:
            raise Pruned(why)


def explained(error: Exception) -> str:
    """An unexpected error in one sentence."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "it ran out of memory; lower train.tokens_per_forward for this setting"
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first} (error.txt has the rest)"


def _died(times: int) -> str:
    return (
        f"its worker ended without a word {times} times, most often because the machine was out of memory; "
        "output.txt shows how far it came"
    )


def sentence(sweep: Sweep, trial: Trial, outcome: Outcome) -> str:
    """How a trial ended, for the terminal."""
    value = "" if outcome.value is None else f" {sweep.recipe.metric} {value_words(outcome.value)}"
    why = f": {outcome.why}" if outcome.why else ""
    what = f"{trial.name} ({sweep.words(trial.setting)})"
    return f"{what} {outcome.state}{value} in {outcome.seconds:.0f} s{why}"


def main(folder: Path) -> NoReturn:
    """A worker process of its own: exit code 0 when nothing is left, 130 when it was asked to stop."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        work(storage.join(folder), Console(soft_wrap=True))
    except (Interrupted, KeyboardInterrupt):
        sys.exit(130)
    except UserError as error:
        print(f"boresight: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
