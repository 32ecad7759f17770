"""Choose the number of samples that are decoded at a time: as many as fit into memory.

A decoding step needs the same kernel launches for 16 rows as for 4,096, so a GPU uses large batches.
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
"""Number of samples decoded at a time on a CPU: at least `MAX_BATCH`, and up to `MOST` if their cache fits
into `CACHE`."""
CACHE = 2**30
"""Memory for keys and values on a CPU, in bytes."""
FEWEST_ON_CUDA, MOST_ON_CUDA = 16, 4096
SHARE = 0.5
"""Share of a GPU's free memory that a rollout may use. A cache that grows is copied, so a larger share would
not fit."""
LOGITS = 6
"""Number of float32 arrays of the size of the logits that exist while a token is sampled."""


def batch_for(
    model: PreTrainedModel, samples: Sequence[RunningSample], *, shared_prompts: bool = True
) -> int:
    """Return the number of samples of `model` to decode at a time; on a GPU it depends on the free memory.

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
    """Return the number of samples that fit into `SHARE` of `free` bytes, a power of two from 16 to 4,096.

    A sample needs memory for its logits, for the keys and values of its own tokens, and for its part of those
    of the prompts. If prompts are not shared, that part is as large as the longest prompt.
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
    return 1 << (fitting.bit_length() - 1)  # so small changes of free memory have no effect


def bytes_per_token(model: PreTrainedModel) -> int:
    """Return the size of the keys and values of one token in all layers, in bytes."""
    itemsize = 4 if is_compact(model) else model.dtype.itemsize  # compact layers return float32 here
    return 2 * sum(key_widths(model.config)) * itemsize
