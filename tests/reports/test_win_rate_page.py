"""The page of an evaluation: what it says, what it filters, and that model text stays text."""

import pytest

from boresight.core.schema import Prompt
from boresight.evaluation.judge_controls import Trust, order_effects, planted_controls
from boresight.evaluation.win_rate import System, tournament
from boresight.reports.evaluations.win_rate import (
    _pair_kinds,
    render_win_rate,
    samples,
    tournament_headline,
    win_rate_headline,
    write_win_rate_page,
)
from boresight.scorers.judges.base import Judgment, Verdict
from tests.odd_text import as_returned
from tests.reports.fake_run import ATTACK


class Fixed:
    """By the prompt's number: wins, a flip, losses, a failure in turn."""

    name = "fixed judge"

    def compare(self, prompts, a, b, repeat=0):
        return [self._one(int(p.id[1:]) % 8) for p in prompts]

    @staticmethod
    def _one(kind):
        if kind == 7:
            return Judgment(None, failure="timeout: 60 s")
        if kind == 6:
            verdicts = (Verdict("a", 1.0, "first"), Verdict("b", 0.0, "first"))
            return Judgment(0.5, verdicts=verdicts, reasoning=f"it depends {ATTACK}")
        won = 1.0 if kind < 4 else 0.0
        return Judgment(won, verdicts=(Verdict("a", won), Verdict("b", won)), reasoning="a is clearer")


def evaluation(count=80, names=("old", "new")):
    prompts = [Prompt([{"role": "user", "content": f"question {i} {ATTACK}"}], f"p{i}") for i in range(count)]
    systems = [
        System(
            name, {p.id: f"{name} answer {'word ' * (i % 7 + 9 * n)}{ATTACK}" for i, p in enumerate(prompts)}
        )
        for n, name in enumerate(names)
    ]
    found = tournament(prompts, systems, Fixed())
    compared = [c for pair in found.pairs for c in pair.comparisons]
    order = order_effects([c.judgment for c in compared], [c.prompt for c in compared])
    answers = [systems[0].answers[p.id] for p in prompts]
    trust = Trust(planted_controls(Fixed(), prompts, answers, 8), order=order)
    return found, trust


def test_the_page_says_verdict_trust_and_what_is_missing():
    found, trust = evaluation()
    html = render_win_rate(found, trust)
    assert win_rate_headline(found.pairs[0]) == "No verdict: 10 of 80 judgments are missing"
    assert "10 of 80 judgments are missing" in html and "10 (timeout)" in html
    assert "Calls an answer and itself a tie" in html and "40 won, 10 tied, 20 lost, 10 failed" in html
    assert "<script>alert" not in html and "<img src=x" not in html


def test_a_tournament_shows_every_pair_and_one_scale():
    found, trust = evaluation(names=("a", "b", "c"))
    html = render_win_rate(found, trust)
    assert "No verdict on 3 systems: too many judgments are missing" in html and "One scale" in html
    assert all(f"{x} over {y}" in html for x, y in (("b", "a"), ("c", "a"), ("c", "b")))
    labels = [label for label, _ in _pair_kinds(found.pairs)]
    assert len(labels) == 9 and labels[-3:] == ["Tied in a pair", "Flipped in a pair", "Failed in a pair"]
    tags = [row["tags"] for row in samples(found.pairs, ["a", "b", "c"])]
    assert all(said.startswith("No verdict") and "Holm" not in said for said in found.verdicts)
    assert sum("flipped" in found for found in tags) == sum("failed" in found for found in tags) == 10


class ByLetter(Fixed):
    """The answer that is later in the alphabet wins; none fails."""

    def compare(self, prompts, a, b, repeat=0):
        return [Judgment(0.5 + 0.5 * ((x > y) - (x < y))) for x, y in zip(a, b, strict=True)]


