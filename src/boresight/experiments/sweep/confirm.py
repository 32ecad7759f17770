"""Confirmation: the best settings and the default are trained again and compared.

The best of many settings is partly luck. The confirmation uses seeds and held-out prompts that the search has
not used, so only its result decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boresight.core.wording import percent, plural
from boresight.experiments.sweep.recipe import confirm_seeds
from boresight.experiments.sweep.storage import Sweep, Trial
from boresight.stats.intervals import DIFFERENCE, SIGNIFICANCE_LEVEL, Bounds, Value, bounds_of, holm
from boresight.stats.over_seeds import OverSeeds, difference_over_seeds, over_seeds
from boresight.stats.units import unit_named


@dataclass(frozen=True)
class Confirmed:
    """Result of a setting in the confirmation, or of the default.

    `gain` is the paired difference of the setting minus the default, None for the default.
    """

    setting: int | None
    name: str
    mean: OverSeeds
    gain: OverSeeds | None = None
    p: float = 1.0
    """p-value of the gain, adjusted by Holm's method for the number of confirmed settings."""

    @property
    def significant(self) -> bool:
        """Whether the setting differs significantly from the default.

        Always False with one seed, which compares two models and not their settings.
        """
        return self.gain is not None and self.gain.seeds > 1 and self.p < SIGNIFICANCE_LEVEL

    def beats(self, better: str) -> bool:
        """Whether the setting is significantly better than the default; `better` is `higher` or `lower`."""
        if self.gain is None or not self.significant:
            return False
        return (self.gain.mean.value > 0) == (better == "higher")


def ranking(sweep: Sweep) -> list[tuple[int, float]]:
    """Return `(number, mean over seeds)` of every setting with all seeds finished, best first."""
    found = []
    for number in range(sweep.recipe.count):
        outcomes = list(map(sweep.outcome, sweep.trials_of(number)))
        values = [o.value for o in outcomes if o and o.finished and o.value is not None]
        if len(values) == len(outcomes):
            found.append((number, sum(values) / len(values)))
    sign = -1 if sweep.recipe.better == "higher" else 1
    return sorted(found, key=lambda item: sign * item[1])


def is_default(sweep: Sweep, number: int) -> bool:
    """Whether a setting leaves the swept recipe unchanged."""
    return sweep.recipe.recipe_with(sweep.setting(number) or {}) == sweep.recipe.base()


def finalists(sweep: Sweep) -> list[int]:
    """Return the numbers of the best settings that are not the default, at most `confirm.top` of them."""
    best = [number for number, _ in ranking(sweep) if not is_default(sweep, number)]
    return best[: sweep.recipe.confirm.top]


def confirm_trials(sweep: Sweep) -> list[Trial]:
    """Return the trials of the confirmation, seed by seed: the default and the finalists.

    The list is empty if there is no finalist.
    """
    chosen = finalists(sweep)
    settings = [None, *chosen] if chosen else []
    return [Trial(number, seed, confirms=True) for seed in confirm_seeds(sweep.recipe) for number in settings]


def confirmed(sweep: Sweep) -> list[Confirmed]:
    """Return the results of the confirmation: the default, then the finalists, best first.

    A finalist is compared on the seeds that both it and the default have finished. It is omitted if the guard
    stopped one of its runs, since the mean of its other seeds would be too favorable. The result is empty if
    the guard stopped a run of the default, for the same reason.
    """
    if _was_stopped(sweep, None):
        return []
    fresh, pairs = _fresh_values(sweep, None), _seed_pairs(sweep)
    if not pairs:
        return []
    bounds = _bounds(sweep, [*fresh.values(), *(by for measured in pairs.values() for _, by in measured)])
    gains = {n: _gain(pairs[n], None if bounds is None else DIFFERENCE) for n in pairs}
    means = {n: over_seeds([by for _, by in pairs[n]], bounds=bounds) for n in pairs}
    adjusted = dict(zip(gains, holm([gain.p for gain in gains.values()]), strict=True))
    default = Confirmed(None, sweep.in_words(None), over_seeds(list(fresh.values()), bounds=bounds))
    sign = -1 if sweep.recipe.better == "higher" else 1
    order = sorted(gains, key=lambda n: sign * gains[n].mean.value)
    return [default, *(Confirmed(n, sweep.in_words(n), means[n], gains[n], adjusted[n]) for n in order)]


SeedPairs = list[tuple[Mapping[str, Value], Mapping[str, Value]]]
"""One item per fresh seed that both finished: the default's values by prompt, and those of a finalist."""


def _seed_pairs(sweep: Sweep) -> dict[int, SeedPairs]:
    """Return the values to compare by finalist, without finalists that were stopped or share no seed."""
    default = _fresh_values(sweep, None)
    pairs: dict[int, SeedPairs] = {}
    for number in finalists(sweep):
        found = {} if _was_stopped(sweep, number) else _fresh_values(sweep, number)
        pairs[number] = [(default[seed], found[seed]) for seed in found if seed in default]
    return {number: shared for number, shared in pairs.items() if shared}


def _gain(pairs: SeedPairs, bounds: Bounds | None) -> OverSeeds:
    """Return the difference of a finalist minus the default."""
    return difference_over_seeds([of for of, _ in pairs], [to for _, to in pairs], bounds=bounds)


def _fresh_values(sweep: Sweep, number: int | None) -> dict[int, dict[str, Value]]:
    """Return the metric of a setting's finished runs in the confirmation, as `result[seed][prompt]`."""
    return _values_by_seed(sweep, [trial for trial in confirm_trials(sweep) if trial.setting == number])


