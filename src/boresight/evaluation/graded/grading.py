"""Grade completions: compute the reward, the extracted answer, and the rank for best of k.

A score is missing, and not zero, if the reward function raised an error or declined, or if there is no
completion.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from boresight.config.reward import RewardConfig
from boresight.core.errors import UserError
from boresight.core.plugins import import_user_module
from boresight.core.schema import Prompt
from boresight.evaluation.response import Response
from boresight.scorers.correctness import is_right
from boresight.scorers.judges.base import Scorer
from boresight.scorers.reward_function import load_reward
from boresight.scorers.rewards import RewardSum
from boresight.tasks.reading import AnswerReader, AnswerReading, read_by, reader_of

NO_TEXT = "there is no completion"
DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class GradedResponse:
    """One completion with its scores; a missing score is None.

    Attributes:
        reward: weighted sum of the rewards.
        rewards: unweighted value of each reward, by the name of its function.
        reading: the extracted answer; None without an answer reader, or if the reader raised an error.
        rank: score of the ranker, for best of k.
        failure: reason why `reward` is missing; '' if it is not.
    """

    response: Response
    reward: float | None
    rewards: dict[str, float | None] = field(default_factory=dict)
    reading: AnswerReading | None = None
    rank: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class GradedSystem:
    """The graded completions of one system, as `by_prompt[prompt][sample]`."""

    name: str
    prompts: tuple[Prompt, ...]
    by_prompt: tuple[tuple[GradedResponse, ...], ...]

    @property
    def all(self) -> list[GradedResponse]:
        """Graded completions of all prompts, in one list."""
        return [graded for of_prompt in self.by_prompt for graded in of_prompt]

    def lines(self, threshold: float | None) -> Iterable[dict[str, Any]]:
        """Yield one dictionary per completion, for the results file."""
        for prompt, of_prompt in zip(self.prompts, self.by_prompt, strict=True):
            for sample, graded in enumerate(of_prompt):
                yield {
                    "id": prompt.id,
                    "sample": sample,
                    "completion": graded.response.text,
                    "truncated": graded.response.truncated,
                    "reward": graded.reward,
                    "rewards": graded.rewards,
                    "correct": is_right(graded.reward, threshold),
                    "reading": None if graded.reading is None else asdict(graded.reading),
                    "rank": graded.rank,
                    "failure": graded.failure or None,
                }


class Grader:
    """Grades completions by rewards, and also scores them with a ranker if one is given."""

    def __init__(
        self, rewards: Sequence[RewardConfig], reading: str | None = None, ranker: Scorer | None = None
    ) -> None:
        """Load every reward function and judge.

        Args:
            reading: `package.module:function` of the answer reader; None takes that of the first reward
                function that has one.
            ranker: scorer of the ranks for best of k; None for no ranks.

        Raises:
            UserError: a reward function, a judge or the reader cannot be found.
        """
        self.rewards, self.ranker = RewardSum(rewards), ranker
        self.reader = _named_reader(reading) if reading else _own_reader(rewards)

    def grade(
        self, name: str, prompts: Sequence[Prompt], found: Sequence[Sequence[Response]]
    ) -> GradedSystem:
        """Grade the responses `found[prompt][sample]` of a system.

        Raises:
            UserError: a prompt lacks a column that a reward needs, or a reward function returned a value that
                is not a reward.
        """
        present = [
            (prompt, response)
            for prompt, responses in zip(prompts, found, strict=True)
            for response in responses
            if response.text is not None
        ]
        scored = iter(self._graded([p for p, _ in present], [r for _, r in present]))
        by_prompt = tuple(
            tuple(
                GradedResponse(r, None, failure=NO_TEXT) if r.text is None else next(scored)
                for r in responses
            )
            for responses in found
        )
        return GradedSystem(name, tuple(prompts), by_prompt)

    def _graded(self, prompts: Sequence[Prompt], responses: Sequence[Response]) -> list[GradedResponse]:
        """Grade responses that have a text; `responses[i]` answers `prompts[i]`."""
        texts = [response.text or "" for response in responses]
        if not texts:
            return []
        found = self.rewards(prompts, texts)
        failures = {failure.index: f"{failure.function}: {failure.error}" for failure in found.failures}
        ranks = [None] * len(texts) if self.ranker is None else _ranks(self.ranker, prompts, texts)
        return [
            GradedResponse(
                response=response,
                reward=_known(found.total[i]),
                rewards={function: _known(values[i]) for function, values in found.by_function.items()},
                reading=self._read(texts[i], prompts[i]),
                rank=ranks[i],
                failure=failures.get(i, DECLINED if math.isnan(found.total[i]) else ""),
            )
            for i, response in enumerate(responses)
        ]

    def _read(self, text: str, prompt: Prompt) -> AnswerReading | None:
        """Extract the answer of a completion; None without a reader, or if the reader raised an error.

        A `UserError` is raised.
        """
        try:
            return None if self.reader is None else read_by(self.reader, text, prompt.meta)
        except UserError:
            raise
        except Exception:
            return None


def _ranks(ranker: Scorer, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
    return [score.checked().value for score in ranker.score(prompts, texts)]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _own_reader(rewards: Sequence[RewardConfig]) -> AnswerReader | None:
    """Return the answer reader of the first reward function that has one; None if no function has one.

    Options of the reward function are passed to the reader if it has parameters for them.
    """
    for config in rewards:
        reader = None if config.function is None else reader_of(load_reward(config.function))
        if reader is not None:
            takes = inspect.signature(reader).parameters
            return partial(reader, **{k: v for k, v in config.options.items() if k in takes})
    return None


def _named_reader(path: str) -> AnswerReader:
    module_name, colon, attribute = path.partition(":")
    found = getattr(import_user_module(module_name, "reading"), attribute, None) if colon else None
    if not callable(found):
        raise UserError(f"reading: {path!r} is no function; write it as package.module:function.")
    reader: AnswerReader = found
    return reader
