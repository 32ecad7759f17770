"""Two parts of `model.kernels: fast` by themselves, in turns with what `proven` does: the head, and decoding.

On a CPU the fast ones run an operation at a time, compiled and captured by nothing, so that a rehearsal
compares their numbers; their times mean nothing there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gpu_step.clock import peak_gb
from torch import Tensor

from boresight.models.kernels.fast import kernels_of_run
from boresight.models.packed.fused_head import fused_token_logprobs
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.policy import Policy
from boresight.models.sampler.sample import Sample, SamplingParams, sample
from boresight.models.sampler.static import rollout
from boresight.models.sampler.static.cuda_graphs import Capture, Step

HEAD, HEAD_TINY = (4096, 896, 151936), (40, 16, 700)
"""Scored positions, width and vocabulary: of Qwen2.5-0.5B."""
PROMPTS, K, LONGEST_PROMPT, TOKENS = 32, 8, 240, 128
"""A rollout of 256 samples."""
HEADS = {"proven": token_logprobs, "fast": fused_token_logprobs}


def timed(call: Callable[[], Any], device: str) -> tuple[float, float]:
    """Seconds of a call, with the device waited for at both ends, and its peak memory in GB."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, peak_gb(device)


def heads(device: str, tiny: bool, rounds: int) -> dict[str, Any]:
    """Forward and backward of the head in bfloat16, trained and frozen."""
    return {
        name: compared_heads(device, HEAD_TINY if tiny else HEAD, trained, rounds)
        for name, trained in (("trained", True), ("frozen", False))
    }


def compared_heads(device: str, shape: tuple[int, int, int], trained: bool, rounds: int) -> dict[str, Any]:
    """Milliseconds and peak of both heads; the largest difference of a token, and of gradients as a share."""
    positions, width, vocabulary = shape
    generator = torch.Generator(device).manual_seed(0)
    hidden, weight = (
        torch.randn(n, width, generator=generator, device=device).bfloat16() for n in (positions, vocabulary)
    )
    hidden.requires_grad_()
    weight.mul_(3 * width**-0.5).requires_grad_(trained)
    targets = torch.randint(vocabulary, (positions,), generator=generator, device=device)
    found: dict[str, list[Tensor]] = {}

    def passes(name: str) -> None:
        hidden.grad = weight.grad = None
        logps, _ = HEADS[name](hidden, targets, Head(weight))
        logps.mean().backward()
        found[name] = [logps.detach(), *(x.grad for x in (hidden, weight) if x.grad is not None)]

    measured = in_turns({name: lambda name=name: passes(name) for name in HEADS}, device, rounds)
    (logps, *gradients), (other, *others) = found["proven"], found["fast"]
    apart = sum(float((b - a).double().square().sum()) for a, b in zip(gradients, others, strict=True))
    return measured | {
        "largest_nats": float((other - logps).abs().max()),
        "gradient_share": (apart / sum(float(a.double().square().sum()) for a in gradients)) ** 0.5,
    }


def decoding(model: Policy, device: str, tiny: bool, rounds: int) -> dict[str, Any]:
    """Rollouts of `model` by both kernels: speed, captures, and how many samples are equal."""
    vocabulary, rng = model.config.vocab_size, np.random.default_rng(0)
    prompts, k, longest, tokens = (4, 3, 20, 24) if tiny else (PROMPTS, K, LONGEST_PROMPT, TOKENS)
    lengths = rng.integers(longest // 2, longest, prompts)
    asked = [rng.integers(10, vocabulary, n).astype(np.int32) for n in lengths]
    params = SamplingParams(max_new_tokens=tokens, seed=0, stop_token_ids=tuple(range(vocabulary // 256)))
    captures: list[float] = []
    drawn: dict[str, list[list[Sample]]] = {}

    def draw(kernels: str) -> None:
        captures.clear()
        with kernels_of_run(kernels), timed_captures(captures):
            drawn[kernels] = sample(model, asked, params, k)

    measured = in_turns({name: lambda name=name: draw(name) for name in HEADS}, device, rounds)
    draw("fast")
    useful = sum(len(s.ids) for group in drawn["proven"] for s in group)
    for numbers in measured.values():
        numbers["tokens_per_second"] = 1e3 * useful / numbers["milliseconds"]
    return measured | compared_samples(drawn) | {"captures": len(captures), "capture_seconds": sum(captures)}


@contextmanager
def timed_captures(seconds: list[float]) -> Iterator[None]:
    """Inside the block the seconds of every capture are appended to `seconds`."""
    before = rollout.capture_of

    def capture_of(device: torch.device) -> Capture:
        capture = before(device)

        def timing(step: Step) -> Step:
            began = time.perf_counter()
            replay = capture(step)
            seconds.append(time.perf_counter() - began)
            return replay

        return timing

    rollout.capture_of = capture_of  # type: ignore[assignment]
    try:
        yield
    finally:
        rollout.capture_of = before


def compared_samples(drawn: dict[str, list[list[Sample]]]) -> dict[str, Any]:
    """Samples that are equal, and the largest difference of their log-probabilities, nats per token."""
    pairs = [
        (a, b)
        for one, other in zip(drawn["proven"], drawn["fast"], strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    equal = [(a, b) for a, b in pairs if np.array_equal(a.ids, b.ids)]
    gaps = [float(np.abs(a.logps - b.logps).max()) for a, b in equal]
    return {"samples": len(pairs), "equal": len(equal), "largest_nats": max(gaps, default=None)}


def in_turns(calls: dict[str, Callable[[], None]], device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds and peak of each, after a first call that is timed apart: it may compile."""
    first = {name: timed(call, device)[0] for name, call in calls.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(timed(call, device))
    return {
        name: {
            "first_milliseconds": 1e3 * first[name],
            "milliseconds": 1e3 * statistics.median(seconds for seconds, _ in times),
            "peak_gb": max(peak for _, peak in times),
        }
        for name, times in found.items()
    }


def part_sentences(numbers: dict[str, Any]) -> Sequence[str]:
    """One line per head and per precision of decoding."""
    return [
        *(head_sentence(name, found) for name, found in numbers["head"].items()),
        *(decoding_sentence(name, found) for name, found in numbers["decoding"].items()),
    ]


def head_sentence(name: str, found: dict[str, Any]) -> str:
    sides = "; ".join(
        f"{side} {found[side]['milliseconds']:,.1f} ms, peak {found[side]['peak_gb']:.2f} GB"
        for side in HEADS
    )
    gaps = (
        f"largest {found['largest_nats']:.2g} nats of a token, gradients {found['gradient_share']:.2%} apart"
    )
    return f"{name} head: {sides}; {gaps}"


def decoding_sentence(name: str, found: dict[str, Any]) -> str:
    gap = "" if found["largest_nats"] is None else f" (within {found['largest_nats']:.2g} nats)"
    return (
        f"decoding in {name}: proven {found['proven']['tokens_per_second']:,.0f} tokens/s, "
        f"fast {found['fast']['tokens_per_second']:,.0f} tokens/s with {found['captures']} captures in "
        f"{found['capture_seconds']:.2f} s; {found['equal']} of {found['samples']} samples equal{gap}"
    )
