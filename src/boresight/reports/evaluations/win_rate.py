"""The page of an evaluation: win rates, also by length, the judge's sanity checks, and single prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boresight.evaluation.judge_controls import Trust
from boresight.evaluation.win_rate import PromptComparison, Tournament, WinRate
from boresight.reports.page import page, write_page
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import Drawing, Mark, draw_intervals
from boresight.stats.agreement import PreferenceAgreement
from boresight.stats.intervals import Interval
from boresight.stats.units import format_number, unit_named

SHARE = unit_named("share")
EVEN = 50.0
"""The win rate at which neither is better, in percent."""
LONGER_BY = 1.1
"""Ratio of lengths up to which two answers count as equally long."""

KINDS = [
    ("Won", "won"), ("Lost", "lost"), ("Tied", "tied"), ("Flipped", "flipped"), ("Failed", "failed"),
    ("Longer", "longer"), ("Shorter", "shorter"),
]  # fmt: skip
BADGES = {"won": "better", "lost": "worse", "tied": "", "failed": "worse"}


@dataclass(frozen=True)
class FactRow:
    """One number with its interval: a win rate, a result of the judge's checks, or a system's strength."""

    label: str
    cell: Cell
    drawing: Drawing | None
    detail: str = ""


def write_win_rate_page(path: Path, found: Tournament, believed: Trust) -> Path:
    """Write the page to `path`, the win rates beside it as Markdown, CSV and LaTeX, and return the path."""
    write_page(path, render_win_rate(found, believed))
    write_tables(path, rates_table(found))
    return path


def rates_table(found: Tournament) -> Table:
    """One line per pair: the win rate, and the one at equal length where there is one."""
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
    """The page as HTML."""
    first = found.pairs[0]
    names = list(dict.fromkeys(name for pair in found.pairs for name in (pair.reference, pair.candidate)))
    return page(
        "win_rate.html.j2",
        title=" · ".join(names),
        headline=win_rate_headline(first) if len(found.pairs) == 1 else f"{len(names)} systems compared",
        judge=first.judge,
        verdicts=found.verdicts,
        rate_in_words=first.rate_in_words if len(found.pairs) == 1 else "",
        distinct_answers=found.distinct_answers,
        rates=parts_of(first) if len(found.pairs) == 1 else [row for p in found.pairs for row in brief(p)],
        uncontrolled=list(dict.fromkeys(p.uncontrolled for p in found.pairs if p.uncontrolled)),
        failures=[(p.candidate, p.reference, p.failures) for p in found.pairs if p.failures],
        ranking=[] if found.ranking is None else _ranking_rows(found.ranking.strength),
        unranked=found.unranked,
        trust=trust_rows(believed),
        unknown=believed.notes,
        has_notes=any(c.judgment.reasoning for pair in found.pairs for c in pair.comparisons),
        payload={
            "columns": names,
            "outcomes": [],
            "kinds": KINDS if len(found.pairs) == 1 else _pair_kinds(found.pairs),
            "samples": samples(found.pairs, names),
        },
    )


def win_rate_headline(pair: WinRate) -> str:
    """The winner as a short phrase."""
    if not pair.has_verdict:
        return "No verdict: too many judgments are missing"
    if pair.rate.low <= 0.5 <= pair.rate.high:
        return f"{pair.candidate} and {pair.reference} do not differ significantly"
    winner, loser = (pair.candidate, pair.reference)[:: 1 if pair.rate.value > 0.5 else -1]
    fault = pair.controls[winner].fault
    return f"{winner} is preferred to {loser} with {fault}" if fault else f"{winner} beats {loser}"


def parts_of(pair: WinRate) -> list[FactRow]:
    """Win rates of the candidate: on all prompts, at equal length, and on prompts where its answer is
    shorter, as long, or longer."""
    ours = f"Where {pair.candidate}'s answer is"
    rows = [
        *brief(pair),
        _row(f"{ours} shorter", pair.split.shorter, null=EVEN),
        _row(f"{ours} as long", pair.split.similar, null=EVEN),
        _row(f"{ours} longer", pair.split.longer, null=EVEN),
    ]
    return [row for row in rows if row is not None]


def brief(pair: WinRate) -> list[FactRow]:
    """The win rate, and the one at equal length where there is one."""
    counts = ", ".join(f"{n:,} {name}" for name, n in pair.counts.items() if n or name != "failed")
    label = f"{pair.candidate} over {pair.reference}"
    rows = [
        _row(label, pair.rate, counts, EVEN),
        _row("At equal length", _at_equal_length(pair), null=EVEN),
    ]
    return [row for row in rows if row is not None]


def _at_equal_length(pair: WinRate) -> Interval | None:
    return None if pair.controlled is None else pair.controlled.at_equal_length


def trust_rows(believed: Trust) -> list[FactRow]:
    """Every control and agreement that was measured."""
    found: list[tuple[str, Interval | None, float | None]]
    found = [(c.expected, c.share, None) for c in believed.controls]
    if believed.itself:
        found.append(("returns the same verdict when asked again", believed.itself.accuracy, None))
    if believed.order:
        found.append(("changes its winner with the order of the answers", believed.order.flips, None))
        found.append(("prefers the answer shown first (no bias: 50 %)", believed.order.first_slot, EVEN))
    rows = [_row(label[0].upper() + label[1:], interval, null=null) for label, interval, null in found]
    if believed.people:
        rows.append(_row("Agrees with people", believed.people.accuracy, _apart(believed.people)))
    if believed.raters:
        detail = f"{believed.raters.comparisons:,} comparisons with several raters"
        rows.append(_row("Two of its raters agree", believed.raters.accuracy, detail))
    return [row for row in rows if row is not None]


def _apart(people: PreferenceAgreement) -> str:
    counts = {"contradicted": people.contradictions, "tied": people.ties, "flipped": people.flips}
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)


def _row(
    label: str, interval: Interval | None, detail: str = "", null: float | None = None
) -> FactRow | None:
    """A share, drawn on a scale from 0 to 100 %, with a line at `null`."""
    if interval is None:
        return None
    found = interval_cell(interval, SHARE, n=True, missing=True)
    at = Mark("after", 100 * interval.value, 100 * interval.low, 100 * interval.high)
    return FactRow(label, found, Drawing([at], "0", "100", str(found), null), detail)


def samples(pairs: Sequence[WinRate], names: Sequence[str]) -> list[dict[str, Any]]:
    """One dictionary per prompt for the page: `answers` by system, `notes` and `tags` with the judge's
    verdict on every pair, and `outcome` if there is only one pair."""
    rows: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        for comparison in pair.comparisons:
            row = rows.setdefault(comparison.prompt.id, _empty_row(comparison, names))
            row["answers"][names.index(pair.reference)] = comparison.reference
            row["answers"][names.index(pair.candidate)] = comparison.candidate
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
    """With several pairs, samples are sorted by who beat whom, and by what happened in any pair."""
    in_any = [(f"{label} in a pair", tag) for label, tag in KINDS if tag in ("tied", "flipped", "failed")]
    won = [
        (f"{winner} over {loser}", _pair_tag(pair, winner))
        for pair in pairs
        for winner, loser in ((pair.candidate, pair.reference), (pair.reference, pair.candidate))
    ]
    return won + in_any


def _ranking_rows(strength: dict[str, Interval]) -> list[FactRow]:
    """Strengths from the strongest, all drawn on one scale."""
    unit = unit_named("")
    scale = draw_intervals(dict(strength), unit)
    marks = {mark.role: replace(mark, role="after") for mark in scale.marks} if scale else {}
    return [
        FactRow(
            name,
            Cell(format_number(interval.value), unit.limits(interval)),
            scale and replace(scale, marks=[marks[name]], label=f"{name} {unit.limits(interval)}"),
        )
        for name, interval in strength.items()
    ]
