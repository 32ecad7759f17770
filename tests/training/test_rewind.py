"""Logs of a run folder go back to what they were at a checkpoint; a changed one stops the resumed run."""

from __future__ import annotations

import json

import pytest

from boresight.core.errors import UserError
from boresight.core.files import append_jsonl, read_jsonl, write_state
from boresight.training.checkpoints.rewind import LOGS, logs_now, rewind

FIRST = [{"name": "of the preflight", "step": None}]
LATER = {"step": 2, "text": "a\u2028b\x85c"}


@pytest.fixture
def run(tmp_path):
    """A run folder with three logs and a checkpoint of step 2, and what was logged after it."""
    for name in LOGS[:3]:
        append_jsonl(tmp_path / name, [*FIRST, {"step": 1}, LATER])
    saved = tmp_path / "checkpoints" / "step-2"
    saved.mkdir(parents=True)
    write_state(saved / "state.json", {"step": 2, "logs": logs_now(tmp_path)})
    for name in LOGS:
        append_jsonl(tmp_path / name, [{"step": 3}])
    with (tmp_path / LOGS[0]).open("ab") as file:
        file.write(b'{"step": 4, "lo')
    (tmp_path / "checkpoints/step-3/model").mkdir(parents=True)
    (tmp_path / "checkpoints/.step-4.0123456789ab.part").mkdir()
    return tmp_path


def lines(path):
    return list(read_jsonl(path))


def test_what_was_logged_later_goes_and_the_rest_keeps_its_bytes(run):
    before = logs_now(run)
    known = json.loads((run / "checkpoints/step-2/state.json").read_text())["logs"]
    rewind(run, run / "checkpoints/step-2")
    assert {name: found for name, found in logs_now(run).items() if found["bytes"]} == known
    assert all(before[name]["bytes"] > known[name]["bytes"] for name in known)
    assert [lines(run / name) for name in LOGS] == [[*FIRST, {"step": 1}, LATER]] * 3 + [[]]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-2"]


def test_the_checkpoint_of_an_earlier_version_drops_lines_by_their_step(run):
    write_state(run / "checkpoints/step-2/state.json", {"step": 2})
    rewind(run, run / "checkpoints/step-2")
    assert [lines(run / name) for name in LOGS] == [[*FIRST, {"step": 1}, LATER]] * 3 + [[]]


@pytest.mark.parametrize("name", LOGS[:3])
def test_a_log_that_was_changed_stops_the_run_and_nothing_is_dropped(run, name):
    content, saved = (run / name).read_bytes(), run / "checkpoints/step-2"
    size = json.loads((saved / "state.json").read_text())["logs"][name]["bytes"]
    changes = [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(size)]
    changes += [content[:end] for end in range(size)]
    for changed in changes:
        (run / name).write_bytes(changed)
        with pytest.raises(UserError, match=f"{name}: this log was changed after it was written; restore it"):
            rewind(run, saved)
        assert (run / name).read_bytes() == changed
    (run / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: this log is missing.*model.name={saved}/model"):
        rewind(run, saved)
    assert (run / "checkpoints/step-3").is_dir()
