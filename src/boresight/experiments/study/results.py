"""What a study found: a mean for every arm, and paired differences between arms.

Values are by prompt. Several pairs of one prompt are averaged first, since prompts are what is drawn
independently; seeds of one arm are kept apart until the interval is made.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from boresight.core.errors import UserError
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import Comparison
from boresight.stats.intervals import Interval, Value, holm
from boresight.stats.over_seeds import DIFFERENCE, SHARE, OverSeeds, difference_by_prompt, over_seeds
from boresight.stats.units import format_number, unit_named

ByPrompt = Mapping[str, Value]
BySeed = Mapping[int, ByPrompt]
Measured = Mapping[str, Mapping[str, BySeed]]
"""Arm, metric, seed, prompt to value."""

FAMILY_ERROR = 0.05
"""Chance of one false verdict or more among all comparisons of a study."""


@dataclass(frozen=True)
class Compared:
    """One comparison by one metric. `difference` is `to` minus `of`; None where it could not be made.

    Several pairs of arms are taken together where `of` and `to` name several. `p` is adjusted by Holm's
    method over all comparisons of the study.
    """

    title: str
    of: Sequence[str]
    to: Sequence[str]
    metric: str
    difference: OverSeeds | None
    headline: bool = True
    p: float = 1.0

    @property
    def shown(self) -> Interval | None:
        """The number as people read it: a win rate lies around one half, a difference around 0."""
        if self.difference is None:
            return None
        mean = self.difference.mean
        if self.metric != "win_rate":
            return mean
        return Interval(_rate(mean.value), _rate(mean.low), _rate(mean.high), mean.n, mean.missing)

    @property
    def verdict(self) -> str:
        """`direction`; `, alone` is added where the number of comparisons undoes it (Holm, 5 %)."""
        survives = self.p <= FAMILY_ERROR or self.direction not in ("better", "worse")
        return self.direction if survives else f"{self.direction}, alone"

    @property
    def direction(self) -> str:
        """`better`, `worse`, `not resolved`, or `not measured`, by this comparison's own 95 % interval."""
        if self.difference is None:
            return "not measured"
        if not self.difference.mean.excludes_zero:
            return "not resolved"
        rose = self.difference.mean.value > 0
        return "better" if rose == (METRICS[self.metric].better == "higher") else "worse"


def by_prompt(values: ByPrompt, prompt_of: Mapping[str, str]) -> dict[str, float]:
    """Means over the rows of each prompt; a row that `prompt_of` does not know stands for itself."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row, value in values.items():
        if value is not None and value == value:
            groups[prompt_of.get(row, row)].append(float(value))
    return {prompt: sum(group) / len(group) for prompt, group in groups.items()}


def mean_of(values: BySeed, metric: str) -> OverSeeds | None:
    """An arm's mean over its seeds and prompts; None where nothing was measured."""
    known = [by for by in values.values() if by]
    if not known:
        return None
    return over_seeds(known, bounds=SHARE if METRICS[metric].unit == "share" else None)


def difference(pairs: Sequence[tuple[BySeed, BySeed]], metric: str) -> OverSeeds | None:
    """The second minus the first, paired by the seeds and prompts that all have; None where there are none.

    Several pairs of arms are averaged by prompt first: their answers to one prompt are not independent.

    For `win_rate` the values are rewards, and the difference is that of wins and losses: the share of
    prompts on which the second is better minus the share on which it is worse. The win rate with ties one
    half is one half of it, plus one half.
    """
    seeds = [s for s in pairs[0][0] if all(s in of and s in to for of, to in pairs)]
    differences = [_mean_by_prompt([_minus(of[s], to[s], metric) for of, to in pairs]) for s in seeds]
    differences = [by for by in differences if by]
    if not differences:
        return None
    share = metric == "win_rate" or METRICS[metric].unit == "share"
    try:
        return over_seeds(differences, bounds=DIFFERENCE if share else None)
    except UserError:  # no prompt has all values
        return None


