"""A run that is killed at a write, at any of them, and goes on, was never killed.

All writes of a run pass one place (`boresight.core.files.write_point`), so they are counted and not sampled:
before and after each, with the temporary file complete, and inside a line that is appended.
"""

import functools
import json
from pathlib import Path

import pytest

from boresight import methods
from tests.training.killed import LORA, assert_same_run, make_base, run_jobs, small_recipe

SCRIPT = Path(__file__).with_name("kill_writes.py")
ALL = [(name, LORA if place % 2 else None) for place, name in enumerate(methods.names())]
INTERVAL = 2
"""Steps between two checkpoints by the clock of the script."""
EVERY_TIME = ("sft", "dpo", "kto", "rloo", "xpo")
"""Methods of each kind of data and loop, killed in `make test`; the others are slow."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def killed(base, tmp_path_factory):
    """Folder and findings of a method's run that was killed once at each of its call sites."""

    @functools.cache
    def of_group(every_time):
        """The methods of `EVERY_TIME`, or all others: one process runs a group."""
        home = tmp_path_factory.mktemp("sites")
        group = [case for case in ALL if (case[0] in EVERY_TIME) is every_time]
        jobs = [_job(base, case, home / case[0], "sites") for case in group]
        found = run_jobs(SCRIPT, jobs, home)
        return {case[0]: (home / case[0], met) for case, met in zip(group, found, strict=True)}

    return lambda method: of_group(method in EVERY_TIME)[method]


def _job(base, case, home, mode):
    return {"recipe": small_recipe(base, *case), "home": str(home), "mode": mode}


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=() if name in EVERY_TIME else pytest.mark.slow) for name in methods.names()],
)
def test_a_kill_at_every_call_site(killed, method):
    home, found = killed(method)
    print(f"\n{method}: {found['writes']} writes at {len(found['sites'])} sites, {len(found['met'])} kills")
    new = {site for site in found["sites"] if not site.startswith(("start", "append ", "remove "))}
    assert {one["site"] for one in found["met"]} >= new
    assert max(one["repeated"] for one in found["met"]) == INTERVAL
    assert_same_run(home / "whole", home / "sites")


def test_the_sites_are_the_files_of_a_run(killed):
    """Points of every kind, in the order of a run; at least three checkpoints."""
    _, found = killed("dpo")
    sites = set(found["sites"])
    for name in ("config.yaml", "data.json", "start.json", "end.json", "evaluation.json", "report.html"):
        assert {f"{point} {name}" for point in ("start", "temporary", "done")} <= sites
    assert {f"{point} metrics.jsonl" for point in ("append", "torn", "appended")} <= sites
    assert {f"{point} checkpoints/step-N" for point in ("start", "temporary", "done", "remove")} <= sites
    assert {
        f"{point} -cache/boresight/reference/DIGEST.sqlite" for point in ("start", "temporary", "done")
    } <= sites
    assert found["checkpoints"] >= 3


def stopped_job(base, home, mode):
    """A run that the guard stops, by a bound that the second evaluation exceeds."""
    recipe = small_recipe(base, "dpo", None, guard={"kl": 1e-6})
    recipe["data"] |= {"eval": recipe["data"]["train"], "eval_rows": 8}
    recipe["evaluate"]["kl_rows"] = 8
    recipe["check"]["allow"] += ["train-eval-overlap"]
    return {"recipe": recipe, "home": str(home), "mode": mode}


def test_a_kill_at_every_call_site_of_a_run_that_the_guard_stops(base, tmp_path):
    (found,) = run_jobs(SCRIPT, [stopped_job(base, tmp_path / "home", "sites")], tmp_path)
    sites = set(found["sites"])
    assert {f"{point} checkpoints/within-bounds-N" for point in ("start", "temporary", "done")} <= sites
    assert max(one["repeated"] for one in found["met"]) <= INTERVAL
    stopped = json.loads((tmp_path / "home/whole/end.json").read_text())["step"]
    assert stopped < 6
    assert_same_run(tmp_path / "home/whole", tmp_path / "home/sites")


@pytest.mark.nightly
def test_a_kill_at_every_write_of_a_run_that_the_guard_stops(base, tmp_path):
    (found,) = run_jobs(SCRIPT, [stopped_job(base, tmp_path / "home", "kills")], tmp_path)
    for number, one in enumerate(found["met"]):
        assert one["repeated"] <= INTERVAL, one
        assert_same_run(tmp_path / "home/whole", tmp_path / f"home/{number}")


@pytest.mark.nightly
@pytest.mark.parametrize("case", ALL, ids=lambda case: case[0])
def test_a_kill_at_every_write(base, tmp_path, case):
    (found,) = run_jobs(SCRIPT, [_job(base, case, tmp_path / "home", "kills")], tmp_path)
    print(f"\n{case[0]}: {found['writes']} writes")
    assert len(found["met"]) == found["writes"]
    for number, one in enumerate(found["met"]):
        assert one["repeated"] <= INTERVAL, one
        assert not one["refused"] or one["site"] == "done report.html", one
        assert_same_run(tmp_path / "home/whole", tmp_path / f"home/{number}")


@pytest.mark.nightly
@pytest.mark.parametrize("case", ALL, ids=lambda case: case[0])
def test_a_full_disk_at_every_write(base, tmp_path, case):
    """One sentence; with room again the same command goes on to the same result."""
    (found,) = run_jobs(SCRIPT, [_job(base, case, tmp_path / "home", "full")], tmp_path)
    assert len(found["met"]) == found["writes"]
    saved = found["first_saved"]
    for number, one in enumerate(found["met"]):
        if one["said"]:
            assert "no space is left on the disk; make room" in one["said"] and "\n" not in one["said"]
            assert ("start again" in one["said"]) == (number < saved), one
            assert not one["refused"] and one["repeated"] <= INTERVAL, one
        assert_same_run(tmp_path / "home/whole", tmp_path / f"home/{number}")
