"""Check the memory and the duration of a run, measured by a probe or estimated from shapes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from boresight.checks.run.measured_use import MeasuredUse
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.findings.finding import Finding, error, warning
from boresight.models.load import device_called
from boresight.models.precision import resolve_dtype
from boresight.training.footprint.base import base_form, copies_reference, splits_weights
from boresight.training.footprint.estimate import Footprint
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.footprint.layer import Shape
from boresight.training.forward import kind_of
from boresight.training.memory import available_gb, held_gb

if TYPE_CHECKING:
    import torch

LIBRARIES_GB = 0.7
"""Resident memory of Python with torch and transformers, in GB; it counts where training uses the same memory
(CPU)."""
EFFICIENCY = 0.4
"""Share of the matrix-multiplication rate that training reaches, from measurements on several CPUs and
GPUs."""
TRIES = 20
"""Number of matrix products that are timed; the fastest counts, since other work on the machine affects it
least."""
WORTH_ROUNDING = 1.3
"""Minimum speedup of matrix products in bfloat16 over float32 at which `duration` suggests bfloat16."""


@dataclass(frozen=True)
class Load:
    """Size of a run, from which memory and duration are estimated.

    `parameters` and `trained` are numbers of parameters; `layers`, `hidden` and `intermediate` are the shape
    of the decoder. `row_tokens` is the mean length of a packed row in tokens, and `rows` the number of rows
    over all steps, repetitions included; None where unknown.
    """

    recipe: Recipe
    parameters: int
    trained: int
    layers: int = 0
    hidden: int = 0
    intermediate: int = 0
    row_tokens: float | None = None
    rows: int | None = None
    kv: int = 0
    """Width of a token's keys in one layer; 0 means the width of the hidden states."""
    vocabulary: int = 0
    passes: float = 3.0
    """Number of forward-equivalent passes per token.

    One is the forward, one the gradient of activations, and one the gradient of the trained weights (a
    fraction of one for adapters). A reference and mismatched answers add one each if the method uses them.
    """
    assumed: str = ""
    """Assumption made in place of an unknown property of the model, as text."""
    measured: MeasuredUse | None = None
    """Time and memory of this run as measured by a probe; if given, they replace the estimates."""

    @property
    def memory_gb(self) -> float:
        """Peak memory of the run, in GB: measured if available, else estimated."""
        return self.measured.memory_gb if self.measured else self.estimated_gb

    @property
    def estimated_gb(self) -> float:
        """Estimated peak memory in GB: weights, gradients, optimizer state and activations.

        Activations are recomputed if that is set, or if they do not fit otherwise.
        """
        return self._fixed_gb + self.activations_gb(self.forward_tokens)

    @property
    def forward_tokens(self) -> float:
        """Number of tokens of the largest forward that has a backward: a full micro-batch, or a whole batch
        if that is smaller."""
        limit = self.tokens_per_forward
        if self.row_tokens is None or kind_of(self.recipe).online:
            return limit
        return min(limit, self.row_tokens * self.recipe.train.batch)

    @property
    def tokens_per_forward(self) -> int:
        """Maximum number of tokens of a micro-batch on the device that would train."""
        return forward_tokens(self.recipe.train, self.device)

    @cached_property
    def device(self) -> torch.device:
        """Device that the estimates are for: the recipe's, or the CPU if this machine has no such device."""
        import torch

        try:
            return device_called(self.recipe.model.device)
        except UserError:  # a finding of its own
            return torch.device("cpu")

    @cached_property
    def footprint(self) -> Footprint:
        """The memory model of the run, on the device that would train."""
        dtype = resolve_dtype(self.recipe.model.dtype, self.device)
        return Footprint(
            shape=Shape(self.layers, self.hidden, self.intermediate, self.kv or self.hidden, self.vocabulary),
            parameters=self.parameters,
            trained=self.trained,
            dtype=dtype,
            lora=self.recipe.model.lora,
            base=base_form(self.recipe, kind_of(self.recipe), dtype),
            split=splits_weights(self.recipe, kind_of(self.recipe), dtype),
            low_on_host=self.recipe.model.low_bits == "host",
            states=self.recipe.optim.states,
            frozen_copy=copies_reference(self.recipe, kind_of(self.recipe)),
            cuda=self.device.type == "cuda",
        )

    @property
    def _fixed_gb(self) -> float:
        libraries = 0.0 if self.footprint.cuda else LIBRARIES_GB
        held = self.footprint.weights_gb + self.footprint.frozen_gb + self.footprint.state_gb
        return libraries + held

    def activations_gb(self, tokens: float) -> float:
        """Return the memory of the activations of a forward with `tokens` tokens, in GB.

        Activations are kept or recomputed as in the run.
        """
        made, mode = self.footprint.activations_gb, self.recipe.train.activations
        most = self._fixed_gb + made(self.forward_tokens, recompute=False)
        return made(
            tokens, recompute=mode == "recompute" or (mode == "auto" and most > available_gb(self.device))
        )

    @property
    def tokens(self) -> float | None:
        """Number of tokens over all steps; None if unknown, for example for sampled answers."""
        if self.row_tokens is None or self.rows is None or kind_of(self.recipe).online:
            return None
        return self.row_tokens * self.rows

    @property
    def operations(self) -> float | None:
        """Number of floating-point operations of the run: 2 per parameter, token and pass; None if
        unknown."""
        return None if self.tokens is None else 2.0 * self.parameters * self.tokens * self.passes

    @cached_property
    def hours(self) -> float | None:
        """Duration of training on this machine, hours: measured, else estimated; None if unknown."""
        if self.measured is not None:
            return None if self.measured.seconds is None else self.measured.seconds / 3600
        return (
            None
            if self.operations is None
            else self.operations / (EFFICIENCY * rate(self.recipe.model.dtype, self.device)) / 3600
        )

    @property
    def basis(self) -> str:
        """Source of the numbers as text: `measured by …` or `estimated from shapes, to within a factor …`."""
        if self.measured is not None:
            return f"measured by {self.measured.source}"
        assumed = f" ({self.assumed})" if self.assumed else ""
        return f"estimated from shapes{assumed}, to within a factor of two"


