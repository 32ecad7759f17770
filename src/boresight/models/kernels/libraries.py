"""Choose the library that multiplies float32 matrices on a CPU, by a measurement that is stored per machine.

torch has two: the BLAS that it was built with (MKL on x86) and oneDNN. Which is faster depends on the
processor and on the product: on Zen 5 oneDNN does 230 GFLOP/s where MKL does 110, on Zen 3 MKL does 92 and
oneDNN 75. Three kinds of product are timed, each as the code computes it:

    products            x W^T, in forwards and for the gradient of x
    weight_gradients    W.grad += g^T x
    decoding            x W^T of few rows; oneDNN has W laid out for it

The libraries sum in different orders and so round differently. A run therefore records its libraries in
`choices.json` and resumes with them.
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
"""Minimum speedup for which a library other than the usual one is chosen: on a busy machine, timings vary by
a tenth."""
ROUNDS = 25
"""Number of times that each product is timed, alternating between the libraries; the fastest time counts."""
TOKENS, WIDTH, INNER, DECODED = 512, 576, 1536, 64
"""Sizes of the timed products: rows of a forward, both dimensions of a weight, and rows of a decoding
step."""
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Instruction sets that multiply in bfloat16. Without them oneDNN converts, which takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Libraries:
    """The chosen library for each kind of product."""

    products: Library = "blas"
    weight_gradients: Library = "blas"
    decoding: Library = "onednn"


@dataclass(frozen=True, slots=True)
class Rates:
    """Throughput of one kind of product with each library, in GFLOP/s."""

    blas: float
    onednn: float

    def faster(self, usual: Library) -> Library:
        """Return the usual library, unless the other one is faster by more than `WORTH_A_CHANGE`."""
        if usual == "blas":
            return "onednn" if self.onednn > WORTH_A_CHANGE * self.blas else "blas"
        return "blas" if self.blas > WORTH_A_CHANGE * self.onednn else "onednn"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measured throughput of this machine, for each kind of product."""

    products: Rates
    weight_gradients: Rates
    decoding: Rates
    bfloat16: float | None = None
    """GFLOP/s of `products` in bfloat16; None where the processor has no instruction for it."""

    @property
    def libraries(self) -> Libraries:
        """The faster library for each kind of product."""
        usual = usual_libraries()
        return Libraries(
            self.products.faster(usual.products),
            self.weight_gradients.faster(usual.weight_gradients),
            self.decoding.faster(usual.decoding),
        )

    @property
    def bfloat16_gain(self) -> float | None:
        """Throughput in bfloat16 divided by that of the faster library in float32; None if it was not
        measured."""
        if self.bfloat16 is None:
            return None
        return self.bfloat16 / max(self.products.blas, self.products.onednn)


def usual_libraries() -> Libraries:
    """Return the libraries that are expected to be faster, from the processors measured so far.

    oneDNN multiplies 8 to 12 % faster on AMD processors with AVX-512 (Zen 4), MKL on those with AVX2 alone
    (Zen 3: 90 to 94 GFLOP/s against 64 to 87).
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    amd = processor_facts().get("vendor_id") == "AuthenticAMD"
    return Libraries(products="onednn" if wide and amd else "blas")


_in_force: Libraries | None = None


def libraries() -> Libraries:
    """Return the libraries to use: those of the last `use_libraries`, otherwise the faster ones by
    measurement."""
    return _in_force or measured_libraries()


def use_libraries(chosen: Libraries | None) -> None:
    """Set the libraries to use; None resets them to the measured ones, as does a torch without oneDNN."""
    global _in_force
    _in_force = chosen if torch.backends.mkldnn.is_available() else None


@functools.cache
def measured_libraries() -> Libraries:
    """Return the faster library for each kind of product on this machine; always BLAS if torch has no
    oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return Libraries(decoding="blas")
    return measurement().libraries


@functools.cache
def measurement() -> Measurement:
    """Return the stored measurement of this machine, or measure, which takes about a second, and store the
    result.

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
    """Time every kind of product with both libraries, in one thread.

    With several threads, the computing time of a thread depends on when the others run, and thus on the load
    of the machine.
    """
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
    """Return the throughput of both functions, which are timed alternately; `operations` is the number of
    each."""
    rounds = [[_seconds(product) for product in both] for _ in range(1 + ROUNDS)]
    return Rates(*(_rate(operations, min(times[1:])) for times in zip(*rounds, strict=True)))


def _fastest(product: Callable[[], Tensor]) -> float:
    """Return the shortest time in seconds, without the first call, which compiles a kernel or starts
    threads."""
    return min([_seconds(product) for _ in range(1 + ROUNDS)][1:])


def _rate(operations: int, seconds: float) -> float:
    return operations / max(seconds, 1e-9) / 1e9


def _seconds(product: Callable[[], Tensor]) -> float:
    """Return the processor time of this thread for one call; the time of other processes does not count."""
    started = time.thread_time()
    product()
    return time.thread_time() - started


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `x @ weight.T + bias`, computed by oneDNN without padding.

    `x` is `(…, in)`; `weight` is `(out, in)` and may be in oneDNN's own layout.
    """
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def _read(path: Path) -> Measurement | None:
    """Return the measurement in a file; None if there is none or it cannot be read."""
    try:
        raw = read_state(path)
        products, gradients, decoding = (
            Rates(**raw.pop(name)) for name in ("products", "weight_gradients", "decoding")
        )
        return Measurement(products, gradients, decoding, **raw)
    except (UserError, KeyError, TypeError):
        return None


def _machine() -> str:
    """Return a digest of everything that the throughput depends on: processor, instruction sets, torch, and
    method."""
    facts = [torch.__version__, torch.backends.cpu.get_cpu_capability(), "one thread"]
    facts += [processor_facts().get(name, "") for name in ("vendor_id", "cpu family", "model", "model name")]
    return hashlib.sha256("\n".join([*facts, *sorted(_instructions())]).encode()).hexdigest()[:16]


def _instructions() -> set[str]:
    """Return the instruction sets of the processor, under Linux's names; empty on other systems."""
    return set(processor_facts().get("flags", "").split())


@functools.cache
def processor_facts() -> dict[str, str]:
    """Return Linux's description of the first processor, such as its `model name`; empty on other systems."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}
