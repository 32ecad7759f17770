"""Sample completions from a model in this process: many prompts, k samples each.

    params = SamplingParams(max_new_tokens=96, seed=0, stop_token_ids=(2,))
    samples = sample(model, prompts, params, k=8)     # samples[prompt][j].ids, .logps, .finish

A prompt is computed once for all of its samples. A sample that ends leaves the batch at once and a waiting
one takes its place. The random numbers of a sample depend on (seed, prompt index, sample index) alone, not on
the other samples in the batch. `sample_plain` draws the same tokens without a cache, slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch

from boresight.core.console import progress
from boresight.models.eval_mode import evaluation_mode
from boresight.models.kernels.fast import fast_kernels, fast_kernels_error
from boresight.models.kernels.linear import WORTHWHILE, can_pack, folded_adapters, packed_linears
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.policy import Policy, causal_model
from boresight.models.reuse.linears import reusable_linears
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sampler.attention import rollout_attention
from boresight.models.sampler.batch_size import MAX_BATCH, batch_for
from boresight.models.sampler.decode import Rollout
from boresight.models.sampler.params import RunningSample, Sample, SamplingParams, requests
from boresight.models.sampler.plain import draw_plainly, sample_plain
from boresight.models.sampler.static.rollout import StaticRollout
from boresight.models.sampler.trial import cache_obstacle, samples_with_cache

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedModel

__all__ = ["MAX_BATCH", "Sample", "SamplingParams", "sample", "sample_plain"]


def sample(
    model: Policy,
    prompts: Sequence[np.ndarray],
    params: SamplingParams | Sequence[SamplingParams],
    k: int = 1,
    *,
    max_batch: int | None = None,
    console: Console | None = None,
    outputs: LinearOutputs | None = None,
) -> list[list[Sample]]:
    """Sample `k` completions of each prompt; the result is `result[prompt][sample]`.

    `model` is a causal language model, with or without a PEFT wrapper; inside `adapters_off(model)` the base
    model is sampled. It runs in evaluation mode, without gradients; its mode is restored afterwards. A model
    that the sampler with a cache does not support (`trial.samples_with_cache`) is sampled by `sample_plain`.
    Inside `kernels_of_run("fast")`, steps are captured and replayed, with adapters merged into the weights.

    Args:
        prompts: token ids of each prompt, int32 `(length,)`, not empty.
        params: settings for all prompts, or one for each.
        max_batch: maximum number of samples decoded at a time. None chooses it by memory: 256 to 1,024 on a
            CPU, 16 to 4,096 on a GPU.
        console: console that shows the progress; None shows nothing.
        outputs: storage for the outputs of the model's linear layers, if the sampler with a cache is used.

    Raises:
        UserError: a prompt is empty, contains a token without an embedding, or leaves no room for an answer
            in the model's table of positions; the numbers of `params` and prompts differ; `k` is below 1; or
            fast kernels do not support the model.
    """
    samples = requests(model, prompts, params, k)
    with progress(console, "sampling", len(samples)) as ended:
        if outputs is not None:
            outputs.clear()
        base = causal_model(model)  # its layers keep their adapters, enabled or not
        with wide_logits(model):  # as in training
            if fast_kernels():
                if obstacle := cache_obstacle(StaticRollout, base, samples):
                    raise fast_kernels_error(obstacle)
                most = max_batch or batch_for(base, samples, shared_prompts=False)
                _draw(StaticRollout, base, samples, most, ended)
            elif samples_with_cache(base, samples):
                _draw(Rollout, base, samples, max_batch or batch_for(base, samples), ended, outputs)
            else:
                draw_plainly(base, samples, max_batch or MAX_BATCH, ended)
    return [[s.result(model.dtype) for s in samples[i : i + k]] for i in range(0, len(samples), k)]


def _draw(
    kind: type[Rollout | StaticRollout],
    model: PreTrainedModel,
    samples: list[RunningSample],
    max_batch: int,
    ended: Callable[[int], None],
    outputs: LinearOutputs | None = None,
) -> None:
    with ExitStack() as inside:
        inside.enter_context(torch.inference_mode())
        inside.enter_context(evaluation_mode(model))
        inside.enter_context(rollout_attention(model, kind.attention))
        linears = [] if outputs is None else reusable_linears(model)
        if kind is StaticRollout:
            inside.enter_context(folded_adapters(model))
        elif sum(s.params.max_new_tokens for s in samples) >= WORTHWHILE and can_pack(model):
            inside.enter_context(packed_linears(model))
        if outputs is not None:
            inside.enter_context(outputs.recording(model, linears, samples))
        rollout = (
            Rollout(model, samples, max_batch, outputs)
            if kind is Rollout
            else StaticRollout(model, samples, max_batch)
        )
        while rollout.unfinished:
            ended(rollout.step())
