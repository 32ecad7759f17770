"""Which library multiplies float32 matrices on a CPU, by a measurement made once per machine and stored.

torch has two: the BLAS that it was built with (MKL on x86) and oneDNN. Which is faster depends on the
processor and on the product: on Zen 5 oneDNN does 230 GFLOP/s where MKL does 110, on Zen 3 MKL does 92 and
oneDNN 75. Three kinds of product are timed, each as the code computes it:

    products            x W^T, in forwards and for the gradient of x
    weight_gradients    W.grad += g^T x
    decoding            x W^T of few rows; oneDNN has W laid out for it

The two sum in different orders, so a run records its libraries in `choices.json`, and resumes with them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from boresight.core.errors import UserError
from boresight.core.files import cache_folder, create_state, read_state

Library = Literal["blas", "onednn"]

WORTH_A_CHANGE = 1.2
"""How much faster than the usual library the other must be: on a busy machine timings vary by a tenth."""
ROUNDS = 25
"""Times that each product is computed, the two libraries in turn; the fastest counts."""
TOKENS, WIDTH, INNER, DECODED = 512, 576, 1536, 64
"""Rows of a forward, columns on both sides of a weight, and rows of a step of decoding."""
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Instructions that multiply in bfloat16; without them oneDNN converts, and takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Libraries:
    """The library in use for each kind of product."""

    products: Library = "blas"
    weight_gradients: Library = "blas"
    decoding: Library = "onednn"


@dataclass(frozen=True, slots=True)
class Rates:
    """GFLOP/s of a kind of product by each library."""

    blas: float
    onednn: float

    def faster(self, usual: Library) -> Library:
        """The usual library, unless the other is faster by more than `WORTH_A_CHANGE`."""
        if usual == "blas":
            return "onednn" if self.onednn > WORTH_A_CHANGE * self.blas else "blas"
        return "blas" if self.blas > WORTH_A_CHANGE * self.onednn else "onednn"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measured throughput of this machine."""

    products: Rates
    weight_gradients: Rates
    decoding: Rates
    bfloat16: float | None = None
    """GFLOP/s of `products` in bfloat16; None where the processor has no instruction for it."""

    @property
    def libraries(self) -> Libraries:
        """The faster library of each kind."""
        usual = usual_libraries()
        return Libraries(
            self.products.faster(usual.products),
            self.weight_gradients.faster(usual.weight_gradients),
            self.decoding.faster(usual.decoding),
        )

    @property
    def bfloat16_gain(self) -> float | None:
        """Rate in bfloat16 divided by that of the faster library in float32; None where it was not
        measured."""
        if self.bfloat16 is None:
            return None
        return self.bfloat16 / max(self.products.blas, self.products.onednn)


def usual_libraries() -> Libraries:
    """The libraries that were faster on the processors measured so far.

    oneDNN multiplies 8 to 12 % faster on AMD processors with AVX-512 (Zen 4), MKL on those with AVX2 alone
    (Zen 3: 90 to 94 GFLOP/s against 64 to 87).
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    amd = processor_facts().get("vendor_id") == "AuthenticAMD"
    return Libraries(products="onednn" if wide and amd else "blas")


_in_force: Libraries | None = None


def libraries() -> Libraries:
    """The libraries in use: those of the last `use_libraries`, else the measured ones."""
    return _in_force or measured_libraries()


def use_libraries(chosen: Libraries | None) -> None:
    """Set the libraries to use; None, or a torch without oneDNN, resets them to the measured ones."""
    global _in_force
    _in_force = chosen if torch.backends.mkldnn.is_available() else None


@functools.cache
def measured_libraries() -> Libraries:
    """The faster library of each kind of product on this machine; BLAS alone in a torch without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return Libraries(decoding="blas")
    return measurement().libraries


