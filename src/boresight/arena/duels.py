"""Questions of an arena: a prompt and the different answers of two systems, in random order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.core.wording import is_or_are, plural
from boresight.evaluation.matching import distinct_comparisons, matched, repeated
from boresight.evaluation.systems import prompts_of, read_answers, read_start_answers
from boresight.evaluation.win_rate import System

FILE_TYPE = re.compile(r"(\.[A-Za-z]+)?(\.gz)?$")
START_MODEL = "start model"
"""Name of the untrained system: the model that the training of a run started from."""


@dataclass(frozen=True, slots=True)
class Duel:
    """One question: a prompt and the answers of two systems.

    `left` and `right` are `(system, answer)`. `cut_at` contains, for the left and the right answer, the
    number of tokens after which the token limit cut it; None for an answer that was not cut.
    """

    prompt: Prompt
    left: tuple[str, str]
    right: tuple[str, str]
    cut_at: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Duels:
    """All questions of an arena, in the order in which they are shown.

    `identical` and `missing` are numbers of prompts that were skipped: because both answers are equal, or
    because an answer is missing.
    """

    names: tuple[str, str]
    duels: tuple[Duel, ...]
    identical: int
    missing: int

    @property
    def sentence(self) -> str:
        """A sentence with the numbers of prompts to vote on, of skipped prompts, and of truncated answers."""
        said = f"{plural(len(self.duels), 'prompt')} to vote on"
        for count, what in ((self.identical, "equal answers"), (self.missing, "an answer missing")):
            if count:
                said += f"; {count:,} with {what} {is_or_are(count)} skipped"
        if cut := sum(count is not None for duel in self.duels for count in duel.cut_at):
            answers = plural(2 * len(self.duels), "answer")
            said += f"; {cut:,} of {answers} {is_or_are(cut)} cut at the token limit"
        return said + "."


def read_duels(a: Path, b: Path | None, seed: int = 0) -> Duels:
    """Read the answers of two run folders or answers files and match them by prompt.

    Without `b`, the answers of the start model and of the trained model of the run `a` are compared.

    Raises:
        UserError: answers are missing, the two systems have no prompt in common, or there is nothing to vote
            on.
    """
    names = _names(a, b)
    answers, source = (read_start_answers(a), a) if b is None else (read_answers(a), b)
    others = read_answers(source)
    prompts = repeated(prompts_of(answers, a), [others])
    systems = (matched(names[0], prompts, answers, a), matched(names[1], prompts, others, source))
    found = make_duels(distinct_comparisons(prompts, systems), systems, seed)
    if not found.duels:
        where = f"{a}" if b is None else f"{a} and {b}"
        raise UserError(f"{where}: there is nothing to vote on, no prompt has two different answers.")
    return found


def make_duels(prompts: Sequence[Prompt], systems: tuple[System, System], seed: int = 0) -> Duels:
    """Make the questions, with the order of the prompts and the sides of the answers drawn from `seed`.

    The order is the same whenever the arena is opened again. Prompts with a missing answer or two equal
    answers are counted and skipped.
    """
    duels, identical, missing = [], 0, 0
    for prompt in sorted(prompts, key=lambda p: _drawn(seed, "place", p.id)):
        first, second = (system.answers.get(prompt.id) for system in systems)
        if first is None or second is None:
            missing += 1
        elif first.strip() == second.strip():
            identical += 1
        else:
            sides = [(systems[0].name, first), (systems[1].name, second)]
            cut_at = [system.cut_at.get(prompt.id) for system in systems]
            if _drawn(seed, "side", prompt.id)[0] % 2:
                sides.reverse()
                cut_at.reverse()
            duels.append(Duel(prompt, sides[0], sides[1], (cut_at[0], cut_at[1])))
    return Duels((systems[0].name, systems[1].name), tuple(duels), identical, missing)


def _names(a: Path, b: Path | None) -> tuple[str, str]:
    """Return the names of both systems: short names, or the paths if the short names are equal."""
    if b is None:
        return START_MODEL, short_name(a) if short_name(a) != START_MODEL else str(a)
    names = (short_name(a), short_name(b))
    if names[0] == names[1]:
        names = (str(a), str(b))
    if names[0] == names[1]:
        raise UserError(f"{a}: is given twice; give it once to compare it with its start model.")
    return names


def short_name(path: Path) -> str:
    """Return the name of a run folder, such as `beta0.1`, or the name of a file without its file type."""
    return path.resolve().name if path.is_dir() else FILE_TYPE.sub("", path.name)


def _drawn(seed: int, what: str, id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{what}\0{id}".encode()).digest()
