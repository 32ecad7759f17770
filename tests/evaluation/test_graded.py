"""Metrics of graded completions by hand, and against an implementation that averages every subset."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.config.reward import RewardConfig
from boresight.core.schema import Prompt
from boresight.evaluation.graded.comparison import RewardComparison
from boresight.evaluation.graded.grading import GradedResponse, GradedSystem, Grader
from boresight.evaluation.response import MISSING, Response
from boresight.scorers.correctness import threshold_of
from boresight.stats.intervals import clopper_pearson
from boresight.tasks.countdown import countdown_prompt, problem
from boresight.tasks.reading import AnswerReading

RIGHT, WRONG, NONE = "<answer>3 + 4</answer>", "<answer>4 - 3</answer>", "I give up"
COUNTDOWN = [RewardConfig(function="countdown_correct")]


def prompts(n):
    return tuple(countdown_prompt(problem([3, 4 + i], 7 + i)) for i in range(n))


def graded(rewards, answers=None, ranks=None, name="a"):
    """A system from rewards `[prompt][sample]`, and answers and ranks likewise where they are given."""

    def one(i, j):
        reading = None if answers is None else AnswerReading(answers[i][j], answers[i][j] is not None)
        rank = None if ranks is None else ranks[i][j]
        return GradedResponse(Response("text"), rewards[i][j], {}, reading, rank)

    by_prompt = tuple(tuple(one(i, j) for j in range(len(row))) for i, row in enumerate(rewards))
    asked = tuple(Prompt([{"role": "user", "content": f"q{i}"}], f"p{i}") for i in range(len(rewards)))
    return GradedSystem(name, asked, by_prompt)


def compared(*systems, ks=(1,), correct_at=None, seeds=None):
    rewards = [graded.reward for system in systems for graded in system.all]
    return RewardComparison(systems, list(ks), threshold_of(rewards, correct_at), seeds or {})


def values(found, name=None):
    return {m.name: m.after.value for m in found.measured[name or found.systems[-1].name] if m.after}


def of_texts(texts, name="a"):
    responses = [[MISSING if text is None else Response(text, False) for text in row] for row in texts]
    asked = [countdown_prompt(problem([3, 4], 7))] if len(texts) == 1 else prompts(len(texts))
    return Grader(COUNTDOWN).grade(name, asked, responses)


def test_greedy_rates_have_exact_intervals():
    asked = countdown_prompt(problem([3, 4], 7))
    system = Grader(COUNTDOWN).grade("a", [asked] * 4, [[Response(t)] for t in (RIGHT, WRONG, WRONG, NONE)])
    accuracy, form = compared(system).metrics[:2]
    found = accuracy.interval(system)
    assert (found.value, found.n, found.low, found.high) == (0.25, 4, *clopper_pearson(1, 4))
    assert form.interval(system).value == 0.75


def test_pass_majority_and_best_by_hand():
    """The first prompt has two right samples of four, the second none."""
    system = graded([[1, 1, 0, 0], [0, 0, 0, 0]], [["a", "a", "b", "c"], ["d"] * 4], [[3, 1, 4, 2], [0] * 4])
    found = values(compared(system, ks=(1, 2)))
    assert found["accuracy"] == pytest.approx(2 / 8)
    # Both are wrong in one of six pairs.
    assert found["pass_at_2"] == pytest.approx(5 / 6 / 2)
    # aa: right; ab, ac (×2 each): tie of a and another; bc: wrong.
    assert found["majority_at_2"] == pytest.approx((1 / 6 + 4 / 6 / 2) / 2)
    # Pairs by rank: 4 first in three of six (wrong), 3 first in two (right), 2 over 1 in one (wrong).
    assert found["best_of_2"] == pytest.approx(2 / 6 / 2)


def test_a_missing_score_is_missing_not_wrong_and_has_bounds():
    """Of 1, –, 0, 0 and two missing ones: 1/3 of what is known; 1/6 if all else were wrong, 4/6 if right."""
    found = compared(graded([[1, None], [0, 0], [None, None]]), ks=(1, 2))
    accuracy, pass_at_2 = found.metrics[0], found.metrics[1]
    system = found.systems[0]
    interval = accuracy.interval(system)
    assert (interval.value, interval.n, interval.missing) == (pytest.approx(1 / 3), 2, 3)
    assert accuracy.bounds(system) == pytest.approx((1 / 6, 4 / 6))
    interval = pass_at_2.interval(system)
    assert (interval.value, interval.n, interval.missing) == (0.0, 1, 2)
    assert pass_at_2.bounds(system) == pytest.approx((1 / 3, 2 / 3))
    assert (
        found.notes[0]
        == "a: accuracy would be 16.7 % if all that is missing were wrong, and 66.7 % if it were right."
    )
    written = found.as_dict()["systems"]["a"]["metrics"]["accuracy"]
    assert written["if_missing_wrong_and_right"] == pytest.approx((1 / 6, 4 / 6))


@st.composite
def systems(draw):
    """Up to four prompts with one to six samples, some of them without score, answer or rank."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    rewards, answers, ranks = (
        [draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n)) for n in shape]
        for pool in ([0.0, 1.0, 0.0, 1.0, None], ["a", "b", None], [0.5, 1.0, 7.0])
    )
    return rewards, answers, ranks, draw(st.integers(2, 4))


