"""Compute the results of a study: a mean for every arm, and paired differences between arms.

Values are by prompt: several pairs with the same prompt are averaged first, since prompts are the independent
samples. Seeds of one arm are kept apart until the interval is computed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from boresight.core.errors import UserError
from boresight.core.wording import is_or_are, plural
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import Arm, ArmComparison
from boresight.stats.intervals import DIFFERENCE, SHARE, SIGNIFICANCE_LEVEL, Interval, Value, holm
from boresight.stats.over_seeds import OverSeeds, difference_by_prompt, over_seeds
from boresight.stats.units import unit_named
from boresight.stats.verdict import after_holm

ByPrompt = Mapping[str, Value]
BySeed = Mapping[int, ByPrompt]
MeasuredArms = Mapping[str, Mapping[str, BySeed]]
"""Values as `measured[arm][metric][seed][prompt]`."""

Direction = Literal["better", "worse", "not significant", "not measured"]
MODELS_ONLY = "these models only"
"""Verdict of a comparison with one seed: with another seed, the same recipes may have another result."""


@dataclass(frozen=True)
class Compared:
    """One comparison by one metric. `difference` is `to` minus `of`; None if an arm lacks results.

    `of` and `to` may name several arms, whose pairs are averaged by prompt. `p` is adjusted by Holm's method
    over all comparisons of the study.
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
        """The interval to show: a win rate around one half, or a difference around 0."""
        if self.difference is None:
            return None
        mean = self.difference.mean
        if self.metric != "win_rate":
            return mean
        return Interval(_rate(mean.value), _rate(mean.low), _rate(mean.high), mean.n, mean.missing)

    @property
    def is_of_models(self) -> bool:
        """Whether the arms share only one seed, so that the interval does not cover noise between seeds."""
        return self.difference is not None and self.difference.seeds < 2

    @property
    def verdict(self) -> str:
        """The verdict after Holm's adjustment (5 %); `MODELS_ONLY` for one seed.

        It is `direction`, followed by `, alone` if the difference is significant by its own interval but not
        after the adjustment.
        """
        if self.is_of_models:
            return MODELS_ONLY
        survives = self.p < SIGNIFICANCE_LEVEL or self.direction not in ("better", "worse")
        return self.direction if survives else f"{self.direction}, alone"

    @property
    def direction(self) -> Direction:
        """The verdict by this comparison's own 95 % interval, without adjustment."""
        if self.difference is None:
            return "not measured"
        if not self.difference.mean.excludes_zero:
            return "not significant"
        rose = self.difference.mean.value > 0
        return "better" if rose == (METRICS[self.metric].better == "higher") else "worse"


def by_prompt(values: ByPrompt, prompt_of: Mapping[str, str]) -> dict[str, float]:
    """Average the values of rows that share a prompt, without missing values.

    A row without an entry in `prompt_of` is its own prompt.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for row, value in values.items():
        if value is not None and value == value:
            groups[prompt_of.get(row, row)].append(float(value))
    return {prompt: sum(group) / len(group) for prompt, group in groups.items()}


def arm_mean(values: BySeed, metric: str) -> OverSeeds | None:
    """Return the mean of an arm over its seeds and prompts; None if nothing was measured."""
    known = [by for by in values.values() if by]
    if not known:
        return None
    return over_seeds(known, bounds=SHARE if METRICS[metric].unit == "share" else None)


def difference(pairs: Sequence[tuple[BySeed, BySeed]], metric: str) -> OverSeeds | None:
    """Return the difference of each pair `(of, to)`, `to` minus `of`, averaged over pairs, seeds and prompts.

    Only seeds and prompts that all arms have count; None if there are none. Several pairs of arms are
    averaged by prompt first, since their answers to one prompt are not independent.

    For `win_rate` the values are rewards, and the difference is that of wins and losses: the share of prompts
    on which `to` is better minus the share on which it is worse. The win rate, ties counted one half, is
    (1 + difference) / 2.
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
    """Return `to` minus `of` by prompt, for `win_rate` its sign; NaN if one of the two lacks the prompt."""
    gaps = difference_by_prompt(of, to)
    return {p: float(np.sign(gap)) for p, gap in gaps.items()} if metric == "win_rate" else gaps


