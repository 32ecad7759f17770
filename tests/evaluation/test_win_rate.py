"""Win rates: ties half, failures missing, paired by prompt, and length kept apart from merit."""

import json

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.evaluation.win_rate import System, tournament, win_rate
from boresight.scorers.judges.base import Judgment, Verdict
from boresight.stats.intervals import clopper_pearson, share_interval, sign_test
from tests.scorers.fakes import LengthScorer, prompt


class Decided:
    """Says what it was told, by the pair of answers: 'good' beats 'bad', equal words tie, 'lost' fails."""

    name = "decided"

    def compare(self, prompts, a, b, repeat=0):
        return [
            self._one(x.split()[0] if x else x, y.split()[0] if y else y) for x, y in zip(a, b, strict=True)
        ]

    @staticmethod
    def _one(x, y):
        if None in (x, y) or "lost" in (x, y):
            return Judgment(None, failure="timeout: 60 s")
        return Judgment(0.5 if x == y else float(x == "good"), reasoning=f"{x} against {y}")


def systems(outcomes, pad=""):
    """A reference and a candidate whose comparison by `Decided` gives the outcomes."""
    words = {1: ("bad", "good"), 0: ("good", "bad"), 0.5: ("bad", "bad"), None: ("lost", "good")}
    sides = zip(*(words[o] for o in outcomes), strict=True)
    reference, candidate = ({f"p{i}": w + pad * (i % 3) for i, w in enumerate(side)} for side in sides)
    return [prompt(i) for i in range(len(outcomes))], System("old", reference), System("new", candidate)


def test_ties_are_half_and_failures_missing():
    """12 won, 4 tied, 6 lost, 1 failed of 23: (12 + 2) / 22.

    With one win and one loss added: mean 15/24, s² = (14 - 15²/24)/23 = .201087, t(23) = 2.068658, so
    .625 ± 2.068658 √(.201087/24) = .625 ± .18935.
    """
    found = win_rate(*systems([1] * 12 + [0.5] * 4 + [0] * 6 + [None]), Decided())
    assert found.counts == {"won": 12, "tied": 4, "lost": 6, "failed": 1}
    assert found.rate.value == pytest.approx(14 / 22)
    assert (found.rate.low, found.rate.high) == pytest.approx((0.43565, 0.81435), abs=1e-4)
    assert (found.rate.n, found.rate.missing) == (22, 1)
    assert found.p == pytest.approx(sign_test(12, 6))
    assert found.failures == {"timeout": 1}
    assert found.verdict.endswith("; 1 prompt is missing.")


def test_a_prompt_that_one_system_never_answered_is_missing_not_lost():
    prompts, reference, candidate = systems([1] * 30)
    shorter = System("new", {k: v for k, v in candidate.answers.items() if k != "p3"})
    assert win_rate(prompts, reference, shorter, Decided()).counts["failed"] == 1


def test_the_interval_without_ties_is_exact():
    found = share_interval([1.0] * 14 + [0.0] * 8)
    assert (found.low, found.high) == clopper_pearson(14, 22)


