"""Write the page of a win-rate evaluation: win rates, checks of the judge, and single prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boresight.core.wording import cut_at_tokens, plural
from boresight.evaluation.judge_controls import Trust
from boresight.evaluation.win_rate import PromptComparison, Tournament, WinRate
from boresight.reports.page import page, write_page
from boresight.reports.tables.common_scale import CommonScale, draw_on_one_scale
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import Drawing
from boresight.stats.intervals import SIGNIFICANCE_LEVEL, Interval
from boresight.stats.units import Unit, format_number, unit_named

SHARE = unit_named("share")
EVEN = 0.5
"""Win rate at which neither system is better."""
ALL = (0.0, 1.0)
"""Ends of the axis for shares."""
LONGER_BY = 1.1
"""Maximum ratio of lengths at which two answers count as equally long."""

KINDS = [
    ("Won", "won"), ("Lost", "lost"), ("Tied", "tied"), ("Flipped", "flipped"), ("Failed", "failed"),
    ("Longer", "longer"), ("Shorter", "shorter"),
]  # fmt: skip
BADGES = {"won": "better", "lost": "worse", "tied": "", "failed": "worse"}


@dataclass(frozen=True)
class Fact:
    """One measured number with its interval; `detail` contains counts to write below the label."""

    label: str
    interval: Interval
    detail: str = ""


@dataclass(frozen=True)
class FactRow:
    """A fact as a row of a table."""

    label: str
    cell: Cell
    drawing: Drawing
    detail: str


@dataclass(frozen=True)
class FactTable:
    """A table of facts with intervals on one axis. `head` is the heading of the labels."""

    head: str
    rows: list[FactRow]
    scale: CommonScale


def write_win_rate_page(path: Path, found: Tournament, believed: Trust) -> Path:
    """Write the page to `path`, the win rates beside it as Markdown, CSV and LaTeX, and return the path."""
    write_page(path, render_win_rate(found, believed))
    write_tables(path, rates_table(found))
    return path


def rates_table(found: Tournament) -> Table:
    """Return a table with one row per pair: the win rate, and the one at equal length if there is one."""
    rows = [
        TableRow(
            f"{pair.candidate} over {pair.reference}",
            "share",
            [pair.rate, _at_equal_length(pair)],
        )
        for pair in found.pairs
    ]
    return Table("win rate", ["all prompts", "at equal length"], rows)


def render_win_rate(found: Tournament, believed: Trust) -> str:
    """Return the page as HTML."""
    first = found.pairs[0]
    names = list(dict.fromkeys(name for pair in found.pairs for name in (pair.reference, pair.candidate)))
    facts = parts_of(first) if len(found.pairs) == 1 else [f for pair in found.pairs for f in brief(pair)]
    strength = [] if found.ranking is None else [Fact(*each) for each in found.ranking.strength.items()]
    return page(
        "win_rate.html.j2",
        title=" · ".join(names),
        headline=win_rate_headline(first) if len(found.pairs) == 1 else tournament_headline(found),
        judge=first.judge,
        verdicts=found.verdicts,
        distinct_answers=found.distinct_answers,
        rates=_share_table("Prompts", facts, "win rate, % of prompts, ties half", guide=EVEN),
        uncontrolled=list(dict.fromkeys(p.uncontrolled for p in found.pairs if p.uncontrolled)),
        failures=[(p.candidate, p.reference, p.failures) for p in found.pairs if p.failures],
        ranking=_fact_table("System", strength, unit_named(""), "strength, log-odds"),
        unranked=found.unranked,
        trust=_share_table("The judge", trust_facts(believed), "share of cases, %"),
        unknown=believed.notes,
        has_notes=any(c.judgment.reasoning for pair in found.pairs for c in pair.comparisons),
        payload={
            "columns": names,
            "files": "comparisons.jsonl",
            "outcomes": [],
            "kinds": KINDS if len(found.pairs) == 1 else _pair_kinds(found.pairs),
            "samples": samples(found.pairs, names),
        },
    )


def win_rate_headline(pair: WinRate) -> str:
    """Return who won, with the win rate, its interval and n."""
    if not pair.has_verdict:
        return f"No verdict: {pair.rate.missing:,} of {len(pair.comparisons):,} judgments are missing"
    candidate, reference = pair.candidate, pair.reference
    if not _is_uneven(pair):
        both = f"{candidate} and {reference} do not differ significantly"
        return f"{both}: {candidate} wins {_rate_in_words(pair.rate)}"
    candidate_won = pair.rate.value > EVEN
    winner, loser = (candidate, reference) if candidate_won else (reference, candidate)
    won = _rate_in_words(pair.rate if candidate_won else _complement(pair.rate))
    fault = pair.controls[winner].fault
    if fault:
        return f"{winner} is preferred to {loser} with {fault}, on {won}"
    return f"{winner} beats {loser}: it wins {won}"


def _rate_in_words(rate: Interval) -> str:
    return f"{SHARE.estimate(rate)} of {plural(rate.n, 'prompt')}"


def _complement(share: Interval) -> Interval:
    """Return the interval of 1 - share, the win rate of the other system."""
    return replace(share, value=1 - share.value, low=1 - share.high, high=1 - share.low)


def _is_uneven(pair: WinRate) -> bool:
    return not pair.rate.low <= EVEN <= pair.rate.high


def tournament_headline(found: Tournament) -> str:
    """Return which system is significantly better than most others, and than how many.

    Significance is after Holm's adjustment. Several systems may share the first place.
    """
    systems = {name for pair in found.pairs for name in (pair.reference, pair.candidate)}
    judged = [(pair, p) for pair, p in zip(found.pairs, found.adjusted_p, strict=True) if pair.has_verdict]
    if not judged:
        return f"No verdict on {len(systems)} systems: too many judgments are missing"
    wins = Counter(
        pair.candidate if pair.rate.value > EVEN else pair.reference
        for pair, p in judged
        if p < SIGNIFICANCE_LEVEL and _is_uneven(pair)
    )
    if not wins:
        return f"No two of {len(systems)} systems differ significantly"
    most = max(wins.values())
    best = " and ".join(name for name, count in wins.items() if count == most)
    verb = "each beat" if " and " in best else "beats"
    others = len(systems) - 1
    beaten = (
        f"{most} of the other {others}"
        if most < others
        else "both other"
        if most == 2
        else f"all {most} other"
    )
    return f"{best} {verb} {beaten} systems significantly"


def parts_of(pair: WinRate) -> list[Fact]:
    """Return the candidate's win rates on all prompts, at equal length, and by length of its answer.

    The last are the prompts on which its answer is shorter, as long or longer.
    """
    ours = f"Where {pair.candidate}'s answer is"
    by_length = {"shorter": pair.split.shorter, "as long": pair.split.similar, "longer": pair.split.longer}
    split = [Fact(f"{ours} {length}", rate) for length, rate in by_length.items() if rate is not None]
    return [*brief(pair), *split]


def brief(pair: WinRate) -> list[Fact]:
    """Return the win rate of a pair, and the one at equal length if there is one."""
    counts = ", ".join(f"{n:,} {name}" for name, n in pair.counts.items() if n or name != "failed")
    name, equal = f"{pair.candidate} over {pair.reference}", _at_equal_length(pair)
    found = [Fact(name, pair.rate, counts)]
    return found if equal is None else [*found, Fact(f"{name}, at equal length", equal)]


def _at_equal_length(pair: WinRate) -> Interval | None:
    return None if pair.controlled is None else pair.controlled.at_equal_length


def trust_facts(believed: Trust) -> list[Fact]:
    """Return the result of every sanity check of the judge that was made."""
    facts = [_of_comparisons(c.expected, c.share, c.cases) for c in believed.controls]
    if same := believed.itself:
        said = "returns the same verdict when asked again"
        facts.append(_of_comparisons(said, same.accuracy, same.comparisons))
    if (order := believed.order) and order.flips:
        said = "changes its winner with the order of the answers"
        facts.append(_of_comparisons(said, order.flips, order.comparisons))
    if order and order.first_slot:
        facts.append(Fact("Prefers the answer shown first (no bias: 50 %)", order.first_slot))
    if people := believed.people:
        counts = {"contradicted": people.contradictions, "tied": people.ties, "flipped": people.flips}
        apart = [f"{n:,} {name}" for name, n in counts.items() if n]
        facts.append(_of_comparisons("agrees with people", people.accuracy, people.comparisons, apart))
    if believed.raters:
        detail = f"{believed.raters.comparisons:,} comparisons with several raters"
        facts.append(Fact("Two of its raters agree", believed.raters.accuracy, detail))
    return facts


def _of_comparisons(said: str, share: Interval, comparisons: int, counts: Sequence[str] = ()) -> Fact:
    """Return a share as a fact, with the number of comparisons if it differs from that of prompts."""
    several = [plural(comparisons, "comparison")] if comparisons != share.n else []
    return Fact(said[0].upper() + said[1:], share, ", ".join([*several, *counts]))


def _share_table(
    head: str, facts: Sequence[Fact], title: str, guide: float | None = None
) -> FactTable | None:
    """Return a table of shares on an axis from 0 to 100 %; None if no fact has a finite value."""
    return _fact_table(head, facts, SHARE, title, guide, ALL)


def _fact_table(
    head: str,
    facts: Sequence[Fact],
    unit: Unit,
    title: str,
    guide: float | None = None,
    ends: tuple[float, float] | None = None,
) -> FactTable | None:
    """Return a table with one row per fact; None if no fact has a finite value."""
    intervals = {fact.label: fact.interval for fact in facts}
    column = draw_on_one_scale(intervals, unit, title, guide=guide, ends=ends)
    if column is None:
        return None
    rows = [
        FactRow(
            fact.label,
            interval_cell(fact.interval, unit, n=True, missing=True),
            column.rows[fact.label],
            fact.detail,
        )
        for fact in facts
    ]
    return FactTable(head, rows, column.scale)


def samples(pairs: Sequence[WinRate], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary per prompt for the page.

    It contains `answers` by system; `notes` and `tags` with the judge's verdict on every pair; and `outcome`
    if there is only one pair.
    """
    rows: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        for comparison in pair.comparisons:
            row = rows.setdefault(comparison.prompt.id, _empty_row(comparison, names))
            for name, answer, cut_at in zip(
                (pair.reference, pair.candidate),
                (comparison.reference, comparison.candidate),
                comparison.cut_at,
                strict=True,
            ):
                row["answers"][names.index(name)] = answer
                row["cuts"][names.index(name)] = cut_at_tokens(cut_at)
            row["notes"] += _notes(pair, comparison)
            row["tags"] += _tags(comparison) + ([_tag(pair, comparison)] if len(pairs) > 1 else [])
            if len(pairs) == 1:
                row["outcome"] = [comparison.outcome, BADGES[comparison.outcome]]
    return list(rows.values())


