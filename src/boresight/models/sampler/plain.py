"""Sample without a cache: for each token, one padded forward over the whole sequence so far.

It samples the same tokens as `sample`, in quadratic time. Tests compare `sample` with it, and models that the
sampler with a cache does not support are sampled with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from boresight.models.eval_mode import evaluation_mode
from boresight.models.kernels.to_device import to_device
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.lengths import forward_keys
from boresight.models.policy import Policy
from boresight.models.precision import EXPERIMENTAL
from boresight.models.sampler.params import (
    RunningSample,
    Sample,
    SamplingParams,
    extend,
    requests,
    settings_of,
)


def sample_plain(
    model: Policy,
    prompts: Sequence[np.ndarray],
    params: SamplingParams | Sequence[SamplingParams],
    k: int = 1,
    *,
    max_batch: int = 16,
) -> list[list[Sample]]:
    """Sample `k` completions of each prompt as `sample` does, but without a cache:
    `result[prompt][sample]`."""
    running = requests(model, prompts, params, k)
    with wide_logits(model):
        draw_plainly(model, running, max_batch)
    return [[r.result(model.dtype) for r in running[i : i + k]] for i in range(0, len(running), k)]


def draw_plainly(
    model: Policy,
    samples: Sequence[RunningSample],
    max_batch: int,
    ended: Callable[[int], None] = lambda n: None,
) -> None:
    """Complete all of `samples`.

    Args:
        ended: called after each token with the number of samples that ended.
    """
    with torch.inference_mode(), evaluation_mode(model):
        for start in range(0, len(samples), max_batch):
            rows = list(samples[start : start + max_batch])
            while rows:
                logits = next_logits(model, [np.append(r.prompt, r.ids) for r in rows])
                extend(rows, logits, settings_of(rows, logits.shape[1], logits.device))
                live = [r for r in rows if not r.finished]
                ended(len(rows) - len(live))
                rows = live


def next_logits(model: Policy, sequences: Sequence[np.ndarray]) -> Tensor:
    """Return the logits after the last token of every sequence, `(n, V)`, on a device that supports
    sampling."""
    keys = forward_keys(model, [len(sequence) for sequence in sequences])
    groups = [[i for i, key in enumerate(keys) if key == own] for own in dict.fromkeys(keys)]
    logits = torch.cat([_next_logits(model, [sequences[i] for i in group]) for group in groups])
    logits = logits.cpu() if logits.device.type in EXPERIMENTAL else logits  # draws are in float64
    return logits[np.argsort(np.concatenate(groups))] if len(groups) > 1 else logits


def _next_logits(model: Policy, sequences: Sequence[np.ndarray]) -> Tensor:
    """Return the logits after the last token of every sequence, `(n, V)`, from one forward.

    Padding is on the right and attention is causal, so no token attends to padding and no mask is needed.
    """
    lengths = to_device(torch.tensor([len(sequence) for sequence in sequences]), model.device)
    ids = np.zeros((len(sequences), int(lengths.max())), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    logits = model(input_ids=to_device(ids, model.device), use_cache=False).logits
    return logits[torch.arange(len(ids), device=model.device), lengths - 1]
