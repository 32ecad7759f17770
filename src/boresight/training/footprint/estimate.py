"""Estimate of the peak memory of training: the sum of everything that is in memory at the same time."""

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
"""Bytes per weight; for 4 bits including the share of a scale in 8 bits."""
MOMENTS = {"float32": 8.0, "8bit": 2 + 8 / 256}
"""Bytes of Adam's two moments per weight; for 8 bits including their scales."""
SCORED = 0.6
"""Assumed share of scored tokens if it is unknown."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The parameters of a run on which its memory depends.

    `parameters` are those of the model without adapters, `trained` all trained ones. `base` is the format of
    frozen weights, `states` that of Adam's moments.
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
    """Whether trained weights are stored as two 16-bit halves, 4 bytes in all, without a copy in half
    precision."""
    low_on_host: bool = False
    """Whether the second halves are in host memory, which is not counted."""
    cuda: bool = False

    @property
    def half(self) -> bool:
        """Whether the model computes in half precision."""
        return self.dtype != "float32"

    @property
    def weights_gb(self) -> float:
        """Memory of the weights before training, GB: the model and its adapters."""
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
        """Memory of the frozen copy, GB."""
        return self._narrow * self.parameters / 1e9 if self.frozen_copy else 0.0

    @property
    def _narrow(self) -> int:
        """Bytes per weight that is not trained."""
        return HALF if self.dtype == "bfloat16" else FLOAT

    @property
    def moments_gb(self) -> float:
        """Memory of Adam's two moments, GB."""
        return self.trained * MOMENTS[self.states] / 1e9

    @property
    def state_gb(self) -> float:
        """Memory of gradients and Adam's moments, GB."""
        return self.trained * FLOAT / 1e9 + self.moments_gb

    def activations_gb(self, tokens: float, *, recompute: bool, scored: float = SCORED) -> float:
        """Memory of a forward and its backward over `tokens`, GB, besides weights, gradients and moments.

        The last layer is counted like the others, though on a CPU it saves less for tokens that are not
        scored.
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
        """Tiles of logits, and hidden states and gradients of scored tokens."""
        most = CUDA_TILE_ELEMENTS if self.cuda else TILE_ELEMENTS
        logits = scored * self.shape.vocabulary if self.shape.vocabulary else most
        rows = scored * self.shape.hidden
        tile = min(logits, most) * (FLOAT + (2 * HALF if self.half else 0))
        # A CPU has no product of halves with a float32 result: it gets copies.
        if self.half and not self.cuda:
            tile += FLOAT * (min(self.shape.vocabulary, most / max(1, scored)) * self.shape.hidden + rows)
        if self.lora:
            return tile + rows * (3 * FLOAT + (HALF if self.half else 0))
        kept = FLOAT * logits if logits <= KEPT_ELEMENTS and not self.cuda else 0
        return tile + kept + rows * (2 * FLOAT + (2 * HALF if self.half else 0))

    def _matrix_bytes(self) -> float:
        """The largest matrix: its gradient before it is added, or its weights multiplied out."""
        largest = self.shape.hidden * self.shape.intermediate
        if self.lora:
            return HALF * largest if self.base == "nf4" else 0
        return largest * (FLOAT + HALF if self.half else FLOAT if self.cuda else 0)

    def _update_bytes(self) -> float:
        """Weights in float32, second halves from the host, and integers, while split weights are updated.

        Of a bucket, or of the largest matrix with moments in 8 bits; integers of a chunk, where the steps are
        not compiled into one.
        """
        if not self.split:
            return 0
        whole = self.shape.vocabulary * self.shape.hidden if self.states == "8bit" else 0
        joined = min(self.trained, max(BUCKET, whole))
        staged = HALF * joined if self.low_on_host else 0
        return FLOAT * joined + staged + (0 if self.cuda else CHUNK_BYTES * min(joined, CHUNK))

    def peak_gb(self, tokens: float, *, recompute: bool, scored: float = SCORED) -> float:
        """Peak memory of training, GB."""
        held = self.weights_gb + self.frozen_gb + self.state_gb
        return held + self.activations_gb(tokens, recompute=recompute, scored=scored)