@pytest.mark.parametrize("shares", [(0.14, 0.6, 0.26), (0.3, 0.3, 0.4), (0.02, 0.9, 0.08)])
def test_a_nominal_interval_covers_the_win_rate_however_many_ties(shares):
    """Wilson's, which takes a tie for a coin, would cover 99.8 % of the time with 60 % ties."""
    won, tied, _ = shares
    rng = np.random.default_rng(0)
    counts = rng.multinomial(150, shares, size=1500)
    intervals = [share_interval([1.0] * w + [0.5] * t + [0.0] * x) for w, t, x in counts]
    covered = np.mean([i.low <= won + tied / 2 <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


def test_no_verdict_when_a_tenth_is_missing():
    found = win_rate(*systems([1] * 17 + [None] * 3), Decided())
    assert found.verdict.startswith("No verdict on new against old: 3 of 20 judgments are missing")
    with pytest.raises(UserError, match="all 2 judgments of new against old failed"):
        win_rate(*systems([None, None]), Decided())


def test_the_verdict_says_lead_interval_and_what_is_not_resolved():
    found = win_rate(*systems([1] * 61 + [0] * 39), Decided())
    assert found.verdict == "new beats old by 11.0 points [0.73, 20.6], n = 100."
    assert found.rate_in_words == "new wins 61.0 % of prompts against old (ties half, even is 50 %)."
    found = win_rate(*systems([1] * 52 + [0] * 48), Decided())
    assert "do not differ significantly" in found.verdict and "needs about" in found.verdict


def test_length_control_takes_out_what_length_alone_won():
    """A judge that only counts characters: the win rate is high, and nothing is left to control."""
    prompts = [prompt(i) for i in range(40)]
    long = System("long", {f"p{i}": "x" * (50 + i) for i in range(40)})
    short = System("short", {f"p{i}": "x" * (40 if i % 4 else 60 + i) for i in range(40)})
    found = win_rate(prompts, short, long, LengthScorer())
    assert found.rate.value == 0.75
    assert found.controlled is None and "length" in found.uncontrolled
    assert found.split.longer.value == 1.0 and found.split.shorter.value == 0.0


def test_a_swapped_question_has_the_mirrored_answer():
    prompts, reference, candidate = systems([1] * 12 + [0.5] * 5 + [0] * 6, pad=" word")
    there, back = (
        win_rate(prompts, *pair, Decided()) for pair in ((reference, candidate), (candidate, reference))
    )
    assert back.rate.value == pytest.approx(1 - there.rate.value)
    assert back.p == there.p


def test_a_line_a_prompt_holds_what_a_person_wants_to_see():
    found = win_rate(*systems([1, 0.5, 0, None]), Decided())
    lines = [json.loads(json.dumps(c.as_dict())) for c in found.comparisons]
    assert [line["outcome"] for line in lines] == ["won", "tied", "lost", "failed"]
    assert lines[0]["reasoning"] == "good against bad" and lines[3]["failure"] == "timeout: 60 s"
    json.dumps(found.as_dict())


def test_a_flip_is_a_winner_that_changed_with_the_order():
    class Slot:
        name = "slot"

        def compare(self, prompts, a, b, repeat=0):
            return [Judgment(0.5, verdicts=(Verdict("a", 1.0), Verdict("b", 0.0))) for _ in prompts]

    assert all(c.flipped for c in win_rate(*systems([1, 1]), Slot()).comparisons)


def test_many_systems_are_compared_directly_and_ranked():
    """Answers of length 1 to 3, shuffled by prompt so that every system wins some; the longer one wins."""
    lengths = {"a": [1, 2, 1, 1], "b": [2, 1, 2, 3], "c": [3, 3, 3, 2]}
    prompts = [prompt(i) for i in range(40)]
    entrants = [
        System(name, {f"p{i}": "x" * pattern[i % 4] for i in range(40)}) for name, pattern in lengths.items()
    ]
    found = tournament(prompts, entrants, LengthScorer())
    assert [(pair.reference, pair.candidate) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.rate.value for pair in found.pairs] == [0.75, 1.0, 0.75]
    assert list(found.ranking.strength) == ["c", "b", "a"]
    assert all(q >= pair.p for pair, q in zip(found.pairs, found.adjusted_p, strict=True))
    assert all("after Holm's adjustment" in said for said in found.verdicts)
    json.dumps(found.as_dict())


def test_systems_that_always_tie_are_not_ranked():
    """The verdicts of all pairs stay; no number takes the place of a scale or of a rate at equal length."""
    prompts = [prompt(i) for i in range(4)]
    entrants = [System(name, {f"p{i}": "same" + "." * i for i in range(4)}) for name in "abc"]
    found = tournament(prompts, entrants, LengthScorer())
    assert found.ranking is None and found.unranked == "Every game is a tie, so there is no ranking."
    assert all(pair.controlled is None and pair.rate.value == 0.5 for pair in found.pairs)


def test_ties_at_unequal_lengths_have_no_rate_at_equal_length():
    prompts = [prompt(i) for i in range(6)]
    old = System("old", {f"p{i}": "x" * 10 for i in range(6)})
    new = System("new", {f"p{i}": "x" * (7 + i) for i in range(6)})

    class Undecided:
        name = "undecided"

        def compare(self, prompts, a, b, repeat=0):
            return [Judgment(0.5) for _ in prompts]

    found = win_rate(prompts, old, new, Undecided())
    assert found.controlled is None and "all 6 prompts were tied" in found.uncontrolled
    assert "length-controlled" not in found.verdict


def test_systems_apart_from_all_others_are_not_ranked():
    prompts = [prompt(0), prompt(1)]
    entrants = [System(str(n), {"p0": "x" * n, "p1": "x" * n}) for n in (1, 2, 3)]
    found = tournament(prompts, entrants, LengthScorer())
    assert found.ranking is None and "one scale" in found.unranked
