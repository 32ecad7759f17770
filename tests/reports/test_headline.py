"""The words and the table of a report, from given numbers."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from boresight.reports.headline import headline
from boresight.reports.read_run import Metric, RunData, RunSample
from boresight.reports.tables.metrics import draw_intervals, metric_rows
from boresight.stats.intervals import Interval
from boresight.stats.paired import SamePrompts
from boresight.stats.units import unit_named

UP = Metric(
    "met", "constraints met", Interval(0.15, 0.1, 0.2, 120), Interval(0.6, 0.5, 0.7, 120),
    Interval(0.45, 0.36, 0.54, 120, missing=2), "share", "higher",
)  # fmt: skip
FLAT = Metric(
    "acc", "accuracy", Interval(0.5, 0.4, 0.6, 100), Interval(0.52, 0.42, 0.62, 100),
    Interval(0.02, -0.06, 0.10, 100), "share", "higher",
)  # fmt: skip
WORSE = Metric(
    "len", "length", Interval(10, 9, 11, 50), Interval(12, 11, 13, 50),
    Interval(2, 1, 3, 50), "words", "lower",
)  # fmt: skip


def _run(*metrics, **fields):
    known = {"finished": True, "metrics": list(metrics), "same_prompts": SamePrompts()}
    return RunData(name="r", folder=None, **(known | fields))


def test_the_first_metric_leads_and_costs_are_told():
    found = headline(_run(UP, FLAT, WORSE))
    assert found.title == "Constraints met rose from 15.0 % to 60.0 %."
    assert found.detail == "+45.0 points [36.0, 54.0] at 95 %, paired over 120 prompts (2 missing)."
    assert found.asides == ["But length rose from 10.0 words to 12.0 words (+2.0 words [1.0, 3.0])."]
    (aside,) = headline(_run(UP, replace(WORSE, label="KL per token"))).asides
    assert aside.startswith("But KL per token rose")


def test_without_known_prompts_rows_are_counted():
    """A folder of an earlier version: two rows of one prompt were two units."""
    found = headline(_run(UP, same_prompts=None))
    assert found.detail == "+45.0 points [36.0, 54.0] at 95 %, paired over 120 rows (2 missing)."


ACCURACY = Metric(
    "accuracy", "pairs where the chosen answer leads", Interval(0.5, 0.47, 0.53, 64),
    Interval(0.7, 0.6, 0.8, 64), Interval(0.2, 0.1, 0.3, 64), "share", "higher",
)  # fmt: skip
MARGIN = Metric(
    "margin", "margin", Interval(0.0, 0.0, 0.0, 64), Interval(2.0, 1.0, 3.0, 64),
    Interval(2.0, 1.0, 3.0, 64), "nats", "higher",
)  # fmt: skip
KL = replace(MARGIN, name="kl_per_token", label="KL per token", better="neither")


def test_a_measured_outcome_leads_before_numbers_of_the_objective():
    found = headline(_run(ACCURACY, MARGIN, KL, UP))
    assert found.title == "Constraints met rose from 15.0 % to 60.0 %."
    assert found.asides[0].startswith("Pairs where the chosen answer leads: 70.0 % after training; the start")
    alone = headline(_run(ACCURACY, MARGIN))
    assert alone.title.endswith("70.0 % after training; the start model has 50.0 % by construction.")


def test_a_reward_is_a_plain_number():
    reward = Metric(
        "reward", "reward of greedy answers", Interval(0.0, 0.0, 0.02, 200), Interval(0.142, 0.1, 0.19, 200),
        Interval(0.142, 0.1, 0.19, 200), "reward", "higher",
    )  # fmt: skip
    found = headline(_run(reward))
    assert found.title == "Reward of greedy answers rose from 0.00 to 0.14."
    assert found.detail == "+0.14 [0.10, 0.19] at 95 %, paired over 200 prompts."


LENGTH = Metric(
    "answer_tokens", "length of sampled answers", Interval(20, 18, 22, 16), Interval(12, 10, 14, 16),
    Interval(-8, -10, -6, 16), "tokens", "neither",
)  # fmt: skip


def test_the_length_of_answers_is_no_outcome():
    """It has no good direction: it comes after every other number, wherever it is in the run's metrics."""
    found = headline(_run(LENGTH, ACCURACY, MARGIN))
    assert found.title.startswith("Pairs where the chosen answer leads: 70.0 % after training")
    assert found.asides[-1] == (
        "Length of sampled answers fell from 20.0 tokens to 12.0 tokens (-8.0 tokens [-10.0, -6.0])."
    )
    likelihood = replace(FLAT, name="start_logp_per_token", label="log p", unit="nats", better="higher")
    assert headline(_run(LENGTH, likelihood)).title.startswith("Log p")
    assert headline(_run(LENGTH)).title == "Length of sampled answers fell from 20.0 tokens to 12.0 tokens."


def test_a_side_effect_leads_only_where_nothing_else_was_measured():
    """What the start model thinks of answers is no result of pairs that were trained on."""
    side = replace(FLAT, name="start_logp_per_token", label="log p of answers", unit="nats")
    for metrics in ([side, ACCURACY, MARGIN], [ACCURACY, MARGIN, side]):
        found = headline(_run(*metrics))
        assert found.title.startswith("Pairs where the chosen answer leads: 70.0 %")
    assert headline(_run(side, UP)).title.startswith("Constraints met")
    assert headline(_run(side)).title.startswith("Log p of answers")


def test_a_distance_is_neither_better_nor_worse():
    """KL after training lies above 0 with certainty: it rose, in no color and without But."""
    (row,) = metric_rows([KL])
    assert row.verdict == "rose" and row.before.limits == "by construction"
    assert headline(_run(UP, KL)).asides == [
        "KL per token: 2.0 nats after training; the start model has 0.0 nats by construction "
        "(+2.0 nats [1.0, 3.0])."
    ]


