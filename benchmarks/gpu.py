"""Tokens a second and model-FLOPs utilisation of SFT, DPO and RLOO's update, beside TRL where it is there.

    python benchmarks/gpu.py [--only NAME] [--lora] [--json FILE] [--peak-tflops N]
    python benchmarks/gpu.py --device cpu --tiny     # the program itself, in a minute

Qwen2.5-0.5B's shape with random weights, bfloat16 over float32 master weights, random tokens of fixed
lengths, so that padding costs neither side anything. Each repeat is a fresh process per side, in turns. The
first steps of a process, which compile, are left out; the device is waited for before and after the others,
never between.

MFU, the operations of a step and the peaks of devices are those of `throughput.py`; RLOO's forward of the
reference counts, DPO's is done before the first step. The peak comes from the device's name, or from
--peak-tflops; where neither is, there is no MFU, and the share of a large product's measured rate stands
alone.

Of SFT and DPO both sides must show the same first loss to 0.02, or the exit status is 1. RLOO's are not the
same function: ours is the objective, TRL's a ratio that starts at 0.

TRL lives in an environment of its own: `make bench-setup`. Where its side fails, ours stands alone, the
reason is printed and kept in the file, and the exit status is 1.
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_step.cases import CASES, TINY, Case, rows_of
from preference.cases import LORA, QWEN
from rich.console import Console
from rich.table import Table
from throughput import peak_flops, share

HERE = Path(__file__).parent
ROOT = HERE.parent
Result = dict[str, Any]
SAME_LOSS = 0.02
"""What rounding in bfloat16 may move the loss of a step by."""


def main() -> None:
    args = arguments()
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 150)
    refuse_missing_device(args.device)
    trl = args.trl_python if args.trl_python.is_file() else None
    if trl is None:
        console.print(
            f"TRL is not there ({args.trl_python}): boresight alone. `make bench-setup` installs it."
        )
    measured: list[Result] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = model_of(args, Path(folder))
            for case in chosen(args):
                measured.append(measure(case, config, args, Path(folder), trl, console))
                write(args, measured)
    except SideFailed as error:
        sys.exit(str(error))
    finally:
        print_tables(measured, console)
    if different := [row["case"] for row in measured if row.get("first_losses_differ")]:
        sys.exit(
            f"{', '.join(different)}: the first losses differ, so the two sides do not compute the same."
        )
    sys.exit(any("trl_failed" in row for row in measured))


def write(args: argparse.Namespace, measured: list[Result]) -> None:
    """The numbers so far: a later case may be stopped."""
    if args.json:
        args.json.write_text(json.dumps(facts(args, measured) | {"rows": measured}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[case.method for case in CASES], help="one kind of step alone")
    parser.add_argument(
        "--lora", action="store_true", help="train adapters (r 16 on attention) instead of all"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=13, help="steps a process")
    parser.add_argument("--warm", type=int, default=3, help="of these, steps left out")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a model and rows of a few tokens, for a look")
    parser.add_argument("--model", type=Path, help="folder of a model in place of one with random weights")
    parser.add_argument("--peak-tflops", type=float, help="what the device can do at most in this dtype")
    parser.add_argument("--tokens-per-forward", type=int, default=16384)
    parser.add_argument("--trl-batch", type=int, default=8, help="sequences (DPO: pairs) of TRL's forward")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--tokenizer", type=Path, help="folder of a tokenizer for TRL; the starter's if not given"
    )
    parser.add_argument("--trl-python", type=Path, default=ROOT / ".venv-bench" / "bin" / "python")
    args = parser.parse_args()
    if not 0 < args.warm < args.steps:
        parser.error("--warm must be at least 1 and less than --steps")
    return args


def refuse_missing_device(device: str) -> None:
    """End with a sentence where there is no GPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here; `--device cpu --tiny` runs the program itself.")


def model_of(args: argparse.Namespace, folder: Path) -> Any:
    """Config of the model that both sides load, saved with random weights of seed 0 where none is given."""
    import torch
    from transformers import AutoConfig, Qwen2Config, Qwen2ForCausalLM

    from boresight.models.checkpoint.silence_hf import quiet_bars

    if args.model is not None:
        return AutoConfig.from_pretrained(args.model)
    args.model = folder / "model"
    torch.manual_seed(0)
    config = Qwen2Config(**(TINY if args.tiny else QWEN))
    with quiet_bars():
        Qwen2ForCausalLM(config).save_pretrained(args.model)
    return config


def chosen(args: argparse.Namespace) -> list[Case]:
    cases = [case for case in CASES if args.only in (None, case.method)]
    return [case.smaller() for case in cases] if args.tiny else cases


def measure(
    case: Case, config: Any, args: argparse.Namespace, folder: Path, trl: Path | None, console: Console
) -> Result:
    """Medians over repeats of both sides, taken in turns."""
    file = folder / "job.json"
    file.write_text(json.dumps(job_of(case, config, args, tokenizer_of(args) if trl else None)))
    ours, theirs, failed = [], [], {}
    for _ in range(args.repeats):
        ours.append(run(Path(sys.executable), "boresight_side", file))
        said = f"{case.method}: boresight {ours[-1]['seconds']:.3f} s a step"
        if trl is not None and not failed:
            try:
                theirs.append(run(trl, "trl_side", file))
                said += f", TRL {theirs[-1]['seconds']:.3f} s"
            except SideFailed as error:
                theirs, failed = [], {"trl_failed": str(error)}
                said += f", {error}"
        console.print(said, markup=False)
    return compare(case, config, args, ours, theirs) | failed


