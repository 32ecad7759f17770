"""The demo's recipe against TRL 1.16.0 as it comes: same pairs, model and number of steps.

    python benchmarks/trl_defaults.py [--seeds 3] [--steps 30] [--json FILE]

Each side trains in a process of its own, from start to saved model, and is timed whole: imports, reading,
the reference's log-probabilities (no cache), training, saving; no evaluation. The sides take turns. Then
one process scores all models on the held-out pairs, against the same start model. Accuracy and margin are
averaged by prompt and compared paired by prompt and seed; a tie counts one half.

TRL lives in an environment of its own: `make bench-setup`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from demo_run import demo_command, timed
from preference_step import TRL_PYTHON, require_trl
from rich.console import Console
from rich.table import Table

from boresight.core.schema import prompt_of
from boresight.data.demo import HELDOUT_PAIRS, PAIRS
from boresight.data.reading.load import read
from boresight.data.tokenize import tokenize
from boresight.models.embedded.starter import starter_path
from boresight.models.load import load_model, load_tokenizer
from boresight.models.reference.distinct import row_key
from boresight.models.reference.frozen import store_reference
from boresight.stats.intervals import DIFFERENCE, SHARE
from boresight.stats.over_seeds import OverSeeds, difference_over_seeds, over_seeds

TRL_SIDE = Path(__file__).parent / "defaults" / "trl_side.py"
SIDES = ("boresight", "trl")
LONGEST = 256
Margins = dict[str, float]


def main() -> None:
    args, console = arguments(), Console(soft_wrap=True)
    require_trl()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    margins: dict[str, list[Margins]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for side in SIDES:
                out = Path(folder) / f"{side}-{seed}"
                with tempfile.TemporaryDirectory() as cache:
                    seconds[side].append(timed(command(side, args.steps, seed, out), Path(cache)))
                margins[side].append(held_out_margins(out / "model" if side == "boresight" else out))
                console.print(f"seed {seed}, {side}: {seconds[side][-1]:.0f} s")
    found = compare(seconds, margins)
    show(found, console)
    if args.json:
        facts = {"steps": args.steps, "seeds": args.seeds, "date": datetime.now(UTC).date().isoformat()}
        args.json.write_text(json.dumps(facts | found, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="steps of 8 pairs on both sides")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def command(side: str, steps: int, seed: int, out: Path) -> list[str]:
    """The process that trains one side and leaves its model in `out`."""
    if side == "trl":
        return [
            str(TRL_PYTHON),
            str(TRL_SIDE),
            str(starter_path()),
            str(PAIRS),
            str(steps),
            str(seed),
            str(out),
        ]
    return demo_command(out, {"train.steps": steps, "train.seed": seed})


@torch.no_grad()
def held_out_margins(model: Path) -> Margins:
    """Mean margin against the start model of each held-out prompt's pairs, by prompt and pair, nats."""
    examples = read(HELDOUT_PAIRS, kind="preference").examples
    rows = tokenize(examples, load_tokenizer("starter"), max_length=LONGEST).rows
    start, policy = (
        store_reference(load_model(str(name), device="cpu"), rows, 4096) for name in ("starter", model)
    )
    of = {example.id: example for example in examples}
    return {
        json.dumps([prompt_of(of[row.id]), row.id]): float((policy.table[key] - start.table[key]) @ SIGN)
        for row in rows
        for key in [row_key(row)]
    }


SIGN = torch.tensor([1.0, -1.0])


def by_prompt(margins: Margins, ranked: bool) -> dict[str, float]:
    """A prompt's mean margin, or the share of its pairs that are ranked right (a tie is half)."""
    groups: dict[str, list[float]] = defaultdict(list)
    for key, margin in margins.items():
        prompt = json.dumps(json.loads(key)[0])
        groups[prompt].append((1 + (margin > 0) - (margin < 0)) / 2 if ranked else margin)
    return {prompt: statistics.fmean(values) for prompt, values in groups.items()}


def compare(seconds: dict[str, list[float]], margins: dict[str, list[Margins]]) -> dict[str, Any]:
    """Both sides and their difference, ours minus TRL's, with 95 % intervals over prompts and seeds."""
    found: dict[str, Any] = {
        "seconds": seconds,
        "time_ratio": statistics.median(seconds["boresight"]) / statistics.median(seconds["trl"]),
    }
    for name, ranked in (("accuracy", True), ("margin", False)):
        values = {side: [by_prompt(of, ranked) for of in margins[side]] for side in SIDES}
        sides = {
            side: limits(over_seeds(of, bounds=SHARE if ranked else None)) for side, of in values.items()
        }
        difference = difference_over_seeds(
            values["trl"], values["boresight"], bounds=DIFFERENCE if ranked else None
        )
        found[name] = sides | {"difference": limits(difference)}
    return found


def limits(found: OverSeeds) -> dict[str, float]:
    mean = found.mean
    return {"value": mean.value, "low": mean.low, "high": mean.high, "prompts": mean.n}


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title="held-out pairs, 95 % intervals over prompts and seeds")
    for column in ("", "boresight", "TRL 1.16.0", "difference"):
        table.add_column(column)
    for name in ("accuracy", "margin"):
        cells = (found[name][side] for side in (*SIDES, "difference"))
        table.add_row(name, *(f"{c['value']:.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in cells))
    medians = [statistics.median(found["seconds"][side]) for side in SIDES]
    table.add_row(
        "seconds, start to saved", *(f"{m:.0f}" for m in medians), f"ratio {found['time_ratio']:.2f}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
