"""Read and write files of results, one for each arm of a block and seed: a header, then one line per prompt.

    {"arm": …, "seed": …, "settings": {…}, "numbers": {…}, "curve": [[0, 0.41], …], "answers": […], …}
    {"id": "p0", "topic": "tea", "rewards": {"reward": [1.0, 0.0]}}

JSON Lines, compressed. The file is written at once when the arm has been measured, and committed: a
comparison continues from it on any machine. A missing score is null.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import atomic_file, checksum_holds, json_line, with_checksum, write_gzip
from boresight.data.reading.compressed.expansion import Decompressed
from boresight.experiments.study.blocks import START
from boresight.experiments.study.outcomes.samples import MOST_ANSWERS, ShownAnswer
from boresight.experiments.study.plan import ArmRun
from boresight.stats.intervals import Value

ENDING = ".jsonl.gz"
REMEDY = "restore it, or delete it to measure the arm again"


@dataclass(frozen=True)
class PromptResult:
    """Rewards of the samples of one prompt: the total under `reward`, the parts by their function's name."""

    id: str
    topic: str | None
    rewards: dict[str, list[float | None]]


@dataclass(frozen=True)
class OutcomeFile:
    """The results of one arm and seed; `seed` is None for the start model of a block."""

    arm: str
    seed: int | None
    settings: dict[str, Any]
    numbers: dict[str, float]
    """One number per run: `seconds` if recorded, `verifier_calls`, `trained_tokens`; for a run that
    samples also `area` and `informative_prompts`, else `training_rows`; `learning_rate` and `steps` where a
    ramp chose them."""
    curve: list[tuple[int, float]]
    """`(verifier calls, held-out reward)` of every evaluation."""
    environment: dict[str, Any]
    prompts: list[PromptResult]
    answers: list[ShownAnswer] = field(default_factory=list)
    """A few answers for reading; files of earlier versions have none."""
    parts: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """`(step, held-out value)` of every evaluation by reward, for a run with several rewards; files of
    earlier versions have none."""

    def values(self, metric: str) -> dict[str, Value]:
        """Return the value of a metric by prompt: the mean over the prompt's samples.

        The value is None if a sample has none. A metric with one number per run has one entry, under the
        name of the metric.

        Raises:
            UserError: the file has no such metric.
        """
        if metric in self.numbers:
            return {metric: self.numbers[metric]}
        found: dict[str, Value] = {}
        for result in self.prompts:
            if metric not in result.rewards:
                raise UserError(f"{self.arm}: its results have no {metric!r}.")
            samples = [value for value in result.rewards[metric] if value is not None]
            whole = samples and len(samples) == len(result.rewards[metric])
            found[result.id] = math.fsum(samples) / len(samples) if whole else None
        return found

    @property
    def topics(self) -> dict[str, Hashable] | None:
        """Topic by prompt; None if the block has none."""
        named = {result.id: result.topic for result in self.prompts if result.topic is not None}
        return dict(named) if named else None


def outcome_path(outcomes: Path, block: str, run: ArmRun | None) -> Path:
    """Return the path of the results of a run or, if `run` is None, of the start model of a block."""
    return outcomes / block / f"{START if run is None else run.name}{ENDING}"


def write_outcome_file(path: Path, outcome: OutcomeFile) -> None:
    """Write the results of an arm and seed, atomically."""
    rows = [asdict(result) for result in outcome.prompts]
    head = {name: value for name, value in vars(outcome).items() if name != "prompts"}
    head |= {"prompts": len(rows), "sha256": _digest([json_line(row) for row in rows])}
    head["answers"] = [asdict(answer) for answer in outcome.answers]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        write_gzip(temporary, map(json_line, [with_checksum(head), *rows]))


def read_header(path: Path) -> dict[str, Any]:
    """Read the first line of a file of results. Raises `UserError` if it is torn or was edited."""
    try:
        head = json.loads(next(_lines(path), b""))
    except ValueError:
        head = None
    if not (isinstance(head, dict) and "settings" in head and checksum_holds(head)):
        raise UserError(f"{path}: this file is torn or was edited; {REMEDY}.")
    return head


def read_outcome_file(path: Path) -> OutcomeFile:
    """Read a file of results. Raises `UserError` if it is torn, was edited, or is of another kind."""
    head = read_header(path)
    lines = list(_lines(path))[1:]
    if _digest(lines) != head.get("sha256"):
        raise UserError(f"{path}: this file is torn or was edited; {REMEDY}.")
    try:
        return _outcome(head, [json.loads(line) for line in lines])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: holds no results of an arm ({type(error).__name__}); {REMEDY}.") from error


def _outcome(head: dict[str, Any], rows: Sequence[dict[str, Any]]) -> OutcomeFile:
    return OutcomeFile(
        arm=head["arm"],
        seed=head["seed"],
        settings=head["settings"],
        numbers={name: _finite(value) for name, value in head["numbers"].items()},
        curve=[(int(calls), _finite(value)) for calls, value in head["curve"]],
        environment=head["environment"],
        prompts=[PromptResult(**row) for row in rows],
        parts={
            name: [(int(step), _finite(value)) for step, value in points]
            for name, points in head.get("parts", {}).items()
        },
        answers=[ShownAnswer(**answer).bounded() for answer in head.get("answers", [])[:MOST_ANSWERS]],
    )


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file of results with their line ends. Raises `UserError` if it is unreadable."""
    try:
        with io.BufferedReader(Decompressed(gzip.GzipFile(path), path)) as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: this file is torn or was edited; {REMEDY}.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {REMEDY}.") from error


def _finite(value: Any) -> float:
    """Convert a number of a file to float. Raises `ValueError` unless it is finite: missing numbers are
    absent from the file, not NaN."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no number")
    return number


def _digest(lines: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(lines)).hexdigest()