def memory(load: Load) -> Finding | None:
    """Return the finding `memory` if the run needs more memory than is available, else None.

    For a measured run, the memory that this process holds counts as available.
    """
    there = available_gb(load.device) + (held_gb(load.device) if load.measured else 0.0)
    if load.memory_gb <= there:
        return None
    say = error if load.memory_gb > 2 * there else warning
    return say(
        "memory",
        f"Weights, gradients, optimizer and activations need about {load.memory_gb:.1f} GB, {load.basis}; "
        f"{there:.1f} GB are free.",
        "Lower train.tokens_per_forward (it never changes the result), or train adapters (model.lora).",
        numbers=(("needed_gb", load.memory_gb), ("free_gb", there)),
    )


def duration(load: Load) -> Finding | None:
    """Return the finding `duration` if training takes at least 24 hours, else None."""
    if load.hours is None or load.hours < 24:
        return None
    return warning(
        "duration",
        f"Training will take about {plural(round(load.hours / 24), 'day')} on this machine, {load.basis}.",
        f"Use a GPU, a smaller model or fewer rows (data.limit){_bfloat16(load)}.",
        numbers=(("hours", load.hours),),
    )


def _bfloat16(load: Load) -> str:
    """Return advice to compute in bfloat16 if that was measured to be faster on this processor, else ''."""
    import torch

    from boresight.models.kernels.libraries import measurement

    usable = load.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if not usable or resolve_dtype(load.recipe.model.dtype, load.device) != "float32":
        return ""
    gain = measurement().bfloat16_gain
    if gain is None or gain < WORTH_ROUNDING:
        return ""
    return f", or model.dtype=bfloat16, whose products are {gain:.1f} times as fast here and rounded"


def rate(dtype: str, device: torch.device) -> float:
    """Measure the number of floating-point operations per second of matrix products on `device`.

    The products are computed by the library that training would use there; the fastest of `TRIES` counts.
    `dtype` is a value of `model.dtype`.
    """
    import torch

    from boresight.models.kernels.matmul import product

    side = 4096 if device.type == "cuda" else 512
    a = torch.rand(side, side, device=device).to(getattr(torch, resolve_dtype(dtype, device)))
    best = 0.0
    for _ in range(TRIES):
        started = time.perf_counter()
        float(product(a, a)[0, 0])  # reading a value waits for the device
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best
