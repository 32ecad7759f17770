"""Measure the reward of greedy answers to held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import print_warning
from boresight.core.schema import Prompt
from boresight.data.tokenizer import Tokenizer
from boresight.models.policy import Policy
from boresight.models.sampler.generate import generate
from boresight.models.sampler.params import SamplingParams
from boresight.scorers.rewards import RewardSum
from boresight.stats.paired import ByRow
from boresight.training.logging import reward_failures
from boresight.training.probes.generations import measured
from boresight.training.rollouts.rewards import reward_samples
from boresight.training.rollouts.sampling import sample_in_shares


@dataclass(frozen=True, slots=True)
class HeldOutReward:
    """Probe that measures rewards of greedy answers of the policy in its current state."""

    policy: Policy
    tokenizer: Tokenizer
    prompts: Sequence[Prompt]
    rewards: RewardSum
    params: SamplingParams
    console: Console

    def __call__(self, step: int = 0) -> ByRow:
        """Return the reward, its parts, and the metrics of `generations.measured`, each by prompt id."""
        prompts = [p.prompt for p in self.prompts]
        samples = generate(self.policy, self.tokenizer, prompts, self.params, sampler=sample_in_shares)
        scored = reward_samples(self.rewards, self.tokenizer, self.prompts, samples)
        if scored.failures:
            said = f"evaluation after step {step}: {reward_failures.failure_summary(scored.failures)}"
            print_warning(self.console, said)
        ids = [p.id for p in self.prompts]
        named = {"reward": scored.values} | {f"reward_{name}": part for name, part in scored.parts.items()}
        rewards = {
            name: {id: group[0] for id, group in zip(ids, values, strict=True)}
            for name, values in named.items()
        }
        return rewards | measured(zip(ids, (group[0] for group in samples), strict=True))


def held_out_reward(
    recipe: Recipe,
    policy: Policy,
    tokenizer: Tokenizer,
    asked: Sequence[Prompt],
    rewards: RewardSum | None,
    console: Console,
) -> list[HeldOutReward]:
    """Return the probe, if the recipe names a reward and there are prompts; else an empty list."""
    asked = asked[: recipe.evaluate.rewarded]
    if rewards is None or not asked:
        return []
    params = SamplingParams(max_new_tokens=recipe.evaluate.max_new_tokens, temperature=0.0, seed=0)
    return [HeldOutReward(policy, tokenizer, asked, rewards, params, console)]
