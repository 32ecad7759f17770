"""Use a judge that scores single answers, such as a reward model, as a reward function.

    reward:
      - judge: {name: reward_model, model: runs/reward}

A judge that compares two answers returns no number that could be a reward, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight.config.choice import read_choice
from boresight.core.errors import UserError, naming
from boresight.core.schema import Prompt
from boresight.llm.budget import refuse_unpriced
from boresight.scorers import judges
from boresight.scorers.judges.base import JudgeConfig, Score, Scorer
from boresight.scorers.judges.endpoint import EndpointConfig
from boresight.scorers.open_judge import open_judge

LEDGER = "runs/judgements.sqlite"
"""File that stores the replies of endpoints; evaluations use it too."""


def judge_settings(section: Mapping[str, Any]) -> JudgeConfig:
    """Parse the settings of a judge.

    Raises:
        UserError: no name, no such judge, a wrong setting, an API key in plain text, or a spending limit in
            dollars without a known price.
    """
    settings = read_choice(judges, section, "recipe", "reward.judge")
    if isinstance(settings, EndpointConfig):
        with naming("reward.judge.budget.max_usd", "budget.max_usd"):
            refuse_unpriced(settings.budget, [settings])
    return settings


def judge_reward(section: Mapping[str, Any]) -> Scorer:
    """Build the judge of a recipe's `reward.judge` section.

    Raises:
        UserError: the judge compares pairs, or as `judge_settings` does.
    """
    name, settings = section["name"], judge_settings(section)
    judge = judges.get(name).build(settings, None)
    if not isinstance(judge, Scorer):
        raise UserError(
            f"reward.judge: {name} compares two answers and gives no number; name one that scores."
        )
    return EndpointReward(name, settings) if isinstance(settings, EndpointConfig) else judge


class EndpointReward(Scorer):
    """A judge behind an endpoint as a reward.

    The ledger with its replies is opened for each batch and closed afterwards, because only one process at a
    time can open a ledger, and the preflight check uses the same one.
    """

    def __init__(self, name: str, settings: EndpointConfig) -> None:
        super().__init__()
        self.name, self.settings = name, settings

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Return one score per answer; `answers[i]` answers `prompts[i]`.

        `repeat` is described at `Judge.compare`.
        """
        with open_judge(self.settings, LEDGER) as judge:
            assert isinstance(judge, Scorer)
            return judge.score(prompts, answers, repeat)
