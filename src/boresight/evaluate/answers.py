"""The same prompts answered by the start model and by the trained one, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.config import EvaluateSection, Recipe
from boresight.data.load import read
from boresight.data.prepare import prompt_of
from boresight.data.schema import Example, Message
from boresight.evaluate import constraints
from boresight.evaluate.heldout import Measured, measure
from boresight.models.sample import SamplingParams, answer
from boresight.models.stop_tokens import stop_token_ids


@dataclass(frozen=True, slots=True)
class Question:
    """A held-out prompt; `meta` carries the constraints its answer can be checked against, if any."""

    id: str
    prompt: list[Message]
    meta: dict[str, Any]


def questions(recipe: Recipe, held_out: Sequence[Example]) -> list[Question]:
    """The prompts to answer: from `evaluate.prompts`, or from the held-out rows."""
    wanted = recipe.evaluate.samples
    if not wanted:
        return []
    examples: Sequence[Example] = held_out
    if recipe.evaluate.prompts:
        examples = read(recipe.evaluate.prompts, kind="prompt").examples
    return [Question(example.id, prompt_of(example), example.meta) for example in examples[:wanted]]


def answer_all(
    policy: Any, tokenizer: Any, asked: Sequence[Question], settings: EvaluateSection, console: Console
) -> list[str]:
    """Answers of `policy` as it is now, in the order asked."""
    if not asked:
        return []
    params = SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stop_token_ids=stop_token_ids(policy),
        seed=0,
    )
    return answer(policy, tokenizer, [question.prompt for question in asked], params, console=console)


def write(
    run: Path, asked: Sequence[Question], before: Sequence[str], after: Sequence[str]
) -> list[Measured]:
    """Write `samples.jsonl`; returns metrics over the checks that the prompts carry."""
    lines, values = [], _Values()
    for question, old, new in zip(asked, before, after, strict=True):
        line: dict[str, Any] = {"id": question.id, "prompt": question.prompt, "before": old, "after": new}
        if constraints.checkable(question.meta):
            line["before_checks"] = values.add("before", question, old)
            line["after_checks"] = values.add("after", question, new)
        lines.append(json.dumps(line, ensure_ascii=False))
    if lines:
        (run / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return values.measured()


class _Values:
    """Checks collected by name, side and prompt."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, side: str, question: Question, text: str) -> dict[str, bool]:
        """Check one answer and remember the outcome."""
        checks = constraints.check_answer(question.meta, text)
        for name, passed in checks.items():
            by_side = self._values.setdefault(name, {"before": {}, "after": {}})
            by_side[side][question.id] = float(passed)
        return checks

    def measured(self) -> list[Measured]:
        """One share per check."""
        return [
            measure(name, name.replace("_", " "), "share", "higher", sides["before"], sides["after"])
            for name, sides in self._values.items()
        ]
