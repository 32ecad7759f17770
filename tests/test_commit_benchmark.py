"""`benchmarks/against_commit.py`: each side runs its own tree, and ratios are taken pair by pair."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("against_commit")


def result(seconds: list[float], tokens: list[int], peak: float) -> dict:
    return {"seconds": seconds, "tokens": tokens, "peak_gb": peak}


def test_a_step_is_faster_where_it_takes_less_time(benchmark):
    case = benchmark.Compared("steps", Path("side.py"), {})
    then = [result([99, 6, 4], [], 4.0), result([99, 6, 6], [], 4.0)]  # the first step is left out
    now = [result([99, 2, 2], [], 2.0), result([99, 4, 4], [], 3.0)]
    compared = benchmark.compare(case, then, now)
    assert (compared["then"], compared["now"]) == (5.5, 3.0)
    assert compared["speed"] == [2.0, 1.5, 2.5]  # 5/2 and 6/4
    assert compared["memory"] == [0.625, 0.5, 0.75]
    assert compared["peak_gb"] == [4.0, 2.5]


def test_sampling_is_faster_where_it_gives_more_tokens_per_second(benchmark):
    case = benchmark.Compared("sampling", Path("side.py"), {}, benchmark.RATE)
    then, now = [result([9, 2], [9, 100], 1.0)], [result([9, 4], [9, 600], 1.0)]
    compared = benchmark.compare(case, then, now)
    assert (compared["then"], compared["now"], compared["speed"]) == (50.0, 150.0, [3.0, 3.0, 3.0])


def test_each_side_runs_the_program_and_the_package_of_its_own_tree(benchmark, tmp_path):
    job = tmp_path / "job.json"
    job.write_text("{}")
    for name in ("then", "now"):
        for folder in ("src/thing", "benchmarks/part"):
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "src/thing/__init__.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "benchmarks/helper.py").write_text(f"NAME = 'helper of {name}'\n")
        side = "import json, helper, thing\nprint('noise')\nprint(json.dumps([thing.NAME, helper.NAME]))\n"
        (tmp_path / name / "benchmarks/part/side.py").write_text(side)
    found = {name: benchmark.run_side(tmp_path / name, Path("part/side.py"), job) for name in ("then", "now")}
    assert found == {"then": ["then", "helper of then"], "now": ["now", "helper of now"]}
    of_this_tree = tmp_path / "now/benchmarks/part/side.py"  # a program that the earlier commit lacks
    assert benchmark.run_side(tmp_path / "then", of_this_tree, job) == ["then", "helper of then"]


def test_a_side_that_fails_ends_the_benchmark_with_its_error(benchmark, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/side.py").write_text("raise SystemExit('no such model')")
    with pytest.raises(SystemExit, match="no such model"):
        benchmark.run_side(tmp_path, Path("side.py"), tmp_path / "job.json")


def test_a_commit_is_checked_out_and_removed_again(benchmark, tmp_path, monkeypatch):
    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(tmp_path / "repo"), *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    (tmp_path / "repo").mkdir()
    git("init", "-q")
    git("config", "user.name", "a")
    git("config", "user.email", "a@example.org")
    for text in ("first", "second"):
        (tmp_path / "repo/file").write_text(text)
        git("add", "file")
        git("commit", "-qm", text)
    monkeypatch.setattr(benchmark, "ROOT", tmp_path / "repo")
    with benchmark.checkout("HEAD~1", tmp_path / "then") as then:
        assert (then / "file").read_text() == "first"
    assert not (tmp_path / "then").exists() and git("worktree", "list").count("\n") == 0
    with (
        pytest.raises(SystemExit, match="no-such-commit"),
        benchmark.checkout("no-such-commit", tmp_path / "t"),
    ):
        pass


def test_the_processors_are_busy_for_part_of_all_ticks(benchmark):
    idle, total = benchmark.processor_ticks()
    assert 0 < idle < total


def test_jobs_can_be_written(benchmark, monkeypatch):
    monkeypatch.setattr("sys.argv", ["against_commit.py", "HEAD", "--steps", "2"])
    args = benchmark.arguments()
    monkeypatch.setattr(benchmark, "rows_of", lambda source, count, *_: [{"prompt_ids": [1]}] * count)
    cases = benchmark.cases(args)
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert json.loads(json.dumps(case.job))["steps"] == 2
        assert (BENCHMARKS / case.program).is_file()
