"""Number of samples decoded at a time, unless the caller sets it: as many as fit into memory.

A decode step costs the same launches whether it serves 16 rows or 4,096, so a GPU takes large batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from boresight.models.kernels.allocator import free_gpu_bytes
from boresight.models.kernels.compact import is_compact
from boresight.models.policy import key_widths
from boresight.models.sampler.params import RunningSample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_BATCH, MOST = 256, 1024
"""Samples decoded at a time on a CPU: up to `MOST` while their cache stays under `CACHE`."""
CACHE = 2**30
"""Bytes of keys and values on a CPU."""
FEWEST_ON_CUDA, MOST_ON_CUDA = 16, 4096
SHARE = 0.5
"""Share of a GPU's free memory that a rollout may use; a cache that grows is copied, so more would not
fit."""
LOGITS = 6
"""Number of float32 arrays of the size of the logits that exist while a token is drawn."""


def batch_for(
    model: PreTrainedModel, samples: Sequence[RunningSample], *, shared_prompts: bool = True
) -> int:
    """Samples of `model` to decode at a time; on a GPU by its free memory.

    Args:
        shared_prompts: whether the samples of a prompt share its keys and values, or each has a copy.
    """
    if model.device.type == "cuda":
        return rows_that_fit(model, samples, free_gpu_bytes(model.device), shared_prompts=shared_prompts)
    longest = max((s.params.max_new_tokens for s in samples), default=1)
    return max(MAX_BATCH, min(MOST, CACHE // (bytes_per_token(model) * longest)))


def rows_that_fit(
    model: PreTrainedModel, samples: Sequence[RunningSample], free: int, *, shared_prompts: bool = True
) -> int:
    """Samples that `SHARE` of `free` bytes hold, a power of two from 16 to 4,096.

    A sample holds keys and values of its own tokens and its part of those of the prompts, or all of those of
    the longest prompt where prompts are not shared; and its logits.
    """
    prompts = {s.prompt_index: len(s.prompt) for s in samples}
    longest = max((s.params.max_new_tokens for s in samples), default=1)
    prompt = (
        sum(prompts.values()) / max(1, len(samples)) if shared_prompts else max(prompts.values(), default=0)
    )
    tokens = longest + prompt
    logits = LOGITS * 4 * model.config.get_text_config().vocab_size
    rows = int(SHARE * free / (bytes_per_token(model) * tokens + logits))
    fitting = max(FEWEST_ON_CUDA, min(MOST_ON_CUDA, rows))
    return 1 << (fitting.bit_length() - 1)  # small changes of free memory change nothing


def bytes_per_token(model: PreTrainedModel) -> int:
    """Size of the keys and values of one token in all layers, bytes."""
    itemsize = 4 if is_compact(model) else model.dtype.itemsize  # which returns float32 here
    return 2 * sum(key_widths(model.config)) * itemsize
