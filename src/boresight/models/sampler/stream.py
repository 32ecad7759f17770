"""Sample one completion and pass on each token as soon as it is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch

from boresight.models.eval_mode import evaluation_mode
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.policy import Policy, causal_model
from boresight.models.sampler.attention import rollout_attention
from boresight.models.sampler.decode import Rollout
from boresight.models.sampler.params import (
    RunningSample,
    Sample,
    SamplingParams,
    extend,
    requests,
    settings_of,
)
from boresight.models.sampler.plain import next_logits
from boresight.models.sampler.trial import samples_with_cache


def stream(
    model: Policy, prompt: np.ndarray, params: SamplingParams, hear: Callable[[Sequence[int]], None]
) -> Sample:
    """Sample one completion as `sample` does, and call `hear` after every forward with all token ids so far.

    The first call may have two ids. If `hear` raises, or on Ctrl-C, sampling stops and the model's state is
    restored.
    """
    base = causal_model(model)
    (running,) = requests(model, [prompt], params, 1)
    with ExitStack() as inside:
        inside.enter_context(torch.inference_mode())
        inside.enter_context(evaluation_mode(base))
        inside.enter_context(wide_logits(model))
        step: Callable[[], object]
        if samples_with_cache(base, [running]):
            inside.enter_context(rollout_attention(base))
            step = Rollout(base, [running], 1).step
        else:
            step = _plain_step(base, running)
        while not running.finished:
            step()
            hear(running.ids)
    return running.result(model.dtype)


def _plain_step(model: Policy, running: RunningSample) -> Callable[[], object]:
    def step() -> None:
        logits = next_logits(model, [np.append(running.prompt, running.ids)])
        extend([running], logits, settings_of([running], logits.shape[1], logits.device))

    return step
