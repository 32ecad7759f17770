"""Rows that are sampled while training: groups for RLOO, pairs of policy and reference for XPO.

Both are `Batches`: the loop asks for the rows of a step and never learns that they were sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from boresight.config.recipe import RolloutSection
from boresight.core.schema import Message
from boresight.data.batching import Plan
from boresight.data.rows import Completion, Row
from boresight.models.sampler.sample import Sample, SamplingParams, sample
from boresight.models.sharding import whole
from boresight.scorers.rewards import Judge
from boresight.training.distributed import collectives
from boresight.training.loop import Batch


@dataclass(frozen=True, slots=True)
class OnlinePrompt:
    """A prompt as its reward sees it, `messages` and `meta`, and as the model does, `ids`."""

    id: str
    ids: np.ndarray
    meta: dict[str, Any]
    messages: Sequence[Message] = ()


Complete = Callable[
    [Sequence[np.ndarray], Sequence[Sequence[Sample]]], tuple[list[tuple[Completion, ...]], dict[str, float]]
]
"""Prompts and samples `[prompt][k]` to completions to learn from, and what is logged of that."""
Draw = Callable[[Sequence[np.ndarray], int, int], list[list[Sample]]]
"""Prompts, samples per prompt and seed to samples `[prompt][k]`."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Rewards `[prompt][k]`, NaN where a completion could not be scored, and what is logged of them.

    A failure names `id` of the prompt, `function`, `completion` and `error`.
    """

    rewards: list[list[float]]
    numbers: dict[str, float]
    failures: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Sampled tokens to text to rewards."""

    judge: Judge
    tokenizer: Any

    def __call__(self, prompts: Sequence[OnlinePrompt], samples: Sequence[Sequence[Sample]]) -> Scored:
        """Score every sample of every prompt."""
        groups = collectives.in_shares(
            len(prompts), lambda mine: self._judged([prompts[i] for i in mine], [samples[i] for i in mine])
        )
        failures = [failure for group in groups for failure in group["failures"]]
        return Scored([group["total"] for group in groups], _reward_numbers(groups), failures)

    def _judged(
        self, prompts: Sequence[OnlinePrompt], samples: Sequence[Sequence[Sample]]
    ) -> list[dict[str, Any]]:
        """Of each prompt's samples: the rewards, in `total` and `by_function`, and the failures."""
        if not prompts:
            return []
        asked = [prompt for prompt, group in zip(prompts, samples, strict=True) for _ in group]
        texts = [self.tokenizer.decode(s.ids, skip_special_tokens=True) for group in samples for s in group]
        earned = self.judge([p.messages for p in asked], texts, [p.meta for p in asked])
        ends = [0, *accumulate(map(len, samples))]
        return [
            {
                "total": earned.total[start:end],
                "by_function": {name: values[start:end] for name, values in earned.by_function.items()},
                "failures": [
                    {
                        "id": asked[f.index].id,
                        "function": f.function,
                        "error": f.error,
                        "completion": f.completion,
                    }
                    for f in earned.failures
                    if start <= f.index < end
                ],
            }
            for start, end in pairwise(ends)
        ]


def as_sampled(
    prompts: Sequence[np.ndarray], samples: Sequence[Sequence[Sample]]
) -> tuple[list[tuple[Completion, ...]], dict[str, float]]:
    """The policy itself sampled: its log-probabilities are the sampler's."""
    return [tuple(map(completion, group)) for group in samples], {}


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What both kinds of online batches share: prompts in order, the policy's sampler, the scorer."""

    prompts: Sequence[OnlinePrompt]
    plan: Plan
    draw: Draw
    scorer: Scorer
    complete: Complete = as_sampled

    @property
    def steps(self) -> int:
        """Number of rollouts."""
        return self.plan.steps

    def of_step(self, step: int) -> list[OnlinePrompt]:
        """Prompts of rollout `step`."""
        return [self.prompts[index] for index in self.plan.indices(step)]


class GroupRollouts:
    """k samples of the current policy per prompt, used for `updates` steps."""

    def __init__(self, rollouts: Rollouts, k: int, updates: int = 1) -> None:
        self.rollouts = rollouts
        self.k = k
        self.updates = updates
        self._current: tuple[int, Batch] | None = None

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return self.rollouts.steps * self.updates

    def batch(self, step: int) -> Batch:
        """The groups of step `step`: sampled and scored at the first of its updates."""
        number = step // self.updates
        if self._current is None or self._current[0] != number:
            self._current = (number, self._roll_out(number))
        return self._current[1]

    def _roll_out(self, step: int) -> Batch:
        prompts = self.rollouts.of_step(step)
        ids = [p.ids for p in prompts]
        samples = self.rollouts.draw(ids, self.k, step)
        completions, numbers = self.rollouts.complete(ids, samples)
        scored = self.rollouts.scorer(prompts, samples)
        rows = [
            Row(prompt.id, prompt.ids, group, scores=tuple(scores))
            for prompt, group, scores in zip(prompts, completions, scored.rewards, strict=True)
        ]
        return Batch(rows, _numbers(samples) | scored.numbers | numbers, scored.failures)


