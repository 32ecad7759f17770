"""`kill -9` in the middle: nothing that had arrived is lost, nothing is bought twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

from tests.llm.fake_server import FakeServer, Faults, some
from tests.llm.helpers import digest_of, requests, stored

SCRIPT = Path(__file__).with_name("run_to_be_killed.py")
FAULTS = {
    "429": 0.02,
    "500": 0.02,
    "drop": 0.015,
    "garbage": 0.01,
    "half": 0.005,
    "stall": 0.005,
    "slow": 0.005,
    "refusal": 0.01,
    "length": 0.01,
}
"""A tenth of all requests."""
CONCURRENCY = 32


def start(server: FakeServer, ledger: Path, count: int, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), server.url, str(ledger), str(count), str(out)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_two_kills_and_a_tenth_of_faults_change_nothing(tmp_path: Path, count: int) -> None:
    assert sum(FAULTS.values()) == pytest.approx(0.1)
    # Refusals and cut answers belong to the prompt: the undisturbed run has them too.
    permanent = {name: share for name, share in FAULTS.items() if name in ("refusal", "length")}
    with FakeServer(faults=some(permanent)) as still:
        assert start(still, tmp_path / "still.sqlite", count, tmp_path / "still.jsonl").wait() == 0

    ledger, kept = tmp_path / "ledger.sqlite", []
    with FakeServer(faults=ordered(FAULTS, permanent)) as server:
        for share in (0.3, 0.7):
            process = start(server, ledger, count, tmp_path / "out.jsonl")
            server.wait_until_answered(int(share * count))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            kept.append((set(stored(ledger)), len(server.seen)))
            assert not (tmp_path / "out.jsonl").exists()
        assert start(server, ledger, count, tmp_path / "out.jsonl").wait() == 0

    first, second = kept[0][0], kept[1][0]
    final = set(stored(ledger))
    assert 0 < len(first) < len(second) < count == len(final)
    assert first <= second <= final  # 0 completed responses lost
    digests = {request.key: digest_of(request) for request in requests(server.url, count)}
    assert set(digests.values()) == set(server.answered)
    for keys, sent in kept:  # 0 bought twice: nothing that the ledger held is ever sent again
        assert not {digests[key] for key in keys} & {seen.digest for seen in server.seen[sent:]}
    repeated = sum(server.answered.values()) - count
    assert repeated <= 2 * CONCURRENCY  # answers that were on the way at a kill and never reached us
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "still.jsonl").read_bytes()
    faults = sum(n for outcome, n in server.outcomes().items() if outcome != "ok")
    print(
        f"\n{count} requests, {faults} faults, kept at the kills {len(first)} and {len(second)}, "
        f"repeated because a kill met them on the way {repeated}"
    )


def ordered(shares: dict[str, float], first: dict[str, float]) -> Faults:
    """The faults, the permanent ones drawn first so that every server draws the same of them."""
    return some({**first, **{name: share for name, share in shares.items() if name not in first}})
