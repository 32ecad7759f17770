"""Test whether the sampler with a cache samples from the model's own distribution.

Architectures differ in ways that no config declares: one ignores the arguments by which the cache is passed
on, and the log-probabilities of its samples were wrong by 5 nats per token. So a few tokens are sampled first
and scored by plain forwards of transformers. A model that fails the test is sampled without a cache. With
fast kernels it is refused, after a test of their steps, which are captured and replayed on a GPU. One test
serves all models of a class with the same config.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from boresight.core.errors import memory_error, named_first_line
from boresight.models.eval_mode import evaluation_mode
from boresight.models.kernels.compact import is_compact
from boresight.models.lengths import length_switches
from boresight.models.policy import last_logits, narrowest_window
from boresight.models.precision import EXPERIMENTAL
from boresight.models.sampler.attention import rollout_attention, unsupported
from boresight.models.sampler.decode import Rollout
from boresight.models.sampler.params import RunningSample, SamplingParams, requests
from boresight.models.sampler.static.rollout import StaticRollout

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("boresight")

SHORT, LONG = 3, 8
"""Lengths of the prompts of a test, in tokens. They differ, so that one prompt is padded.

If samples exceed the model's sliding window, the second prompt does so too.
"""
SAMPLES, TOKENS = 2, 4
"""Number of completions of each prompt, and number of tokens of each completion."""
BANDS = {torch.float64: 1e-5, torch.float32: 1e-3}
"""Maximum difference of a log-probability, in nats, by dtype; for half precision it is `HALF_BAND`."""
HALF_BAND = 0.3

_found: dict[tuple[object, ...], str | None] = {}


def samples_with_cache(model: PreTrainedModel, samples: Sequence[RunningSample]) -> bool:
    """Whether `samples` can be sampled with a cache; if not, the reason is logged once."""
    tried = len(_found)
    obstacle = cache_obstacle(Rollout, model, samples)
    if obstacle is not None and len(_found) > tried:
        log.warning("Sampling without a cache, which is slower and gives the same samples: %s.", obstacle)
    return obstacle is None


def cache_obstacle(
    kind: type[Rollout | StaticRollout], model: PreTrainedModel, samples: Sequence[RunningSample]
) -> str | None:
    """Return the reason why `samples` cannot be sampled by a batch of this kind, as text; None if they
    can."""
    longest = max((len(s.prompt) + s.params.max_new_tokens for s in samples), default=0)
    window = narrowest_window(model.config.get_text_config()) or longest
    prompt = LONG if longest <= window else window + LONG
    key = (
        kind,
        type(model),
        model.config.to_json_string(),
        model.dtype,
        is_compact(model),
        model.device.type,
        prompt,
    )
    if key not in _found:
        _found[key] = unsupported(model) or _obstacle(kind, model, (SHORT, prompt))
    return _found[key]


def _obstacle(
    kind: type[Rollout | StaticRollout], model: PreTrainedModel, lengths: tuple[int, ...]
) -> str | None:
    """Return the reason why sampling with a cache does not give the model's own probabilities; None if it
    does."""
    if model.device.type in EXPERIMENTAL:
        return f"{model.device.type} is experimental"
    if length_switches(model):
        return "it computes long sequences in another way (dynamic NTK, LongRoPE, sparse attention)"
    name = type(model).__name__
    try:
        with torch.inference_mode(), evaluation_mode(model):
            drawn = _draw(kind, model, lengths)
            off = max(_distance(model, sample) for sample in drawn)
    except Exception as error:  # any exception of a model means that it is not supported
        if memory_error(error):
            raise
        return f"{name} rejects it: {named_first_line(error)}"
    band = HALF_BAND if is_compact(model) else BANDS.get(model.dtype, HALF_BAND)
    return None if off <= band else f"{name} gives other log-probabilities with it, by {off:.2g} nats"


def _draw(
    kind: type[Rollout | StaticRollout], model: PreTrainedModel, lengths: tuple[int, ...]
) -> list[RunningSample]:
    """Return samples of prompts with these lengths."""
    vocabulary = model.config.get_text_config().vocab_size
    tokens = (np.arange(sum(lengths)) * 7919 + 3) % vocabulary
    prompts = np.split(tokens, np.cumsum(lengths)[:-1])
    samples = requests(model, prompts, SamplingParams(max_new_tokens=TOKENS, seed=0), SAMPLES)
    with rollout_attention(model, kind.attention):
        rollout = kind(model, samples, len(samples))
        while rollout.unfinished:
            rollout.step()
    return samples


def _distance(model: PreTrainedModel, sample: RunningSample) -> float:
    """Return the maximum difference of the sample's log-probabilities from those of one plain forward, in
    nats."""
    ids = torch.tensor([*sample.prompt.tolist(), *sample.ids], device=model.device)
    logits = last_logits(model, ids, len(sample.ids) + 1)[:-1]
    exact = torch.float64 if logits.dtype == torch.float64 else torch.float32
    logps = logits.to(exact).log_softmax(-1)
    own = logps.gather(-1, ids[len(sample.prompt) :, None]).squeeze(-1)
    difference = (own - torch.tensor(sample.logps, dtype=exact, device=own.device)).abs()
    return float(difference.nan_to_num(nan=torch.inf).max())
