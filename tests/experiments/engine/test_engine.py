"""The engine with jobs that only return numbers: order, dependencies, failures, policies, several workers."""

import threading
import time
from dataclasses import dataclass, field

import pytest
import torch

from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.experiments.engine.attempt import attempt_job
from boresight.experiments.engine.claim import claims, take
from boresight.experiments.engine.experiment import Experiment
from boresight.experiments.engine.folder import ExperimentFolder
from boresight.experiments.engine.queue import Queue
from boresight.experiments.engine.worker import work


@dataclass(frozen=True)
class Job:
    name: str


@dataclass(frozen=True)
class Outcome:
    value: int | None
    why: str = ""
    number: int = 1

    @property
    def finished(self):
        return self.value is not None

    @property
    def failed(self):
        return self.value is None and self.why != "stopped"


class Folder(ExperimentFolder[Job, Outcome]):
    jobs_below = "jobs"
    sums_seconds = True
    outcome_class = Outcome

    def __init__(self, folder, shared, retries_failed):
        self.folder, self.shared, self.retries_failed = folder, shared, retries_failed


@dataclass
class Toy(Experiment[Job, Outcome]):
    """`results` holds by job a number to return, or an exception to raise."""

    folder: Folder
    results: dict[str, object]
    needs: dict[str, list[str]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    noun = "toy"

    def jobs(self):
        return [Job(name) for name in self.results]

    def dependencies(self, job):
        return [Job(name) for name in self.needs.get(job.name, [])]

    def run(self, job, attempt):
        self.ran.append(job.name)
        attempt.require_claim()
        result = self.results[job.name]
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, Outcome):
            return result
        return Outcome(result() if callable(result) else result, number=attempt.number)

    def failure(self, job, attempt, why):
        return Outcome(None, why, attempt.number)

    def report(self, job, outcome):
        pass


@pytest.fixture
def toy(tmp_path):
    def make(results, needs=None, folder="toy", shared=True, retries_failed=False):
        return Toy(Folder(tmp_path / folder, shared, retries_failed), results, needs or {})

    return make


def outcomes(toy):
    return {job.name: toy.folder.outcome(job) for job in toy.jobs()}


def test_jobs_run_in_order_and_failures_become_sentences(toy):
    found = toy({"a": 1, "b": UserError("the data are empty."), "c": ValueError("odd\nsecond line"), "d": 4})
    work(found)
    assert found.ran == ["a", "b", "c", "d"]
    assert [o.why for o in outcomes(found).values()] == [
        "", "the data are empty.", "ValueError: odd (error.txt has the rest)", "",
    ]  # fmt: skip
    assert "second line" in (found.folder.job_folder(Job("c")) / "error.txt").read_text()


def test_a_job_without_enough_memory_names_what_to_lower(toy):
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has")
    found = toy({"a": full, "b": MemoryError()})
    work(found)
    rest = "; lower train.tokens_per_forward for this setting (error.txt has the rest)"
    assert [o.why for o in outcomes(found).values()] == [
        f"out of memory (20.00 MiB were requested){rest}",
        f"out of memory{rest}",
    ]


def test_a_job_fails_without_being_run_if_one_that_it_needs_has_failed(toy):
    found = toy({"a": UserError("no."), "b": 2, "c": 3}, needs={"b": ["a"], "c": ["b"]})
    work(found)
    assert found.ran == ["a"]
    assert [o.why for o in outcomes(found).values()] == ["no.", "a is not finished.", "b is not finished."]


def test_a_job_fails_if_one_that_it_needs_is_not_among_those_to_be_run(toy):
    found = toy({"b": 2}, needs={"b": ["a"]})
    work(found)
    assert outcomes(found)["b"].why == "a is not finished."


def test_a_job_waits_for_one_that_it_needs_even_if_listed_before_it(toy):
    found = toy({"b": 2, "a": 1, "c": 3}, needs={"b": ["a"]})
    work(found)
    assert found.ran == ["a", "b", "c"]


def test_a_job_waits_while_another_worker_runs_one_that_it_needs(toy):
    """The second worker is started inside job a, finds it claimed, and runs b only after a has ended."""
    second = toy({"a": 0, "b": 2}, needs={"b": ["a"]})
    other = threading.Thread(target=work, args=(second,))

    def begin():
        other.start()
        time.sleep(0.3)
        assert second.ran == []
        return 1

    first = toy({"a": begin, "b": 2}, needs={"b": ["a"]})
    work(first)
    other.join()
    assert outcomes(first) == {"a": Outcome(1), "b": Outcome(2)}
    assert sorted(first.ran + second.ran) == ["a", "b"]


