"""Judges as rewards: any that scores answers one by one, such as a reward model.

    reward:
      - judge: {name: reward_model, model: runs/reward}

An answer that the judge cannot score is missing and told, as where a function raises. A judge that compares
two answers gives no number to learn from and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from boresight.config.section import validate
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.llm.ledger import Ledger
from boresight.llm.transports.openai import refuse_secrets
from boresight.scorers import judges
from boresight.scorers.failure import Failure
from boresight.scorers.judges.base import JudgeConfig, Scorer
from boresight.scorers.judges.endpoint import EndpointConfig, LedgerCompleter

LEDGER = "runs/judgements.sqlite"
"""Where the replies of endpoints are kept, the file that evaluations keep theirs in."""


def settings_of(section: Mapping[str, Any]) -> JudgeConfig:
    """The judge's own settings, checked.

    Raises:
        UserError: no name, no such judge, one that compares pairs, a wrong setting, or a key in plain text.
    """
    if "name" not in section:
        raise UserError(f"reward.judge: name is missing; set it to one of {', '.join(judges.names())}.")
    refuse_secrets(dict(section), "reward.judge", "endpoint")
    settings = {key: value for key, value in section.items() if key != "name"}
    return validate(judges.get(section["name"]).Config, settings, "recipe", "reward.judge")


class JudgeReward:
    """What `rewards.Judge` sums up. A model is loaded once; the ledger of an endpoint is opened per batch."""

    def __init__(self, section: Mapping[str, Any]):
        self.settings = settings_of(section)
        self.name = str(section["name"])
        self._built_once = self._built()

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> tuple[list[float], list[Failure]]:
        """Scores, NaN where missing, and why."""
        pairs = enumerate(zip(prompts, rows, strict=True))
        asked = [Prompt(list(turns), str(i), dict(row)) for i, (turns, row) in pairs]
        with self._scorer() as scorer:
            scores = scorer.score(asked, completions)
        values = [math.nan if s.value is None or not math.isfinite(s.value) else s.value for s in scores]
        failures = [
            Failure(self.name, i, completions[i], score.failure or f"the score is {score.value}")
            for i, (value, score) in enumerate(zip(values, scores, strict=True))
            if math.isnan(value)
        ]
        return values, failures

    @contextmanager
    def _scorer(self) -> Iterator[Scorer]:
        if not isinstance(self.settings, EndpointConfig):
            yield self._built_once
            return
        with Ledger(LEDGER) as ledger:  # one holder at a time, and the preflight asks too
            yield self._built(LedgerCompleter(self.settings, ledger))

    def _built(self, completer: LedgerCompleter | None = None) -> Scorer:
        judge = judges.get(self.name).build(self.settings, completer)
        if not isinstance(judge, Scorer):
            raise UserError(
                f"reward.judge: {self.name} compares two answers and gives no number; name one that scores."
            )
        return judge