def _was_stopped(sweep: Sweep, number: int | None) -> bool:
    """Whether the guard stopped a run of a setting in the confirmation."""
    return any(sweep.stopped(trial) for trial in confirm_trials(sweep) if trial.setting == number)


def sweep_verdict(sweep: Sweep, found: Sequence[Confirmed]) -> list[str]:
    """Describe the result of the sweep in sentences, the most important first."""
    order = ranking(sweep)
    if not order:
        return ["No setting finished with all its seeds, so there is nothing to compare."]
    if is_default(sweep, order[0][0]):
        lead = [f"In the search, nothing was better than the default itself ({sweep.in_words(order[0][0])})."]
    else:
        lead = []
    if not found:
        return [*lead, _unconfirmed(sweep, order[0][0])]
    return lead + [_sentence(one, sweep) for one in found[1:]]


def sweep_headline(sweep: Sweep, found: Sequence[Confirmed]) -> str:
    """Describe the result of the sweep in a few words, for the title of the report."""
    order = ranking(sweep)
    if not order:
        return "No setting finished with all its seeds"
    better = [c for c in found if c.beats(sweep.recipe.better)]
    if better:
        return _against_default(better[0], sweep)
    if any(c.gain is not None and c.gain.seeds > 1 for c in found):
        return "No setting is significantly better than the default"
    best = order[0][0]
    name = "The default" if is_default(sweep, best) else sweep.in_words(best)
    return f"{name} is the best of {len(order)}, not confirmed"


def _unconfirmed(sweep: Sweep, best: int) -> str:
    why = _why_unconfirmed(sweep, confirm_trials(sweep))
    return f"{sweep.in_words(best)} was best, unconfirmed ({why}): the best of several is partly luck."


def _why_unconfirmed(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Return the reason why no finalist is compared with the default."""
    if not sweep.recipe.confirm.top:
        return "confirm.top is 0"
    if not trials:
        return "there was nothing else to confirm"
    if _was_stopped(sweep, None):
        return "the guard stopped the default, so there is nothing to compare it with"
    if all(_was_stopped(sweep, number) for number in finalists(sweep)):
        return "the guard stopped every finalist"
    if any(sweep.outcome(trial) is None for trial in trials):
        return "no fresh seed has finished for the default and a finalist yet"
    return "no fresh seed finished for the default and a finalist"


def _sentence(one: Confirmed, sweep: Sweep) -> str:
    assert one.gain is not None
    unit, gain = unit_named(sweep.recipe.unit), one.gain
    interval = gain.mean
    over = f"over {plural(gain.seeds, 'fresh seed')} and {interval.n:,} unseen {_units(sweep)}"
    p = f"p = {one.p:.2g}"
    if gain.seeds < 2:
        return (
            f"{one.name} against the default: {unit.change(interval)} {over}, {p}: one seed cannot separate "
            f"a setting from seed noise, so nothing is confirmed; {_other_seeds(sweep, one)}."
        )
    if one.significant:
        return f"{_against_default(one, sweep)} {over}, {p}: beyond seed noise."
    return (
        f"{one.name} and the default do not differ significantly: {unit.change(interval)} {over}, {p}: "
        f"not beyond seed noise; {_remedy(gain)}."
    )


def _other_seeds(sweep: Sweep, one: Confirmed) -> str:
    """Return the end of a sentence about confirmation seeds that could not be compared.

    It is to finish them if a trial of the setting or of the default is still open, else that they failed.
    """
    trials = [trial for trial in confirm_trials(sweep) if trial.setting in (None, one.setting)]
    is_open = any(sweep.outcome(trial) is None for trial in trials)
    return "finish the other seeds" if is_open else "the other seeds failed"


def _units(sweep: Sweep) -> str:
    """Return `prompts`, or `rows` if a run of the confirmation does not store which rows share a prompt."""
    finished = filter(sweep.finished, confirm_trials(sweep))
    return "rows" if any(sweep.units_of(trial) == "rows" for trial in finished) else "prompts"


def _against_default(one: Confirmed, sweep: Sweep) -> str:
    """Describe a significant difference in words: whether the setting or the default is better, and by how
    much."""
    assert one.gain is not None
    gain, does = one.gain.mean, "beats" if one.beats(sweep.recipe.better) else "is worse than"
    lead = gain if gain.value > 0 else gain.scaled(-1)
    return f"{one.name} {does} the default by {unit_named(sweep.recipe.unit).lead(lead)}"


def _remedy(gain: OverSeeds) -> str:
    if gain.seeds > 1 and gain.seed_sd == 0 and gain.mean.value == 0:
        return "they measure the same on every prompt"
    share = gain.seed_share
    if share > 0.5:
        return f"{percent(share)} of the variance is between seeds, so more seeds would help"
    return f"{percent(1 - share)} of the variance is between prompts, so more held-out prompts would help"


def measured_over_seeds(sweep: Sweep, number: int) -> OverSeeds | None:
    """Return the mean of a setting in the search over its finished seeds; None if no seed has finished."""
    found = list(_values_by_seed(sweep, sweep.trials_of(number)).values())
    return over_seeds(found, bounds=_bounds(sweep, found)) if found else None


def _bounds(sweep: Sweep, measured: Sequence[Mapping[str, Value]]) -> Bounds | None:
    """Return the bounds of the sweep's metric, or None if it has none."""
    return bounds_of(sweep.recipe.unit, (value for by in measured for value in by.values()))


def _values_by_seed(sweep: Sweep, trials: Sequence[Trial]) -> dict[int, dict[str, Value]]:
    """Return the metric of every finished trial, as `result[seed][prompt]`."""
    return {trial.seed: sweep.by_prompt(trial) for trial in trials if sweep.finished(trial)}