def test_outcomes_are_final_unless_failed_jobs_are_run_again(toy):
    for retries_failed, ran, value in ((False, [], None), (True, ["b"], 20)):
        folder = f"retries {retries_failed}"
        work(toy({"a": 1, "b": UserError("no.")}, folder=folder, retries_failed=retries_failed))
        again = toy({"a": 10, "b": 20}, folder=folder, retries_failed=retries_failed)
        work(again)
        assert again.ran == ran
        assert [o.value for o in outcomes(again).values()] == [1, value]


def test_a_job_that_was_stopped_has_no_result_and_is_not_run_again(toy):
    stopped = Outcome(None, "stopped")
    work(toy({"a": stopped, "b": 1}, needs={"b": ["a"]}, retries_failed=True))
    again = toy({"a": 5, "b": 1}, needs={"b": ["a"]}, retries_failed=True)
    work(again)
    assert again.ran == [] and outcomes(again)["a"] == stopped
    assert outcomes(again)["b"].why == "a is not finished.", "it was tried again, and needs a result"


def test_a_job_that_fails_again_is_run_once_per_start(toy):
    for _ in range(2):
        found = toy({"a": UserError("no.")}, retries_failed=True)
        work(found)
        assert found.ran == ["a"]


def test_a_retried_job_is_closed_to_others_once_it_has_a_new_outcome(toy):
    work(toy({"a": UserError("no.")}, retries_failed=True))
    queue = Queue(toy({"a": 1}, retries_failed=True))
    assert queue.open_jobs() == [Job("a")]
    work(toy({"a": UserError("still no.")}, retries_failed=True))
    assert queue.open_jobs() == []


def test_a_folder_that_is_not_shared_has_no_claims(toy):
    found = toy({"a": 1}, shared=False)
    work(found)
    assert not claims(found.folder.job_folder(Job("a"))) and outcomes(found)["a"].value == 1


def test_an_interrupted_job_is_released_and_open(toy):
    with pytest.raises(Interrupted, match=r"^the toy stopped; run the same command to resume\.$"):
        work(toy({"a": KeyboardInterrupt(), "b": 2}))
    found = toy({"a": 1, "b": 2})
    assert outcomes(found) == {"a": None, "b": None}
    work(found)
    assert outcomes(found)["a"] == Outcome(1, number=1)


def test_a_worker_that_has_lost_its_job_writes_no_outcome(toy):
    """Another worker takes over while the job runs; a second attempt stops before it has a result."""

    def lose():
        claim.release()
        assert take(folder).number == 2
        return 1

    found = toy({"a": lose})
    folder = found.folder.job_folder(Job("a"))
    claim = take(folder)
    attempt_job(found, Job("a"), claim)
    assert outcomes(found) == {"a": None}
    attempt_job(found, Job("a"), claim)
    assert outcomes(found) == {"a": None}


@pytest.mark.parametrize("name", ["outcome.json", "spent.json"])
def test_a_damaged_file_of_a_job_is_a_sentence(tmp_path, name):
    """Torn at every byte, and every byte changed; never another outcome."""
    folder, job = Folder(tmp_path, shared=False, retries_failed=False), Job("a")
    folder.job_folder(job).mkdir(parents=True)
    folder.close(job, Outcome(12))
    folder.keep_seconds(job, 34.5)
    path = folder.job_folder(job) / name
    content = path.read_bytes()

    def read():
        return folder.outcome(job), folder.earlier_seconds(job)

    assert read() == (Outcome(12), 34.5)
    found = 0
    changed = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(len(content))]
    for other in [*changed, *(content[:i] for i in range(len(content) - 1))]:
        if b"checksum" not in other and other.endswith(b"}\n"):
            continue  # as an earlier version wrote it
        path.write_bytes(other)
        with pytest.raises(UserError, match="torn or was edited; restore it, or delete it and run the same"):
            read()
        found += 1
    assert found > len(content)


def test_seconds_of_an_earlier_version_count(tmp_path):
    folder, job = Folder(tmp_path, shared=False, retries_failed=False), Job("a")
    folder.job_folder(job).mkdir(parents=True)
    (folder.job_folder(job) / "spent.json").write_text("34.5\n")
    assert folder.earlier_seconds(job) == 34.5
