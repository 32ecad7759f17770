"""Sample rows during training: groups of completions for each prompt, or labeled pairs.

Both are `Batches`, so that the loop requests the rows of a step in the same way whether they are sampled or
given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from boresight.training.rollouts.replay import Replay
from boresight.training.rollouts.rewards import SampleRewards, refuse_without_rewards, reward_samples
from boresight.training.rollouts.sampling import Sampler, completion


@dataclass(frozen=True, slots=True)
class OnlinePrompt:
    """A prompt, and its token ids."""

    prompt: Prompt
    ids: np.ndarray


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Common parts of both kinds of online batches: prompts in order, sampler and rewards.

    `gate` computes importance weights of completions that another program sampled; None if this process
    samples.
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
        """Return the prompts of rollout `step`, and their token ids."""
        chosen = [self.prompts[index] for index in self.plan.indices(step)]
        return [p.prompt for p in chosen], [p.ids for p in chosen]

    def completions(
        self, ids: Sequence[np.ndarray], samples: Sequence[Sequence[Sample]]
    ) -> tuple[list[tuple[Completion, ...]], dict[str, float]]:
        """Return completions `result[prompt][k]` to train on, and metrics of their importance weights."""
        if self.gate is None:
            return [tuple(map(completion, group)) for group in samples], {}
        return self.gate(ids, samples)

    def score(
        self,
        step: int,
        prompts: Sequence[Prompt],
        samples: Sequence[Sequence[Sample]],
        own: int | None = None,
    ) -> SampleRewards:
        """Score the samples `samples[prompt][k]` of rollout `step`.

        The metrics include `verifier_calls`, the number of completions that were scored since the run began.
        The number is computed from the plan, so that a resumed run logs the same.

        Args:
            own: number of samples of each prompt that are the policy's, the first ones; None if all are.
        """
        found = reward_samples(self.rewards, self.tokenizer, prompts, samples, own)
        refuse_without_rewards(found, step)
        until_now = min((step + 1) * self.plan.batch, self.plan.total)
        calls = {"verifier_calls": until_now * len(samples[0])}
        return replace(found, numbers=found.numbers | calls)


class GroupRollouts:
    """Batches of `k` samples per prompt from the current policy, each used for `updates` steps."""

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
        """Return the groups of step `step`, which are sampled and scored at the first update on them."""
        number = step // self.updates
        if self._current is None or self._current[0] != number:
            self._current = (number, self._roll_out(number))
        return self._current[1]

    def _roll_out(self, number: int) -> Batch:
        prompts, ids = self.rollouts.of_step(number)
        samples = self.rollouts.sampler(ids, self.k, number)
        completions, weights = self.rollouts.completions(ids, samples)
        scored = self.rollouts.score(number, prompts, samples)
        rows = [
            Row(prompt.id, ids, group, scores=tuple(scores))
            for prompt, ids, group, scores in zip(prompts, ids, completions, scored.values, strict=True)
        ]
        return Batch(rows, _lengths(samples) | scored.numbers | weights, scored.failures)


@dataclass(frozen=True, slots=True)
class PairRollouts:
    """Batches of two samples per prompt, labeled by their rewards.

    Both samples are from the policy, or the second is from `reference_sampler`. Ties, identical completions
    and completions without a score make no pair; their shares are reported. `replay` adds pairs of earlier
    steps.
    """

    rollouts: Rollouts
    reference_sampler: Sampler | None = None
    replay: Replay | None = None

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.rollouts.steps

    def batch(self, step: int) -> Batch:
        """Sample both sides of step `step`, score them, and return the labeled pairs."""
        prompts, ids = self.rollouts.of_step(step)
        drawn = self._draw(ids, step)
        of_policy = 2 if self.reference_sampler is None else 1
        own = [pair[:of_policy] for pair in drawn]
        _, weights = self.rollouts.completions(ids, own)
        scored = self.rollouts.score(step, prompts, drawn, of_policy)
        rows, lost = [], {"identical": 0, "ties": 0, "unscorable": 0}
        for prompt, prompt_ids, pair, rewards in zip(prompts, ids, drawn, scored.values, strict=True):
            (mine, other), (reward, other_reward) = pair, rewards
            if reason := why_no_pair(mine, other, reward, other_reward):
                lost[reason] += 1
                continue
            rows.append(_labeled(prompt.id, prompt_ids, pair, rewards, self.reference_sampler is not None))
        numbers = _lengths(own) | scored.numbers | weights
        numbers |= {"truncated": 1.0 - numbers["stopped_share"]}
        numbers |= {f"{name}_share": count / len(prompts) for name, count in lost.items()}
        if self.reference_sampler is not None:
            numbers["reference_reward"] = mean_of_known([reward for _, reward in scored.values])
        earlier: list[Row] = []
        if self.replay is not None:
            earlier = self.replay.draw(step, len(prompts))
            self.replay.add(step, rows)
            numbers |= {"replayed": float(len(earlier)), "kept_pairs": float(len(self.replay.rows))}
        return Batch([*rows, *earlier], numbers, scored.failures)

    def _draw(self, ids: Sequence[np.ndarray], step: int) -> list[list[Sample]]:
        """Return two samples of each prompt, the policy's first."""
        if self.reference_sampler is None:
            return self.rollouts.sampler(ids, 2, step)
        # Two seeds: with the same one the two models would sample the same completion while they agree.
        ours = self.rollouts.sampler(ids, 1, 2 * step)
        theirs = self.reference_sampler(ids, 1, 2 * step + 1)
        return [[*mine, *other] for mine, other in zip(ours, theirs, strict=True)]


def why_no_pair(mine: Sample, other: Sample, reward: float, ref_reward: float) -> str | None:
    """Return the reason why two samples give no pair, as the name of its metric; None if they give one."""
    if np.array_equal(mine.ids, other.ids):
        return "identical"
    if math.isnan(reward) or math.isnan(ref_reward):
        return "unscorable"
    return "ties" if reward == ref_reward else None


def _labeled(
    id: str, prompt_ids: np.ndarray, pair: Sequence[Sample], rewards: Sequence[float], with_reference: bool
) -> Row:
    """Return a pair as a row, with the better sample as the chosen one.

    Args:
        with_reference: whether the second sample of `pair` is from the reference.
    """
    first_won = rewards[0] > rewards[1]
    winner, loser = pair if first_won else reversed(pair)
    return Row(
        id,
        prompt_ids,
        (completion(winner), completion(loser)),
        scores=(max(rewards), min(rewards)),
        from_reference=(with_reference and not first_won, with_reference and first_won),
    )


def _lengths(samples: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Return the mean length of samples in tokens, and the share that ended with a stop token."""
    drawn = [s for group in samples for s in group]
    return {
        "sampled_len": mean_of_known([float(len(s.ids)) for s in drawn]),
        "stopped_share": mean_of_known([float(s.finish == "stop") for s in drawn]),
    }