@given(systems())
def test_every_metric_is_that_of_an_implementation_of_its_own(drawn):
    rewards, answers, ranks, k = drawn
    system = graded(rewards, answers, ranks)
    if all(reward is None for row in rewards for reward in row):
        return
    found = values(compared(system, ks=(1, k), correct_at=1.0))
    expected = by_hand(rewards, answers, ranks, k)
    assert {name: found.get(name) for name in expected} == pytest.approx(expected)


def by_hand(rewards, answers, ranks, k):
    """The mean over prompts with at least k scores of the mean over all subsets of k of their samples."""

    def passed(row):
        return float(any(reward for reward, _, _ in row))

    def best(row):
        first = max(rank for *_, rank in row)
        return fmean(reward for reward, _, rank in row if rank == first)

    def majority(row, known):
        votes = Counter(answer for _, answer, _ in row if answer is not None)
        winners = [a for a, count in votes.items() if count == max(votes.values())] if votes else [None]
        return fmean(fmean(r for r, a, _ in known if a == winner) for winner in winners)

    problems = [
        [sample for sample in zip(*parts, strict=True) if sample[0] is not None]
        for parts in zip(rewards, answers, ranks, strict=True)
    ]
    scores = [reward for known in problems for reward, *_ in known]
    enough = [known for known in problems if len(known) >= k]
    expected = {"accuracy": fmean(scores)}
    if enough:
        subsets = [list(combinations(known, k)) for known in enough]
        each = list(zip(enough, subsets, strict=True))
        expected |= {
            f"pass_at_{k}": fmean(fmean(map(passed, rows)) for _, rows in each),
            f"best_of_{k}": fmean(fmean(map(best, rows)) for _, rows in each),
            f"majority_at_{k}": fmean(fmean(majority(r, known) for r in rows) for known, rows in each),
        }
    return expected


@given(systems(), st.booleans(), st.data())
def test_bounds_hold_whatever_is_missing(drawn, texts, data):
    """Whatever the missing scores, or completions, turn out to be, every metric lies within its bounds."""
    rewards, answers, ranks, k = drawn
    known = graded(rewards, answers, ranks)
    if not texts:
        known = replace(known, by_prompt=tuple(tuple(map(without_text, row)) for row in known.by_prompt))
    partial = compared(known, ks=(1, k), correct_at=1.0)
    full = [[data.draw(st.sampled_from([0.0, 1.0])) if r is None else r for r in row] for row in rewards]
    truth = graded(full, answers, ranks)
    for metric in partial.metrics:
        bounds, then = metric.bounds(partial.systems[0]), metric.interval(truth)
        if then is not None and bounds is not None and then.missing == 0:
            assert bounds[0] - 1e-9 <= then.value <= bounds[1] + 1e-9, metric.name


