"""Verdicts read as a person would say them."""

import math

import pytest

from boresight.stats.intervals import Interval
from boresight.stats.verdict import after_holm, detectable_difference, prompts_needed, verdict


def test_resolved_but_not_at_equal_length():
    """Half-width 3.15 at n = 800 is sd 45.5 points; (2.8016 · 45.5 / 2)² = 4,055, rounded up."""
    sentence = verdict(Interval(4.1, 1.0, 7.2, 800), length_controlled=Interval(2.0, -1.2, 5.1, 800))
    assert sentence == (
        "B beats A by 4.1 points [1.0, 7.2], n = 800; "
        "length-controlled 2.0 [-1.2, 5.1]: not significant, needs about 4,100 prompts."
    )


@pytest.mark.parametrize(
    ("difference", "options", "sentence"),
    [
        (
            Interval(-0.041, -0.072, -0.010, 800),
            {"unit": "share"},
            "A beats B by 4.1 points [1.0, 7.2], n = 800.",
        ),
        (
            Interval(-0.2, -0.3, -0.1, 50),
            {"unit": "nats", "better": "lower", "a": "start", "b": "trained"},
            "trained beats start by 0.20 nats [0.10, 0.30], n = 50.",
        ),
        (
            Interval(0.01, -0.05, 0.07, 400, missing=3),
            {"unit": "share"},
            "B and A do not differ significantly: +1.0 point [-5.0, 7.0], n = 400; a difference "
            "of this size needs about 30,000 prompts; 3 prompts are missing.",
        ),
        (
            Interval(0.0, -0.02, 0.01, 400),
            {"unit": "share"},
            "B and A do not differ significantly: 0.0 points [-2.0, 1.0], n = 400; "
            "any difference is below 2.0 points.",
        ),
        (
            Interval(3.0, 1.0, 5.0, 90),
            {"length_controlled": Interval(-2.0, -3.0, -1.0, 90)},
            "B beats A by 3.0 points [1.0, 5.0], n = 90; length-controlled -2.0 [-3.0, -1.0]: "
            "the other way round.",
        ),
    ],
)
def test_sentences(difference, options, sentence):
    assert verdict(difference, **options) == sentence


@pytest.mark.parametrize(
    ("p", "resolved", "ending"),
    [
        (0.053, True, "p = 0.053 after Holm's adjustment: not significant among so many comparisons."),
        (0.004, True, "p = 0.004 after Holm's adjustment."),
        (0.05, True, "p = 0.05 after Holm's adjustment: not significant among so many comparisons."),
        (0.5, False, "p = 0.5 after Holm's adjustment."),
    ],
)
def test_a_lead_that_holms_adjustment_takes_back_is_said_to_be_none(p, resolved, ending):
    assert after_holm("C beats A by 10.1 points [1.6, 18.2], n = 109.", p, resolved).endswith(
        f"n = 109; {ending}"
    )


def test_prompts_needed_is_more_than_were_asked():
    """The difference is not significant at n, so the advice is never to ask fewer."""
    assert prompts_needed(Interval(0.3, -0.01, 0.61, 100)) > 100
    assert prompts_needed(Interval(1.0, -math.inf, math.inf, 1)) is None
    # (2.8016 · 0.305 · 10 / 1.96 / 0.5)² = 76 would do, were it not that 100 did not.
    assert prompts_needed(Interval(0.5, -0.01, 0.6, 100)) == 101


def test_more_than_a_hundred_times_the_prompts_is_no_advice():
    """n grows with the square of half-width over difference: (2.8016 / 1.96 · 6.99)² · 100 = 9,983."""
    assert prompts_needed(Interval(1.0, 1 - 6.99, 1 + 6.99, 100)) == pytest.approx(9983, abs=2)
    assert prompts_needed(Interval(1.0, 1 - 7.01, 1 + 7.01, 100)) is None


def test_the_detectable_difference_needs_as_many_prompts_as_were_asked():
    """sd 0.5, n = 785: n_to_resolve(0.05) is 785, so 0.05 is detected with 80 % power."""
    half_width = 1.959964 * 0.5 / math.sqrt(785)
    found = detectable_difference(Interval(0.2, 0.2 - half_width, 0.2 + half_width, 785))
    assert found == pytest.approx(0.05, abs=1e-4)
    assert detectable_difference(Interval(0.2, -math.inf, math.inf, 1)) is None


def test_one_prompt_is_missing_two_are():
    for missing, ending in ((1, "; 1 prompt is missing."), (2, "; 2 prompts are missing.")):
        assert verdict(Interval(4.1, 1.0, 7.2, 800, missing=missing)).endswith(ending)


@pytest.mark.parametrize(
    ("raw", "controlled", "ending"),
    [
        ((-0.06, -0.13, 0.01), (-0.08, -0.12, -0.04), "-8.0 [-12.0, -4.0]: significant at equal length."),
        ((-0.06, -0.12, 0.0), (-0.08, -0.12, -0.04), "-8.0 [-12.0, -4.0]: significant at equal length."),
        ((-0.06, -0.09, -0.03), (-0.08, -0.12, -0.04), "; length-controlled 8.0 [4.0, 12.0]."),
        ((-0.06, -0.09, -0.03), (0.08, 0.04, 0.12), "-8.0 [-12.0, -4.0]: the other way round."),
    ],
)  # fmt: skip
def test_the_length_clause_runs_in_the_direction_of_the_main_clause(raw, controlled, ending):
    """Unresolved: b minus a, as the main clause says it. Resolved: in favour of the winner."""
    said = verdict(Interval(*raw, n=400), unit="share", length_controlled=Interval(*controlled, n=400))
    assert said.endswith(ending)
