"""Who has a trial, when a worker counts as dead, and that only one takes over."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from boresight.core.errors import UserError
from boresight.experiments.engine import claim


@pytest.fixture
def trial(tmp_path):
    return tmp_path / "trial"


def elsewhere(path, age):
    """Make a claim look like one from another machine, touched `age` seconds ago."""
    path.write_text(json.dumps({"host": "another machine", "process": 1, "started": "1"}))
    then = claim._now(path.parent) - age
    os.utime(path, (then, then))


def test_a_living_worker_keeps_its_trial(trial):
    mine = claim.take(trial)
    assert mine.number == 1 and mine.lost == 0 and mine.held
    assert claim.take(trial) is None


def test_a_dead_process_of_this_machine_loses_it_at_once(trial):
    imports = "from pathlib import Path; from boresight.experiments.engine import claim"
    code = f"{imports}; claim.take(Path({str(trial)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in claim.claims(trial)] == ["claim-1"]
    second = claim.take(trial)
    assert second.number == 2 and second.lost == 1


def test_another_machine_loses_it_after_silence(trial):
    first = claim.take(trial)
    elsewhere(first.path, age=claim.SILENCE_SECONDS / 2)
    assert claim.take(trial) is None
    elsewhere(first.path, age=claim.SILENCE_SECONDS * 2)
    assert claim.take(trial).number == 2
    assert not first.held


def test_a_released_trial_goes_to_the_next_and_counts_no_attempt(trial):
    claim.take(trial).release()
    again = claim.take(trial)
    assert again.number == 2 and again.lost == 0


def test_of_many_that_take_over_one_wins(trial):
    claim.take(trial).release()
    with ThreadPoolExecutor(8) as pool:
        got = [one for one in pool.map(lambda _: claim.take(trial), range(8)) if one]
    assert len(got) == 1 and len(claim.claims(trial)) == 2


def test_the_tenth_claim_comes_after_the_ninth(trial):
    for _ in range(11):
        claim.take(trial).release()
    assert claim.claims(trial)[-1].name == "claim-11"


def test_a_damaged_claim_is_a_sentence(trial):
    claim.take(trial).path.write_text('{"host": "an')
    with pytest.raises(UserError, match="claim-1: this file is torn or was edited; delete it if no other"):
        claim.take(trial)
