"""The table's arithmetic, by hand."""

import math

import pytest

from boresight.experiments.study.plan import Arm, ArmComparison
from boresight.experiments.study.results import (
    arm_mean,
    by_prompt,
    compared,
    comparison_sentence,
    difference,
    study_headline,
)
from boresight.stats.over_seeds import difference_over_seeds, over_seeds


def test_rows_of_one_prompt_are_averaged_first():
    """Two pairs of prompt a at 1 and 0 make one half; a NaN is left out; a row without a prompt stays."""
    values = {"a-0": 1.0, "a-1": 0.0, "b-0": 1.0, "b-1": math.nan, "c": 0.0}
    of_row = {"a-0": "a", "a-1": "a", "b-0": "b", "b-1": "b"}
    assert by_prompt(values, of_row) == {"a": 0.5, "b": 1.0, "c": 0.0}


def test_a_win_rate_counts_ties_one_half():
    """Of four prompts the second arm wins two, ties one and loses one: (2 + 1/2) / 4 = 0.625."""
    of = {0: {"a": 0.0, "b": 0.0, "c": 1.0, "d": 1.0}}
    to = {0: {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}}
    measured = {"x": {"good": of}, "y": {"good": to}}
    (found,) = compared(measured, [ArmComparison(title="t", of="x", to="y", metrics=["win_rate"])])
    assert found.shown.value == pytest.approx(0.625)
    assert found.difference.mean.value == pytest.approx(0.25)
    assert found.shown.low == pytest.approx((1 + found.difference.mean.low) / 2)
    assert found.shown.n == 4


def test_a_win_rate_looks_at_who_is_better_not_by_how_much():
    """Rewards of 0.1 against 0 and of 0 against 5 are a win and a loss: one half."""
    found = difference([({0: {"a": 0.0, "b": 5.0}}, {0: {"a": 0.1, "b": 0.0}})], "win_rate")
    assert found.mean.value == 0


def test_seeds_and_prompts_are_paired():
    """Only seed 0 is shared; of its prompts only a and b: differences 1 and 0, mean one half."""
    of = {0: {"a": 0.0, "b": 1.0, "c": 1.0}, 1: {"a": 0.0}}
    to = {0: {"a": 1.0, "b": 1.0}, 2: {"a": 1.0}}
    found = difference([(of, to)], "accuracy")
    assert (found.mean.value, found.mean.n, found.mean.missing, found.seeds) == (0.5, 2, 1, 1)
    assert found == difference_over_seeds([of[0]], [to[0]], bounds=(-1.0, 1.0))


def test_pairs_of_arms_taken_together_are_averaged_by_prompt():
    """Prompt a: gains 1 and 0, mean one half; b: 0 and -1, mean minus one half; c is missing in one pair.

    By wins, the same; of three prompts two have all values.
    """
    measured = {
        "x": {"good": {0: {"a": 0.0, "b": 1.0, "c": 0.0}}},
        "y": {"good": {0: {"a": 1.0, "b": 1.0, "c": 1.0}}},
        "z": {"good": {0: {"a": 0.0, "b": 0.0}}},
    }
    wanted = ArmComparison(title="all", of=["x", "x"], to=["y", "z"], metrics=["good", "win_rate"])
    by_good, by_wins = compared(measured, [wanted])
    assert by_good.difference.mean.value == by_wins.difference.mean.value == 0
    assert (by_good.difference.mean.n, by_good.difference.mean.missing) == (2, 1)
    assert by_good.difference == over_seeds([{"a": 0.5, "b": -0.5, "c": math.nan}], bounds=(-1.0, 1.0))
    said = comparison_sentence(by_good, {"x": "X", "y": "Y", "z": "Z"})
    assert said.startswith("Y; Z (taken together) against X: answers that pass every check 0.0 points [")


def test_arms_are_compared_in_pairs():
    with pytest.raises(ValueError, match="of names 2 arms and to 1"):
        ArmComparison(title="t", of=["x", "y"], to="z")


def test_an_arm_without_values_has_no_mean_and_no_difference():
    assert arm_mean({}, "accuracy") is None
    assert difference([({}, {0: {"a": 1.0}})], "accuracy") is None
    (found,) = compared({}, [ArmComparison(title="t", of="x", to="y", metrics=["accuracy"])])
    assert (found.verdict, found.shown) == ("not measured", None)
    assert "not measured" in comparison_sentence(found, {"x": "X", "y": "Y"})


def test_shares_are_bounded_and_margins_are_not():
    values = {0: {"a": 1.0, "b": 1.0}}
    assert arm_mean(values, "accuracy").mean == over_seeds([values[0]], bounds=(0.0, 1.0)).mean
    assert arm_mean(values, "margin").mean == over_seeds([values[0]]).mean


