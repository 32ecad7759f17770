"""The working tree against an earlier commit: seconds per step, sampled tokens per second, peak memory.

    python benchmarks/against_commit.py COMMIT [--only NAME] [--repeats N] [--json FILE]

Each side runs the benchmark programs of its own commit on the same job, a fresh process per repeat, in turns;
the first step of every process is left out. Both sides use the installed libraries, so only the code of the
repository differs. Before a case the script waits until the load average is below `--load`, and before
each process until other programs use less than 5 % of the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference.cases import BALANCED, LORA, Case, rows_of
from preference_step import ROOT, Result, facts, run
from rich.console import Console
from rich.table import Table
from rollout import PROMPTS

SAMPLING = Path(__file__).parent / "rloo" / "sampling_side.py"
STEP, RATE = "seconds per step", "tokens per second"


@dataclass(frozen=True)
class Compared:
    """A case: the program below `benchmarks/` of each commit (or of this one), its job, what is compared."""

    name: str
    program: Path
    job: dict[str, Any]
    unit: str = STEP


def main() -> None:
    args, console = arguments(), Console(soft_wrap=True)
    measured = []
    with tempfile.TemporaryDirectory() as folder, checkout(args.commit, Path(folder) / "then") as then:
        for case in cases(args):
            if args.only in case.name:
                wait_for_load(args.load, console)
                measured.append(measure(case, then, Path(folder), args, console))
    if not measured:
        sys.exit(f"No case has {args.only!r} in its name: {', '.join(case.name for case in cases(args))}.")
    about = facts(args)
    print_table(measured, about["machine"], args.commit, console)
    if args.json:
        args.json.write_text(json.dumps(about | {"then": args.commit, "cases": measured}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the earlier commit, by anything that git understands")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps per process, the first left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens-per-forward", type=int, default=512, help="of the DPO steps; RLOO has 2048")
    parser.add_argument("--load", type=float, default=0.3, help="load average to wait for; 0: do not wait")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real pairs"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit in a worktree of their own, for as long as the block runs."""
    git = ["git", "-C", str(ROOT), "worktree"]
    done = subprocess.run([*git, "add", "--detach", str(folder), commit], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True, capture_output=True)


def cases(args: argparse.Namespace) -> list[Compared]:
    from boresight.models.embedded.starter import starter_path
    from boresight.models.load import load_tokenizer

    starter = str(starter_path())
    common = {"model": starter, "threads": args.threads, "steps": args.steps}
    pairs = Path("preference/boresight_side.py")
    preference = common | {"tokenizer": starter, "tokens_per_forward": args.tokens_per_forward}

    def of_pairs(case: Case) -> Compared:
        rows = rows_of(case.rows, case.batch * args.steps, args.data, load_tokenizer(starter), 49152)
        job = {"rows": rows, "batch": case.batch, "precompute": False, "lora": LORA if case.lora else None}
        name = f"DPO, {'LoRA' if case.lora else 'all weights'}, {case.rows}"
        return Compared(name, pairs, preference | job | {"lr": 1e-4 if case.lora else 1e-6})

    completions = common | {"k": 8, "max_new_tokens": 96, "seed": 0}
    prompts = [[{"role": "user", "content": text}] for _ in range(args.steps) for text in PROMPTS]
    rloo = completions | {"prompts": prompts, "beta": 0.03, "lr": 1e-6, "tokens_per_forward": 2048}
    return [
        of_pairs(BALANCED),
        of_pairs(Case("", "balanced", lora=True)),
        of_pairs(Case("", "hh", lora=True)),
        Compared("RLOO, all weights, KL 0.03", Path("rloo/boresight_side.py"), rloo),
        Compared("RLOO, all weights, no KL", Path("rloo/boresight_side.py"), rloo | {"beta": 0.0}),
        Compared("sampling", SAMPLING, completions, RATE),
    ]


