"""Compute rewards of sampled tokens: decode them, score the texts, and count those that cannot be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from boresight.config.reward import short_names
from boresight.core.schema import Prompt
from boresight.data.tokenizer import Tokenizer
from boresight.llm.replies.failures import Stopped
from boresight.models.sampler.sample import Sample
from boresight.scorers.rewards import RewardSum
from boresight.stats.paired import mean_of_known
from boresight.training.distributed import collectives


@dataclass(frozen=True, slots=True)
class SampleRewards:
    """Rewards `values[prompt][k]`, NaN where a completion could not be scored, and their metrics.

    `parts` holds the rewards of each function in the same layout, by its short name, if there are several
    functions. `numbers` holds means over the policy's samples, and the number of all failures. Each failure
    has the prompt's `id`, the `function`, the `completion` and the `error`.
    """

    values: list[list[float]]
    numbers: dict[str, float]
    failures: list[dict[str, Any]]
    parts: dict[str, list[list[float]]]


def reward_samples(
    rewards: RewardSum,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    samples: Sequence[Sequence[Sample]],
    own: int | None = None,
) -> SampleRewards:
    """Score every sample of every prompt; each process scores a share of the prompts.

    Args:
        own: number of samples of each prompt that are the policy's, the first ones; None if all are.
    """

    def share(mine: Sequence[int]) -> list[dict[str, Any]]:
        return _groups(rewards, tokenizer, [prompts[i] for i in mine], [samples[i] for i in mine])

    groups = collectives.in_shares(len(prompts), share)
    failures = [failure for group in groups for failure in group["failures"]]
    values = [group["total"] for group in groups]
    return SampleRewards(values, _numbers(groups, own), failures, _parts(groups))


def refuse_without_rewards(found: SampleRewards, step: int) -> None:
    """Raise `Stopped` if a reward function failed for all samples of rollout `step`, counted from 0.

    A spent budget or a faulty function fails at all later steps too, which would sample without learning.
    """
    samples = sum(map(len, found.values))
    for function, failed in Counter(failure["function"] for failure in found.failures).items():
        if failed == samples:
            error = next(f["error"] for f in found.failures if f["function"] == function)
            raise Stopped(
                f"reward {function}: failed for all {samples} completions of rollout {step + 1}, for "
                f"instance: {error}; correct it, or its settings in config.yaml of the run"
            )


def _parts(groups: Sequence[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Return the rewards of each of several functions, `result[short name][prompt][k]`, else nothing."""
    names = list(groups[0]["by_function"]) if groups else []
    if len(names) < 2:
        return {}
    by_name = zip(names, short_names(names), strict=True)
    return {short: [group["by_function"][name] for group in groups] for name, short in by_name}


def _groups(
    rewards: RewardSum, tokenizer: Tokenizer, prompts: Sequence[Prompt], samples: Sequence[Sequence[Sample]]
) -> list[dict[str, Any]]:
    """Return for each prompt the rewards of its samples, in `total` and `by_function`, and the failures."""
    if not prompts:
        return []
    asked = [prompt for prompt, group in zip(prompts, samples, strict=True) for _ in group]
    texts = [tokenizer.decode(s.ids, skip_special_tokens=True) for group in samples for s in group]
    found = rewards(asked, texts, [s.ids.tolist() for group in samples for s in group])
    ends = [0, *accumulate(map(len, samples))]
    return [
        {
            "total": found.total[start:end],
            "by_function": {name: values[start:end] for name, values in found.by_function.items()},
            "failures": [
                {
                    "id": asked[f.index].id,
                    "function": f.function,
                    "error": f.error,
                    "completion": f.completion,
                }
                for f in found.failures
                if start <= f.index < end
            ],
        }
        for start, end in pairwise(ends)
    ]


def _numbers(groups: Sequence[dict[str, Any]], own: int | None) -> dict[str, float]:
    """Return means over the first `own` samples of each prompt, of the total reward and of each function.

    The number of failures is that of all samples.
    """
    names = list(groups[0]["by_function"]) if groups else []
    parts = {
        f"reward_{short}": mean_of_known([v for group in groups for v in group["by_function"][name][:own]])
        for name, short in zip(names, short_names(names), strict=True)
    }
    total = mean_of_known([value for group in groups for value in group["total"][:own]])
    failed = sum(len(group["failures"]) for group in groups)
    return parts | {"reward": total, "reward_failures": float(failed)}