def tokenizer_of(args: argparse.Namespace) -> Path:
    """Folder of the tokenizer that TRL is given; its rows are token ids, so any would do."""
    from boresight.models.embedded.starter import starter_path

    return args.tokenizer or starter_path()


def job_of(case: Case, config: Any, args: argparse.Namespace, tokenizer: Path | None) -> dict[str, Any]:
    return {
        "method": case.method,
        "model": str(args.model.resolve()),
        "tokenizer": None if tokenizer is None else str(tokenizer.resolve()),
        "rows": rows_of(case, args.steps, config.vocab_size),
        "lora": LORA if args.lora else None,
        "batch": case.batch,
        "steps": args.steps,
        "warm": args.warm,
        "lr": 1e-4 if args.lora else 1e-6,
        "dtype": args.dtype,
        "device": args.device,
        "threads": args.threads,
        "tokens_per_forward": args.tokens_per_forward,
        "trl_batch": args.trl_batch,
    }


class SideFailed(Exception):
    """A side's process failed; the message holds the end of what it printed."""


def run(python: Path, side: str, job: Path) -> Result:
    """One process of one side; its last line of output is the result.

    Raises:
        SideFailed: it exited with another status than 0.
    """
    command = [python, "-m", f"gpu_step.{side}", job]
    done = subprocess.run(command, cwd=HERE, env=absolute_paths(), capture_output=True, text=True)
    if done.returncode:
        raise SideFailed(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def absolute_paths() -> dict[str, str]:
    """The environment with a PYTHONPATH that holds in another folder too."""
    parts = [str(Path(part).resolve()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return os.environ | {"PYTHONPATH": os.pathsep.join(parts)}


def compare(
    case: Case, config: Any, args: argparse.Namespace, ours: list[Result], theirs: list[Result]
) -> Result:
    device = ours[0]["device"]
    peak = args.peak_tflops * 1e12 if args.peak_tflops else peak_flops(device, args.dtype)
    result = {
        "case": f"{case.method}, {'LoRA' if args.lora else 'full'}",
        "device": device,
        "tokens_per_step": case.tokens,
        "operations_per_step": case.operations(config, args.lora),
        "peak_tflops": peak and peak / 1e12,
        "gemm_tflops": statistics.median(r["gemm_rate"] for r in ours) / 1e12,
        "torch": ours[0]["torch"],
    }
    result |= numbers_of("", result, ours, peak)
    if not theirs:
        return result
    gap = abs(ours[0]["losses"][0] - theirs[0]["losses"][0])
    result["first_losses_differ"] = gap > SAME_LOSS and case.method != "rloo"
    ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True))
    result |= numbers_of("trl_", result, theirs, peak)
    result |= {"speed_ratio": statistics.median(ratios), "speed_ratio_range": [ratios[0], ratios[-1]]}
    return result | {"memory_ratio": result["peak_gb"] / result["trl_peak_gb"]}


def numbers_of(prefix: str, about: Result, side: list[Result], peak: float | None) -> Result:
    """One side's medians; MFU is None where the device's peak is not known."""
    seconds = statistics.median(r["seconds"] for r in side)
    operations = about["operations_per_step"]
    numbers = {
        "seconds_per_step": seconds,
        "tokens_per_second": about["tokens_per_step"] / seconds,
        "mfu": share(operations, seconds, peak),
        "share_of_gemm_rate": share(operations, seconds, about["gemm_tflops"] * 1e12),
        "peak_gb": statistics.median(r["peak_gb"] for r in side),
        "losses": side[0]["losses"],
        "seconds": [r["seconds"] for r in side],
    }
    return {prefix + name: value for name, value in numbers.items()}


def facts(args: argparse.Namespace, measured: list[Result]) -> dict[str, Any]:
    import transformers

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "device": measured[0]["device"],
        "machine": platform.machine(),
        "model": "tiny" if args.tiny else "Qwen2.5-0.5B's shape",
        "dtype": args.dtype,
        "tokens_per_forward": args.tokens_per_forward,
        "trl_batch": args.trl_batch,
        "torch": measured[0]["torch"],
        "transformers": transformers.__version__,
    }


def print_tables(measured: list[Result], console: Console) -> None:
    """Two tables of at most 80 columns: speed, and memory and the first loss."""
    speed = Table("case", "tokens/s", "TRL", "speed", "MFU", "TRL")
    rest = Table("case", "GEMM rate, TF/s", "peak GB", "TRL", "first loss", "TRL")
    for m in measured:
        low, high = m.get("speed_ratio_range", (None, None))
        speed.add_row(
            m["case"],
            shown(m["tokens_per_second"], ",.0f"),
            shown(m.get("trl_tokens_per_second"), ",.0f"),
            f"{m['speed_ratio']:.2f}x ({low:.2f}-{high:.2f})" if low else "-",
            shown(m["mfu"], ".1%"),
            shown(m.get("trl_mfu"), ".1%"),
        )
        rest.add_row(
            m["case"],
            f"{m['share_of_gemm_rate']:.1%} of {m['gemm_tflops']:.3g}",
            shown(m["peak_gb"], ".1f"),
            shown(m.get("trl_peak_gb"), ".1f"),
            shown(m["losses"][0], ".4f"),
            shown(m.get("trl_losses", [None])[0], ".4f"),
        )
    console.print(speed)
    console.print(rest)


def shown(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


if __name__ == "__main__":
    main()
