"""Sections of a confirmatory plan: blocks of arms with their own test prompts, and questions."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

from boresight.config.reward import RewardList
from boresight.config.section import Section

AREA = "area"
"""Metric of a question: the area under the curve of held-out reward over verifier calls, as a mean reward;
one number per run."""
START = "start"
"""Name that stands for the start model among the arms of its block; its answers are in a folder of this
name."""
REWARD = "reward"
"""Metric of a question: the reward on the block's test prompts."""
MARGIN = "margin"
"""Metric of a question: the margin of a held-out pair under the policy minus its margin under the start
model, in nats."""
JUDGED = "reward_model"
"""Key of the judge's scores among the rewards of an answer."""
WINS = "win_rate"
"""Metric of a question: share of prompts where the judge scores an arm's answer higher than that of the start
model; ties count half."""


class Block(Section):
    """Arms of a plan with the same start model and test prompts."""

    title: str
    start: str
    """Start model of the block's arms: `starter`, `countdown-tiny`, a folder, a hub id, or the name of an arm
    without a block, whose first seed is then trained first."""
    prompts: str | None = None
    """Source of the test prompts, which no training run of the block may use."""
    pairs: str | None = None
    """Source of held-out pairs, in place of prompts. Every run ranks them after training, and trains on
    others."""
    reward: RewardList = []
    """Rewards of an answer. The total is the metric `reward`; the parts have the names of their functions.
    For pairs, `reward` is 1 if a pair is ranked right, and its part `margin` is the margin in nats."""
    judge: str | None = None
    """Name of an arm without a block that trains a reward model. The reward model of its first seed scores
    all answers. The page shows these scores, which do not count in the total, and the share of prompts where
    an arm's score is higher than that of the start model."""
    samples: int = Field(default=1, gt=0)
    """Number of answers per prompt."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Maximum answer length, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature. 0 is greedy decoding, which allows one answer per prompt."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of sampling, the same for all arms."""
    limit: int | None = Field(default=None, gt=0)
    """Maximum number of prompts or pairs to use, from the start of the file."""
    topic: str | None = None
    """Key in a prompt's `meta` of its topic. Prompts with the same topic are one cluster; null: every prompt
    is its own cluster."""

    @model_validator(mode="after")
    def _prompts_or_pairs(self) -> Block:
        if (self.prompts is None) == (self.pairs is None):
            raise ValueError("a block has prompts or pairs; give exactly one of them")
        if (self.prompts is None) == bool(self.reward):
            raise ValueError("prompts need a reward, and pairs have none")
        if self.pairs is not None and (self.judge is not None or self.samples > 1):
            raise ValueError("pairs are not answered; leave out judge and samples")
        if self.pairs is not None and self.limit is None:
            raise ValueError("pairs need a limit, the largest number that is ranked")
        return self

    @model_validator(mode="after")
    def _greedy_answers_are_alike(self) -> Block:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} greedy samples are the same answer; set a temperature")
        return self

    @model_validator(mode="after")
    def _one_reward_model(self) -> Block:
        if self.judge is not None and any(config.name == JUDGED for config in self.reward):
            raise ValueError("reward names a reward model already; leave out judge")
        return self


class PlannedQuestion(Section):
    """A confirmatory question: whether arm `to` differs from arm `of`, or is not worse by the margin."""

    title: str
    of: str
    """An arm of a block, or `start` for the model that the block starts from."""
    to: str
    metric: str = REWARD
    """`reward`, a part of it by the name of its function, or `area`."""
    margin: float = Field(gt=0)
    """Size of a difference below which it does not matter, in the unit of the metric."""
    unit: str = "share"
    """Unit of the metric. Differences of a `share` are written in points."""
    better: Literal["higher", "lower"] = "higher"
    asks: Literal["difference", "not worse"] = "difference"
    pool: list[str] = []
    """Arms over which the variance between seeds is pooled, usually with `of` and `to` among them."""
    paired: bool = False
    """Whether to compare seed by seed, for arms whose runs with the same seed share prompts and random
    numbers. A paired question has no `pool`."""

    @model_validator(mode="after")
    def _pool_or_pairs(self) -> PlannedQuestion:
        if self.paired == bool(self.pool):
            raise ValueError("a question has a pool of arms or is paired; give exactly one of them")
        return self


class Deviation(Section):
    """A deviation from the plan's protocol, which the page shows."""

    date: datetime.date
    """Date of the decision, as 2026-11-28."""
    text: str = Field(min_length=1)
    """The deviation, as a sentence."""

    @field_validator("date", mode="before")
    @classmethod
    def _a_date_is_no_number(cls, value: object) -> object:
        if not isinstance(value, str | datetime.date):
            raise ValueError("a date is written as 2026-11-28")
        return value
