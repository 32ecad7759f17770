"""Which curves a run gets, and their guides, captions and findings."""

import math
import re
from pathlib import Path

import pytest

from boresight.findings.finding import Finding
from boresight.findings.monitor import write_findings
from boresight.reports.drawing.plot import BOX
from boresight.reports.figures import MOST_POINTS, figures, moving_average, overlaid, points, thinned
from boresight.reports.page import render_report
from boresight.reports.read_run import RunData, read_run
from boresight.stats.intervals import clopper_pearson
from tests.reports.fake_run import write_fake_run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    run = read_run(write_fake_run(tmp_path_factory.mktemp("figures") / "run"))
    return {figure.title: figure for figure in figures(run)}


def test_a_dpo_run_gets_its_curves(drawn):
    assert list(drawn) == [
        "Loss",
        "Accuracy",
        "Margin",
        "Log-ratio to the reference",
        "Distance from the reference",
        "Gradient norm",
        "Learning rate",
        "Sum of learning rates",
        "Answer length",
        "Throughput",
    ]


def test_dpo_loss_has_the_ln_2_line_and_clipping_its_threshold(drawn):
    assert drawn["Loss"].plot.guide == (pytest.approx(math.log(2)), "ln 2: no preference learned")
    assert drawn["Gradient norm"].plot.guide == (1.0, "clip 1")
    assert drawn["Gradient norm"].plot.y.kind == "log"


@pytest.mark.parametrize(("start", "lines"), [(math.log(2), 1), (0.6925, 1), (1.0, 0), (25.0, 0), (None, 0)])
def test_the_ln_2_line_is_for_runs_that_start_there(start, lines):
    """The hinge starts at 1 and IPO at 25, whatever the name of the method."""
    first = {"step": 0} if start is None else {"step": 0, "loss": start}
    run = RunData("run", Path("run"), True, eval=[first, {"step": 9, "loss": 0.5}])
    (loss,) = [figure for figure in figures(run) if figure.title == "Loss"]
    assert (loss.plot.guide is not None) == bool(lines)


def test_captions_tell_what_has_no_curve(drawn):
    assert re.search(
        r"scaled down to it\. \d+ % of 200 steps were clipped\.$", drawn["Gradient norm"].reading
    )
    assert drawn["Answer length"].reading.endswith("0 % of the rows of 200 steps were truncated.")
    assert drawn["Accuracy"].reading.endswith(
        "Bars are 95 % intervals. n = 8 rows per step in training, n = 120 rows held out."
    )
    assert "n =" not in drawn["Learning rate"].reading


GENERATED = {
    "stopped_share": ("Answers that end", "Share of sampled answers that end before the token limit."),
    "repetition_share": ("Answers in a loop", "Share of sampled answers that end in the same few tokens"),
    "distinct_share": ("Answers unlike all others", "Share of sampled answers that no other prompt"),
    "answer_len": ("Length of sampled answers", "Mean length of sampled answers"),
}


def test_metrics_of_answers_have_titles_in_words_and_the_number_of_answers():
    """2 answers are 2 answers, although 120 rows are held out; so are the intervals of their shares."""
    line = {"step": 4, "split": "eval", "answers": 2.0, "answer_len": 30.0}
    line |= {"stopped_share": 0.5, "repetition_share": 0.0, "distinct_share": 1.0}
    found = {f.title: f for f in figures(_run(held_out=[line], data={"eval": {"kept": 120}}))}
    assert sorted(found) == sorted(title for title, _ in GENERATED.values())
    for title, reading in GENERATED.values():
        assert found[title].reading.startswith(reading) and found[title].reading.endswith(
            "n = 2 answers held out."
        )
    (half,) = found["Answers that end"].plot.lines
    assert (half.low[0], half.high[0]) == pytest.approx(clopper_pearson(1, 2))


def test_held_out_accuracy_carries_exact_intervals(drawn):
    line = drawn["Accuracy"].plot.lines[-1]
    assert (line.low[-1], line.high[-1]) == pytest.approx(clopper_pearson(line.y[-1] * 120, 120))


def test_the_drawing_has_the_numbers(drawn):
    """The last held-out loss, read back from the drawing by its axis."""
    plot = drawn["Loss"].plot
    line = plot.lines[-1]
    path = re.search(r'data-label="held out[^"]*".*?</g>', plot.svg)[0]
    height = float(re.findall(r",(-?[\d.]+)", path)[-1])
    assert plot.y.high - height / BOX * (plot.y.high - plot.y.low) == pytest.approx(line.y[-1], abs=1e-3)
    assert "optimizer step" in plot.svg and ">nats</text>" in plot.svg


def _run(train=(), held_out=(), **fields):
    return RunData(name="r", folder=None, finished=True, train=list(train), eval=list(held_out), **fields)


