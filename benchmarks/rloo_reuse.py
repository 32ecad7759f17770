"""Steps of RLOO or GRPO with and without reusing the outputs of linear layers that sampling computed.

    python benchmarks/rloo_reuse.py [--recipe NAME] [--repeats N] [--steps N] [SETTING=VALUE …] [--json FILE]

Each repeat is a fresh process per side, in turns, with one seed, so that both draw the same completions until
rounding makes them differ; the first step of every process, which takes up memory, is left out. The losses of
that first step, where both sides have the same weights, must agree. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from preference_step import Result, facts, run, seconds
from rich.console import Console

SIDE = Path(__file__).parent / "rloo" / "reuse_side.py"


def main() -> None:
    args = arguments()
    console = Console(soft_wrap=True)
    sides: dict[bool, list[Result]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(args.repeats):
            for reuse in (True, False) if repeat % 2 == 0 else (False, True):
                file = Path(folder) / "job.json"
                file.write_text(json.dumps(job_of(args, repeat, reuse)))
                sides[reuse].append(run(Path(sys.executable), SIDE, file))
            pair = [seconds([sides[reuse][-1]]) for reuse in (True, False)]
            console.print(f"reused {pair[0]:.2f} s per step, computed {pair[1]:.2f} s")
    result = compare(sides[True], sides[False])
    low, high = result["speed_ratio_range"]
    console.print(
        f"{result['speed_ratio']:.3f}x ({low:.3f}-{high:.3f}); {result['tokens']:.1f} tokens per completion, "
        f"{result['zero_variance']:.0%} of the groups without an advantage; peak {result['peak_gb']:.1f} GB, "
        f"{result['peak_gb_computed']:.1f} GB without; largest difference of a first loss "
        f"{result['first_loss_difference']:.1e}"
    )
    if args.json:
        args.json.write_text(json.dumps(result | facts(args), indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help="settings of the recipe, such as model.lora=null")
    parser.add_argument("--recipe", default="constraints/rloo")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps per process, the first left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.set_defaults(tokens_per_forward="of the recipe")
    return parser.parse_args()


def job_of(args: argparse.Namespace, seed: int, reuse: bool) -> Result:
    settings = [
        f"train.steps={args.steps}",
        f"train.seed={seed}",
        f"train.eval_every={args.steps}",
        "evaluate.samples=0",
        "evaluate.rewarded=0",
        "evaluate.kl_rows=0",
        "check.probes=0",
    ]
    settings += args.settings
    return {"recipe": args.recipe, "settings": settings, "threads": args.threads, "reuse": reuse}


def compare(reused: list[Result], computed: list[Result]) -> Result:
    """Ratios of seconds per step, computed over reused.

    Raises:
        SystemExit: a side did not do what it is for, as where memory is short.
    """
    if not all(r["reuse"] for r in reused) or any(r["reuse"] for r in computed):
        raise SystemExit("outputs were not reused where they should be; free more memory or choose a recipe")
    pairs = list(zip(reused, computed, strict=True))
    ratios = sorted(seconds([b]) / seconds([a]) for a, b in pairs)
    return {
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_range": [ratios[0], ratios[-1]],
        "seconds_per_step": seconds(reused),
        "seconds_per_step_computed": seconds(computed),
        "tokens": statistics.mean(t for r in reused for t in r["tokens"][1:]),
        "zero_variance": statistics.mean(z for r in reused for z in r["zero_variance"][1:]),
        "peak_gb": statistics.median(r["peak_gb"] for r in reused),
        "peak_gb_computed": statistics.median(r["peak_gb"] for r in computed),
        "first_loss_difference": max(abs(a["loss"][0] - b["loss"][0]) for a, b in pairs),
        "seconds": [r["seconds"] for r in reused],
        "seconds_computed": [r["seconds"] for r in computed],
    }


if __name__ == "__main__":
    main()
