"""The status line of training: what the method finds important, throughput and time left, in 80 columns."""

from __future__ import annotations

import io
import json

import pytest

from boresight import methods
from boresight.core.console import Terminal, status_bar
from boresight.training.logging.logger import Tracker
from boresight.training.logging.status import StatusLine, format_metric, format_rate

NUMBERS = {
    **{"loss": 0.69315, "margin": -123.42, "accuracy": 0.5, "grad_norm": 123.42},
    **{"reward": -123.42, "kl": -99.994, "length": 128.04, "nll_per_token": 2.1},
    **{"tokens_per_second": 99_940.0, "seconds": 2.0},
}
"""Of a step with wide numbers."""


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def configured(name, **settings):
    return methods.get(name).Config(**settings)


def line_at(clock, status, seconds, step, numbers=NUMBERS):
    clock.now = seconds
    return status.line(step, numbers)


def test_the_time_left_is_that_of_the_steps_so_far():
    """The first step took 2 s; 11 of them in 110 + 2 s leave 822 steps of 10.18 s: 8,369 s."""
    clock = Clock()
    status = StatusLine(("margin", "accuracy", "loss"), 833, clock)
    first = line_at(clock, status, 100.0, 1)
    assert first == "step 1/833  margin -123.4  accuracy 0.500  99.9k tokens/s  ETA 28 min"  # 832 x 2 s
    assert line_at(clock, status, 210.0, 11).endswith("ETA 2 h 19 min")
    assert "ETA" not in line_at(clock, status, 9000.0, 833)


def test_steps_of_an_earlier_process_do_not_count():
    """Resumed at step 500: one step of 2 s, 500 left, whatever the 499 before took."""
    clock = Clock()
    assert line_at(clock, StatusLine(("loss",), 1000, clock), 2.0, 500).endswith("ETA 17 min")


def test_a_step_without_an_update_shows_it():
    clock = Clock()
    status = StatusLine(("reward", "kl", "length"), 9, clock)
    assert (
        line_at(clock, status, 1.0, 9, {"reward": 0.25, "skipped": 1.0})
        == "step 9/9  reward 0.250  no update"
    )


@pytest.mark.parametrize("name", methods.names())
def test_two_numbers_of_every_method_fit_80_columns(name):
    clock = Clock()
    config = configured(name)
    status = StatusLine(config.status_metrics, 50_000, clock)
    status.line(12_344, NUMBERS)
    line = line_at(clock, status, 2.28, 12_345)  # 37,655 steps of 2.14 s
    assert line.startswith("step 12345/50000  ") and line.endswith(" tokens/s  ETA 22 h 23 min")
    assert len(line) <= 80
    assert len(status.evaluation(12_345, NUMBERS)) <= 80
    shown = [part.split()[0] for part in line.split("  ")[1:3]]
    assert shown == list(config.status_metrics[:2]) or name == "sft"


def test_methods_name_what_matters():
    assert configured("dpo").status_metrics[:2] == ("margin", "accuracy")
    assert configured("grpo").status_metrics[:2] == ("reward", "kl")
    assert configured("xpo").status_metrics == ("reward", "margin")
    without_kl = {name: x for name, x in NUMBERS.items() if name != "kl"}
    said = StatusLine(configured("rloo", beta=0).status_metrics, 2, Clock()).line(1, without_kl)
    assert "reward -123.4  length 128.0  " in said
    demonstrations = {name: NUMBERS[name] for name in ("loss", "nll_per_token", "grad_norm", "seconds")}
    assert "loss 0.693  grad_norm 123.4" in StatusLine(configured("sft").status_metrics, 2).line(
        1, demonstrations
    )


def test_an_evaluation_has_the_loss_once():
    status = StatusLine(("loss", "grad_norm"), 9)
    assert status.evaluation(3, {"loss": 2.0}) == "  evaluation after step 3: loss 2.000"
    status = StatusLine(("margin", "accuracy"), 9)
    said = status.evaluation(3, {"loss": 0.5, "margin": 1.5, "accuracy": 0.75})
    assert said == "  evaluation after step 3: loss 0.500  margin 1.500  accuracy 0.750"


def test_numbers_are_short():
    values = (0.69315, -9.9999, -12.345, 123.456, 1234.5, -99_999.0, float("nan"))
    assert list(map(format_metric, values)) == [
        "0.693",
        "-10.00",
        "-12.35",
        "123.5",
        "1234",
        "-1.0e+05",
        "nan",
    ]
    assert list(map(format_rate, (4.123, 41.23, 412.3, 9_994, 12_345, 412_345))) == [
        "4.12", "41.2", "412", "9,994", "12.3k", "412k",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_of_80_columns_shows_the_whole_line(width):
    line = "step 12345/50000  margin -123.4  accuracy 0.500  99.9k tokens/s  ETA 22 h 23 min"
    assert len(line) == 80
    out = Terminal(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    with status_bar(out) as bar:
        bar.add_task("training", total=50_000, completed=12_345, note=line)
    assert line in out.file.getvalue() and ("━" in out.file.getvalue()) == (width == 120)


def test_off_a_terminal_the_first_and_the_last_step_have_a_line(tmp_path):
    out = Terminal(file=io.StringIO(), width=80)
    with Tracker(tmp_path, 3, out, ("margin", "loss")) as tracker:
        for step in (1, 2, 3):
            tracker.log(step, "train", NUMBERS)
        tracker.log(3, "eval", {"loss": 0.5, "margin": 1.5})
    said = out.file.getvalue().split("\n")
    assert said[0].startswith("step 1/3  margin -123.4  loss 0.693  99.9k tokens/s  ETA ")
    assert said[1:3] == [
        "step 3/3  margin -123.4  loss 0.693  99.9k tokens/s",
        "  evaluation after step 3: loss 0.500  margin 1.500",
    ]
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 4
    assert json.loads((tmp_path / "metrics.jsonl").read_bytes().splitlines()[0])["margin"] == -123.42
