"""Rows that are sampled while training: groups for RLOO, pairs of policy and reference for XPO.

Both are `Batches`: the loop requests the rows of a step, sampled or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boresight.core.schema import Prompt
from boresight.data.batching import BatchPlan
from boresight.data.rows import Completion, Row
from boresight.data.tokenizer import Tokenizer
from boresight.models.sampler.sample import Sample
from boresight.scorers.rewards import RewardSum
from boresight.stats.paired import mean_of_known
from boresight.training.loop import Batch
from boresight.training.rollouts.importance import ImportanceGate
from boresight.training.rollouts.rewards import SampleRewards, reward_samples
from boresight.training.rollouts.sampling import Sampler, completion


@dataclass(frozen=True, slots=True)
class OnlinePrompt:
    """A prompt, and its token ids."""

    prompt: Prompt
    ids: np.ndarray


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What both kinds of online batches share: prompts in order, the policy's sampler and the rewards.

    `gate` weighs completions that another program sampled; None where the policy itself samples.
    """

    prompts: Sequence[OnlinePrompt]
    plan: BatchPlan
    sampler: Sampler
    rewards: RewardSum
    tokenizer: Tokenizer
    gate: ImportanceGate | None = None

    @property
    def steps(self) -> int:
        """Number of rollouts."""
        return self.plan.steps

    def of_step(self, step: int) -> tuple[list[Prompt], list[np.ndarray]]:
        """Prompts of rollout `step`, and their token ids."""
        chosen = [self.prompts[index] for index in self.plan.indices(step)]
        return [p.prompt for p in chosen], [p.ids for p in chosen]

    def completions(
        self, ids: Sequence[np.ndarray], samples: Sequence[Sequence[Sample]]
    ) -> tuple[list[tuple[Completion, ...]], dict[str, float]]:
        """Completions `[prompt][k]` to train on, and metrics of their importance weights."""
        if self.gate is None:
            return [tuple(map(completion, group)) for group in samples], {}
        return self.gate(ids, samples)

    def score(self, prompts: Sequence[Prompt], samples: Sequence[Sequence[Sample]]) -> SampleRewards:
        """Rewards of samples `[prompt][k]`."""
        return reward_samples(self.rewards, self.tokenizer, prompts, samples)


class GroupRollouts:
    """k samples of the current policy per prompt, used for `updates` steps."""

    def __init__(self, rollouts: Rollouts, k: int, updates: int = 1) -> None:
        self.rollouts = rollouts
        self.k = k
        self.updates = updates
        self._current: tuple[int, Batch] | None = None

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return self.rollouts.steps * self.updates

    def batch(self, step: int) -> Batch:
        """The groups of step `step`: sampled and scored at the first of its updates."""
        number = step // self.updates
        if self._current is None or self._current[0] != number:
            self._current = (number, self._roll_out(number))
        return self._current[1]

    def _roll_out(self, number: int) -> Batch:
        prompts, ids = self.rollouts.of_step(number)
        samples = self.rollouts.sampler(ids, self.k, number)
        completions, weights = self.rollouts.completions(ids, samples)
        scored = self.rollouts.score(prompts, samples)
        rows = [
            Row(prompt.id, ids, group, scores=tuple(scores))
            for prompt, ids, group, scores in zip(prompts, ids, completions, scored.values, strict=True)
        ]
        return Batch(rows, _lengths(samples) | scored.numbers | weights, scored.failures)


@dataclass(frozen=True, slots=True)
class PairRollouts:
    """One sample of the policy and one of the reference per prompt, labeled by their rewards.

    Ties, identical completions and completions without a score make no pair; each is counted.
    """

    rollouts: Rollouts
    reference_sampler: Sampler

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.rollouts.steps

    def batch(self, step: int) -> Batch:
        """Sample both sides of step `step`, score and label them."""
        prompts, ids = self.rollouts.of_step(step)
        # Two seeds: with the same one the two models would sample the same completion while they agree.
        ours = [group[0] for group in self.rollouts.sampler(ids, 1, 2 * step)]
        _, weights = self.rollouts.completions(ids, [[mine] for mine in ours])
        theirs = [group[0] for group in self.reference_sampler(ids, 1, 2 * step + 1)]
        scored = self.rollouts.score(prompts, list(zip(ours, theirs, strict=True)))
        rows, lost = [], {"identical": 0, "ties": 0, "unscorable": 0}
        for prompt, prompt_ids, mine, other, (reward, ref_reward) in zip(
            prompts, ids, ours, theirs, scored.values, strict=True
        ):
            reason = why_no_pair(mine, other, reward, ref_reward)
            if reason:
                lost[reason] += 1
                continue
            rows.append(_labeled(prompt.id, prompt_ids, mine, other, reward, ref_reward))
        numbers = _lengths([ours]) | scored.numbers | weights
        numbers |= {f"{name}_share": count / len(prompts) for name, count in lost.items()}
        numbers["reward"] = mean_of_known([reward for reward, _ in scored.values])
        numbers["reference_reward"] = mean_of_known([reward for _, reward in scored.values])
        return Batch(rows, numbers, scored.failures)


def why_no_pair(mine: Sample, other: Sample, reward: float, ref_reward: float) -> str | None:
    """Name of the reason two samples make no pair, or None when they do."""
    if np.array_equal(mine.ids, other.ids):
        return "identical"
    if math.isnan(reward) or math.isnan(ref_reward):
        return "unscorable"
    return "ties" if reward == ref_reward else None


def _labeled(
    id: str, prompt_ids: np.ndarray, mine: Sample, other: Sample, reward: float, ref_reward: float
) -> Row:
    policy_won = reward > ref_reward
    winner, loser = (mine, other) if policy_won else (other, mine)
    return Row(
        id,
        prompt_ids,
        (completion(winner), completion(loser)),
        scores=(max(reward, ref_reward), min(reward, ref_reward)),
        from_reference=(not policy_won, policy_won),
    )


def _lengths(samples: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Mean length in tokens, and the share that ended with a stop token."""
    drawn = [s for group in samples for s in group]
    return {
        "sampled_len": mean_of_known([float(len(s.ids)) for s in drawn]),
        "stopped_share": mean_of_known([float(s.finish == "stop") for s in drawn]),
    }