def judged(**won):
    """Of 20 prompts, a system has the later letter on the first `won` ones."""
    prompts = [Prompt([{"role": "user", "content": f"question {i}"}], f"p{i}") for i in range(20)]
    systems = [
        System(name, {p.id: f"{'b' if i < count else 'a'} answer {i}" for i, p in enumerate(prompts)})
        for name, count in won.items()
    ]
    return tournament(prompts, systems, ByLetter())


def test_the_headline_is_the_outcome_with_its_interval_and_n():
    """20 of 20 won, by either side; 2 won and 18 tied is 11 of 20."""
    assert win_rate_headline(judged(old=0, new=20).pairs[0]) == (
        "new beats old: it wins 100.0 % [83.2, 100.0] of 20 prompts"
    )
    assert win_rate_headline(judged(old=20, new=0).pairs[0]) == (
        "old beats new: it wins 100.0 % [83.2, 100.0] of 20 prompts"
    )
    assert win_rate_headline(judged(old=0, new=2).pairs[0]).startswith(
        "new and old do not differ significantly: new wins 55.0 % ["
    )


@pytest.mark.parametrize(
    ("won", "headline"),
    [
        ({"a": 0, "b": 0, "c": 20}, "c beats both other systems significantly"),
        ({"a": 0, "b": 20, "c": 20}, "b and c each beat 1 of the other 2 systems significantly"),
        ({"a": 1, "b": 0, "c": 2}, "No two of 3 systems differ significantly"),
        ({"a": 0, "b": 0, "c": 0, "d": 20}, "d beats all 3 other systems significantly"),
    ],
)
def test_the_headline_of_several_systems_counts_wins(won, headline):
    assert tournament_headline(judged(**won)) == headline


def test_all_rows_are_on_one_axis_with_its_title_and_unit():
    """Values of the first pair and all shares of the page's first table lie on one scale from 0 to 100 %."""
    html = render_win_rate(judged(old=0, new=2), Trust([]))
    axis = html.split('class="axis"')[1].split("</svg>")[0]
    assert [text.split("<")[0] for text in axis.split('text-anchor="middle">')[1:]] == [
        "0", "25", "50", "75", "100",
    ]  # fmt: skip
    assert "win rate, % of prompts, ties half" in html and "--guide-line" in html
    assert 'cx="55.0%"' in html


def _open(chromium, path):
    page = chromium.new_page(viewport={"width": 1366, "height": 900})
    complaints = []
    page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(m.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    page.goto(path.as_uri())
    return page, complaints


@pytest.mark.browser
def test_filters_reasoning_and_permalinks(chromium, tmp_path):
    path = write_win_rate_page(tmp_path / "report.html", *evaluation())
    page, complaints = _open(chromium, path)
    for label, count in (("Won", 40), ("Lost", 20), ("Tied", 10), ("Flipped", 10), ("Failed", 10)):
        page.click(f".chip:has-text('{label}')")
        assert page.locator("#count").inner_text() == f"{count} of 80 prompts"
        if label == "Flipped":
            page.keyboard.press("j")
            page.keyboard.press("r")
            reasoning = page.locator(".sample.current .note[open] .text").inner_text()
            assert reasoning in as_returned(f"it depends {ATTACK}")
            page.keyboard.press("r")
            assert page.locator(".note[open]").count() == 0
    page.click(".chip:has-text('Longer')")
    assert page.locator(".sample").count() > 0
    page.goto(f"{path.as_uri()}#sample=p45")
    page.reload()
    assert page.locator(".sample.current .link").text_content() == "#p45"
    page.set_viewport_size({"width": 375, "height": 812})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.locator(".sample img, .sample script").count() == 0 and complaints == []
    page.close()


@pytest.mark.browser
def test_five_thousand_judged_prompts_draw_one_screenful(chromium, tmp_path):
    """Opening costs what is shown, not what there is; the filter runs over all of it."""
    path = write_win_rate_page(tmp_path / "report.html", *evaluation(5000))
    page, complaints = _open(chromium, path)
    assert page.locator(".sample").count() == 20
    page.fill("#filter", "question 4999")
    assert page.locator("#count").inner_text() == "1 of 5,000 prompts"
    assert complaints == []
    page.close()