def _minus(of: ByPrompt, to: ByPrompt, metric: str) -> dict[str, float]:
    """`to` minus `of` by prompt; for `win_rate` its sign. NaN where either lacks the prompt."""
    gaps = difference_by_prompt(of, to)
    return {p: float(np.sign(gap)) for p, gap in gaps.items()} if metric == "win_rate" else gaps


def _mean_by_prompt(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over what has values for all; NaN for the rest. Empty where no prompt has all values."""
    prompts = dict.fromkeys(prompt for by in each for prompt in by)
    means = {prompt: math.fsum(by.get(prompt, math.nan) for by in each) / len(each) for prompt in prompts}
    return means if any(not math.isnan(mean) for mean in means.values()) else {}


def compared(measured: Measured, wanted: Sequence[Comparison]) -> list[Compared]:
    """Every comparison by every metric it names, with p-values adjusted over all of them."""
    found = [
        Compared(c.title, c.of, c.to, metric, _difference(measured, c, metric), c.headline)
        for c in wanted
        for metric in c.metrics
    ]
    adjusted = iter(holm([c.difference.p for c in found if c.difference]))
    return [replace(c, p=next(adjusted)) if c.difference else c for c in found]


def sentence(c: Compared, titles: Mapping[str, str]) -> str:
    """A comparison in words, with its interval."""
    label, unit = METRICS[c.metric].label, unit_named(METRICS[c.metric].unit)
    a, b = _together(c.of, titles), _together(c.to, titles)
    if c.shown is None or c.difference is None:
        return f"{c.title}, {label}: not measured, since {a} or {b} has not finished."
    over = _over(c.difference)
    if c.metric == "win_rate":
        said = {"better": "beats", "worse": "loses to", "not resolved": "and"}[c.direction]
        tail = " cannot be told apart" if c.direction == "not resolved" else ""
        return f"{b} {said} {a}{tail}: win rate {unit.estimate(c.shown)}, {over}."
    said = {"better": "is better than", "worse": "is worse than", "not resolved": "and"}[c.direction]
    tail = " cannot be told apart" if c.direction == "not resolved" else ""
    return f"{b} {said} {a}{tail}: {label} {unit.change(c.shown)}, {over}."


def _together(arms: Sequence[str], titles: Mapping[str, str]) -> str:
    names = list(dict.fromkeys(titles[arm] for arm in arms))
    return names[0] if len(names) == 1 else "; ".join(names) + " (taken together)"


def headline(found: Sequence[Compared]) -> str:
    """How the headline comparisons ended, in one sentence."""
    done = [c for c in found if c.headline and c.difference]
    if not done:
        return "Nothing has been compared yet."
    ends = Counter(c.verdict for c in done)
    parts = [f"The tuned recipes win {ends['better']} of {len(done)} comparisons with the published ones"]
    if alone := ends["better, alone"]:
        parts.append(f"{alone} more by {'its' if alone == 1 else 'their'} own interval alone")
    if lost := ends["worse"] + ends["worse, alone"]:
        parts.append(f"{lost} {'is' if lost == 1 else 'are'} lost")
    if unresolved := ends["not resolved"]:
        parts.append(f"{unresolved} {'is' if unresolved == 1 else 'are'} not resolved")
    return "; ".join(parts) + "."


def _difference(measured: Measured, c: Comparison, metric: str) -> OverSeeds | None:
    source = "good" if metric == "win_rate" else metric
    of, to = ([measured.get(arm, {}).get(source, {}) for arm in arms] for arms in (c.of, c.to))
    return difference(list(zip(of, to, strict=True)), metric)


def _rate(balance: float) -> float:
    return (1 + balance) / 2


def _over(d: OverSeeds) -> str:
    seeds = "1 seed" if d.seeds == 1 else f"{d.seeds} seeds"
    return f"{seeds}, {format_number(d.mean.n).removesuffix('.0')} prompts"
