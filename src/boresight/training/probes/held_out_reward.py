"""Reward of greedy answers to held-out prompts: the curve that says whether sampling and learning pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.data.chat import encode_prompt
from boresight.data.stop_tokens import stop_token_ids
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.scorers.rewards import Judge
from boresight.stats.paired import ByRow
from boresight.training.distributed import collectives
from boresight.training.logging import reward_failures
from boresight.training.probes.answers import Question
from boresight.training.probes.generations import measured
from boresight.training.rollouts.rollout import OnlinePrompt, Scorer, packed_up, unpacked


@dataclass(frozen=True, slots=True)
class HeldOutReward:
    """A probe: greedy answers of the policy as it is now, judged."""

    policy: Any
    prompts: Sequence[OnlinePrompt]
    scorer: Scorer
    params: SamplingParams
    console: Console

    def __call__(self, step: int = 0) -> ByRow:
        """Reward, whether the answer stopped by itself or ends in a loop, and its length, by prompt id."""
        drawn = unpacked(collectives.in_shares(len(self.prompts), self._answers))
        scored = self.scorer(self.prompts, drawn)
        if scored.failures:
            said = f"held out after step {step}: {reward_failures.told(scored.failures)}"
            self.console.print(said, style="yellow", markup=False, highlight=False)
        ids = [p.id for p in self.prompts]
        rewards = {id: group[0] for id, group in zip(ids, scored.rewards, strict=True)}
        return {"reward": rewards} | measured(zip(ids, (group[0] for group in drawn), strict=True))

    def _answers(self, mine: Sequence[int]) -> list[Any]:
        """Greedy, so that a prompt's answer does not depend on which process gives it."""
        return packed_up(sample(self.policy, [self.prompts[i].ids for i in mine], self.params, 1))


def held_out_reward(
    recipe: Recipe,
    policy: Any,
    tokenizer: Any,
    asked: Sequence[Question],
    judge: Judge | None,
    console: Console,
) -> list[HeldOutReward]:
    """The probe, where the recipe names a reward and there are prompts to ask; else nothing."""
    asked = asked[: recipe.evaluate.rewarded]
    if judge is None or not asked:
        return []
    params = SamplingParams(
        max_new_tokens=recipe.evaluate.max_new_tokens,
        temperature=0.0,
        stop_token_ids=stop_token_ids(policy),
        seed=0,
    )
    prompts = [OnlinePrompt(q.id, encode_prompt(tokenizer, q.prompt), q.meta, q.prompt) for q in asked]
    return [HeldOutReward(policy, prompts, Scorer(judge, tokenizer), params, console)]
