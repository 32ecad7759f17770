"""The monitor at work in a real loop: what it writes, that it can stop a run, and what it costs."""

from __future__ import annotations

import json
import time

from boresight.findings.history import History
from boresight.findings.monitor import Monitor, read_findings, watch, write_findings
from boresight.training.loop import run_steps
from tests.checks import builders as b
from tests.training.fixtures import make_task


def test_a_run_that_learns_nothing_is_told_so_and_goes_on(tmp_path):
    task = make_task(tmp_path, "dpo", "train.batch=4", "train.steps=12", "optim.lr=1e-9")
    watch(tmp_path, task.tracker, task.recipe, 12, eval_rows=4)
    run_steps(task)
    found = read_findings(tmp_path)
    assert [f.name for f in found] == ["not-learning"]
    assert found[0].step == 3  # a quarter of the run
    assert "0.50 [0.07, 0.93]" in found[0].why  # two of four
    assert (tmp_path / "model").is_dir()


def test_an_error_ends_the_run_early_when_asked(tmp_path):
    """Rewards of a constant: no group has a spread, which is an error at the fifth step of twenty."""
    task = make_task(tmp_path, "dpo", "train.batch=4", "train.steps=20", "check.stop=true")
    watch(tmp_path, task.tracker, task.recipe, 20, eval_rows=4)
    log = task.tracker.log
    task.tracker.log = lambda step, split, numbers: log(step, split, numbers | {"zero_variance": 1.0})
    run_steps(task)
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in steps) == 5
    assert steps[-1]["split"] == "eval"  # measured once more where it ended
    assert "reward-constant-live" in [f.name for f in read_findings(tmp_path)]
    assert (tmp_path / "model").is_dir()


def test_a_resumed_run_keeps_what_was_found_before_and_says_nothing_twice(tmp_path):
    early = b.log(20, grad_norm=lambda t: 50.0 if t == 1 else 1.0)
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": s, "split": k} | n) + "\n" for s, k, n in early)
    )
    monitor = Monitor(History(40))
    found = [f for s, k, n in early for f in monitor.see(s, k, n)]
    assert [(f.name, f.step) for f in found] == [("gradient-spike", 20)]
    write_findings(tmp_path, found)
    task = make_task(tmp_path / "other", "dpo")
    watch(tmp_path, task.tracker, task.recipe, 40, 4)
    assert [(f.name, f.step) for f in read_findings(tmp_path)] == [("gradient-spike", 20)]
    task.tracker.log(21, "train", {"grad_norm": 99.0})
    assert len(read_findings(tmp_path)) == 1


def test_findings_survive_the_file(tmp_path):
    found = b.found_in_data([b.swapped(p, scores=True) for p in b.pairs()])
    write_findings(tmp_path, found)
    assert read_findings(tmp_path) == found


def test_watching_costs_little(tmp_path):
    """Less than a step of a 30,000-parameter model on eight short rows: a thousandth of a real one's."""
    task = make_task(tmp_path, "dpo", "train.batch=8", "train.steps=30", "optim.lr=1e-4")
    started = time.perf_counter()
    run_steps(task)
    a_step = (time.perf_counter() - started) / 30
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-2])
    monitor = Monitor(History(10_000, 400))
    numbers = {k: v for k, v in line.items() if k not in ("step", "split")}
    for step in range(1, 400):
        monitor.see(step, "train", numbers)
    rounds = []
    for step in range(400, 800):
        started = time.perf_counter()
        monitor.see(step, "train", numbers)
        rounds.append(time.perf_counter() - started)
    assert sorted(rounds)[200] < a_step
