"""Agreement of two judges, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.stats.agreement import agreement, preference_agreement, rater_agreement
from boresight.stats.intervals import clopper_pearson, clustered_share, share_interval

NO_FLIPS = [False] * 4
PROMPTS = ["p", "q", "r", "s"]


def test_kappa_by_hand():
    """Labels a, b, a, c and a, b, b, c agree on 3 of 4.

    Chance: a 2/4 · 1/4 + b 1/4 · 2/4 + c 1/4 · 1/4 = 5/16; kappa = (12/16 - 5/16) / (11/16) = 7/11.
    """
    found = agreement(["a", "b", "a", "c"], ["a", "b", "b", "c"], PROMPTS)
    assert (found.accuracy.value, found.accuracy.n, found.accuracy.missing) == (0.75, 4, 0)
    assert found.kappa == pytest.approx(7 / 11)


def test_items_that_either_leaves_out_are_missing():
    found = agreement(["a", None, "b", "a"], ["a", "a", None, "b"], PROMPTS)
    assert (found.accuracy.value, found.accuracy.n, found.accuracy.missing) == (0.5, 2, 2)
    assert found.kappa == 0.0  # chance: a 2/2 · 1/2
    with pytest.raises(UserError, match="all 2 labels are missing"):
        agreement(["a", None], [None, "b"], PROMPTS[:2])
    with pytest.raises(ValueError, match="got 1, 2 and 1"):
        agreement(["a"], ["a", "b"], PROMPTS[:1])


def test_one_same_label_throughout_leaves_nothing_beyond_chance():
    found = agreement(["a", "a"], ["a", "a"], PROMPTS[:2])
    assert found.accuracy.value == 1.0 and found.kappa is None


def test_a_file_that_always_prefers_one_column_does_not_make_kappa_zero():
    """The judge says a, a, a, b and people a four times. In the file's order chance is 3/4 · 1, which is how
    often they agree, and kappa 0. Over both orders a and b are 1/2 of either: (3/4 - 1/2) / (1/2) = 1/2."""
    judge, people = [1.0, 1.0, 1.0, 0.0], [1.0] * 4
    assert agreement(judge, people, PROMPTS).kappa == 0.0
    found = preference_agreement(judge, people, NO_FLIPS, PROMPTS)
    assert found is not None and found.accuracy.value == 0.75 and found.kappa == pytest.approx(0.5)
    assert (found.ties, found.contradictions, found.flips) == (0, 1, 0)


def test_kappa_does_not_depend_on_the_order_of_the_columns():
    judge, people = [1.0, 0.5, 1.0, 0.0], [1.0, 1.0, 0.0, 0.5]
    turned = [0.0, 0.5, 1.0, 1.0], [0.0, 1.0, 0.0, 0.5]  # rows one and four the other way round
    one, other = (preference_agreement(*labels, NO_FLIPS, PROMPTS) for labels in ((judge, people), turned))
    assert one == other and one is not None


def test_ties_contradictions_and_flips_are_apart():
    """Seven items: same, same, a tie to people, a tie to the judge, opposite, a flip that people call a tie,
    and one without a label. Of the five with an opinion two agree."""
    judge = [1.0, 0.0, 1.0, 0.5, 1.0, 0.5, None]
    people = [1.0, 0.0, 0.5, 0.0, 0.0, 0.5, 1.0]
    found = preference_agreement(judge, people, [False] * 5 + [True, False], list("pqrstuv"))
    assert found is not None
    assert (found.accuracy.value, found.accuracy.n, found.accuracy.missing) == (0.4, 5, 1)
    assert (found.ties, found.contradictions, found.flips) == (2, 1, 1)


def test_without_one_opinion_there_is_no_agreement():
    assert preference_agreement([0.5, None], [1.0, 1.0], [True, False], PROMPTS[:2]) is None
    with pytest.raises(ValueError, match="got 1, 2, 1, 1"):
        preference_agreement([1.0], [1.0, 0.0], [False], ["p"])


def test_comparisons_of_one_prompt_are_one_unit_of_the_interval():
    """Agreement on 1 of 2 comparisons of a prompt and on both of another: the means are 1/2 and 1."""
    judge, people = [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]
    found = preference_agreement(judge, people, NO_FLIPS, ["p", "p", "q", "q"])
    assert found is not None and found.accuracy == clustered_share([[1, 0], [1, 1]])
    assert (found.accuracy.value, found.accuracy.n, found.comparisons) == (0.75, 2, 4)
    apart = preference_agreement(judge, people, NO_FLIPS, PROMPTS)
    assert apart is not None and apart.accuracy == share_interval([1, 0, 1, 1])
    assert (apart.kappa, apart.comparisons) == (found.kappa, 4)


def test_the_interval_contains_the_truth_where_prompts_have_ten_comparisons():
    """400 studies of 20 prompts, of which some are easy to agree on and some hard; Clopper and Pearson's
    interval over the 200 comparisons contains the truth in about two thirds of them."""
    rng = np.random.default_rng(5)
    prompts = [f"p{i}" for i in range(20) for _ in range(10)]
    people, flipped, hits, naive = [1.0] * 200, [False] * 200, 0, 0
    for each in rng.beta(1.4, 0.6, (400, 20)):
        judge = rng.binomial(1, np.repeat(each, 10)).astype(float).tolist()
        found = preference_agreement(judge, people, flipped, prompts)
        assert found is not None and (found.accuracy.n, found.comparisons) == (20, 200)
        hits += found.accuracy.low <= 0.7 <= found.accuracy.high
        low, high = clopper_pearson(sum(judge), 200)
        naive += low <= 0.7 <= high
    assert hits >= 0.93 * 400 and naive < 0.75 * 400


def test_agreement_of_several_raters_by_hand():
    """Three raters say a, a, b of one comparison and two say b, b of another; a third has one rater.

    Of the pairs of raters 1 of 3 and 1 of 1 agree: mean 2/3. Over both orders there are 5 ratings for either
    side: D_e = 2·5·5 / (10·9) = 5/9. Apart are 2·2·1 / 2 = 2 in either order of the first: D_o = 4/10.
    """
    found = rater_agreement([{1.0: 2, 0.0: 1}, {0.0: 2}, {1.0: 1}], ["p", "q", "r"])
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert (found.accuracy.n, found.comparisons) == (2, 2)
    assert found.alpha == pytest.approx(1 - (4 / 10) / (5 / 9))


def test_comparisons_of_one_prompt_are_one_unit_of_the_raters_agreement():
    sides = [{1.0: 2}, {1.0: 1, 0.0: 1}, {0.0: 2}]
    apart, together = rater_agreement(sides, ["p", "q", "r"]), rater_agreement(sides, ["p", "p", "r"])
    assert (apart.accuracy.n, together.accuracy.n, together.comparisons) == (3, 2, 3)
    assert apart.accuracy.value == together.accuracy.value == pytest.approx(2 / 3)


def test_raters_who_all_say_tie_leave_nothing_beyond_chance():
    assert rater_agreement([{0.5: 3}], ["p"]).alpha is None
    assert rater_agreement([{1.0: 1}], ["p"]) is None
