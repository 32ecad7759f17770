"""Trackers get every number under the names that dashboards know, and a run outlives a tracker that fails."""

import importlib.util
import io
import json
import math
import struct
import sys

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.methods import dpo, ipo, reward
from boresight.training.logging import integrations
from boresight.training.logging.logger import Tracker
from tests.odd_text import ODD

STEPS = {"loss": 0.69, "margin": 2.0, "lr": 1e-4, "chosen_logratio": 1.5, "rejected_logratio": -0.5}
HELD_OUT = {"loss": 0.6, "accuracy": 0.75, "margin": 3.0, "kl_per_token": math.nan}


def needs(package):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(
        missing, reason=f"{package} is not installed; pip install 'boresight[{package}]'"
    )


@pytest.fixture
def track(tmp_path):
    """Log two lines by a recipe with the named trackers; returns the run folder and what was printed."""

    def log(*names):
        recipe = Recipe.parse(
            {
                "method": {"name": "dpo", "beta": 0.1},
                "data": {"train": "none"},
                "optim": {"lr": 1e-3},
                "train": {"trackers": list(names)},
            }
        )
        folder = tmp_path / "run"
        folder.mkdir()
        printed = io.StringIO()
        with Tracker(folder, 4, Console(file=printed, width=200)) as tracker:
            integrations.connect(tracker, recipe, folder, 4)
            tracker.log(1, "train", STEPS)
            tracker.log(1, "eval", HELD_OUT)
            tracker.log(2, "train", STEPS | {"loss": 0.5})
        return folder, printed.getvalue()

    return log


def test_rewards_are_beta_times_nats():
    """A margin of 2 nats at beta 0.1 is a reward margin of 0.2; IPO's tau is what TRL calls beta."""
    named = integrations.usual("train", STEPS, dpo.Config(beta=0.1))
    assert named == {
        "train/loss": 0.69,
        "train/rewards/margins": pytest.approx(0.2),
        "train/learning_rate": 1e-4,
        "train/rewards/chosen": pytest.approx(0.15),
        "train/rewards/rejected": pytest.approx(-0.05),
    }
    logps = integrations.usual("train", {"chosen_logps": -40.0, "rejected_logps": -50.0}, dpo.Config())
    assert logps == {"train/logps/chosen": -40.0, "train/logps/rejected": -50.0}
    assert integrations.usual("eval", {"margin": 2.0}, ipo.Config(tau=0.5)) == {"eval/rewards/margins": 1.0}
    assert integrations.usual("eval", {"margin": 2.0, "accuracy": 1.0}, reward.Config()) == {
        "eval/margin": 2.0,
        "eval/accuracy": 1.0,
    }


def odd_recipe():
    return Recipe.parse(
        {"method": {"name": "dpo"}, "data": {"train": f"a{ODD}.jsonl"}, "optim": {"lr": 1e-3}}
    )


def test_odd_text_is_sent_as_utf8():
    sent = integrations.sendable({"a\ud800": [ODD, {"b": ODD}], "n": 1, "x": None})
    assert sent["a\\ud800"][0] == ODD.replace("\udfff", "\\udfff").replace("\ud800", "\\ud800")
    json.dumps(sent, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in integrations.SERVICES])
def test_trackers_take_odd_text(name, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    folder = tmp_path / "run \x1b[31m\u202e"
    folder.mkdir()
    service = integrations.SERVICES[name](folder, odd_recipe())
    service.log(1, {"train/loss": 1.0})
    service.close()


def test_a_tracker_that_cannot_start_is_one_sentence(track, monkeypatch):
    def broken(folder, recipe):
        raise ConnectionError("no route to host")

    monkeypatch.setitem(integrations.SERVICES, "tensorboard", broken)
    monkeypatch.setattr(integrations, "refuse_missing_trackers", lambda names: None)
    with pytest.raises(UserError, match=r"tensorboard cannot start \(ConnectionError: no route to host\)"):
        track("tensorboard")


def test_what_is_not_finite_is_left_out():
    assert integrations.usual("eval", HELD_OUT | {"x": None}, dpo.Config()).keys() == {
        "eval/loss",
        "eval/rewards/accuracies",
        "eval/rewards/margins",
    }


@pytest.mark.parametrize("name", integrations.SERVICES)
def test_a_missing_package_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf"{name} is not installed; pip install 'boresight\[{name}\]'"):
        integrations.refuse_missing_trackers([name])


def test_an_unknown_tracker_is_refused():
    raw = {
        "method": {"name": "dpo"},
        "data": {"train": "x"},
        "optim": {"lr": 1},
        "train": {"trackers": ["aim"]},
    }
    with pytest.raises(UserError, match=r"train\.trackers\.0 is 'aim'"):
        Recipe.parse(raw)


def test_a_tracker_that_fails_is_dropped_and_the_run_goes_on(track, monkeypatch):
    class Broken:
        def __init__(self, folder, recipe):
            self.asked = 0

        def log(self, step, numbers):
            raise ConnectionError("no route to host")

        def close(self):
            raise ConnectionError("still none")

    monkeypatch.setitem(integrations.SERVICES, "tensorboard", Broken)
    monkeypatch.setattr(integrations, "refuse_missing_trackers", lambda names: None)
    folder, printed = track("tensorboard")
    assert printed.count("tensorboard failed (ConnectionError: no route to host)") == 1
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


@needs("tensorboard")
def test_tensorboard_files_read_back(track):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = track("tensorboard")
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    losses = [(e.step, round(e.value, 6)) for e in events.Scalars("train/loss")]
    assert losses == [(1, 0.69), (2, 0.5)]
    assert events.Scalars("eval/rewards/margins")[0].value == pytest.approx(0.3)


@needs("wandb")
def test_wandb_offline_writes_the_values(track, monkeypatch):
    """The real client, offline: its transaction log holds every number, and nothing is sent."""
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, printed = track("wandb")
    assert "failed" not in printed
    wandb.teardown()  # its service writes the log from a process of its own, which may outlive the run
    history = read_wandb(next(folder.glob("wandb/offline-run-*/*.wandb")))
    assert [line["train/loss"] for line in history] == [0.69, 0.5]
    assert history[0]["eval/rewards/margins"] == pytest.approx(0.3)
    assert history[0]["train/rewards/chosen"] == pytest.approx(0.15)
    assert [line["train/global_step"] for line in history] == [1, 2]


def read_wandb(file):
    """Lines of history in an offline run's file."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for data in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items})
    return found


def leveldb_records(data, block=32_768, header=7):
    """Records of LevelDB's log: blocks of 32 KiB, chunks of checksum (4), length (2), type (1) and data.

    Types are 1 whole, 2 first, 3 middle, 4 last. A file of W&B's begins with seven bytes of its own.
    """
    at, parts = 7, []
    while at + header <= len(data):
        if block - at % block < header:
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts.append(data[at + header : at + header + length])
        at += header + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def test_trackio_is_called_as_its_client_is(track, monkeypatch):
    """The calls alone; the real client is tested where it is installed."""
    calls = []

    class Client:
        init = staticmethod(lambda **settings: calls.append(("init", settings["name"], settings["resume"])))
        log = staticmethod(lambda numbers, step: calls.append(("log", step, numbers["train/global_step"])))
        finish = staticmethod(lambda: calls.append(("finish",)))

    monkeypatch.setitem(sys.modules, "trackio", Client)
    monkeypatch.setattr(integrations, "refuse_missing_trackers", lambda names: None)
    track("trackio")
    assert calls == [("init", "run", "allow"), ("log", 1, 1), ("log", 1, 1), ("log", 2, 2), ("finish",)]
