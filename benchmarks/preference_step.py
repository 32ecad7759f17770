"""A DPO step of boresight against one of TRL 1.16.0: pairs a second and peak memory, on the same rows.

    python benchmarks/preference_step.py [--quick] [--only NAME] [--json FILE]

Both sides train the same model on the same token ids in the same order, fp32, without gradient
checkpointing. Each repeat is a fresh process per side, and the sides take turns, so that a machine
that slows down slows both. A step is forward, backward, clipping and AdamW. The first step of every
process is left out. The losses of both sides are compared: a fast step that computes something else
would not count.

boresight computes the reference's log-probabilities once, before the first step; TRL by default in
every step. What that one pass costs is printed as seconds a pair, and one case has TRL do the same.

TRL lives in an environment of its own: `make bench-setup`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preference.cases import BALANCED, CASES, LORA, QWEN, Case, operations, rows_of
from rich.console import Console
from rich.table import Table

from boresight.models.kernels.libraries import processor_facts

ROOT = Path(__file__).parents[1]
SIDES = Path(__file__).parent / "preference"
TRL_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
Result = dict[str, Any]


def main() -> None:
    args = arguments()
    console = Console(soft_wrap=True)
    require_trl()
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen(args):
            console.print(
                f"{case.name}: {args.repeats} repeats of {case.steps} steps of {case.batch} pairs a side"
            )
            measured.append(measure(case, args, Path(folder), console))
    about = facts(args)
    print_tables(measured, about, console)
    if args.json:
        first = measured[0]
        summary = {name: first[name] for name in ("speed_ratio", "memory_ratio")}
        args.json.write_text(json.dumps(summary | about | {"rows": measured}, indent=2) + "\n")


def require_trl() -> None:
    """End with a sentence where TRL's environment is missing."""
    if not TRL_PYTHON.is_file():
        sys.exit("TRL 1.16.0 is not there yet: run `make bench-setup`, which builds .venv-bench.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the balanced full fine-tuning case alone")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps a process, the first left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens-per-forward", type=int, default=512)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real pairs"
    )
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Case]:
    cases = [BALANCED] if args.quick else [c for c in CASES if (args.only or "") in c.name]
    return [replace(case, steps=args.steps) for case in cases] if args.steps else cases


def measure(case: Case, args: argparse.Namespace, folder: Path, console: Console) -> Result:
    """Medians over repeats of both sides, taken in turns."""
    model, config, tokenizer, tokenizer_path = prepare_model(case, folder)
    rows = rows_of(case.rows, case.batch * case.steps, args.data, tokenizer, config.vocab_size)
    job = {
        "model": model,
        "tokenizer": tokenizer_path,
        "rows": rows,
        "lora": LORA if case.lora else None,
        "precompute": case.precompute,
        "batch": case.batch,
        "steps": case.steps,
        "lr": 1e-4 if case.lora else 1e-6,
        "threads": args.threads,
        "tokens_per_forward": args.tokens_per_forward,
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    ours, theirs = [], []
    for _ in range(args.repeats):
        ours.append(run(Path(sys.executable), SIDES / "boresight_side.py", file))
        theirs.append(run(TRL_PYTHON, SIDES / "trl_side.py", file))
        console.print(f"  boresight {seconds(ours[-1:]):.1f} s a step, TRL {seconds(theirs[-1:]):.1f} s")
    return compare(case, config, rows, ours, theirs)


def prepare_model(case: Case, folder: Path) -> tuple[str, Any, Any, str]:
    """A model folder that both sides load, its config, and a tokenizer for text and padding."""
    from transformers import AutoConfig, AutoTokenizer

    from boresight.models.embedded.starter import starter_path

    starter = str(starter_path())
    model = starter
    if case.model == "qwen":
        model = str(folder / "qwen")
        if not Path(model).is_dir():
            make_qwen(model)
    return model, AutoConfig.from_pretrained(model), AutoTokenizer.from_pretrained(starter), starter


def make_qwen(folder: str) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**QWEN)).save_pretrained(folder)


def run(python: Path, program: Path, job: Path, **environment: str) -> Result:
    """One process of one side, with variables added to its environment; its last line is the result."""
    done = subprocess.run(
        [python, program, job],
        cwd=program.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{program.stem} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(case: Case, config: Any, rows: list[Any], ours: list[Result], theirs: list[Result]) -> Result:
    per_step = operations(config, rows, case.lora) / case.steps
    rate = statistics.median(r["gemm_rate"] for r in ours)
    ratios = sorted(seconds([b]) / seconds([a]) for a, b in zip(ours, theirs, strict=True))
    return {
        "case": case.name,
        "pairs_per_second": case.batch / seconds(ours),
        "trl_pairs_per_second": case.batch / seconds(theirs),
        "speed_ratio": statistics.median(ratios),
        "speed_ratio_range": [ratios[0], ratios[-1]],
        "peak_gb": statistics.median(r["peak_gb"] for r in ours),
        "trl_peak_gb": statistics.median(r["peak_gb"] for r in theirs),
        "memory_ratio": statistics.median(r["peak_gb"] for r in ours)
        / statistics.median(r["peak_gb"] for r in theirs),
        "gemm_gflops": rate / 1e9,
        "share_of_gemm_rate": statistics.median(per_step / seconds([r]) / r["gemm_rate"] for r in ours),
        "reference_seconds_per_pair": statistics.median(r["reference_seconds"] for r in ours) / len(rows),
        "largest_loss_difference": max(
            abs(a - b)
            for us, them in zip(ours, theirs, strict=True)
            for a, b in zip(us["losses"], them["losses"], strict=True)
        ),
        "seconds": [r["seconds"] for r in ours],
        "trl_seconds": [r["seconds"] for r in theirs],
    }


def seconds(results: list[Result]) -> float:
    """Median seconds of a step, the first of every process left out."""
    return statistics.median(s for r in results for s in r["seconds"][1:])


def facts(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    import transformers

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{processor_facts().get('model name', platform.machine())}, {args.threads} threads",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": "1.16.0",
        "tokens_per_forward": args.tokens_per_forward,
    }


def print_tables(measured: list[Result], about: dict[str, Any], console: Console) -> None:
    """Two tables of at most 80 columns: speed, and what it costs and computes."""
    console.print(heading(about))
    speed = Table("case", "pairs/s", "TRL", "speed", "GEMM rate, GF/s")
    rest = Table("case", "peak GB", "TRL", "memory", "ref s/pair", "loss diff")
    for m in measured:
        low, high = m["speed_ratio_range"]
        speed.add_row(
            m["case"],
            f"{m['pairs_per_second']:.3f}",
            f"{m['trl_pairs_per_second']:.3f}",
            f"{m['speed_ratio']:.2f}x ({low:.2f}-{high:.2f})",
            f"{m['share_of_gemm_rate']:.0%} of {m['gemm_gflops']:.0f}",
        )
        rest.add_row(
            m["case"],
            f"{m['peak_gb']:.1f}",
            f"{m['trl_peak_gb']:.1f}",
            f"{m['memory_ratio']:.2f}",
            f"{m['reference_seconds_per_pair']:.2f}",
            f"{m['largest_loss_difference']:.1e}",
        )
    console.print(speed)
    console.print(rest)


def heading(about: dict[str, Any]) -> str:
    """Processor, commit and versions, in two lines."""
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "transformers"))
    return f"{about['machine']}\nboresight {about['commit']}, TRL {about['trl']}, {versions}"


if __name__ == "__main__":
    main()