def test_sft_shows_only_what_it_logged_and_no_ln_2():
    lines = [
        {"step": s, "split": "train", "loss": 2.0 / s, "nll_per_token": 1.0 / s, "lr": 1e-4}
        for s in (1, 2, 3)
    ]
    found = figures(_run(lines, config={"method": {"name": "sft"}}))
    assert [f.title for f in found] == ["Loss", "Negative log-likelihood", "Learning rate"]
    assert found[0].plot.guide is None


def test_a_metric_that_no_chart_knows_is_shown_all_the_same():
    lines = [
        {"step": 1, "split": "train", "format_share": 0.5},
        {"step": 2, "split": "train", "format_share": 0.7},
    ]
    (figure,) = figures(_run(lines))
    assert figure.title == "Format share"
    assert figure.plot.lines[0].y == [0.5, 0.7]


def test_missing_and_non_finite_values_leave_gaps_not_zeros():
    lines = [
        {"step": s, "loss": value}
        for s, value in enumerate([1.0, None, float("nan"), float("inf"), 0.5, True])
    ]
    assert points(lines, "loss") == ([0, 4], [1.0, 0.5])


def test_long_runs_are_thinned():
    """A single peak among 6,000 points is still there, at its step."""
    steps = list(range(10 * MOST_POINTS))
    x, y = thinned(steps, [100.0 if s == 1234 else s / 6000 for s in steps])
    assert len(x) <= MOST_POINTS and x[0] == 0 and x[-1] == steps[-1]
    assert (max(y), x[y.index(100.0)]) == (100.0, 1234)


def test_moving_average_by_hand():
    """80 points reach 2 to each side: in the middle of 0, 1, 0, 1, … the mean of five is 2/5 or 3/5."""
    y = [0.0, 1.0] * 40
    smooth = moving_average(y)
    assert smooth[40] == pytest.approx(2 / 5) and smooth[41] == pytest.approx(3 / 5)
    assert smooth[0] == pytest.approx(1 / 3)
    ramp = [float(v) for v in range(80)]
    assert moving_average(ramp) is ramp


def test_findings_are_marked_at_their_step_and_listed(tmp_path):
    """The second finding of the list fired at step 50: every chart has a line there, numbered 2."""
    run = write_fake_run(tmp_path / "run")
    before = Finding("labels-noisy", "warning", "Some labels are <b>wrong</b>.", "Swap them.")
    live = Finding("not-learning", "warning", "Nothing is learnt.", "Raise the rate.", step=50)
    write_findings(run, [before, live])
    data = read_run(run)
    for figure in figures(data):
        assert figure.plot.findings == {50: [2]}
    page = render_report(data)
    assert "What the checks found" in page and "not-learning" in page
    assert "<b>wrong</b>" not in page


def _logged(name, method, **numbers):
    lines = [{"step": step, "split": "eval", **numbers} for step in (0, 5)]
    return RunData(name, Path(name), True, config={"method": method}, eval=lines)


def test_losses_and_margins_of_different_units_share_no_axis():
    """IPO's loss is in squared nats, SimPO's margin per token, a reward model's in log-odds."""
    runs = [
        _logged("dpo", {"name": "dpo"}, loss=0.69, margin=1.0),
        _logged("ipo", {"name": "ipo", "tau": 0.01}, loss=2500.0, margin=1.0),
        _logged("hinge", {"name": "dpo", "loss_type": "hinge"}, loss=1.0, margin=1.0),
        _logged("simpo", {"name": "simpo"}, loss=0.7, margin=0.1),
        _logged("scores", {"name": "reward"}, loss=0.69, margin=0.5, score=0.1),
    ]
    shown = {(f.title, f.unit): [entry["label"] for entry in f.legend] for f in overlaid(runs)}
    assert shown["Loss", "nats"] == ["dpo", "simpo", "scores"]
    assert shown["Loss", "nats²"] == ["ipo"] and shown["Loss", ""] == ["hinge"]
    assert shown["Margin", "nats"] == ["dpo", "ipo", "hinge"]
    assert shown["Margin", "nats per token"] == ["simpo"] and shown["Margin", "log-odds"] == ["scores"]
    assert next(f.unit for f in figures(runs[1]) if f.title == "Loss") == "nats²"


def test_a_method_of_ones_own_or_of_another_version_has_the_usual_unit():
    for method in (
        {"name": "mine.loss"},
        {"name": "ipo", "gone": 1},
        {"name": "sft", "loss_unit": "x"},
        "dpo",
        None,
    ):
        (loss, *_) = figures(_logged("run", method, loss=1.0))
        assert loss.unit == "nats"


def test_what_an_evaluation_logs_about_itself_has_no_chart():
    run = _logged("run", {"name": "dpo"}, loss=1.0, answers=8.0, answer_len_error=1.0, reward_error=0.1)
    assert [f.title for f in figures(run)] == ["Loss"]
