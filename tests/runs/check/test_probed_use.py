"""Time and memory of a planned run: measured where a probe was run, called an estimate where none was."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from boresight.checks.cache import Looked
from boresight.checks.forecast.ramp_file import read_ramp, write_ramp
from boresight.checks.run import machine
from boresight.checks.run.machine import Load
from boresight.checks.run.measured_use import MeasuredUse
from boresight.checks.run.rollouts import SampledStart
from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.findings.finding import run_checks
from boresight.models.kernels import matmul
from boresight.models.lora import attach
from boresight.runs.check.forecast_table import load_lines
from boresight.runs.check.preflight import load_of
from boresight.runs.check.probed_use import use_by_ramp, use_by_rollouts
from boresight.runs.check.rollout_probe import RolloutProbe
from boresight.stats.intervals import Interval
from tests.checks import builders as b
from tests.checks.test_ramp import point, ramp
from tests.tiny import tiny_model

COUNTDOWN = [{"function": "countdown"}]
SMALL = ramp(
    replace(point(1e-4, 0.1), seconds=4.0, tokens=400.0, peak_memory_gb=2.5),
    replace(point(1e-3, 0.5), seconds=2.0, tokens=800.0, peak_memory_gb=3.0),
    replace(point(2e-3, 0.9), seconds=1.0, tokens=700.0, peak_memory_gb=3.0),
)
"""Steps at 100, 400 and 700 tokens a second; the median is 400, the largest step has 800 tokens."""


def load(*settings, **facts):
    """480 rows of 100 tokens, in steps of 16 rows, 1,600 tokens."""
    chosen = b.recipe("dpo", "train.batch=16", "train.tokens_per_forward=4096", *settings)
    known = {"layers": 24, "hidden": 1024, "intermediate": 4096, "row_tokens": 100.0, "rows": 480}
    return Load(chosen, 10**8, 10**8, **(known | facts))


def test_time_is_scaled_by_tokens_and_larger_forwards_are_estimated():
    """48,000 tokens at 400 a second take 120 s.

    A token leaves 32 · 1,024 + 8 · 4,096 bytes in each of 24 layers, and the backward of the last one holds
    14 · 1,024 + 12 · 4,096 more: 1.64 MB, so a forward of 1,600 tokens holds 1.3 GB more than one of 800.
    Recomputed, it is 24 · 4 · 1,024, the layers' inputs, and 42 · 1,024 + 24 · 4,096: 0.19 GB.
    """
    use = use_by_ramp(load("train.activations=keep"), SMALL)
    assert use.seconds == pytest.approx(120.0) and use.memory_gb == pytest.approx(3.0 + 1.309, abs=1e-3)
    assert use.source == (
        "a ramp of this run, scaled by tokens; 1.3 GB of the memory are estimated, for forwards of 1,600 "
        "tokens where the ramp's had 800"
    )
    again = use_by_ramp(load("train.activations=recompute"), SMALL)
    assert again.memory_gb == pytest.approx(3.0 + 0.1917, abs=1e-3)


def test_forwards_of_the_same_size_need_no_estimate():
    """Both are cut at 512 tokens; and a run of 4 rows a step has smaller ones than its ramp."""
    for settings in (["train.tokens_per_forward=512"], ["train.batch=4"]):
        use = use_by_ramp(load("train.activations=keep", *settings), SMALL)
        assert (use.memory_gb, use.source) == (3.0, "a ramp of this run, scaled by tokens")


def test_a_ramp_without_tokens_knows_no_time():
    use = use_by_ramp(load(), ramp(point(1e-3, 0.5)))
    assert use.seconds is None and use.source == "a ramp of this run" and use.memory_gb == 3.0
    assert use_by_ramp(load(rows=None), SMALL).seconds is None


def test_a_rollout_serves_its_updates():
    """20 steps, two to a rollout: 10 · 6 s of sampling and 20 · 2 s of gradients; moments of 1e8 weights."""
    start = SampledStart(Interval(0.5, 0.3, 0.7, n=32), reward=0.1, per_prompt=8)
    probed = RolloutProbe(start, 6.0, 2.0, signal_to_noise=1.0, batch=16, memory_gb=2.0, updates=2)
    use = use_by_rollouts(load(), probed, steps=20)
    assert use.seconds == pytest.approx(100.0) and use.memory_gb == pytest.approx(2.8)
    assert "0.8 GB of the memory are Adam's moments" in use.source


def test_steps_that_replay_earlier_pairs_have_gradients_of_these_too():
    """Half as many earlier pairs as prompts: 20 steps of 3 s in place of 2 s, and 20 · 6 s of sampling."""
    start = SampledStart(Interval(0.5, 0.3, 0.7, n=32), reward=0.1, per_prompt=2)
    probed = RolloutProbe(start, 6.0, 2.0, signal_to_noise=1.0, batch=16, memory_gb=2.0, updates=1)
    chosen = b.recipe("xpo", "method.replay=0.5", reward=COUNTDOWN)
    assert use_by_rollouts(replace(load(), recipe=chosen), probed, steps=20).seconds == pytest.approx(180.0)


@pytest.mark.parametrize(("held", "severity"), [(1.0, "error"), (3.0, "warning"), (8.0, None)])
def test_what_this_process_holds_serves_the_run_too(monkeypatch, held, severity):
    """12 GB are needed and 4 are free besides what is held."""
    monkeypatch.setattr(machine, "available_gb", lambda device: 4.0)
    monkeypatch.setattr(machine, "held_gb", lambda device: held)
    measured = replace(load(), measured=MeasuredUse(60.0, 12.0, "a ramp of this run"))
    found = {finding.name: finding for finding in run_checks(machine, measured)}
    assert (found["memory"].severity if "memory" in found else None) == severity
    if severity:
        assert "need about 12.0 GB, measured by a ramp of this run; " in found["memory"].why


def test_days_that_were_measured_are_not_called_an_estimate():
    measured = replace(load(), measured=MeasuredUse(3 * 86_400.0, 0.0, "a ramp of this run"))
    (found,) = run_checks(machine, measured)
    assert found.why == "Training will take about 3 days on this machine, measured by a ramp of this run."


def test_the_table_says_what_is_measured_and_what_is_estimated(monkeypatch):
    """4.8e4 tokens · 1e8 weights · 2 · 3 passes at 4e10 a second are 720 s."""
    monkeypatch.setattr(machine, "rate", lambda dtype, device: 1e11)
    ((_, estimated),) = load_lines(load())
    assert ", about 12 min of training steps, estimated from shapes, to within a factor of two" in estimated
    ((_, measured),) = load_lines(replace(load(), measured=use_by_ramp(load(), SMALL)))
    assert ", about 2 min of training steps, measured by a ramp of this run" in measured
    assert load_lines(None) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_rate_is_that_of_the_runs_arithmetic(monkeypatch, dtype):
    measure, product, multiplied, asked = machine.rate, matmul.product, [], []

    def rate(dtype, device):
        asked.append(dtype)
        return measure(dtype, device)

    def counted(x, weight):
        multiplied.append({x.dtype, weight.dtype})
        return product(x, weight)

    monkeypatch.setattr(matmul, "product", counted)
    monkeypatch.setattr(machine, "rate", rate)
    assert replace(load(), recipe=b.recipe("dpo", f"model.dtype={dtype}")).hours > 0
    assert asked == [dtype] and multiplied == [{getattr(torch, dtype)}] * machine.TRIES


def test_sampling_has_no_estimate_of_its_time():
    online = replace(load(), recipe=b.recipe("rloo", reward=COUNTDOWN))
    assert online.tokens is None and online.hours is None
    ((_, said),) = load_lines(online)
    assert "training steps" not in said and "estimated from shapes" in said


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"start": 1, "points": [], "batch": 4, "answers": None},
        {"start": {}, "points": [{}], "batch": 4, "answers": None},
        {"start": {"gain": {"mean": 1}}, "points": "abc", "batch": 4, "answers": None},
        SMALL.as_dict() | {"points": [SMALL.as_dict()["start"]]},
        SMALL.as_dict() | {"start": SMALL.as_dict()["start"] | {"budget": math.inf}},
        SMALL.as_dict() | {"start": SMALL.as_dict()["start"] | {"seconds": "long"}},
        SMALL.as_dict() | {"start": SMALL.as_dict()["start"] | {"gain": {"mean": "m", "error": 1, "n": 2}}},
    ],
)
def test_a_file_that_holds_no_ramp_is_one_sentence(tmp_path, kept):
    (tmp_path / "ramp.json").write_text(json.dumps(kept))
    with pytest.raises(UserError, match=r"ramp\.json: it holds no learning-rate ramp; delete it\."):
        read_ramp(tmp_path)


def test_a_ramp_is_kept_with_its_tokens(tmp_path):
    write_ramp(tmp_path, SMALL)
    assert read_ramp(tmp_path) == SMALL
    raw = json.loads((tmp_path / "ramp.json").read_text())
    old = [{k: v for k, v in raw_point.items() if k != "tokens"} for raw_point in raw["points"]]
    kept = {name: raw[name] for name in ("start", "batch", "answers")} | {"points": old}
    (tmp_path / "ramp.json").write_text(json.dumps(kept))
    assert read_ramp(tmp_path).tokens_per_second is None


@pytest.mark.parametrize("adapters", [False, True])
def test_adapters_spare_the_gradient_of_the_weights(adapters):
    """DPO: a forward, the reference's forward, the gradient of activations, and that of what is trained."""
    skeleton = tiny_model()
    if adapters:
        skeleton = attach(skeleton, LoraConfig(r=4), seed=0)
    size = sum(p.numel() for p in skeleton.parameters())
    trained = sum(p.numel() for p in skeleton.parameters() if p.requires_grad)
    passes = load_of(b.recipe("dpo"), skeleton, size, Looked()).passes
    assert passes == (3 + trained / size if adapters else 4) and 3 < passes <= 4
