"""A whole RLOO step of boresight against one of TRL 1.16.0: sampling, judging and the update.

    python benchmarks/rloo_step.py [--repeats N] [--json FILE]

SmolLM2-135M, full fine-tuning in fp32, 8 prompts with 8 samples each and up to 96 new tokens, KL to a
reference model inside the reward, one update per rollout, 64 completions in one optimiser step. Each
repeat is a fresh process per side, in turns. The first step of every process is left out. Both sides
sample, so their completions differ; their mean lengths are printed, and the ratio is also given per
sampled token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from preference_step import TRL_PYTHON, Result, facts, require_trl, run, seconds
from rich.console import Console
from rich.table import Table
from rollout import PROMPTS

SIDES = Path(__file__).parent / "rloo"


def main() -> None:
    args = arguments()
    console = Console(soft_wrap=True)
    require_trl()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(args.repeats):
            file = Path(folder) / "job.json"
            file.write_text(json.dumps(job_of(args, seed=repeat)))
            ours.append(run(Path(sys.executable), SIDES / "boresight_side.py", file))
            theirs.append(run(TRL_PYTHON, SIDES / "trl_side.py", file))
            console.print(f"boresight {seconds(ours[-1:]):.1f} s a step, TRL {seconds(theirs[-1:]):.1f} s")
    result = compare(ours, theirs)
    print_table(result, console)
    if args.json:
        args.json.write_text(json.dumps(result | facts(args), indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps a process, the first left out")
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens-per-forward", type=int, default=2048)
    return parser.parse_args()


def job_of(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    from boresight.models.embedded.starter import starter_path

    return {
        "model": str(starter_path()),
        "prompts": [[{"role": "user", "content": text}] for _ in range(args.steps) for text in PROMPTS],
        "k": args.k,
        "max_new_tokens": args.max_new_tokens,
        "steps": args.steps,
        "beta": 0.03,
        "lr": 1e-6,
        "threads": args.threads,
        "tokens_per_forward": args.tokens_per_forward,
        "seed": seed,
    }


def tokens(results: list[Result]) -> float:
    """Mean tokens of a completion, over the same steps."""
    return statistics.mean(t for r in results for t in r["tokens"][1:])


def compare(ours: list[Result], theirs: list[Result]) -> Result:
    ratios = sorted(seconds([b]) / seconds([a]) for a, b in zip(ours, theirs, strict=True))
    ratio = statistics.median(ratios)
    return {
        "speed_ratio": ratio,
        "speed_ratio_range": [ratios[0], ratios[-1]],
        "speed_ratio_per_token": ratio * tokens(ours) / tokens(theirs),
        "seconds_per_step": seconds(ours),
        "trl_seconds_per_step": seconds(theirs),
        "tokens_per_completion": tokens(ours),
        "trl_tokens_per_completion": tokens(theirs),
        "peak_gb": statistics.median(r["peak_gb"] for r in ours),
        "trl_peak_gb": statistics.median(r["peak_gb"] for r in theirs),
        "seconds": [r["seconds"] for r in ours],
        "trl_seconds": [r["seconds"] for r in theirs],
    }


def print_table(result: Result, console: Console) -> None:
    table = Table("", "seconds a step", "tokens a completion", "peak GB")
    for name, prefix in (("boresight", ""), ("TRL 1.16.0", "trl_")):
        columns = ("seconds_per_step", "tokens_per_completion", "peak_gb")
        table.add_row(name, *(f"{result[prefix + column]:.1f}" for column in columns))
    console.print(table)
    low, high = result["speed_ratio_range"]
    console.print(
        f"{result['speed_ratio']:.2f}x ({low:.2f}-{high:.2f}); "
        f"{result['speed_ratio_per_token']:.2f}x per sampled token"
    )


if __name__ == "__main__":
    main()
