"""DPO steps by the demo's recipe in float32 and in bfloat16 on a CPU: tokens per second and peak memory.

    python benchmarks/cpu_precision.py [--repeats 3] [--steps 8] [--json FILE]

Each run is a process of its own with an empty cache, the two precisions in turns; the first step is left out.
LoRA as in the recipe, or all weights with `--all-weights`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from demo_run import demo_command, timed
from preference_step import facts
from rich.console import Console
from rich.table import Table

PRECISIONS = ("float32", "bfloat16")
Step = dict[str, float]


def main() -> None:
    args = arguments()
    runs: dict[str, list[list[Step]]] = {dtype: [] for dtype in PRECISIONS}
    for _ in range(args.repeats):
        for dtype in PRECISIONS:
            runs[dtype].append(steps_of_a_run(dtype, args))
    Console(soft_wrap=True).print(table_of(runs))
    if args.json:
        args.json.write_text(json.dumps(facts(args) | {"runs": runs}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--all-weights", action="store_true", help="train all weights in place of adapters")
    parser.add_argument("--tokens-per-forward", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def steps_of_a_run(dtype: str, args: argparse.Namespace) -> list[Step]:
    """Numbers of the steps after the first one."""
    changes = {"model.dtype": dtype, "train.steps": args.steps, "train.guard": "null"}
    if args.all_weights:
        changes |= {"model.lora": "null", "optim.lr": 1e-6}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        timed(demo_command(run, changes), Path(folder) / "cache", OMP_NUM_THREADS=str(args.threads))
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"][1:]
    return [{name: line[name] for name in ("tokens_per_second", "peak_memory_gb", "loss")} for line in steps]


def table_of(runs: dict[str, list[list[Step]]]) -> Table:
    """A line per precision: medians, with the range over runs; the ratio is that of runs side by side."""
    speeds = {dtype: [median(run, "tokens_per_second") for run in each] for dtype, each in runs.items()}
    ratios = [narrow / wide for wide, narrow in zip(*(speeds[dtype] for dtype in PRECISIONS), strict=True)]
    table = Table(title="median of the steps of each run, median and range over runs")
    for column in ("precision", "tokens/s", "speed", "peak memory, GB", "loss of the last step"):
        table.add_column(column)
    speed = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"
    for dtype, each in runs.items():
        table.add_row(
            dtype,
            f"{statistics.median(speeds[dtype]):.0f} ({min(speeds[dtype]):.0f}-{max(speeds[dtype]):.0f})",
            "" if dtype == PRECISIONS[0] else speed,
            f"{max(step['peak_memory_gb'] for run in each for step in run):.1f}",
            f"{each[-1][-1]['loss']:.4f}",
        )
    return table


def median(run: list[Step], name: str) -> float:
    return statistics.median(step[name] for step in run)


if __name__ == "__main__":
    main()
