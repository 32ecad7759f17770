"""What a study found: a mean for every arm, and paired differences between arms.

Values are by prompt. Several pairs of one prompt are averaged first, since prompts are what is drawn
independently; seeds of one arm are kept apart until the interval is made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from boresight.errors import UserError
from boresight.evaluate.seeds import DIFFERENCE, SHARE, OverSeeds, difference_over_seeds, over_seeds
from boresight.evaluate.stats import Interval, Value, holm
from boresight.evaluate.verdict import number, unit_named
from boresight.study.metrics import METRICS
from boresight.study.plan import Comparison

ByPrompt = Mapping[str, Value]
BySeed = Mapping[int, ByPrompt]
Measured = Mapping[str, Mapping[str, BySeed]]
"""Arm, metric, seed, prompt to value."""

FAMILY_ERROR = 0.05
"""Chance of one false verdict or more among all comparisons of a study."""


@dataclass(frozen=True)
class Compared:
    """One comparison by one metric. `difference` is `to` minus `of`; None where it could not be made.

    `p` is adjusted by Holm's method over all comparisons of the study.
    """

    title: str
    of: str
    to: str
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


def by_prompt(values: ByPrompt, prompt_of: Mapping[str, str]) -> dict[str, Value]:
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


def difference(of: BySeed, to: BySeed, metric: str) -> OverSeeds | None:
    """`to` minus `of`, paired by the seeds and prompts that both have; None where they share none.

    For `win_rate` the values are rewards, and the difference is that of wins and losses: the share of
    prompts on which `to` is better minus the share on which it is worse. The win rate with ties one half
    is one half of it, plus one half.
    """
    seeds = [seed for seed in of if seed in to and set(of[seed]) & set(to[seed])]
    if not seeds:
        return None
    before, after = [of[s] for s in seeds], [to[s] for s in seeds]
    if metric == "win_rate":
        after = [_signs(a, b) for a, b in zip(before, after, strict=True)]
        before = [dict.fromkeys(signs, 0.0) for signs in after]
    bounds = DIFFERENCE if METRICS[metric].unit == "share" else None
    try:
        return difference_over_seeds(before, after, bounds=bounds)
    except UserError:  # no prompt has all values
        return None


def compared(measured: Measured, wanted: Sequence[Comparison]) -> list[Compared]:
    """Every comparison by every metric it names, with p-values adjusted over all of them."""
    found = [
        Compared(c.title, c.of, c.to, metric, _difference(measured, c.of, c.to, metric), c.headline)
        for c in wanted
        for metric in c.metrics
    ]
    adjusted = iter(holm([c.difference.p for c in found if c.difference]))
    return [replace(c, p=next(adjusted)) if c.difference else c for c in found]


def sentence(c: Compared, titles: Mapping[str, str]) -> str:
    """A comparison in words, with its interval."""
    label, unit = METRICS[c.metric].label, unit_named(METRICS[c.metric].unit)
    a, b = titles[c.of], titles[c.to]
    if c.shown is None or c.difference is None:
        return f"{c.title}, {label}: not measured, since {a} or {b} has not finished."
    limits, over = unit.limits(c.shown), _over(c.difference)
    if c.metric == "win_rate":
        said = {"better": "beats", "worse": "loses to", "not resolved": "and"}[c.direction]
        tail = " cannot be told apart" if c.direction == "not resolved" else ""
        return f"{b} {said} {a}{tail}: win rate {unit.value(c.shown.value)} {limits}, {over}."
    size = f"{_signed(c.shown.value, unit)} {limits}"
    said = {"better": "is better than", "worse": "is worse than", "not resolved": "and"}[c.direction]
    tail = " cannot be told apart" if c.direction == "not resolved" else ""
    return f"{b} {said} {a}{tail}: {label} {size}, {over}."


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


def _difference(measured: Measured, of: str, to: str, metric: str) -> OverSeeds | None:
    source = "good" if metric == "win_rate" else metric
    values = [measured.get(arm, {}).get(source, {}) for arm in (of, to)]
    return difference(values[0], values[1], metric)


def _signs(a: ByPrompt, b: ByPrompt) -> dict[str, float]:
    """1 where b is better, -1 where a is, 0 on ties; prompts that either lacks are left out."""
    both = [p for p in a if p in b and a[p] is not None and b[p] is not None]
    return {p: float((b[p] > a[p]) - (b[p] < a[p])) for p in both}  # type: ignore[operator]


def _rate(balance: float) -> float:
    return (1 + balance) / 2


def _signed(x: float, unit) -> str:
    return ("+" if x > 0 else "-" if x < 0 else "") + unit.difference(x)


def _over(d: OverSeeds) -> str:
    seeds = "1 seed" if d.seeds == 1 else f"{d.seeds} seeds"
    return f"{seeds}, {number(d.mean.n).removesuffix('.0')} prompts"
