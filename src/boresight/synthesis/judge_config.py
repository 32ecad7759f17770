"""The judges of synthesis: those that score single answers, and `rubric`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boresight.config.section import Section
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.llm.endpoint import EndpointSection
from boresight.scorers import judges
from boresight.scorers.judges import JudgeFile
from boresight.scorers.judges.base import JudgeConfig
from boresight.scorers.judges.endpoint import EndpointConfig

RUBRIC = "rubric"


PAIRWISE = ("llm", "recorded")
"""Judges of pairs: many answers to a prompt need one that scores."""


def endpoint_of(judge: EndpointConfig) -> EndpointSection:
    """The endpoint that a judge brings along."""
    names = ("model", "key_env", "token_limit", "timeout", "price", "limits")
    return EndpointSection(base_url=judge.endpoint, **{name: getattr(judge, name) for name in names})


class Axis(Section):
    """One question of a rubric."""

    name: str = Field(pattern=r"^[a-z_]+$")
    """Under which the rating is reported."""
    question: str
    """The axes that the judge rates."""
    weight: float = 1.0
    """What it counts for in the score."""


ULTRAFEEDBACK = [
    Axis(name="instruction_following", question="Does it do what was asked, all of it and nothing else?"),
    Axis(name="truthfulness", question="Is all of it true?"),
    Axis(name="honesty", question="Does it say how sure it is, and admit what it does not know?"),
    Axis(name="helpfulness", question="Is it of use to the person who asked?"),
]
"""The four aspects of UltraFeedback (Cui et al. 2023, arXiv 2310.01377), in our words."""


HELPSTEER2 = [
    Axis(name="helpfulness", question="How helpful is it overall?"),
    Axis(name="correctness", question="Are all facts right and complete, without error?"),
    Axis(name="coherence", question="Is it consistent and clearly put?"),
    Axis(name="complexity", question="How much expertise does writing it take?", weight=0.0),
    Axis(name="verbosity", question="How much detail does it go into?", weight=0.0),
]
"""The five attributes of HelpSteer2 (Wang et al. 2024, arXiv 2406.08673), in our words. The last two
describe an answer and do not say that it is good, so they count nothing unless given a weight."""


RUBRICS = {"ultrafeedback": ULTRAFEEDBACK, "helpsteer2": HELPSTEER2}


class RubricConfig(JudgeConfig):
    """A language model with a rubric."""

    by: str
    """Name of the endpoint that judges."""
    rubric: Literal["ultrafeedback", "helpsteer2"] | list[Axis] = "ultrafeedback"
    """A known rubric, or your own axes."""
    scale: int = Field(default=5, ge=2, le=10)
    """Ratings go from 1 to this."""
    orders: Literal[1, 2] = 2
    """2 shows the answers in both orders and takes the mean; 1 costs half and mixes quality with place."""
    max_tokens: int = Field(default=1024, gt=0)
    """Longest reply, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""

    @property
    def axes(self) -> list[Axis]:
        return RUBRICS[self.rubric] if isinstance(self.rubric, str) else self.rubric


class Rubric:
    """The judge that only synthesis has, as `get` returns judges."""

    Config = RubricConfig


def names() -> list[str]:
    """Judges that score answers, sorted."""
    return sorted({RUBRIC, *judges.names()}.difference(PAIRWISE))


def get(name: str) -> JudgeFile | type[Rubric]:
    """The judge called `name`. Raises `UserError` for a name that is unknown or compares pairs."""
    if name in PAIRWISE:
        raise UserError(f"judge.name: {name} compares pairs; use {RUBRIC}, which rates answers.")
    if name not in names():
        raise UserError(f"judge.name: there is no judge {name!r}{nearest(name, names())}.")
    return Rubric if name == RUBRIC else judges.get(name)


def name_of(config: JudgeConfig) -> str:
    """Name of the judge that these settings belong to."""
    return RUBRIC if isinstance(config, RubricConfig) else judges.name_of(config)
