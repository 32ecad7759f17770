"""The sampling loop: prefill prompts, decode all rows, replace finished samples by waiting ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from boresight.models.kernels.to_device import to_device
from boresight.models.policy import cache_argument
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sampler.attention import NAME
from boresight.models.sampler.draw import RowSettings
from boresight.models.sampler.kv_cache import Moves, RolloutCache
from boresight.models.sampler.params import RunningSample, extend, settings_of

PREFILL_PROMPTS = 16
PREFILL_TOKENS = 2048
"""Maximum numbers of prompts and of tokens of a prefill forward; a single longer prompt has a forward of its
own."""
ENTER_SHARE = 8
"""Divisor of the batch size: waiting samples are admitted once 1/8 of the batch is free, or if all of them
fit."""


class RowCache(Protocol):
    """Keys and values of prompts, identified by ids that the caller chooses, and of rows that continue
    them."""

    def admit_prompts(
        self, prompts: Sequence[int], lengths: Sequence[int], filled: Sequence[tuple[Tensor, Tensor]]
    ) -> None: ...

    def admit_rows(self, prompts: Sequence[int]) -> None: ...

    def drop_rows(self, rows: Sequence[int]) -> Moves: ...

    def drop_prompts(self, retain: set[int]) -> None: ...


class ContinuousBatch(ABC):
    """Many samples in progress; call `step` until `unfinished` is 0.

    Samples start in order of prompt length, the longest first: prompts of similar length are prefilled
    together, and no later prompt needs a larger cache.
    """

    attention: ClassVar[str]
    """Name of the attention function that the forwards use."""

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[RunningSample],
        max_batch: int,
        cache: RowCache,
        outputs: LinearOutputs | None = None,
    ) -> None:
        self.model, self.max_batch, self.outputs = model, max_batch, outputs
        # Taken from the end.
        self.waiting = sorted(samples, key=lambda s: (len(s.prompt), -s.prompt_index, -s.sample_index))
        self.rows: list[RunningSample] = []
        self.row_cache = cache
        self.cache_argument = cache_argument(model)
        self.first_logits: dict[int, Tensor] = {}
        self.rows_changed = False

    @property
    def unfinished(self) -> int:
        return len(self.waiting) + len(self.rows)

    def step(self) -> int:
        """Admit waiting samples, then continue every row; return the number of samples that ended."""
        before = self.unfinished
        # Several at a time: a prefill of one short prompt is inefficient, a few idle rows are not.
        while self.waiting and self._room >= min(len(self.waiting), -(-self.max_batch // ENTER_SHARE)):
            self._admit()
        if self.rows:
            self._continue_rows()
            self._drop_finished()
        return before - self.unfinished

    @abstractmethod
    def _continue_rows(self) -> None:
        """Sample at least one more token for every row."""

    @property
    def _room(self) -> int:
        return self.max_batch - len(self.rows)

    def _admit(self) -> None:
        """Admit as many waiting samples as there is room for, and sample their first tokens from the prompts'
        last logits."""
        entering = [self.waiting.pop() for _ in range(min(self._room, len(self.waiting)))]
        new = {s.prompt_index: s.prompt for s in entering if s.prompt_index not in self.first_logits}
        for batch in prefill_batches(new):
            self._prefill(batch)
        logits = torch.stack([self.first_logits[s.prompt_index] for s in entering])
        extend(entering, logits, settings_of(entering, logits.shape[1], logits.device))
        still_needed = {s.prompt_index for s in self.waiting}
        self.first_logits = {p: row for p, row in self.first_logits.items() if p in still_needed}
        live = [s for s in entering if not s.finished]
        self.rows += live
        self.row_cache.admit_rows([s.prompt_index for s in live])
        self.row_cache.drop_prompts(retain=still_needed)
        self.rows_changed = True

    def _prefill(self, prompts: dict[int, np.ndarray]) -> None:
        """Compute keys, values and last logits of `prompts`, padded on the right."""
        lengths = [len(prompt) for prompt in prompts.values()]
        ids = np.zeros((len(prompts), max(lengths)), np.int64)
        for row, prompt in zip(ids, prompts.values(), strict=True):
            row[: len(prompt)] = prompt
        if self.outputs is not None:
            self.outputs.announce_prompts(list(prompts.values()))
        filled: Any = DynamicCache()
        # The model takes one list of positions for all rows: those at which any of them ends.
        ends, place = np.unique(np.array(lengths) - 1, return_inverse=True)
        logits = self.model(
            input_ids=self._tensor(ids),
            position_ids=self._tensor(np.arange(ids.shape[1])).unsqueeze(0),
            use_cache=True,
            logits_to_keep=self._tensor(ends),
            **{self.cache_argument: filled},
        ).logits
        for i, prompt_index in enumerate(prompts):
            # A copy: a view would keep the logits of the whole prefill, of every prompt at every end.
            self.first_logits[prompt_index] = logits[i, place[i]].clone()
        states = [(layer.keys, layer.values) for layer in filled.layers]
        self.row_cache.admit_prompts(list(prompts), lengths, states)

    def _drop_finished(self) -> None:
        ended = [i for i, row in enumerate(self.rows) if row.finished]
        if not ended:
            return
        for source, target in self.row_cache.drop_rows(ended):
            self.rows[target] = self.rows[source]
        del self.rows[len(self.rows) - len(ended) :]
        self.row_cache.drop_prompts(retain=set(self.first_logits))
        self.rows_changed = True

    def _tensor(self, values: np.ndarray) -> Tensor:
        return to_device(values, self.model.device)


class Rollout(ContinuousBatch):
    """A batch in which every step samples one token of each row, and each prompt is stored once."""

    attention = NAME

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Sequence[RunningSample],
        max_batch: int,
        outputs: LinearOutputs | None = None,
    ) -> None:
        config = model.config.get_text_config()
        self.cache = RolloutCache(config.num_hidden_layers, model.device)
        super().__init__(model, samples, max_batch, self.cache, outputs)
        self.vocabulary = config.vocab_size
        self.settings: RowSettings | None = None

    def _continue_rows(self) -> None:
        extend(self.rows, self._decode(), self._settings())

    def _decode(self) -> Tensor:
        """Return the logits after the newest token of every row, `(n, V)`."""
        step = self.cache.begin_step()
        if self.outputs is not None:
            self.outputs.announce_tokens(self.rows)
        return self.model(
            input_ids=self._tensor(np.array([[row.ids[-1]] for row in self.rows])),
            position_ids=step.positions,
            use_cache=True,
            logits_to_keep=1,
            rollout=self.cache,
            **{self.cache_argument: self.cache},
        ).logits[:, 0]

    def _settings(self) -> RowSettings:
        if self.settings is None or self.rows_changed:
            self.settings = settings_of(self.rows, self.vocabulary, self.model.device)
            self.rows_changed = False
        return self.settings


def prefill_batches(prompts: dict[int, np.ndarray]) -> Iterator[dict[int, np.ndarray]]:
    """Divide prompts, sorted by length with the longest first, into batches with little padding.

    At most an eighth of a batch is padding, or 64 tokens if that is more: a forward over fewer tokens is no
    faster.
    """
    batch: dict[int, np.ndarray] = {}
    total = longest = 0
    for index, prompt in prompts.items():
        longest = longest or len(prompt)
        area = longest * (len(batch) + 1)
        padding = area - total - len(prompt)
        full = len(batch) == PREFILL_PROMPTS or area > PREFILL_TOKENS or padding > max(64, area // 8)
        if batch and full:
            yield batch
            batch, total, longest = {}, 0, len(prompt)
        batch[index] = prompt
        total += len(prompt)
    if batch:
        yield batch