@dataclass(frozen=True, slots=True)
class PairRollouts:
    """One sample of the policy and one of the reference per prompt, labelled by their rewards.

    Ties, identical answers and answers that cannot be scored make no pair; each is counted.
    """

    rollouts: Rollouts
    draw_reference: Draw

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.rollouts.steps

    def batch(self, step: int) -> Batch:
        """Sample both sides of step `step`, score and label them."""
        prompts = self.rollouts.of_step(step)
        ids = [p.ids for p in prompts]
        # Two seeds: with the same one the two models would draw the same answer while they agree.
        ours = [group[0] for group in self.rollouts.draw(ids, 1, 2 * step)]
        _, off_policy = self.rollouts.complete(ids, [[mine] for mine in ours])
        theirs = [group[0] for group in self.draw_reference(ids, 1, 2 * step + 1)]
        scored = self.rollouts.scorer(prompts, list(zip(ours, theirs, strict=True)))
        rows, lost = [], {"identical": 0, "ties": 0, "unscorable": 0}
        for prompt, mine, other, (reward, ref_reward) in zip(
            prompts, ours, theirs, scored.rewards, strict=True
        ):
            reason = why_no_pair(mine, other, reward, ref_reward)
            if reason:
                lost[reason] += 1
                continue
            rows.append(_labelled(prompt, mine, other, reward, ref_reward))
        numbers = _numbers([ours]) | scored.numbers | off_policy
        numbers |= {f"{name}_share": count / len(prompts) for name, count in lost.items()}
        numbers["reward"] = _mean([reward for reward, _ in scored.rewards])
        numbers["reference_reward"] = _mean([reward for _, reward in scored.rewards])
        return Batch(rows, numbers, scored.failures)


def why_no_pair(mine: Sample, other: Sample, reward: float, ref_reward: float) -> str | None:
    """Name of the reason two samples make no pair, or None when they do."""
    if np.array_equal(mine.ids, other.ids):
        return "identical"
    if math.isnan(reward) or math.isnan(ref_reward):
        return "unscorable"
    return "ties" if reward == ref_reward else None


def completion(drawn: Sample) -> Completion:
    """A sampled completion: every token is scored."""
    return Completion(
        ids=drawn.ids,
        mask=np.ones(len(drawn.ids), bool),
        truncated=drawn.finish == "length",
        sampled_logp=float(drawn.logps.sum()),
    )


def sampler(model: Any, settings: RolloutSection, stop_token_ids: tuple[int, ...], seed: int) -> Draw:
    """A `Draw` from `model` as it is at the moment of each call.

    Several processes draw a share of the prompts each. A prompt's random numbers are those of its place
    among all prompts, so what it draws does not depend on how many processes there are.
    """

    def draw(prompts: Sequence[np.ndarray], k: int, step: int) -> list[list[Sample]]:
        params = SamplingParams(
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            stop_token_ids=stop_token_ids,
            seed=int(np.random.SeedSequence((seed, step)).generate_state(1)[0]),
        )

        def own(mine: Sequence[int]) -> list[Any]:
            streams = [replace(params, stream=i) for i in mine]
            return packed_up(sample(model, [prompts[i] for i in mine], streams, k))

        if collectives.world() == 1:
            return sample(model, prompts, params, k)
        with whole(model):
            return unpacked(collectives.in_shares(len(prompts), own))

    return draw


def packed_up(samples: Sequence[Sequence[Sample]]) -> list[Any]:
    """Samples as JSON, one value a prompt."""
    return [[(s.ids.tolist(), s.logps.tolist(), s.logps.dtype.name, s.finish) for s in g] for g in samples]


def unpacked(values: Sequence[Any]) -> list[list[Sample]]:
    """What `packed_up` made, for all prompts in order."""
    return [
        [Sample(i, np.array(ids, np.int32), np.array(logps, dtype), end) for ids, logps, dtype, end in group]
        for i, group in enumerate(values)
    ]


def _labelled(prompt: OnlinePrompt, mine: Sample, other: Sample, reward: float, ref_reward: float) -> Row:
    policy_won = reward > ref_reward
    winner, loser = (mine, other) if policy_won else (other, mine)
    return Row(
        prompt.id,
        prompt.ids,
        (completion(winner), completion(loser)),
        scores=(max(reward, ref_reward), min(reward, ref_reward)),
        from_reference=(not policy_won, policy_won),
    )


def _numbers(samples: Sequence[Sequence[Sample]]) -> dict[str, float]:
    drawn = [s for group in samples for s in group]
    return {
        "sampled_len": _mean([float(len(s.ids)) for s in drawn]),
        "stopped_share": _mean([float(s.finish == "stop") for s in drawn]),
    }


def _reward_numbers(groups: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over all samples, of the whole reward and of each function's part."""
    names = groups[0]["by_function"] if groups else ()
    parts = {
        f"reward_{name.rsplit(':', 1)[-1]}": _mean(
            [v for group in groups for v in group["by_function"][name]]
        )
        for name in names
    }
    total = _mean([value for group in groups for value in group["total"]])
    failed = sum(len(group["failures"]) for group in groups)
    return parts | {"reward": total, "reward_failures": float(failed)}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
