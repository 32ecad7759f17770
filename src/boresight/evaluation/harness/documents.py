"""Read the documents of tasks, a system's answers to them and their scores from the harness's results.

The harness logs the value of each metric for every document, and reports one number per metric. Systems can
be compared by document only on metrics whose number is the mean of these values. A perplexity or a corpus
BLEU has no value per document; such metrics are listed by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from boresight.core.errors import UserError
from boresight.core.files import read_jsonl, refuse_changed_rows, write_hashed_jsonl

SAME = 1e-6
"""Tolerance, relative and absolute, between the harness's number and the mean over documents."""
NO_FILTER = "none"


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a task with a system's answer, under one filter of the task.

    Attributes:
        digest: digest of the document's data, equal for equal documents.
        scores: value of each metric; None if it is not finite.
        lower: names of the metrics for which lower is better.
        not_by_document: names of the metrics that are not a mean over documents.
    """

    task: str
    filter: str
    id: int
    digest: str
    prompt: str
    target: str
    response: str
    scores: dict[str, float | None]
    lower: list[str] = field(default_factory=list)
    not_by_document: list[str] = field(default_factory=list)


def documents_of(results: Mapping[str, Any]) -> list[Document]:
    """Return all documents in the result of the harness's `simple_evaluate(..., log_samples=True)`.

    Raises:
        UserError: there are no documents.
    """
    found = [
        one
        for task, samples in (results.get("samples") or {}).items()
        for one in _of_task(task, samples, results)
    ]
    if not found:
        raise UserError("lm_eval: the tasks have no documents; name tasks with a test or validation split.")
    return found


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents to a file that `read_documents` reads, atomically."""
    write_hashed_jsonl(path, map(asdict, documents))


def read_documents(path: Path) -> list[Document]:
    """Read documents that `write_documents` has written. Raises `UserError` if the file was edited."""
    refuse_changed_rows(path)
    return [Document(**row) for row in read_jsonl(path)]


def _of_task(
    task: str, samples: Sequence[Mapping[str, Any]], results: Mapping[str, Any]
) -> Iterator[Document]:
    by_filter: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        by_filter.setdefault(str(sample.get("filter", NO_FILTER)), []).append(sample)
    higher = (results.get("higher_is_better") or {}).get(task) or {}
    for name, of_filter in by_filter.items():
        metrics = list(dict.fromkeys(str(metric) for sample in of_filter for metric in sample["metrics"]))
        reported = (results.get("results") or {}).get(task) or {}
        means = [m for m in metrics if _is_mean([s.get(m) for s in of_filter], reported.get(f"{m},{name}"))]
        lower = [metric for metric in means if higher.get(metric) is False]
        others = [metric for metric in metrics if metric not in means]
        for sample in of_filter:
            yield Document(
                task=task,
                filter=name,
                id=int(sample["doc_id"]),
                digest=str(sample["doc_hash"]),
                prompt=_prompt(sample),
                target=str(sample["target"]),
                response=_response(sample),
                scores={metric: _finite(sample.get(metric)) for metric in means},
                lower=lower,
                not_by_document=others,
            )


def _is_mean(values: Sequence[Any], reported: object) -> bool:
    """Whether `reported`, the harness's number for a metric, is the mean of `values`."""
    numbers = [float(value) for value in values if isinstance(value, Real | np.bool_)]
    if len(numbers) < len(values) or not isinstance(reported, Real) or not numbers:
        return False
    if not all(map(math.isfinite, numbers)):
        return not math.isfinite(float(reported))
    return math.isclose(math.fsum(numbers) / len(numbers), float(reported), rel_tol=SAME, abs_tol=SAME)


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def _prompt(sample: Mapping[str, Any]) -> str:
    """Return the prompt of a document: the context of its first request."""
    return str(sample["arguments"][0][0])


def _response(sample: Mapping[str, Any]) -> str:
    """Return the generated text, or the likeliest of the given continuations."""
    filtered, arguments = sample["filtered_resps"], sample["arguments"]
    first = filtered[0]
    if isinstance(first, str):
        return first
    if isinstance(first, Sequence) and first and isinstance(first[0], int | float):
        likeliest = max(range(len(filtered)), key=lambda i: filtered[i][0])
        return str(arguments[likeliest][1]) if len(arguments[likeliest]) > 1 else ""
    return str(first)