def arms(**roles):
    return {name: Arm(title=name.upper(), group="g", recipe="dpo", role=role) for name, role in roles.items()}


TUNED = arms(x="published", y="tuned", z="tuned")
MANY = {str(n): 0.0 for n in range(30)}
BETTER = {key: float(int(key) % 3 > 0) for key in MANY}


def compared_by_accuracy(to, seeds=(0, 1), **values):
    """Each arm of `to` against x, whose accuracies are 0; `values` has those of the others, with any seed."""
    by_arm = {"x": MANY, **values}
    measured = {arm: {"accuracy": dict.fromkeys(seeds, found)} for arm, found in by_arm.items()}
    return compared(measured, [ArmComparison(title="t", of="x", to=arm, metrics=["accuracy"]) for arm in to])


def test_p_values_are_adjusted_over_all_comparisons():
    """Holm: of two, the smaller p is doubled."""
    first, second = compared_by_accuracy("yz", y=BETTER, z=MANY)
    assert first.p == pytest.approx(min(1.0, 2 * first.difference.p))
    assert (first.verdict, second.verdict) == ("better", "not significant")
    assert study_headline([first, second], TUNED) == (
        "The tuned recipes win 1 of 2 comparisons with the published ones; 1 is not significant."
    )
    assert "X do not differ significantly" in comparison_sentence(second, {"x": "X", "z": "Z"})
    assert comparison_sentence(first, {"x": "X", "y": "Y"}).startswith("Y is better than X")


def test_a_verdict_that_the_number_of_comparisons_undoes_stands_alone():
    """Its own interval excludes 0; among twenty lines, a p of 0.01 is 0.2."""
    few = {key: float(int(key) % 5 == 0) for key in MANY}
    found = compared_by_accuracy("y" + 19 * "z", y=few, z=MANY)
    assert found[0].direction == "better" and found[0].difference.p < 0.05 < found[0].p
    assert found[0].verdict == "better, alone"
    said = comparison_sentence(found[0], {"x": "X", "y": "Y"})
    assert said.endswith("after Holm's adjustment: not significant among so many comparisons.")
    assert study_headline(found, TUNED) == (
        "The tuned recipes win 0 of 20 comparisons with the published ones; "
        "1 more by its own interval alone; 19 are not significant."
    )


def test_one_seed_compares_two_models_and_no_recipes():
    """However small p is: the interval is over prompts alone."""
    found = compared_by_accuracy("yz", seeds=[0], y=BETTER, z=MANY)
    assert found[0].p < 1e-6 and [c.verdict for c in found] == ["these models only"] * 2
    said = comparison_sentence(found[0], {"x": "X", "y": "Y"})
    assert said.startswith("Y against X: held-out pairs ranked right +66.7 points [")
    assert said.endswith(", 1 seed, 30 prompts; one seed compares these models only, not their recipes.")
    assert study_headline(found, TUNED) == (
        "No recipes are compared yet, only models: 2 comparisons with one seed."
    )
    several = compared_by_accuracy("y", y=BETTER)
    assert study_headline([*found, *several], TUNED) == (
        "The tuned recipes win 1 of 1 comparisons with the published ones; 2 with one seed are not counted."
    )


def test_seeds_that_one_side_lacks_do_not_count():
    """Three seeds against one of them are a comparison of one seed."""
    measured = {"x": {"accuracy": dict.fromkeys(range(3), MANY)}, "y": {"accuracy": {0: BETTER}}}
    (found,) = compared(measured, [ArmComparison(title="t", of="x", to="y", metrics=["accuracy"])])
    assert found.verdict == "these models only"


@pytest.mark.parametrize(
    "roles", [{"x": "other"}, {"y": "published"}, {"z": "other"}, {"x": "tuned", "y": "published"}], ids=str
)
def test_only_published_against_tuned_arms_are_named_so(roles):
    found = compared_by_accuracy("yz", y=BETTER, z=MANY)
    plan_arms = TUNED | arms(**roles)
    assert study_headline(found, plan_arms) == "1 of 2 comparisons is better; 1 is not significant."
    assert study_headline(found[1:], plan_arms | arms(y="other", x="other")) == (
        "0 of 1 comparison are better; 1 is not significant."
    )


def test_lower_is_better_where_the_metric_says_so():
    of = {seed: {str(n): 1.0 + n / 100 for n in range(20)} for seed in (0, 1)}
    to = {seed: {str(n): 0.5 + n / 90 for n in range(20)} for seed in (0, 1)}
    (found,) = compared(
        {"x": {"nll": of}, "y": {"nll": to}}, [ArmComparison(title="t", of="x", to="y", metrics=["nll"])]
    )
    assert found.difference.mean.value < 0 and found.verdict == "better"