def _mean_by_prompt(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average several tables of values by prompt; NaN for a prompt that one of them lacks.

    The result is empty if no prompt has all values.
    """
    prompts = dict.fromkeys(prompt for by in each for prompt in by)
    means = {prompt: math.fsum(by.get(prompt, math.nan) for by in each) / len(each) for prompt in prompts}
    return means if any(not math.isnan(mean) for mean in means.values()) else {}


def compared(measured: MeasuredArms, wanted: Sequence[ArmComparison]) -> list[Compared]:
    """Return one result per comparison and metric, with p-values adjusted over all of them."""
    found = [
        Compared(c.title, c.of, c.to, metric, _difference(measured, c, metric), c.headline)
        for c in wanted
        for metric in c.metrics
    ]
    adjusted = iter(holm([c.difference.p for c in found if c.difference]))
    return [replace(c, p=next(adjusted)) if c.difference else c for c in found]


def comparison_sentence(c: Compared, titles: Mapping[str, str]) -> str:
    """Describe a comparison in one sentence, with its interval."""
    label, unit = METRICS[c.metric].label, unit_named(METRICS[c.metric].unit)
    a, b = _together(c.of, titles), _together(c.to, titles)
    if c.shown is None or c.difference is None:
        return f"{c.title}, {label}: not measured, since {a} or {b} has not finished."
    rate = c.metric == "win_rate"
    size = f"win rate {unit.estimate(c.shown)}" if rate else f"{label} {unit.change(c.shown)}"
    size = f"{size}, {counts_in_words(c.difference)}"
    if c.is_of_models:
        return f"{b} against {a}: {size}; one seed compares {MODELS_ONLY}, not their recipes."
    if c.direction == "not significant":
        lead = f"{b} and {a} do not differ significantly"
    elif c.direction == "better":
        lead = f"{b} {'beats' if rate else 'is better than'} {a}"
    else:
        lead = f"{b} {'loses to' if rate else 'is worse than'} {a}"
    return after_holm(f"{lead}: {size}.", c.p, c.direction in ("better", "worse"))


def _together(arms: Sequence[str], titles: Mapping[str, str]) -> str:
    names = list(dict.fromkeys(titles[arm] for arm in arms))
    return names[0] if len(names) == 1 else "; ".join(names) + " (taken together)"


def study_headline(found: Sequence[Compared], arms: Mapping[str, Arm]) -> str:
    """Count the verdicts of the headline comparisons with several seeds, in one sentence."""
    measured = [c for c in found if c.headline and c.difference]
    done = [c for c in measured if not c.is_of_models]
    single = len(measured) - len(done)
    if not measured:
        return "Nothing has been compared yet."
    if not done:
        return f"No recipes are compared yet, only models: {plural(single, 'comparison')} with one seed."
    ends = Counter(c.verdict for c in done)
    parts = [_wins(ends["better"], done, arms)]
    if alone := ends["better, alone"]:
        parts.append(f"{alone} more by {'its' if alone == 1 else 'their'} own interval alone")
    if lost := ends["worse"] + ends["worse, alone"]:
        parts.append(f"{lost} {is_or_are(lost)} worse")
    if unresolved := ends["not significant"]:
        parts.append(f"{unresolved} {is_or_are(unresolved)} not significant")
    if single:
        parts.append(f"{single} with one seed {is_or_are(single)} not counted")
    return "; ".join(parts) + "."


def _wins(wins: int, done: Sequence[Compared], arms: Mapping[str, Arm]) -> str:
    """Return the clause with the number of significant improvements.

    If all comparisons are of tuned with published recipes, it counts wins of the tuned recipes.
    """
    published = all(arms[name].role == "published" for c in done for name in c.of)
    if published and all(arms[name].role == "tuned" for c in done for name in c.to):
        return f"The tuned recipes win {wins} of {len(done)} comparisons with the published ones"
    return f"{wins} of {plural(len(done), 'comparison')} {is_or_are(wins)} better"


def _difference(measured: MeasuredArms, c: ArmComparison, metric: str) -> OverSeeds | None:
    source = "good" if metric == "win_rate" else metric
    of, to = ([measured.get(arm, {}).get(source, {}) for arm in arms] for arms in (c.of, c.to))
    return difference(list(zip(of, to, strict=True)), metric)


def _rate(balance: float) -> float:
    return (1 + balance) / 2


def counts_in_words(d: OverSeeds) -> str:
    """Format the numbers of seeds and prompts, as `2 seeds, 1,200 prompts`."""
    return f"{plural(d.seeds, 'seed')}, {d.mean.n:,} prompts"
