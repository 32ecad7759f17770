"""A programme as judge: a check that a prompt's answer meets or does not, or any reward function."""

from __future__ import annotations

from collections.abc import Sequence

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.judges.base import JudgeConfig, Score, Scorer


class Config(JudgeConfig):
    """What is checked."""

    check: str = "good_answer"
    """A check of prompts that carry a constraint, such as `constraint_met` or `good_answer`; or a reward
    function by its import path `package.module:function`."""


def build(config: Config, completer: object = None, console: object = None) -> Checks:
    """Find the check. Raises UserError when there is none of that name."""
    return Checks(config)


class Checks(Scorer):
    """Scores are 1 for a check that is met and 0 for one that is not, or what the function returns."""

    def __init__(self, config: Config):
        super().__init__()
        self.name = f"check {config.check}"
        self.check = config.check
        if ":" not in config.check:
            from boresight.tasks.constraints.evaluation import LABELS

            if config.check not in LABELS:
                raise UserError(
                    f"judge.check: there is no check {config.check!r}{nearest(config.check, LABELS)}."
                )

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """One value an answer; a prompt without a constraint, or a function that fails, is a failure."""
        if ":" in self.check:
            return self._by_function(prompts, answers)
        from boresight.tasks.constraints.evaluation import check_answer, checkable

        return [
            Score(float(check_answer(p.meta, text)[self.check]))
            if checkable(p.meta)
            else Score(None, failure="the prompt carries no constraint")
            for p, text in zip(prompts, answers, strict=True)
        ]

    def _by_function(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Score]:
        from boresight.config.reward import RewardConfig
        from boresight.scorers.rewards import Judge

        rewards = Judge([RewardConfig(function=self.check)])(
            [p.prompt for p in prompts], answers, [p.meta for p in prompts]
        )
        why = {failure.index: failure.error for failure in rewards.failures}
        return [
            Score(None, failure=why.get(i, "the function declined to judge"))
            if value != value
            else Score(value)
            for i, value in enumerate(rewards.total)
        ]
