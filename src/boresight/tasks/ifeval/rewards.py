"""IFEval rewards: the four accuracies of the paper, for one answer.

    ifeval                1 if the answer follows all instructions of its row, else 0
    ifeval_share          share of the row's instructions that the answer follows
    ifeval_loose, ifeval_share_loose          the same by the loose criterion

The strict criterion checks the answer unchanged. The loose criterion checks eight versions of it, with and
without its first line, its last line and its stars, and passes if one of them follows the instruction, so
that "Sure, here it is:" and Markdown are allowed. A blank answer follows no instruction. Reasoning is not
part of the answer.

If an instruction cannot be checked, there is no share, and `ifeval` is missing unless another instruction is
not followed: then it is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from boresight.tasks.ifeval.registry import Check, read_instructions
from boresight.tasks.text.parts import without_thought

Columns = Sequence[Mapping[str, Any]]
"""Columns of the row of each answer: `instruction_id_list`, `kwargs` and others."""


def all_strict(prompts: Sequence[Any], completions: Sequence[str], rows: Columns) -> list[float | None]:
    """1 where all instructions are followed; the mean is the paper's prompt-level strict accuracy."""
    return [_all(strict_verdicts(row, text)) for text, row in zip(completions, rows, strict=True)]


def all_loose(prompts: Sequence[Any], completions: Sequence[str], rows: Columns) -> list[float | None]:
    """1 where all instructions are followed by the loose criterion: prompt-level loose accuracy."""
    return [_all(loose_verdicts(row, text)) for text, row in zip(completions, rows, strict=True)]


def share_strict(prompts: Sequence[Any], completions: Sequence[str], rows: Columns) -> list[float | None]:
    """Share of instructions followed. Weighted by their number, its mean is instruction-level accuracy."""
    return [_share(strict_verdicts(row, text)) for text, row in zip(completions, rows, strict=True)]


def share_loose(prompts: Sequence[Any], completions: Sequence[str], rows: Columns) -> list[float | None]:
    """Share of instructions followed by the loose criterion."""
    return [_share(loose_verdicts(row, text)) for text, row in zip(completions, rows, strict=True)]


def strict_verdicts(row: Mapping[str, Any], answer: str) -> list[bool | None]:
    """Return whether the answer follows each instruction of the row; None for one that cannot be checked.

    Raises:
        UserError: the instructions of the row cannot be read, or a package is missing.
    """
    answer = without_thought(answer)
    return [_follows(check, [answer]) for check in read_instructions(row)]


def loose_verdicts(row: Mapping[str, Any], answer: str) -> list[bool | None]:
    """Return whether any version of the answer follows each instruction of the row.

    Raises:
        UserError: as `strict_verdicts` does.
    """
    versions = list(dict.fromkeys(loose_versions(without_thought(answer))))
    return [_follows(check, versions) for check in read_instructions(row)]


def loose_versions(answer: str) -> Iterator[str]:
    """Yield the eight versions of an answer for the loose criterion.

    They are the complete answer, and the answer without its first line, its last line, and both; each with
    and without stars.
    """
    lines = answer.split("\n")
    parts = (lines, lines[1:], lines[:-1], lines[1:-1])
    for (number, part), stars in product(enumerate(parts), (True, False)):
        text = "\n".join(part).strip() if number else answer
        yield text if stars else text.replace("*", "")


def _follows(check: Check, versions: Sequence[str]) -> bool | None:
    verdicts = []
    for version in versions:
        verdict = check(version) if version.strip() else False
        if verdict:
            return True
        verdicts.append(verdict)
    return None if None in verdicts else False


def _all(verdicts: Sequence[bool | None]) -> float | None:
    if False in verdicts:
        return 0.0
    return None if None in verdicts else 1.0


def _share(verdicts: Sequence[bool | None]) -> float | None:
    known = [verdict for verdict in verdicts if verdict is not None]
    return sum(known) / len(verdicts) if len(known) == len(verdicts) else None