def measure(
    case: Compared, then: Path, folder: Path, args: argparse.Namespace, console: Console
) -> dict[str, Any]:
    """Repeats of both sides in turns, the order reversed every time."""
    runs: dict[str, list[Result]] = {"then": [], "now": []}
    trees = {"then": then, "now": ROOT}
    for repeat in range(args.repeats):
        file = folder / "job.json"
        file.write_text(json.dumps(case.job | {"seed": repeat}))
        for side in list(runs)[:: 1 if repeat % 2 else -1]:
            if args.load:
                wait_for_others()
            runs[side].append(run_side(trees[side], case.program, file))
        last = {side: value_of(case, results[-1]) for side, results in runs.items()}
        console.print(f"{case.name}: {last['then']:.2f} then, {last['now']:.2f} now ({case.unit})")
    return compare(case, runs["then"], runs["now"])


def run_side(tree: Path, program: Path, job: Path) -> Result:
    """One process with the package and the benchmarks of `tree`; its last line of output is the result."""
    path = os.pathsep.join([str(tree / "src"), str(tree / "benchmarks")])
    file = tree / "benchmarks" / program  # an absolute program stays as it is
    return run(Path(sys.executable), file, job, PYTHONPATH=path)


def value_of(case: Compared, result: Result) -> float:
    """Median over the steps of a process, the first one left out."""
    if case.unit == RATE:
        return statistics.median(
            n / s for n, s in zip(result["tokens"][1:], result["seconds"][1:], strict=True)
        )
    return statistics.median(result["seconds"][1:])


def compare(case: Compared, then: list[Result], now: list[Result]) -> dict[str, Any]:
    before, after = ([value_of(case, result) for result in results] for results in (then, now))
    speed = [a / b if case.unit == RATE else b / a for b, a in zip(before, after, strict=True)]
    memory = [a["peak_gb"] / b["peak_gb"] for b, a in zip(then, now, strict=True)]
    return {
        "case": case.name,
        "unit": case.unit,
        "then": statistics.median(before),
        "now": statistics.median(after),
        "speed": [statistics.median(speed), min(speed), max(speed)],
        "peak_gb": [statistics.median(r["peak_gb"] for r in results) for results in (then, now)],
        "memory": [statistics.median(memory), min(memory), max(memory)],
        "runs": {"then": then, "now": now},
    }


def wait_for_load(limit: float, console: Console) -> None:
    """Return when the load average of the last minute is below `limit`; at once where that is 0."""
    if limit and os.getloadavg()[0] >= limit:
        console.print(f"waiting for a load average below {limit}, now {os.getloadavg()[0]:.2f}")
    while limit and os.getloadavg()[0] >= limit:
        time.sleep(2)


def wait_for_others(share: float = 0.05) -> None:
    """Return after a second in which the processors were busy for less than `share` of the time."""
    while True:
        idle, total = processor_ticks()
        time.sleep(1)
        idle_after, total_after = processor_ticks()
        if 1 - (idle_after - idle) / max(total_after - total, 1) < share:
            return


def processor_ticks() -> tuple[int, int]:
    """Idle and all ticks of the processors since the machine was started, from /proc/stat."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def print_table(measured: list[dict[str, Any]], machine: str, commit: str, console: Console) -> None:
    console.print(f"{machine}; now against {commit}")
    table = Table("case", "then", "now", "speed", "peak GB", "memory")
    for m in measured:
        (speed, low, high), (ratio, least, most) = m["speed"], m["memory"]
        table.add_row(
            m["case"],
            f"{m['then']:.2f}",
            f"{m['now']:.2f}",
            f"{speed:.2f}x ({low:.2f}-{high:.2f})",
            f"{m['peak_gb'][0]:.1f}, {m['peak_gb'][1]:.1f}",
            f"{ratio:.2f} ({least:.2f}-{most:.2f})",
        )
    console.print(table)
    console.print(f"Steps in {STEP}, sampling in {RATE}; a speed above 1 means that it is faster now.")


if __name__ == "__main__":
    main()
