"""Estimate the peak memory of training: the sum of everything that is in memory at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.config.lora import LoraConfig
from boresight.models.kernels.compact import BaseForm
from boresight.models.kernels.split_bits import CHUNK, CHUNK_BYTES
from boresight.models.kernels.split_weights import BUCKET
from boresight.models.packed.head import CUDA_TILE_ELEMENTS, KEPT_ELEMENTS, TILE_ELEMENTS
from boresight.training.footprint.layer import (
    PASSING,
    RESIDUAL,
    Kernels,
    Shape,
    kept_by_layer,
    recomputed_layer,
)

FLOAT, HALF, NF4 = 4, 2, 0.516
"""Bytes per weight in each format; for 4 bits (NF4) including the 8-bit scales."""
MOMENTS = {"float32": 8.0, "8bit": 2 + 8 / 256}
"""Bytes per weight of Adam's two moments; for 8 bits including their scales."""
SCORED = 0.6
"""Share of scored tokens that is assumed if it is unknown."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The properties of a run that determine its memory.

    `parameters` is the number of parameters of the model without adapters, `trained` the number of trained
    ones. `base` is the format of frozen weights, `states` that of Adam's moments.
    """

    shape: Shape
    parameters: int
    trained: int
    dtype: str = "float32"
    lora: LoraConfig | None = None
    base: BaseForm = "float32"
    states: str = "float32"
    frozen_copy: bool = False
    """Whether a second model is kept as the reference."""
    split: bool = False
    """Whether trained weights are stored as two 16-bit halves, together 4 bytes, without another copy in half
    precision."""
    low_on_host: bool = False
    """Whether the second halves are in host memory, which is not included in the estimate."""
    cuda: bool = False

    @property
    def half(self) -> bool:
        """Whether the model computes in half precision."""
        return self.dtype != "float32"

    @property
    def weights_gb(self) -> float:
        """Memory of the weights before training, in GB: the model and its adapters."""
        linear = min(self.parameters, self.shape.layers * self.shape.matrices)
        rest = self.parameters - linear
        own = {
            "float32": (HALF if self.low_on_host else FLOAT) * self.parameters,
            "bfloat16": HALF * self.parameters,
            "nf4": NF4 * linear + self._narrow * rest,
        }[self.base if self.lora else "float32"]
        adapters = FLOAT * self.trained if self.lora else 0
        return (own + adapters) / 1e9

    @property
    def frozen_gb(self) -> float:
        """Memory of the frozen copy for the reference, in GB; 0 if there is none."""
        return self._narrow * self.parameters / 1e9 if self.frozen_copy else 0.0

    @property
    def _narrow(self) -> int:
        """Number of bytes per weight that is not trained."""
        return HALF if self.dtype == "bfloat16" else FLOAT

    @property
    def moments_gb(self) -> float:
        """Memory of Adam's two moments, in GB."""
        return self.trained * MOMENTS[self.states] / 1e9

    @property
    def state_gb(self) -> float:
        """Memory of gradients and Adam's moments, in GB."""
        return self.trained * FLOAT / 1e9 + self.moments_gb

    def activations_gb(self, tokens: float, *, recompute: bool, scored: float = SCORED) -> float:
        """Return the memory of a forward and backward over `tokens` tokens, in GB.

        Weights, gradients and moments are not included. The last layer is counted like the others, though on
        a CPU it saves less for tokens that are not scored.
        """
        kernels: Kernels = "half" if self.half else "float32" if self.cuda else "fused"
        kernels = "bfloat16" if self.split else kernels
        mask, shape = (1 if self.cuda else 4), self.shape
        kept = kept_by_layer(kernels, self.lora, mask=mask).bytes(shape)
        copies = HALF * shape.matrices if self.half and self.lora is None and not self.split else 0
        final = 2 * FLOAT * shape.hidden * tokens
        head = self._head_bytes(scored * tokens) + final
        if recompute:
            inputs = shape.layers * RESIDUAL[kernels] * shape.hidden * tokens
            layer = recomputed_layer(kernels, self.lora, mask=mask).bytes(shape) * tokens + copies
            peak = inputs + max(head, layer + self._matrix_bytes())
        else:
            layers = shape.layers * (kept * tokens + copies)
            passing = PASSING[kernels, self.lora is not None].bytes(shape) * tokens
            peak = layers + max(head, passing + self._matrix_bytes())
        return max(peak, self._update_bytes()) / 1e9

    def _head_bytes(self, scored: float) -> float:
        """Return the bytes of the logits' tiles, and of hidden states and gradients of scored tokens."""
        most = CUDA_TILE_ELEMENTS if self.cuda else TILE_ELEMENTS
        logits = scored * self.shape.vocabulary if self.shape.vocabulary else most
        rows = scored * self.shape.hidden
        tile = min(logits, most) * (FLOAT + (2 * HALF if self.half else 0))
        # A CPU has no product of half-precision inputs with a float32 result, so float32 copies are made.
        if self.half and not self.cuda:
            tile += FLOAT * (min(self.shape.vocabulary, most / max(1, scored)) * self.shape.hidden + rows)
        if self.lora:
            return tile + rows * (3 * FLOAT + (HALF if self.half else 0))
        kept = FLOAT * logits if logits <= KEPT_ELEMENTS and not self.cuda else 0
        return tile + kept + rows * (2 * FLOAT + (2 * HALF if self.half else 0))

    def _matrix_bytes(self) -> float:
        """Return the temporary bytes for the largest matrix: its gradient before accumulation, or its
        dequantized weights."""
        largest = self.shape.hidden * self.shape.intermediate
        if self.lora:
            return HALF * largest if self.base == "nf4" else 0
        return largest * (FLOAT + HALF if self.half else FLOAT if self.cuda else 0)

    def _update_bytes(self) -> float:
        """Return the temporary bytes of an update of split weights.

        They hold one bucket of weights in float32 (with 8-bit moments at least the largest matrix), the
        second halves if they are copied from the host, and on a CPU the integers of one chunk, since the
        steps are not compiled into one there.
        """
        if not self.split:
            return 0
        whole = self.shape.vocabulary * self.shape.hidden if self.states == "8bit" else 0
        joined = min(self.trained, max(BUCKET, whole))
        staged = HALF * joined if self.low_on_host else 0
        return FLOAT * joined + staged + (0 if self.cuda else CHUNK_BYTES * min(joined, CHUNK))

    def peak_gb(self, tokens: float, *, recompute: bool, scored: float = SCORED) -> float:
        """Return the peak memory of training, in GB."""
        held = self.weights_gb + self.frozen_gb + self.state_gb
        return held + self.activations_gb(tokens, recompute=recompute, scored=scored)
