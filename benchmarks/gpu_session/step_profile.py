"""One DPO step under torch's profiler: its time, the kernels launched, and those that take longest.

    python -m gpu_session.step_profile MODEL [--json FILE]

The step is that of `gpu.py`, through the loop of `boresight train`, after three that compile. The profiler
slows the host down, so that tokens per second come from `gpu.py`; what counts here are the shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_step.boresight_side import load_policy, train
from gpu_step.cases import CASES, Case, rows_of
from gpu_step.clock import peak_gb
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig

from gpu_session import options

WARM, ROWS = 3, 22


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    case = preference_case(args.tiny)
    events = profiled(job_of(case, args.model, args.device))
    numbers = shares(events, case, args.device) | {"peak_gb": peak_gb(args.device)}
    options.write(args.json, numbers)
    where = "device" if args.device == "cuda" else "cpu"
    print(events.table(sort_by=f"self_{where}_time_total", row_limit=ROWS, max_name_column_width=60))
    for name, value in numbers.items():
        if name != "kernels":
            print(f"{name}: {value:,.4g}")


def preference_case(tiny: bool) -> Case:
    """The benchmark's case of preference pairs, or a tiny one; sets the number of threads for it."""
    torch.set_num_threads(1 if tiny else 2)
    case = next(case for case in CASES if case.method == "dpo")
    return case.smaller() if tiny else case


def job_of(case: Case, model: Path, device: str, steps: int = WARM + 1, **changes: Any) -> dict[str, Any]:
    """A job of `gpu.py` in bfloat16."""
    return {
        "method": case.method,
        "model": str(model),
        "rows": rows_of(case, steps, AutoConfig.from_pretrained(model).vocab_size),
        "lora": None,
        "batch": case.batch,
        "steps": steps,
        "lr": 1e-6,
        "dtype": "bfloat16",
        "device": device,
        "tokens_per_forward": 16384,
        **changes,
    }


def profiled(job: dict[str, Any]) -> Any:
    """Averages of the events of the last step."""
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (job["device"] == "cuda")
    recorder = profile(activities=kinds)

    def step_done(step: int) -> None:
        if step == job["steps"] - 1:
            recorder.start()
        elif step == job["steps"]:
            recorder.stop()

    train(job, load_policy(job), step_done)
    return recorder.key_averages()


def shares(events: Sequence[Any], case: Case, device: str) -> dict[str, Any]:
    """Milliseconds on device and host, kernels that ran, and those that took longest.

    The time of a kernel is found twice among the events: as its own, and as that of the operation that
    launched it.
    """
    where, ran = "self_cpu_time_total", list(events)
    if device == "cuda":
        where = "self_device_time_total"
        ran = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    longest = sorted(ran, key=lambda event: -getattr(event, where))[:ROWS]
    return {
        "tokens": case.tokens,
        "milliseconds": sum(getattr(event, where) for event in ran) / 1e3,
        "host_milliseconds": sum(event.self_cpu_time_total for event in events) / 1e3,
        "launches": sum(event.count for event in ran),
        "kernels": [[event.key, event.count, getattr(event, where) / 1e3] for event in longest],
    }


if __name__ == "__main__":
    main()
