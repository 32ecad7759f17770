"""Settings of the judges of synthesis: those that score single answers, and `rubric`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

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
"""Judges that compare pairs. They are refused, since several answers to a prompt require scores."""


OF_ENDPOINT = ("model", "key_env", "token_limit", "timeout", "price", "limits")
"""Names of settings of a judge with an endpoint that are settings of the endpoint itself."""


def endpoint_of(judge: EndpointConfig) -> EndpointSection:
    """Return the endpoint that the settings of a judge describe."""
    return EndpointSection(base_url=judge.endpoint, **{name: getattr(judge, name) for name in OF_ENDPOINT})


class Axis(Section):
    """One question of a rubric."""

    name: str = Field(pattern=r"^[a-z_]+$")
    """Name of the rating in reports."""
    question: str
    """The question to the judge."""
    weight: float = 1.0
    """Weight in the score."""


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
describe an answer without rating it, so they have weight 0 by default."""


RUBRICS = {"ultrafeedback": ULTRAFEEDBACK, "helpsteer2": HELPSTEER2}


class RubricConfig(JudgeConfig):
    """Settings of a language model that rates answers by a rubric."""

    by: str
    """Name of the endpoint that judges."""
    rubric: Literal["ultrafeedback", "helpsteer2"] | list[Axis] = "ultrafeedback"
    """A known rubric, or your own axes."""
    scale: int = Field(default=5, ge=2, le=10)
    """Highest rating; the lowest is 1."""
    orders: Literal[1, 2] = 2
    """2 shows the answers in both orders and takes the mean; 1 costs half, and its scores contain the
    position bias."""
    max_tokens: int = Field(default=1024, gt=0)
    """Maximum reply length, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""

    @field_validator("rubric")
    @classmethod
    def _can_rank(cls, rubric: object) -> object:
        if not isinstance(rubric, list):
            return rubric
        names = [axis.name for axis in rubric]
        if len({*names, "reason"}) <= len(names) or any(name.startswith(("_", "model_")) for name in names):
            raise ValueError(
                "give each axis a name of its own, other than `reason` and not beginning with _ or model_"
            )
        if sum(axis.weight for axis in rubric) <= 0:  # the score is divided by it, which would turn the order
            raise ValueError("the weights of the axes must sum to more than 0")
        return rubric

    @property
    def axes(self) -> list[Axis]:
        return RUBRICS[self.rubric] if isinstance(self.rubric, str) else self.rubric


class Rubric:
    """The judge `rubric`, which exists only for synthesis, with the interface of a `JudgeFile`."""

    Config = RubricConfig


def names() -> list[str]:
    """Return the names of all judges that score single answers, sorted."""
    return sorted({RUBRIC, *judges.names()}.difference(PAIRWISE))


def get(name: str) -> JudgeFile | type[Rubric]:
    """Return the judge called `name`. Raises `UserError` if it is unknown or compares pairs."""
    if name in PAIRWISE:
        raise UserError(f"judge.name: {name} compares pairs; use {RUBRIC}, which rates answers.")
    if name not in names():
        raise UserError(f"judge.name: there is no judge {name!r}{nearest(name, names())}.")
    return Rubric if name == RUBRIC else judges.get(name)


def name_of(config: JudgeConfig) -> str:
    """Return the name of the judge that these settings belong to."""
    return RUBRIC if isinstance(config, RubricConfig) else judges.name_of(config)