def without_text(one):
    """What has no score has no text either, so that it is neither read nor ranked."""
    return GradedResponse(MISSING, None) if one.reward is None else one


def test_intervals_are_clustered_by_prompt():
    """Sixteen copies of one completion are no more evidence than one."""
    once = [[1.0], [0.0]] * 20
    one, many = (compared(graded([row * times for row in once])) for times in (1, 16))
    one, many = (c.metrics[0].interval(c.systems[0]) for c in (one, many))
    assert many.n == 40 and many.high - many.low > 0.9 * (one.high - one.low)


def test_differences_are_paired_and_say_what_they_could_resolve():
    before = graded([[0.0]] * 15 + [[1.0]] * 15, name="before")
    after = graded([[1.0]] * 30, name="after")
    found = compared(before, after)
    (accuracy,) = found.measured["after"]
    assert (accuracy.before.value, accuracy.after.value, accuracy.difference.value) == (0.5, 1.0, 0.5)
    assert accuracy.difference.low > 0.2 and accuracy.difference.n == 30
    half_width = (accuracy.difference.high - accuracy.difference.low) / 2
    least = half_width * (1.959964 + 0.841621) / 1.959964
    assert found.verdicts[0].startswith("after beats before by 50.0 points")
    assert (
        f"30 prompts suffice for a significant difference of {100 * least:.1f} points with a power of 80 %."
        in found.verdicts[0]
    )
    json.dumps(found.as_dict())


def test_several_systems_are_adjusted_by_holm():
    start = graded([[0.0]] * 40, name="start")
    others = [graded([[1.0]] * n + [[0.0]] * (40 - n), name=f"s{n}") for n in (20, 6)]
    found = compared(start, *others)
    assert all("after Holm's adjustment" in sentence for sentence in found.verdicts)
    assert [m["name"] for m in found.as_dict()["metrics"]] == ["accuracy:s20", "accuracy:s6"]


def test_above_one_missing_score_in_ten_there_is_no_verdict():
    start, other = graded([[0.0]] * 9, name="start"), graded([[1.0]] * 7 + [[None]] * 2, name="other")
    assert compared(start, other).verdicts == [
        "No verdict on other against start by accuracy: of other more than a tenth is missing."
    ]


def test_seeds_are_a_source_of_luck_too():
    """Two seeds that differ by 40 points: the interval over seeds is far wider than that over prompts."""
    start = graded([[0.0]] * 50, name="start")
    seeds = [graded([[1.0]] * n + [[0.0]] * (50 - n), name=f"s{n}") for n in (10, 30)]
    found = compared(start, *seeds, seeds={"tuned": ["s10", "s30"]})
    (group,) = found.seed_groups
    assert group.against == "start" and group.difference.mean.value == pytest.approx(0.4)
    alone = found.measured["s30"][0].difference
    assert group.difference.mean.high - group.difference.mean.low > 3 * (alone.high - alone.low)
    assert (
        group.sentence.startswith("tuned over 2 seeds: accuracy 40.0 %")
        and "between seeds." in group.sentence
    )
    json.dumps(found.as_dict())


def test_rewards_without_bounds_have_no_accuracy_and_say_so():
    found = compared(graded([[-3.0, 2.5], [0.5, 7.0]]), ks=(1, 2))
    assert [m.name for m in found.metrics] == ["reward"]
    assert found.metrics[0].interval(found.systems[0]).value == pytest.approx(7 / 4)
    assert found.metrics[0].bounds(found.systems[0]) is None
    assert any("set correct_at to the smallest reward of a right answer" in note for note in found.notes)
    assert any("maj@k and the format rate are not defined" in note for note in found.notes)
    right = compared(graded([[-3.0, 2.5], [0.5, 7.0]]), ks=(1, 2), correct_at=2.5)
    assert values(right)["accuracy"] == 0.5 and "reward" in values(right)


def test_best_of_k_is_of_the_reward_where_nothing_is_right_or_wrong():
    found = values(compared(graded([[-3.0, 2.5]], ranks=[[1, 0]]), ks=(1, 2)))
    assert found == pytest.approx({"reward": -0.25, "best_of_2": -3.0})


