"""Decoding in steps of few shapes, which are captured and replayed (`model.kernels: fast`).

A step does not depend on the host: it reads tokens, positions, settings and random numbers from buffers,
samples tokens, and writes its results into buffers. The host loads samples, launches several steps, and reads
the results. The first step of a bucket is launched operation by operation, which loads its kernels; the
second one is captured, and replayed from then on.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from boresight.models.sampler.decode import ContinuousBatch
from boresight.models.sampler.draw import draw_masked
from boresight.models.sampler.params import RunningSample
from boresight.models.sampler.static.attention import STATIC
from boresight.models.sampler.static.buckets import DecodeBucket, bucket_of
from boresight.models.sampler.static.buffers import MOST_STEPS, StepBuffers
from boresight.models.sampler.static.cache import StaticCache, StaticStep
from boresight.models.sampler.static.cuda_graphs import Capture, Step, capture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class StaticRollout(ContinuousBatch):
    """A batch whose steps have the shapes of buckets; it samples the same tokens as `Rollout`.

    Args:
        capture: function that records a step for replay; by default a CUDA graph on a GPU, and none
            elsewhere.
    """

    attention = STATIC

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[RunningSample],
        max_batch: int,
        capture: Capture | None = None,
    ) -> None:
        config = model.config.get_text_config()
        longest = max((len(s.prompt) + s.params.max_new_tokens for s in samples), default=1)
        self.size = bucket_of(max(1, min(max_batch, len(samples))), longest)
        self.cache = StaticCache(config.num_hidden_layers, self.size, model.device)
        super().__init__(model, samples, max_batch, self.cache)
        params = list(dict.fromkeys(s.params for s in samples))
        self.buffers = StepBuffers(self.size.rows, params, config.vocab_size, model.device)
        self.capture = capture or capture_of(model.device)
        self.replays: dict[DecodeBucket, Step | None] = {}
        """Function that runs a step of each bucket; None if the step has run once and is not captured yet."""

    def _continue_rows(self) -> None:
        left = [row.params.max_new_tokens - len(row.ids) for row in self.rows]
        steps = min(MOST_STEPS, max(left))
        tokens = (
            len(row.prompt) + len(row.ids) + min(steps, rest)
            for row, rest in zip(self.rows, left, strict=True)
        )
        bucket = bucket_of(len(self.rows), max(tokens))
        self.buffers.load(self.rows, steps)
        for _ in range(steps):
            self._run(bucket)
        self.buffers.collect(self.rows, steps)

    def _run(self, bucket: DecodeBucket) -> None:
        if bucket not in self.replays:
            self.replays[bucket] = None
            self._step(bucket)
            return
        replay = self.replays[bucket]
        if replay is None:
            # A weak reference: otherwise `replays` would keep this rollout, and so its tables, alive.
            step = functools.partial(StaticRollout._step, weakref.proxy(self), bucket)
            replay = self.replays[bucket] = self.capture(step)
        replay()

    def _step(self, bucket: DecodeBucket) -> None:
        """Sample one more token for each of the first rows, without the host."""
        buffers, n = self.buffers, bucket.rows
        lengths = buffers.lengths[:n]
        self.cache.step = StaticStep(bucket, lengths)
        logits = self.model(
            input_ids=buffers.tokens[:n, None],
            position_ids=lengths[:, None],
            use_cache=True,
            logits_to_keep=1,
            rollout=self.cache,
            **{self.cache_argument: self.cache},
        ).logits[:, 0]
        uniforms = buffers.uniforms[:, :n].index_select(0, buffers.step).squeeze(0)
        buffers.put(*draw_masked(logits, buffers.settings(n), uniforms))
