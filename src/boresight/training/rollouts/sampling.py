"""Sample in all processes of a run: each samples for a share of the prompts, and all get every sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from boresight.config.recipe import RolloutSection
from boresight.data.rows import Completion
from boresight.models.kernels.fast import kernels_of_run
from boresight.models.policy import Policy
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sampler.sample import Sample, SamplingParams, sample
from boresight.models.sharding import whole
from boresight.training.distributed import collectives

Sampler = Callable[[Sequence[np.ndarray], int, int], list[list[Sample]]]
"""Function from `(prompts as token ids, samples per prompt, number of the rollout)` to samples
`result[prompt][k]`."""


def completion(sample: Sample) -> Completion:
    """Convert a sample to a completion in which all tokens are scored."""
    return Completion(
        ids=sample.ids,
        mask=np.ones(len(sample.ids), bool),
        truncated=sample.finish == "length",
        sampled_logp=float(sample.logps.sum()),
    )


def policy_sampler(
    model: Policy,
    settings: RolloutSection,
    stop_token_ids: tuple[int, ...],
    seed: int,
    kernels: str = "proven",
    outputs: LinearOutputs | None = None,
) -> Sampler:
    """Return a sampler that uses `model` in its state at the time of each call.

    Args:
        kernels: value of `model.kernels`.
        outputs: storage for the outputs of the model's linear layers for reuse; None stores none.
    """

    def sampler(prompts: Sequence[np.ndarray], k: int, number: int) -> list[list[Sample]]:
        params = rollout_params(settings, stop_token_ids, seed, number)
        with whole(model), kernels_of_run(kernels):
            return sample_in_shares(model, prompts, params, k, outputs=outputs)

    return sampler


def rollout_params(
    settings: RolloutSection, stop_token_ids: tuple[int, ...], seed: int, number: int
) -> SamplingParams:
    """Return the sampling parameters of the rollout with this number; each rollout has its own seed."""
    return SamplingParams(
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        stop_token_ids=stop_token_ids,
        seed=int(np.random.SeedSequence((seed, number)).generate_state(1)[0]),
    )


def sample_in_shares(
    model: Policy, prompts: Sequence[np.ndarray], params: SamplingParams, k: int = 1, **options: Any
) -> list[list[Sample]]:
    """Sample as `sample` does, with the prompts divided among the processes.

    A prompt's random numbers depend on its index among all prompts, so its samples do not depend on the
    number of processes.
    """
    if collectives.world() == 1:
        return sample(model, prompts, params, k, **options)

    def share(mine: Sequence[int]) -> list[Any]:
        streams = [replace(params, stream=i) for i in mine]
        return _to_json(sample(model, [prompts[i] for i in mine], streams, k, **options))

    return _from_json(collectives.in_shares(len(prompts), share))


def _to_json(samples: Sequence[Sequence[Sample]]) -> list[Any]:
    """Convert samples to JSON, one value per prompt."""
    return [[(s.ids.tolist(), s.logps.tolist(), s.logps.dtype.name, s.finish) for s in g] for g in samples]


def _from_json(values: Sequence[Any]) -> list[list[Sample]]:
    """Convert the values of `_to_json` for all prompts, in order, to samples."""
    return [
        [Sample(i, np.array(ids, np.int32), np.array(logps, dtype), end) for ids, logps, dtype, end in group]
        for i, group in enumerate(values)
    ]
