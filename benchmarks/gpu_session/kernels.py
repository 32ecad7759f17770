"""`model.kernels` proven and fast, in turns: time, memory and what they differ by.

    python -m gpu_session.kernels MODEL [--json FILE]

One DPO micro-batch: forward, loss and backward of the loop of `boresight train`, without an update, so that
both kinds of kernels have the same weights and rows; each has a reference of its own, as a run has. The first
forwards, in which kernels are compiled, are timed by themselves. On a device without fast kernels their
refusal is printed, and the proven ones are measured alone. Then the head, and rollouts in float32 and
bfloat16 (`kernel_parts`).
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any, cast

import torch
from gpu_step.boresight_side import load_policy, recipe_of, reference_of, row_of
from gpu_step.cases import Case
from preference.boresight_side import InOrder
from torch import Tensor

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy
from boresight.training.forward import kind_of
from boresight.training.loop import Task, accumulate
from gpu_session import options
from gpu_session.kernel_parts import decoding, heads, part_sentences, timed
from gpu_session.step_profile import job_of, preference_case

KERNELS = ("proven", "fast")
WARM, ROUNDS = 2, 10


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    case = preference_case(args.tiny)
    warm, rounds = (1, 2) if args.tiny else (WARM, ROUNDS)
    policy = load_policy(job_of(case, args.model, args.device, steps=1))
    tasks, numbers = prepared(case, args.model, args.device, policy)
    first = {name: first_outcome(task, args.device) for name, task in tasks.items()}
    found = {name: result for name, (result, _) in first.items()}
    numbers |= measured(tasks, args.device, case.tokens, warm, rounds)
    for name, (logps, _) in found.items():
        numbers[name]["first_seconds"] = first[name][1]
        numbers[name]["largest_log_ratio_at_step_0"] = float(
            (logps - reference_logps(tasks[name])).abs().max()
        )
    if len(found) == len(KERNELS):
        numbers["differences"] = differences(*found.values(), lengths(tasks["proven"]))
    options.write(args.json, numbers)
    print(sentences(numbers))
    del tasks, found, first
    numbers |= parts(policy, args.device, args.tiny, rounds)
    options.write(args.json, numbers)
    print("\n".join(part_sentences(numbers)))
    sys.exit(args.device == "cuda" and any("refused" in numbers[name] for name in KERNELS))


def parts(policy: Policy, device: str, tiny: bool, rounds: int) -> dict[str, Any]:
    """Numbers of the head and of decoding by themselves; `policy` is in bfloat16 afterwards."""
    for parameter in policy.parameters():
        parameter.grad = None
    head = heads(device, tiny, rounds)
    exact = decoding(policy, device, tiny, 1)
    cast("torch.nn.Module", policy).to(torch.bfloat16)
    return {"head": head, "decoding": {"float32": exact, "bfloat16": decoding(policy, device, tiny, 2)}}


def prepared(case: Case, model: Path, device: str, policy: Policy) -> tuple[dict[str, Task], dict[str, Any]]:
    """The task of each kind of kernels that the device has, and the refusals of the others by name."""
    tasks, refused = {}, {}
    for name in KERNELS:
        job = job_of(case, model, device, steps=1, kernels=name)
        recipe, rows = Recipe.parse(recipe_of(job)), [row_of(i, row) for i, row in enumerate(job["rows"])]
        try:
            reference = reference_of(recipe, kind_of(recipe), policy, rows)
        except UserError as error:
            refused[name] = {"refused": str(error)}
            continue
        batches = InOrder(rows, case.batch, 1)
        tasks[name] = Task(recipe, policy, None, reference, batches, [], Path())
    return tasks, refused


def outcome(task: Task) -> tuple[Tensor, list[Tensor]]:
    """Summed log-probabilities of the rows `(rows, 2)`, nats, and all gradients of the loss."""
    with task.arithmetic(), torch.no_grad():
        logps = completion_logprobs(task.policy, task.batches.rows).sums.double().cpu()
    passes(task)
    return logps, [p.grad.clone() for p in task.policy.parameters() if p.grad is not None]


def first_outcome(task: Task, device: str) -> tuple[tuple[Tensor, list[Tensor]], float]:
    """The outcome, and the seconds that it took."""
    found: list[tuple[Tensor, list[Tensor]]] = []
    took, _ = timed(lambda: found.append(outcome(task)), device)
    return found[0], took


def passes(task: Task) -> None:
    """Forward, loss and backward of the only batch."""
    for parameter in task.policy.parameters():
        parameter.grad = None
    accumulate(task, task.batches.batch(0).rows, step=1)


def measured(
    tasks: dict[str, Task], device: str, tokens: int, warm: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Milliseconds, tokens per second and peak memory of each, from rounds in which all take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    peaks: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(warm + rounds):
        for name, task in tasks.items():
            took, peak = timed(lambda task=task: passes(task), device)
            if turn >= warm:
                seconds[name].append(took)
                peaks[name].append(peak)
    return {
        name: {
            "milliseconds": 1e3 * statistics.median(seconds[name]),
            "fastest_milliseconds": 1e3 * min(seconds[name]),
            "slowest_milliseconds": 1e3 * max(seconds[name]),
            "tokens_per_second": tokens / statistics.median(seconds[name]),
            "peak_gb": max(peaks[name]),
        }
        for name in tasks
    }


def reference_logps(task: Task) -> Tensor:
    return task.reference(task.batches.rows).double().cpu()


def lengths(task: Task) -> Tensor:
    """Scored tokens `(rows, 2)`."""
    return torch.tensor([[c.scored for c in row.completions] for row in task.batches.rows])


def differences(
    proven: tuple[Tensor, list[Tensor]], fast: tuple[Tensor, list[Tensor]], tokens: Tensor
) -> dict[str, float]:
    """Of log-probabilities in nats, `token_sd` if tokens round independently; of gradients as a share."""
    (logps, grads), (other, other_grads) = proven, fast
    gap = other - logps
    apart = sum(float((b - a).double().square().sum()) for a, b in zip(grads, other_grads, strict=True))
    return {
        "largest_nats": float(gap.abs().max()),
        "token_sd": float((gap**2 / tokens).mean().sqrt()),
        "gradient_share": (apart / sum(float(a.double().square().sum()) for a in grads)) ** 0.5,
    }


def sentences(numbers: dict[str, Any]) -> str:
    lines = []
    for name in KERNELS:
        if "refused" in numbers[name]:
            lines.append(f"{name}: skipped. {numbers[name]['refused']}")
            continue
        lines.append(
            "{name}: {milliseconds:,.1f} ms ({fastest_milliseconds:,.1f} to {slowest_milliseconds:,.1f}), "
            "{tokens_per_second:,.0f} tokens/s, peak {peak_gb:.2f} GB, first forwards and compilation "
            "{first_seconds:.1f} s, largest log-ratio at step 0 "
            "{largest_log_ratio_at_step_0:.2g} nats".format(name=name, **numbers[name])
        )
    if "differences" in numbers:
        lines.append(
            "fast against proven: largest {largest_nats:.2g} nats of a completion, "
            "sd of a token {token_sd:.2g}, gradients apart by {gradient_share:.2%} of their norm".format(
                **numbers["differences"]
            )
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