def _empty_row(comparison: PromptComparison, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": comparison.prompt.id,
        "prompt": comparison.prompt.prompt,
        "answers": [None] * len(names),
        "cuts": [""] * len(names),
        "checks": [{} for _ in names],
        "tags": [],
        "notes": [],
    }


def _notes(pair: WinRate, comparison: PromptComparison) -> list[tuple[str, str]]:
    judgment = comparison.judgment
    title = f"{pair.candidate} against {pair.reference}: {comparison.outcome}"
    if judgment.failure:
        return [(f"{title}, {judgment.failure}", judgment.reasoning or judgment.failure)]
    if judgment.scores:
        title += f", {format_number(judgment.scores[0])} to {format_number(judgment.scores[1])}"
    # The judge's words call the candidate a and the reference b.
    return [(f"{title} (a is {pair.candidate})", judgment.reasoning)] if judgment.reasoning else []


def _tags(comparison: PromptComparison) -> list[str]:
    ours, theirs = len(comparison.candidate or ""), len(comparison.reference or "")
    tags = {
        comparison.outcome: True,
        "flipped": comparison.flipped,
        "longer": ours > LONGER_BY * theirs,
        "shorter": theirs > LONGER_BY * ours,
    }
    return [tag for tag, holds in tags.items() if holds]


def _tag(pair: WinRate, comparison: PromptComparison) -> str:
    winners = {"won": pair.candidate, "lost": pair.reference}
    return _pair_tag(pair, winners.get(comparison.outcome, comparison.outcome))


def _pair_tag(pair: WinRate, winner: str) -> str:
    return "\n".join((pair.candidate, pair.reference, winner))


def _pair_kinds(pairs: Sequence[WinRate]) -> list[tuple[str, str]]:
    """Return `(label, tag)` of the filters for samples of several pairs: who beat whom, and what happened."""
    in_any = [(f"{label} in a pair", tag) for label, tag in KINDS if tag in ("tied", "flipped", "failed")]
    won = [
        (f"{winner} over {loser}", _pair_tag(pair, winner))
        for pair in pairs
        for winner, loser in ((pair.candidate, pair.reference), (pair.reference, pair.candidate))
    ]
    return won + in_any