def test_constants_are_shown_as_such_and_measured_halves_are_not():
    """An accuracy of one half is a constant beside margins of 0 alone; without margins it was measured."""
    accuracy, margin, _ = metric_rows([ACCURACY, MARGIN, UP])
    assert (accuracy.before.value, accuracy.before.limits) == ("50.0 %", "by construction")
    assert (margin.before.limits, margin.after.limits) == ("by construction", "[1.0, 3.0]")
    (mark, _) = accuracy.drawing.marks
    assert mark.low == mark.at == mark.high, "a constant has no interval"
    assert metric_rows([ACCURACY])[0].before.limits == "[47.0, 53.0]"
    started = replace(MARGIN, before=Interval(0.0, -0.1, 0.1, 64))
    assert [row.before.limits for row in metric_rows([ACCURACY, started])] == [
        "[47.0, 53.0]",
        "[-0.10, 0.10]",
    ]


def test_an_unresolved_change_is_not_called_a_change():
    """Half-width .08 at n = 100: sd .408, and 7.849 (.408/.02)² = 3,269."""
    found = headline(_run(FLAT))
    assert found.title == "Accuracy: no measurable change, 50.0 % before and 52.0 % after."
    assert found.detail.endswith("over 100 prompts: not significant, needs about 3,300 prompts.")


def test_a_run_without_evaluation_says_how_far_it_came():
    lines = [{"step": 12, "split": "train", "loss": 0.61234, "accuracy": None, "margin": 1.5}]
    found = headline(_run(finished=False, train=lines))
    assert found.title == "This run has not finished."
    assert found.detail == "The last logged step is 12: loss 0.612, margin 1.5."
    assert headline(_run()).title == "This run has not been evaluated."


def test_one_held_out_prompt_is_an_evaluation_without_an_interval():
    one = Metric("reward", "reward of greedy answers to held-out prompts", None, None, None)
    found = headline(_run(one))
    assert found.title == "There is no interval: fewer than two held-out prompts have a value."


def test_rows_of_the_table():
    up, flat, worse, bare = metric_rows([UP, FLAT, WORSE, Metric("x", "x", None, None, None)])
    assert (up.before.value, up.after.limits, up.difference.value) == (
        "15.0 %",
        "[50.0, 70.0]",
        "+45.0 points",
    )
    assert [row.verdict for row in (up, flat, worse, bare)] == ["better", "not significant", "worse", ""]
    assert up.n == "120 (2 missing)"
    assert bare.before is bare.difference is bare.drawing is None


def test_marks_lie_where_their_numbers_are():
    """Shares over a wide range are drawn from 0 to 100 %; a narrow range is enlarged, here to 0.4-0.7."""
    wide = draw_intervals({"before": UP.before, "after": UP.after}, unit_named("share"))
    assert [(m.low, m.at, m.high) for m in wide.marks] == [(10, 15, 20), (50, 60, 70)]
    assert (wide.left, wide.right) == ("0 %", "100 %")
    ends = draw_intervals({"after": Interval(0.7, 0.3, 1.2, 9)}, unit_named("nats"))
    assert (ends.left, ends.right) == ("0.2", "1.3"), "-.2 and .2 of a step of .1 beyond .3 and 1.2, rounded"
    narrow = draw_intervals({"after": Interval(0.5, 0.45, 0.6, 9)}, unit_named("share"))
    assert (narrow.left, narrow.right) == ("40 %", "70 %")
    assert narrow.marks[0].at == pytest.approx(100 / 3, abs=0.01)


def test_an_infinite_limit_reaches_the_edge():
    drawing = draw_intervals({"after": Interval(3.0, -math.inf, math.inf, 1)}, unit_named("nats"))
    assert (drawing.marks[0].low, drawing.marks[0].high) == (0, 100)


def test_differences_are_drawn_around_no_difference():
    """From -.06 to .097 on a scale of ±.1: -.06 is a fifth of the width from the left end, .097 at 98.5 %."""
    drawn = draw_intervals({"after": Interval(0.019, -0.06, 0.097, 53)}, unit_named("share"), null=0.0)
    (mark,) = drawn.marks
    assert (drawn.left, drawn.right, drawn.null) == ("-10", "10", 50.0)
    assert (mark.low, mark.at, mark.high) == pytest.approx((20.0, 59.5, 98.5))


def test_equal_values_are_a_dot_on_the_line_of_no_difference():
    drawn = draw_intervals({"after": Interval(0.0, 0.0, 0.0, 40)}, unit_named("words"), null=0.0)
    (mark,) = drawn.marks
    assert (mark.low, mark.at, mark.high) == (50.0, 50.0, 50.0)


@pytest.mark.parametrize(("cut", "told"), [(1, False), (2, True), (4, True)])
def test_answers_of_which_half_are_cut_are_named_with_the_command_that_shows_more(cut, told):
    samples = [
        RunSample(f"p{i}", [], ["a", "b"], [{}, {}], cut_at=[None, 48 if i < cut else None]) for i in range(4)
    ]
    run = replace(_run(UP), samples=samples, folder=Path("runs/mine"), config={"model": {"name": "me/base"}})
    (said,) = headline(run).asides or [""]
    assert bool(said) == told
    if told:
        assert said.startswith(f"The limit of 48 tokens cut {cut} of 4 answers after training,")
        assert (
            "prompts=runs/mine/samples.jsonl systems.start.model=me/base systems.trained.model=runs/mine"
            in said
        )
        assert "generate.max_new_tokens=96 reward=length`" in said
