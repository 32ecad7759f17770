"""Verdicts on a family of questions: worked by hand, and how often they are false."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from boresight.stats.confirmatory import EnoughData, Question, decide, enough_data
from boresight.stats.intervals import Interval
from boresight.stats.over_seeds import VariancePart
from boresight.stats.pooled_seeds import PooledDifference, SeedValues, pooled_difference

MANY = 10**6
"""Degrees of freedom at which t is the normal distribution."""


def seen(value, standard_error, n=400, seeds=(4, 4)):
    parts = None if standard_error is None else (VariancePart(standard_error**2, MANY),)
    return PooledDifference(Interval(value, -1, 1, n), value, parts, seeds, n, 0.1)


def test_each_answer_by_hand():
    """Standard errors of 1 point, margins of 5: z of 4, -4, 0.5 and 2; p of equivalence at 0.5: z 4.5."""
    family = [
        Question("up", seen(0.04, 0.01), 0.05),
        Question("down", seen(-0.04, 0.01), 0.05),
        Question("same", seen(0.005, 0.01), 0.05),
        Question("open", seen(0.04, 0.02), 0.05),
        Question("lower is better", seen(-0.04, 0.01), 0.05, better="lower"),
        Question("quality", seen(-0.005, 0.004), 0.02, asks="not worse"),
        Question("length", seen(0.005, 0.004), 0.02, better="lower", asks="not worse"),
        Question("poor quality", seen(-0.03, 0.01), 0.02, asks="not worse"),
    ]
    found = decide(family)
    assert [d.answer for d in found] == [
        "better", "worse", "equivalent", "undecided", "better", "not worse", "not worse", "undecided",
    ]  # fmt: skip
    assert found[3].p == pytest.approx(3 * 2 * norm.sf(2), rel=1e-3)  # the sixth smallest of eight
    assert found[2].p_equivalent == pytest.approx(5 * norm.sf(4.5), rel=1e-3)  # the smallest of five
    assert found[5].p_equivalent is None and found[0].enough is None
    # Of eight questions each has an eighth of the 5 %, so that it takes more to decide one.
    assert found[3].enough == enough_data(family[3], level=0.05 / 8)
    assert found[3].enough.prompts > enough_data(family[3]).prompts


def test_a_difference_that_is_shown_may_be_within_the_margin():
    """Standard error 0.1 points, margin 5: at 1 point, z = 10 against zero and 40 against the margin."""
    small, large = Question("small", seen(-0.01, 0.001), 0.05), Question("large", seen(0.06, 0.01), 0.05)
    quality = Question("quality", seen(0.01, 0.001), 0.02, asks="not worse")
    equal = Question("equal", seen(0.0, 0.01), 0.05)
    found = decide([small, large, quality, equal])
    assert [d.verdict for d in found] == ["worse, within the margin", "better", "not worse", "equivalent"]
    assert [d.within_margin for d in found] == [True, False, False, False]


def test_holm_takes_a_verdict_back():
    """z = 2.2, p = 0.028: better alone, and undecided among two."""
    alone = Question("a", seen(0.022, 0.01), 0.03)
    (decision,) = decide([alone])
    assert decision.answer == "better"
    first, _ = decide([alone, Question("b", seen(0.03, 0.02), 0.05)])
    assert first.answer == "undecided" and first.p == pytest.approx(2 * 2 * norm.sf(2.2), rel=1e-3)


def test_enough_data_by_hand():
    """d = 2 points, standard error 2 points, margin 5. Difference: (1.96 + 0.8416)² = 7.849 times the data.

    Within the margin: ((1.6449 + 0.8416) · 2 / 3)² = 2.748 times, the less: 11 seeds for 4, 1,100 prompts.
    """
    question = Question("q", seen(0.02, 0.02), 0.05)
    assert enough_data(question) == EnoughData((11, 11), 1100)
    assert enough_data(Question("q", seen(0.02, 0.02), 0.02)) == EnoughData((32, 32), 3140)
    # No difference, which either test may miss: ((1.6449 + 1.2816) · 2 / 5)² = 1.370 times.
    assert enough_data(Question("q", seen(0.0, 0.02), 0.05)) == EnoughData((6, 6), 549)
    # A run that gives one number has no prompts: 7.849 times 4 seeds.
    assert enough_data(Question("q", seen(0.02, 0.02, n=1), 0.02)) == EnoughData((32, 32), None)
    assert enough_data(Question("q", seen(0.001, 0.02), 0.0011)) is None
    assert enough_data(Question("q", seen(0.02, None), 0.05)) is None
    # Not worse by 2 points, seen -1 ± 1: ((1.6449 + 0.8416) · 1 / 1)² = 6.183 times.
    assert enough_data(Question("q", seen(-0.01, 0.01), 0.02, asks="not worse")).prompts == 2474
    assert enough_data(Question("q", seen(-0.03, 0.01), 0.02, asks="not worse")) is None


@pytest.mark.parametrize(
    ("difference", "margin", "asks", "verdicts"),
    [
        (0.0, 0.05, "difference", {"equivalent"}),
        (0.01, 0.05, "difference", {"equivalent", "better, within the margin"}),
        (-0.02, 0.05, "difference", {"equivalent", "worse, within the margin"}),
        (0.04, 0.05, "difference", {"better", "better, within the margin"}),
        (-0.01, 0.02, "not worse", {"not worse"}),
    ],
)
def test_four_of_five_studies_of_the_promised_size_decide(difference, margin, asks, verdicts):
    """3,000 studies, their estimates with the standard error of the promised data: 80 % ± 2 answer."""
    prompts = enough_data(Question("q", seen(difference, 0.03), margin, asks=asks)).prompts
    error = 0.03 * math.sqrt(400 / prompts)
    found = np.random.default_rng(3).normal(difference, error, 3000)
    made = [decide([Question("q", seen(each, error), margin, asks=asks)])[0] for each in found]
    assert np.mean([each.verdict in verdicts for each in made]) == pytest.approx(0.8, abs=0.022)


def test_an_unknown_variance_decides_nothing():
    unknown = seen(0.5, None)
    found = decide([Question("q", unknown, 0.05), Question("r", unknown, 1, asks="not worse")])
    assert [d.answer for d in found] == ["undecided", "undecided"]
    assert [d.enough for d in found] == [None, None]
    assert decide([]) == []


@pytest.mark.parametrize("margin", [0, -1, math.nan])
def test_a_margin_is_positive(margin):
    with pytest.raises(ValueError, match="margin"):
        Question("q", seen(0.1, 0.1), margin)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_false_answers_are_rare_in_a_family(shift):
    """200 studies of four questions about pairs of equal arms, and of pairs that differ by the margin, 0.3.

    A false "better" or "worse" in at most 5 % of the former, a false "equivalent" in at most 5 % of the
    latter, give or take the luck of 200 studies.
    """
    rng = np.random.default_rng(8)
    false = 0
    for _ in range(200):
        arms = [
            SeedValues(
                [
                    dict(zip(map(str, range(30)), row, strict=True))
                    for row in shift * (index % 2) + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.5, (3, 30))
                ]
            )
            for index in range(8)
        ]
        family = [
            Question(str(i), pooled_difference(arms[i], arms[i + 1], arms), 0.3) for i in range(0, 8, 2)
        ]
        wrong = {"better", "worse"} if shift == 0 else {"equivalent"}
        false += any(decision.answer in wrong for decision in decide(family))
    assert false <= 0.08 * 200