@functools.cache
def measurement() -> Measurement:
    """The stored measurement of this machine, or a new one, which takes about a second and is stored.

    If several processes measure at once, all use the first result. Needs a torch with oneDNN.
    """
    path = cache_folder() / "products" / f"{_machine()}.json"
    if (stored := _read(path)) is not None:
        return stored
    measured = measure()
    with contextlib.suppress(OSError):  # where the cache cannot be written, every process measures
        path.parent.mkdir(parents=True, exist_ok=True)
        create_state(path, asdict(measured))
    return _read(path) or measured


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def measure() -> Measurement:
    """Time every kind of product by both libraries, in one thread: of several, the time that one computes
    depends on when the others run, and so on what else the machine does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measured()
    finally:
        torch.set_num_threads(threads)


def _measured() -> Measurement:
    generator = torch.Generator().manual_seed(0)
    x, few = (torch.randn(rows, WIDTH, generator=generator) for rows in (TOKENS, DECODED))
    grad, weight = (torch.randn(n, m, generator=generator) for n, m in ((TOKENS, INNER), (INNER, WIDTH)))
    packed, total = torch.ops.mkldnn._reorder_linear_weight(weight), torch.zeros_like(weight)
    narrow_x, narrow_weight = x.bfloat16(), weight.bfloat16()
    operations = 2 * TOKENS * WIDTH * INNER
    return Measurement(
        products=_compared(operations, lambda: F.linear(x, weight), lambda: onednn_linear(x, weight)),
        weight_gradients=_compared(
            operations, lambda: total.addmm_(grad.T, x), lambda: total.add_(onednn_linear(grad.T, x.T))
        ),
        decoding=_compared(
            2 * DECODED * WIDTH * INNER, lambda: F.linear(few, weight), lambda: onednn_linear(few, packed)
        ),
        bfloat16=_rate(operations, _fastest(lambda: F.linear(narrow_x, narrow_weight)))
        if BFLOAT16 & _instructions()
        else None,
    )


def _compared(operations: int, *both: Callable[[], Tensor]) -> Rates:
    """Rates of both, measured in turn."""
    rounds = [[_seconds(product) for product in both] for _ in range(1 + ROUNDS)]
    return Rates(*(_rate(operations, min(times[1:])) for times in zip(*rounds, strict=True)))


def _fastest(product: Callable[[], Tensor]) -> float:
    """Seconds, without the first time, which compiles a kernel or starts threads."""
    return min([_seconds(product) for _ in range(1 + ROUNDS)][1:])


def _rate(operations: int, seconds: float) -> float:
    return operations / max(seconds, 1e-9) / 1e9


def _seconds(product: Callable[[], Tensor]) -> float:
    """Processor time of this thread; other processes do not count."""
    started = time.thread_time()
    product()
    return time.thread_time() - started


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` by oneDNN, without padding, for `x` `(…, in)` and `weight` `(out, in)`, which may
    be in oneDNN's own layout."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _read(path: Path) -> Measurement | None:
    """The measurement in a file; None where there is none that can be read."""
    try:
        raw = read_state(path)
        products, gradients, decoding = (
            Rates(**raw.pop(name)) for name in ("products", "weight_gradients", "decoding")
        )
        return Measurement(products, gradients, decoding, **raw)
    except (UserError, KeyError, TypeError):
        return None


def _machine() -> str:
    """Digest of everything that the rates depend on: processor and its instructions, torch, how they are
    measured."""
    facts = [torch.__version__, torch.backends.cpu.get_cpu_capability(), "one thread"]
    facts += [processor_facts().get(name, "") for name in ("vendor_id", "cpu family", "model", "model name")]
    return hashlib.sha256("\n".join([*facts, *sorted(_instructions())]).encode()).hexdigest()[:16]


def _instructions() -> set[str]:
    """Instruction sets of the processor, as Linux names them; none elsewhere."""
    return set(processor_facts().get("flags", "").split())


@functools.cache
def processor_facts() -> dict[str, str]:
    """Linux's description of the first processor, such as its `model name`; empty elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}
