"""Sections of a confirmatory plan: blocks of arms with their own test prompts, and questions."""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field, field_validator, model_validator

from boresight.config.reward import RewardList
from boresight.config.section import Section

AREA = "area"
"""Metric of a question: the area under held-out reward over verifier calls, one number per run."""
START = "start"
"""Name of the start model among the arms of its block, and of the folder of its answers."""
REWARD = "reward"
"""Metric of a question: the reward on the block's test prompts."""
MARGIN = "margin"
"""Metric of a question: the margin of a held-out pair under the policy minus that under its start model,
nats."""
JUDGED = "reward_model"
"""Name of the judge's scores among the rewards of an answer."""
WINS = "win_rate"
"""Metric of a question: share of prompts where the judge scores an arm's answer higher than the start's;
ties count half."""


class Block(Section):
    """Arms of a plan with the same start model and test prompts."""

    title: str
    start: str
    """Start model of its arms: `starter`, `countdown-tiny`, a folder, a hub id, or an arm of no block, whose
    first seed is then trained first."""
    prompts: str | None = None
    """Test prompts, which no training run of the block may name."""
    pairs: str | None = None
    """Held-out pairs in place of prompts: every run ranks them at its end, and trains on others."""
    reward: RewardList = []
    """Rewards of an answer; the total is the metric `reward`, the parts have the names of their functions.
    For pairs, `reward` is 1 if a pair is ranked right, and its part `margin` is by how many nats."""
    judge: str | None = None
    """An arm of no block that trains a reward model, whose first seed also scores all answers. Reported
    are the scores, outside the total, and the share of prompts where an arm scores higher than the start."""
    samples: int = Field(default=1, gt=0)
    """Answers per prompt."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy; with it one sample is all that there is."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds sampling, the same for all arms."""
    limit: int | None = Field(default=None, gt=0)
    """Use at most this many prompts or pairs, from the top."""
    topic: str | None = None
    """Key of a prompt's `meta` with its topic; prompts of a topic are one cluster. null: each is its own."""

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
    """Differences below it do not matter; in the unit of the metric."""
    unit: str = "share"
    """Unit of the metric: `share` is written in points."""
    better: Literal["higher", "lower"] = "higher"
    asks: Literal["difference", "not worse"] = "difference"
    pool: list[str] = []
    """Arms of the class over which the variance of seeds is pooled, `of` and `to` usually among them."""
    paired: bool = False
    """Compare seed by seed, where runs of one seed share prompts and random numbers; then without a pool."""

    @model_validator(mode="after")
    def _pool_or_pairs(self) -> PlannedQuestion:
        if self.paired == bool(self.pool):
            raise ValueError("a question has a pool of arms or is paired; give exactly one of them")
        return self


class Deviation(Section):
    """Deviations from the plan's text; the page shows all of them."""

    date: datetime.date
    """When it was decided, as 2026-11-28."""
    text: str = Field(min_length=1)
    """A sentence."""

    @field_validator("date", mode="before")
    @classmethod
    def _a_date_is_no_number(cls, value: object) -> object:
        if not isinstance(value, str | datetime.date):
            raise ValueError("a date is written as 2026-11-28")
        return value