def test_completions_without_a_rank_are_counted():
    found = compared(graded([[1.0, 0.0], [1.0, 1.0]], ranks=[[1.0, None], [2.0, 1.0]]), ks=(1, 2))
    assert "a: 1 of 4 completions have no rank." in found.notes
    best = found.metrics[-1].interval(found.systems[0])
    assert (best.value, best.n, best.missing) == (1.0, 1, 1)


def test_what_the_reading_decides_is_counted():
    found = compared(of_texts([[RIGHT, f"{WRONG} {RIGHT}", "<answer>3 + 4 = 7</answer>", NONE, None]]))
    decided = found.as_dict()["systems"]["a"]["decided_by_reading"]
    rules = ["the last of several <answer> counts", "'= target' after the answer is left out"]
    assert decided == [{"rule": rule, "completions": 1} for rule in rules]
    assert any("the grade of 1 by “the last of several" in note for note in found.notes)


def test_truncated_completions_are_counted_and_unknown_ones_said():
    one, other = of_texts([[RIGHT]], "one"), graded([[1.0]], name="other")
    cut = GradedSystem("cut", one.prompts, ((GradedResponse(Response("x", True), 0.0),) * 2,))
    found = compared(cut)
    assert values(found)["truncated"] == 1.0 and "cut: 2 of 2 completions are truncated." in found.notes
    assert "other: how many completions are truncated is not known." in compared(other).notes


def own(prompts, completions, rows):
    return [{"fails": "no number", "declines": None}.get(text, float(len(text))) for text in completions]


def broken_reading(completion, row):
    if completion == "raises":
        raise ValueError("no")
    return completion[0]


def test_the_reading_of_a_built_in_reward_knows_its_options():
    row = {"answer": "Yes"}
    asked = [Prompt([{"role": "user", "content": "q"}], "p", row)]
    texts = ["<a>no</a> <a>Yes.</a>", "<a>yes</a>", "<a>yes", "yes"]
    options = {"tag": "a", "ignore_case": True, "ignore_punctuation": True}
    grader = Grader([RewardConfig(function="exact", options=options)])
    system = grader.grade("a", asked, [[Response(text) for text in texts]])
    readings = [graded.reading for graded in system.all]
    assert [reading.answer for reading in readings] == ["yes", "yes", None, None]
    assert [reading.formatted for reading in readings] == [True, True, False, False]
    assert [reading.decided_by for reading in readings] == [("the last of several <a> counts",), (), (), ()]


def test_failures_and_declined_scores_are_missing_with_a_reason():
    config = [RewardConfig(function=f"{__name__}:own")]
    grader = Grader(config, reading=f"{__name__}:broken_reading")
    asked = [Prompt([{"role": "user", "content": "q"}], "p")]
    texts = ["fails", "declines", "fine", "raises"]
    system = grader.grade("a", asked, [[Response(text) for text in texts] + [MISSING]])
    lines = list(system.lines(4.0))
    assert [line["reward"] for line in lines] == [None, None, 4.0, 6.0, None]
    assert [line["correct"] for line in lines] == [None, None, True, True, None]
    assert "no number" in lines[0]["failure"] and lines[1]["failure"] == "declined"
    assert lines[4]["failure"] == "there is no completion" and lines[2]["failure"] is None
    assert [line["reading"] and line["reading"]["answer"] for line in lines] == ["f", "d", "f", None, None]
    assert "a: the reading function raised on 1 of 5 completions." in compared(system, correct_at=4.0).notes


def test_without_a_threshold_systems_are_compared_by_the_reward():
    """Rewards of 2 define no right answer; the form of the answers is not what they are compared by."""
    a, b = (graded([[r]] * 4, [["x"]] * 4, name=name) for name, r in (("a", 2.0), ("b", 1.5)))
    found = compared(a, b)
    assert found.threshold is None
    assert [metric.name for metric in found.metrics] == ["reward", "format_rate"]
    assert found.measured["b"][0].difference.value == -0.5
