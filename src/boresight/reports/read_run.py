"""Read a run folder into a `RunData`, with a note on everything that is missing.

Reports are also made of unfinished runs, so no file is required: missing or malformed files become notes, and
only a folder without a run is an error.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.checks.forecast.expectation import SMALL_MARGIN
from boresight.checks.forecast.ramp import Ramp
from boresight.checks.forecast.ramp_file import read_ramp
from boresight.config.yaml_text import read_yaml
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.files import CHECKSUM, checksum_holds, read_jsonl
from boresight.core.printable import Printable
from boresight.core.schema import Message
from boresight.core.strict_model import LARGEST, is_count
from boresight.core.wording import plural
from boresight.findings.finding import Finding, ranked
from boresight.findings.history import is_usable
from boresight.findings.monitor import read_findings
from boresight.findings.trl_log import trainer_state_in
from boresight.models.source import base_in_4_bits
from boresight.stats.intervals import Interval
from boresight.stats.paired import ByRow, SamePrompts

if TYPE_CHECKING:
    from rich.console import Console

LogLine = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """One metric in evaluation.json: its values before and after training, and their paired difference."""

    name: str
    label: str
    before: Interval | None
    after: Interval | None
    difference: Interval | None
    unit: str = ""
    better: str = "higher"
    """`higher`, `lower`, or `neither` for a distance or a cost."""

    @property
    def subject(self) -> str:
        """The label without counts in parentheses, which differ between runs."""
        return self.label.partition(" (")[0]

    @property
    def quantity(self) -> tuple[str, str, str]:
        """Name, subject and unit. Only metrics of one quantity can be compared: a margin is in nats, in nats
        per token or in log-odds, by the method."""
        return self.name, self.subject, self.unit


@dataclass(frozen=True)
class RunSample:
    """One prompt with its answers, in the order of the report's columns, and the result of each check per
    answer."""

    id: str
    prompt: list[Message]
    answers: list[str | None]
    checks: list[dict[str, bool]]
    between: list[tuple[int, str]] = field(default_factory=list)
    """`(step, answer)` for evaluations during training, if the prompt is answered at every evaluation."""
    cut_at: list[int | None] = field(default_factory=list)
    """Number of tokens of each answer that the token limit cut; None for others, empty where unknown."""


@dataclass(frozen=True)
class RunData(Printable):
    """The content of a run folder. `notes` are sentences about what is missing or could not be read."""

    name: str
    folder: Path
    finished: bool
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    """Contents of choices.json: settings that the recipe left to the machine."""
    train: list[LogLine] = field(default_factory=list)
    eval: list[LogLine] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    samples: list[RunSample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    """Findings before and during the run, most severe first."""
    by_row: ByRow = field(default_factory=dict)
    """Numbers after training, by metric and id of the held-out row or the prompt."""
    same_prompts: SamePrompts | None = None
    """Which rows and prompts share a prompt; None in folders of earlier versions, whose intervals are over
    rows."""
    kept_step: int | None = None
    """Step of the trained model, if the guard stopped the run later; else None."""
    ramp: Ramp | None = None
    """Learning-rate ramp with which the run was planned; None without one."""

    @property
    def method(self) -> str:
        """Name of the method; '' if the recipe is missing."""
        method = self.config.get("method")
        return str(method.get("name", "")) if isinstance(method, Mapping) else str(method or "")

    @property
    def last_step(self) -> int:
        """Number of the last logged optimizer step; 0 if there is none."""
        return max((int(line["step"]) for line in self.train), default=0)

    @property
    def model_step(self) -> int:
        """Number of steps that the trained model was trained for."""
        return self.last_step if self.kept_step is None else self.kept_step

    @property
    def units(self) -> str:
        """Unit that n counts in the intervals: `prompt`, or `row` in folders of earlier versions."""
        return "row" if self.same_prompts is None else "prompt"

    @property
    def page(self) -> Path:
        """Path of the report."""
        return self.folder / "report.html"

    def metric(self, name: str) -> Metric:
        """Return the entry of `metrics` called `name`, such as `accuracy`.

        Raises:
            UserError: there is no such metric.
        """
        found = {metric.name: metric for metric in self.metrics}
        if name not in found:
            raise UserError(f"{self.folder}: nothing measured is called {name!r}{nearest(name, found)}.")
        return found[name]

    def series(self, name: str, split: str = "train") -> tuple[list[int], list[float]]:
        """Return a logged number over the run as `(optimizer steps, values)`, for plotting.

        A value is NaN where the number was not finite.

        Args:
            name: a key of metrics.jsonl, such as `loss`, `margin` (nats), `grad_norm` or `lr`.
            split: `train`, or `eval` for held-out rows.

        Raises:
            UserError: nothing of that name was logged.
        """
        lines = {"train": self.train, "eval": self.eval}.get(split)
        if lines is None:
            raise UserError(f"split: {split!r} is neither train nor eval.")
        logged = [line for line in lines if name in line]
        if not logged:
            known = dict.fromkeys(key for line in lines for key in line)
            raise UserError(f"{self.folder}: no {split} step logs {name!r}{nearest(name, known)}.")
        return [int(line["step"]) for line in logged], [_logged(line[name]) for line in logged]

    def show(self, console: Console) -> None:
        """Print metrics, findings, and the path of the report."""
        from boresight.findings.printing import print_findings
        from boresight.reports.tables.terminal import evaluation_table

        console.print(
            f"{self.name}: {self.method}, {plural(self.last_step, 'step')}", markup=False, highlight=False
        )
        for note in self.notes:
            console.print(note, markup=False, highlight=False)
        console.print(evaluation_table(self.metrics))
        print_findings([found for found in self.findings if found.severity != "note"], console)
        console.print(f"report: {self.page}", markup=False, highlight=False)


IN_4_BITS = (
    "Every number here is of a base in 4 bits (NF4). `boresight export`, `serve`, `chat` and evaluations "
    "that name this run as a system put the adapter on the unquantized base; the effect was not measured."
)
FILES = {
    "config.yaml": "the recipe is not known",
    "metrics.jsonl": "there are no curves",
    "evaluation.json": "the run has not been evaluated",
    "samples.jsonl": "there are no answers to compare",
    "data.json": "the data is not described",
    "environment.json": "versions and machine are not known",
}


def without_refuted_forecast(findings: Sequence[Finding], log: Sequence[LogLine]) -> list[Finding]:
    """Return the findings without the forecast of too small a margin, if the run has reached `SMALL_MARGIN`.

    Args:
        findings: stored findings, which may contain the forecast `learning-rate-budget`.
        log: lines of `metrics.jsonl`. The last margin of held-out rows counts or, without any, that of
            training rows.
    """
    splits = ([line for line in log if line.get("split") == split] for split in ("eval", "train"))
    logged = (
        [line["margin"] for line in lines if isinstance(line.get("margin"), int | float)] for lines in splits
    )
    reached = next((margins[-1] for margins in logged if margins), None)
    refuted = reached is not None and reached >= SMALL_MARGIN
    return [found for found in findings if not (refuted and found.name == "learning-rate-budget")]


OF_EVALUATIONS = ("comparisons.jsonl", "completions-*.jsonl", "documents-*.jsonl", "answers-*.jsonl")
"""Files that the folder of an evaluation has, finished or not, and the folder of a run has not."""


def refuse_evaluation(folder: Path) -> None:
    """Raise a `UserError` for the folder of an evaluation, which has a `config.yaml` as well."""
    if any(found for pattern in OF_EVALUATIONS for found in folder.glob(pattern)):
        recipe, run = (shlex.quote(str(path)) for path in (folder / "config.yaml", folder))
        raise UserError(
            f"{folder}: holds an evaluation and no training run; `boresight evaluate {recipe} --run {run}` "
            "writes its page."
        )


def read_run(folder: Path) -> RunData:
    """Read a run folder.

    Raises:
        UserError: `folder` is not a run folder.
    """
    if folder.is_file():
        raise UserError(
            f"{folder}: is a file and no run folder; give the folder that `boresight train` wrote."
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such run folder; give the folder that `boresight train` wrote."
        )
    refuse_evaluation(folder)
    if not any((folder / name).exists() for name in FILES if name != "environment.json"):  # studies have one
        if trainer_state_in(folder):
            raise UserError(
                f"{folder}: this is a folder of transformers' Trainer and no run folder; read its log with "
                f"`boresight explain {shlex.quote(str(folder))}`."
            )
        raise UserError(
            f"{folder}: this is not a run folder, it has no {' and no '.join(list(FILES)[:2])}; "
            "give the folder that `boresight train` wrote."
        )
    notes = [
        f"{name} is missing: {consequence}."
        for name, consequence in FILES.items()
        if not (folder / name).exists()
    ]
    config_text = _text(folder / "config.yaml")
    lines = list(_json_lines(folder / "metrics.jsonl", notes))
    steps = [line for line in lines if is_count(line.get("step"))]
    evaluation = _json(folder / "evaluation.json", notes)
    finished, end = (folder / "model").is_dir(), _json(folder / "end.json", notes)
    if not finished:
        notes.insert(0, "The run has not finished: there is no model folder yet.")
    step = end.get("step")
    run = RunData(
        name=folder.resolve().name,
        folder=folder,
        finished=finished,
        config=_yaml(config_text, notes),
        config_text=config_text,
        environment=_json(folder / "environment.json", notes),
        choices=_json(folder / "choices.json", notes),
        data=_json(folder / "data.json", notes),
        train=[line for line in steps if line.get("split") == "train"],
        eval=[line for line in steps if line.get("split") == "eval"],
        metrics=list(_metrics(evaluation, notes)),
        samples=list(_samples(folder, notes)),
        notes=notes,
        findings=ranked(without_refuted_forecast(read_findings(folder), steps)),
        by_row=_by_row(end) | _by_row(evaluation),
        same_prompts=SamePrompts.read(evaluation),
        ramp=_ramp(folder, notes),
    )
    if base_in_4_bits(run.config):
        notes.append(IN_4_BITS)
    return replace(run, kept_step=step) if isinstance(step, int) and step < run.last_step else run


def _ramp(folder: Path, notes: list[str]) -> Ramp | None:
    try:
        return read_ramp(folder)
    except UserError as problem:
        notes.append(f"{problem}")
        return None


def _text(path: Path) -> str:
    # Undecodable bytes become a visible replacement character rather than no report.
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _yaml(text: str, notes: list[str]) -> dict[str, Any]:
    try:
        found = read_yaml(text, "config.yaml") if text else {}
    except UserError:
        found = None
    if isinstance(found, dict):
        return found
    notes.append("config.yaml could not be read as YAML; it is shown as text only.")
    return {}


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError):
        notes.append(f"{path.name} is not valid JSON; it is skipped.")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{path.name} does not hold a JSON object; it is skipped.")
        return {}
    if not checksum_holds(found):
        notes.append(f"{path.name} was changed after it was written; it may not describe this run.")
    return {name: part for name, part in found.items() if name != CHECKSUM}


def _json_lines(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    bad: list[int] = []
    yield from read_jsonl(path, bad)
    if bad:
        where = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, first line {bad[0]},"
        notes.append(f"{path.name}: {where} could not be read and is skipped.")


def _metrics(evaluation: dict[str, Any], notes: list[str]) -> Iterator[Metric]:
    found = evaluation.get("metrics") or []
    entries: list[Any] = found if isinstance(found, list) else [None]
    for entry in entries:
        try:
            yield Metric(
                name=str(entry["name"]),
                label=str(entry.get("label") or entry["name"]),
                before=_interval(entry.get("before")),
                after=_interval(entry.get("after")),
                difference=_interval(entry.get("difference")),
                unit=str(entry.get("unit") or ""),
                better=_better(entry),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            notes.append("evaluation.json: one metric has no name or no numbers and is skipped.")


def _better(entry: dict[str, Any]) -> str:
    """Return which direction is better: `higher`, `lower` or `neither`.

    The KL is `neither`, although folders of earlier versions contain `lower` for it.
    """
    return "neither" if entry["name"] == "kl_per_token" else str(entry.get("better") or "higher")


def _by_row(file: dict[str, Any]) -> ByRow:
    """Return the numbers in end.json or evaluation.json by metric and row, with NaN for null."""
    numbers = file.get("numbers")
    return {
        str(name): {str(id): _float(value, math.nan) for id, value in values.items() if _is_number(value)}
        for name, values in (numbers.items() if isinstance(numbers, dict) else ())
        if isinstance(values, dict)
    }


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= LARGEST
    return value is None or isinstance(value, float)


def _interval(entry: Mapping[str, Any] | None) -> Interval | None:
    """Convert an interval of evaluation.json; a missing limit becomes infinite, None stays None."""
    if entry is None or entry.get("value") is None:
        return None
    return Interval(
        value=float(entry["value"]),
        low=_float(entry.get("low"), -math.inf),
        high=_float(entry.get("high"), math.inf),
        n=int(entry.get("n") or 0),
        missing=int(entry.get("missing") or 0),
    )


def _logged(value: object) -> float:
    """Return a number of the log; NaN for null, as which numbers that are not finite are logged."""
    return float(value) if is_usable(value) else math.nan


def _float(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def _samples(folder: Path, notes: list[str]) -> Iterator[RunSample]:
    followed = _between(folder / "probes.jsonl", notes)
    for index, line in enumerate(_json_lines(folder / "samples.jsonl", notes)):
        id = str(line.get("id", index))
        yield RunSample(
            id=id,
            prompt=_messages(line.get("prompt")),
            answers=[_answer(line.get("before")), _answer(line.get("after"))],
            checks=[_checks(line.get("before_checks")), _checks(line.get("after_checks"))],
            between=followed.get(id, []),
            cut_at=[_count(line.get("before_cut_at")), _count(line.get("after_cut_at"))],
        )


def _between(path: Path, notes: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Read the answers of evaluations during training: `(step, answer)` by the id of the prompt.

    Answers at step 0 and at the last step are omitted, since the page shows those of both models in any case.
    """
    lines = [line for line in _json_lines(path, notes) if is_count(line.get("step"))]
    last = max((line["step"] for line in lines), default=0)
    found: dict[str, list[tuple[int, str]]] = {}
    for line in lines:
        if 0 < line["step"] < last:
            cut = " …" if line.get("finish") == "length" else ""
            found.setdefault(str(line.get("id")), []).append((line["step"], f"{line.get('answer')}{cut}"))
    return found


def _messages(prompt: object) -> list[Message]:
    if isinstance(prompt, list):
        return [
            {"role": str(m.get("role", "")), "content": str(m.get("content", ""))}
            for m in prompt
            if isinstance(m, Mapping)
        ]
    return [{"role": "user", "content": "" if prompt is None else str(prompt)}]


def _answer(text: object) -> str | None:
    return None if text is None else str(text)


def _count(value: object) -> int | None:
    return value if is_count(value) else None


def _checks(found: object) -> dict[str, bool]:
    if not isinstance(found, Mapping):
        return {}
    return {str(name): met for name, met in found.items() if isinstance(met, bool)}
