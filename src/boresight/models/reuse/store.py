"""Store the outputs of a model's linear layers for the tokens that it sampled, until its weights change.

    outputs = LinearOutputs(capacity)
    samples = sample(model, prompts, params, k=8, outputs=outputs)     # fills it
    with reusing(outputs):
        logps = completion_logprobs(model, rows)                       # looks them up

Every token has a slot, the index of its row in the buffer of each layer. The last token of a completion is
not an input of the model in sampling, and has slot 0, which contains zeros: no other token and no loss
depends on its states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor, nn

from boresight.models.kernels.linear import forwards_replaced
from boresight.models.packed.packing import PackedBatch
from boresight.models.sampler.params import RunningSample

_reused: ContextVar[LinearOutputs | None] = ContextVar("outputs of linear layers", default=None)


@contextmanager
def reusing(outputs: LinearOutputs | None) -> Iterator[None]:
    """Inside the block, packed forwards use outputs of linear layers from `outputs`, if these contain all
    their tokens.

    With None, forwards compute all outputs.
    """
    before = _reused.set(outputs)
    try:
        yield
    finally:
        _reused.reset(before)


def reused() -> LinearOutputs | None:
    """Return the outputs of the innermost `reusing` block."""
    return _reused.get()


class LinearOutputs:
    """Outputs of linear layers for up to `capacity` tokens, by layer and token.

    Memory is allocated when it is first written, and kept for the next rollout.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity + 1
        self._buffers: dict[nn.Module, Tensor] = {}
        self._versions: dict[nn.Parameter, int] = {}
        self.clear()

    def clear(self) -> None:
        """Remove all tokens."""
        self._next = 1
        self._slots, self._places, self._rows = range(1, 1), np.zeros(0, np.int64), 0
        self._written: dict[nn.Module, int] = {}
        self._prompts: dict[bytes, np.ndarray] = {}
        self._inputs: dict[RunningSample, list[int]] = {}
        self._completions: dict[tuple[bytes, bytes], np.ndarray] = {}

    def __len__(self) -> int:
        """Number of tokens whose outputs are stored."""
        return self._next - 1 if self._prompts else 0

    @contextmanager
    def recording(
        self, model: nn.Module, modules: Sequence[nn.Module], samples: Sequence[RunningSample]
    ) -> Iterator[None]:
        """Inside the block, the outputs of `modules`, layers of `model`, are stored for announced tokens.

        After the block, the outputs for `samples` can be looked up, unless a layer was not called exactly
        once for every token.
        """
        self.clear()
        self._versions = {p: p._version for p in model.parameters()}
        with forwards_replaced({module: self._kept(module, module.forward) for module in modules}):
            yield
        if modules and all(self._written.get(module) == self._next for module in modules):
            self._name(samples)
        else:
            self.clear()

    def announce_prompts(self, prompts: Sequence[np.ndarray]) -> None:
        """Announce that the inputs of the next forward are `prompts`, padded on the right to the longest."""
        longest = max(map(len, prompts))
        places = [row * longest + np.arange(len(prompt)) for row, prompt in enumerate(prompts)]
        self._expect(np.concatenate(places), len(prompts) * longest)
        ends = np.cumsum([0, *map(len, prompts)]) + self._slots.start
        for prompt, start in zip(prompts, ends, strict=False):
            self._prompts[_key(prompt)] = np.arange(start, start + len(prompt))

    def announce_tokens(self, rows: Sequence[RunningSample]) -> None:
        """Announce that the input of the next forward is the newest token of each of `rows`."""
        self._expect(np.arange(len(rows)), len(rows))
        for row, slot in zip(rows, self._slots, strict=True):
            self._inputs.setdefault(row, []).append(slot)

    def slots_of(self, batch: PackedBatch) -> Tensor | None:
        """Return the slots of the tokens of `batch`, int64 `(T,)`; None if a token has no slot or a weight
        has changed."""
        if any(p._version != version for p, version in self._versions.items()):
            return None
        ids = batch.ids[0].cpu().numpy()
        slots = np.zeros(len(ids), np.int64)
        for span in batch.rows:
            prompt = ids[span.prompt].tobytes()
            if prompt not in self._prompts:
                return None
            slots[span.prompt] = self._prompts[prompt]
            for place in span.completions:
                known = self._completions.get((prompt, ids[place].tobytes()))
                if known is None:
                    return None
                slots[place.start : place.start + len(known)] = known
        return torch.from_numpy(slots)

    def buffer(self, module: nn.Module) -> Tensor | None:
        """Return the outputs of a layer, `(capacity + 1, out)`; None if none are stored for it."""
        return self._buffers.get(module) if module in self._written else None

    def _expect(self, places: np.ndarray, rows: int) -> None:
        """Assign slots for the next forward, which has `rows` positions, of which those at `places` are
        tokens."""
        self._slots, self._places = range(self._next, self._next + len(places)), places
        self._rows = rows
        self._next += len(places)
        if self._next > self.capacity:
            raise ValueError(f"more than {self.capacity - 1} tokens were sampled")

    def _kept(self, module: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def compute(x: Tensor, *args: object, **kwargs: object) -> Tensor:
            out = forward(x, *args, **kwargs)
            self._put(module, out.flatten(0, -2))
            return out

        return compute

    def _put(self, module: nn.Module, rows: Tensor) -> None:
        """Write the outputs `rows` `(positions, out)` of the announced forward for one layer."""
        if self._written.get(module, 1) != self._slots.start or len(rows) != self._rows:
            self._written[module] = -1  # called twice, as a shared layer, or only for some tokens
            return
        if module not in self._buffers:
            self._buffers[module] = rows.new_empty(self.capacity, rows.shape[-1])
            self._buffers[module][0] = 0
        own = self._buffers[module][self._slots.start : self._slots.stop]
        own.copy_(rows if len(self._places) == self._rows else rows[torch.from_numpy(self._places)])
        self._written[module] = self._slots.stop

    def _name(self, samples: Sequence[RunningSample]) -> None:
        for sample in samples:
            slots = np.array(self._inputs.get(sample, []), np.int64)
            self._completions[_key(sample.prompt), _key(sample.ids)] = slots


def _key(ids: Sequence[int] | np.ndarray) -> bytes:
    return np.asarray(ids, np.int64).tobytes()
