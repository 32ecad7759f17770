"""A few held-out prompts, answered at every evaluation: do answers still end, and do they go in circles?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from boresight.config import Recipe
from boresight.data.chat import encode_prompt
from boresight.evaluate.answers import Question
from boresight.models.sample import SamplingParams, sample
from boresight.models.stop_tokens import stop_token_ids
from boresight.train.metrics import ByRow

LONGEST = 64
"""Tokens of an answer: enough to see a loop, few enough to cost little."""
LONGEST_PERIOD, LEAST_LOOPED, LEAST_TURNS = 16, 16, 3


@dataclass(frozen=True)
class AnswerProbe:
    """Greedy answers of the policy as it is now to fixed prompts."""

    policy: Any
    prompts: dict[str, np.ndarray]
    params: SamplingParams

    def __call__(self) -> ByRow:
        """By prompt id: 1 where the answer stopped by itself, 1 where it ends in a loop."""
        drawn = [group[0] for group in sample(self.policy, list(self.prompts.values()), self.params, 1)]
        pairs = list(zip(self.prompts, drawn, strict=True))
        return {
            "stopped_share": {id: float(s.finish == "stop") for id, s in pairs},
            "repetition_share": {id: float(loops(s.ids.tolist())) for id, s in pairs},
        }


def answer_probe(recipe: Recipe, policy: Any, tokenizer: Any, asked: Sequence[Question]) -> list[AnswerProbe]:
    """The probe on `check.probes` prompts; nothing where a held-out reward asks prompts already."""
    asked = asked[: recipe.check.probes]
    if recipe.reward or not asked:
        return []
    params = SamplingParams(
        max_new_tokens=min(LONGEST, recipe.evaluate.max_new_tokens),
        temperature=0.0,
        stop_token_ids=stop_token_ids(policy),
        seed=0,
    )
    return [AnswerProbe(policy, {q.id: encode_prompt(tokenizer, q.prompt) for q in asked}, params)]


def loops(ids: Sequence[int]) -> bool:
    """Whether a text ends in the same few tokens over and over.

    A loop is a period of up to 16 tokens that fills the last 16 tokens or more, three times or more.
    """
    for period in range(1, min(LONGEST_PERIOD, len(ids) // LEAST_TURNS) + 1):
        needed = max(LEAST_LOOPED, LEAST_TURNS * period)
        tail = ids[-needed:]
        if len(tail) == needed and all(tail[i] == tail[i - period] for i in range(period, needed)):
            return True
    return False
