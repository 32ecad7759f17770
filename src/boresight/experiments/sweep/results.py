"""Results of a sweep: one per setting, best first, then settings without a rank; and all trials as CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boresight.experiments.sweep.confirm import confirm_trials, measured_over_seeds, ranking
from boresight.experiments.sweep.storage import Sweep, Trial
from boresight.reports.tables.files import csv_text, plain_text
from boresight.stats.over_seeds import OverSeeds


@dataclass(frozen=True)
class SettingResult:
    """One setting in the search. `rank` is None unless every seed finished; `why` gives the reasons."""

    number: int
    rank: int | None
    values: list[Any]
    states: dict[str, int]
    """Number of trials by state; those without an outcome are `waiting`."""
    mean: OverSeeds | None
    seconds: float
    why: str

    def states_in_words(self) -> str:
        """Format the states of the trials, as `finished` or `2 finished, 1 failed`."""
        if sum(self.states.values()) == 1:
            return next(iter(self.states))
        return ", ".join(f"{count} {state}" for state, count in self.states.items())


def setting_results(sweep: Sweep) -> list[SettingResult]:
    """Return the results of every setting that is known so far, ranked ones first."""
    ranks = {number: rank for rank, (number, _) in enumerate(ranking(sweep), start=1)}
    known = [n for n in range(sweep.recipe.count) if sweep.setting(n) is not None]
    unranked = len(known) + 1  # not in the key: a list is empty while it is sorted
    known.sort(key=lambda n: (ranks.get(n, unranked), n))
    return [_result(sweep, n, ranks.get(n)) for n in known]


def _result(sweep: Sweep, number: int, rank: int | None) -> SettingResult:
    trials = sweep.trials_of(number)
    outcomes = [outcome for trial in trials if (outcome := sweep.outcome(trial))]
    states: Counter[str] = Counter(outcome.state for outcome in outcomes)
    states["waiting"] = len(trials) - len(outcomes)
    reasons = dict.fromkeys(outcome.why for outcome in outcomes if outcome.why)
    setting = sweep.setting(number) or {}
    return SettingResult(
        number=number,
        rank=rank,
        values=[setting.get(key) for key in sweep.recipe.keys],
        states={state: count for state, count in states.items() if count},
        mean=measured_over_seeds(sweep, number),
        seconds=sum(outcome.seconds for outcome in outcomes),
        why="; ".join(reasons),
    )


def trials_csv(sweep: Sweep, results: Sequence[SettingResult]) -> str:
    """Format all ended trials as CSV, one line each: the search by rank, then the confirmation.

    Values are not rounded.
    """
    keys, metric = sweep.recipe.keys, sweep.recipe.metric
    head = ["stage", "setting", "seed", *keys, "state", metric, "seconds", "attempts", "why"]
    search = [trial for result in results for trial in sweep.trials_of(result.number)]
    rows = [_csv_row(sweep, trial) for trial in [*search, *confirm_trials(sweep)] if sweep.outcome(trial)]
    return csv_text(head, rows)


def _csv_row(sweep: Sweep, trial: Trial) -> list[Any]:
    outcome, setting = sweep.outcome(trial), sweep.setting(trial.setting)
    assert outcome is not None and setting is not None
    stage = "confirmation" if trial.confirms else "search"
    number = "default" if trial.setting is None else trial.setting
    values = [setting.get(key, "") for key in sweep.recipe.keys]
    end = [outcome.state, outcome.value, outcome.seconds, outcome.attempts, plain_text(outcome.why)]
    return [stage, number, trial.seed, *values, *end]
