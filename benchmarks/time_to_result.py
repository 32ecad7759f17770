"""Time from the command to +10 points of right answers on the demo's task: boresight against TRL 1.16.0.

    python benchmarks/time_to_result.py [--folder runs/time-to-result] [--minutes 40] [--json FILE]

Both sides train SmolLM2-135M-Instruct by DPO with LoRA on the demo's pairs, by the demo's recipe, each in a
process of its own with an empty cache, in turns. Each side has four learning rates with one seed on
validation topics (160 prompts); the rate that is fastest to the result then has three other seeds on test
topics (400 prompts). The clock starts with the command and stops when the first checkpoint that has the
result is on the disk: imports, reading, tokenizing and the reference count, measuring does not.

Results are kept in the folder by run: a call that was interrupted, or that ends since another run would not
fit into `--minutes`, is continued by the same command.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preference_step import facts, require_trl
from rich.console import Console
from rich.table import Table
from to_result.run import SIDES, Correct, Settings, best_rates, one_run

import boresight
from boresight.core.files import write_state
from boresight.models.embedded.starter import starter_path

RATES = (5e-5, 1.2e-4, 3e-4, 7.5e-4)
SEEDS = (1, 2, 3)
PROMPTS = {"validation": 160, "test": 400}
"""The first ones of the generated sets, 8 to a topic."""
Run = dict[str, Any]


def main() -> None:
    args, console = arguments(), Console(soft_wrap=True)
    require_trl()
    args.folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(str(starter_path()), args.steps, args.save_every, args.gain / 100, args.threads)
    runs = Runs(args.folder, settings, time.perf_counter() + 60 * args.minutes, console)
    tried = [runs.one(side, rate, 0, "validation") for rate in RATES for side in SIDES]
    rates = best_rates(tried)
    final = [runs.one(side, rates[side], seed, "test") for seed in SEEDS for side in SIDES]
    print_tables(tried, final, console)
    if args.json:
        args.json.write_text(json.dumps(facts(args) | {"tried": tried, "final": final}, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/time-to-result"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after these")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--save-every", type=int, default=3, help="steps between checkpoints")
    parser.add_argument("--gain", type=float, default=10.0, help="points of right answers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens-per-forward", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


class Runs:
    """The runs of a folder: each is made once, and its result is kept."""

    def __init__(self, folder: Path, settings: Settings, until: float, console: Console) -> None:
        self.folder, self.settings, self.until, self.console = folder, settings, until, console
        self._starts: dict[str, Correct] = {}

    def one(self, side: str, rate: float, seed: int, topics: str) -> Run:
        """The result of a run, from its file if it has been made by the same settings."""
        file = self.folder / f"{side}-{rate:g}-seed{seed}-{topics}.json"
        made_by = self._digest()
        if file.is_file() and (kept := json.loads(file.read_text()))["settings"] == made_by:
            return kept
        if time.perf_counter() > self.until:
            sys.exit(f"{file.stem} is next; the same command continues.")
        if topics not in self._starts:
            self._starts[topics] = right_answers(Path(self.settings.model), topics)
        start = self._starts[topics]
        found = one_run(self.settings, side, rate, seed, start, lambda model: right_answers(model, topics))
        found |= {"settings": made_by, "start": sum(start.values()) / len(start)}
        write_state(file, found)
        self.console.print(in_words(found), markup=False, highlight=False)
        return json.loads(file.read_text())

    def _digest(self) -> str:
        return hashlib.sha256(repr(self.settings).encode()).hexdigest()[:16]


def right_answers(model: Path, topics: str) -> Correct:
    """1 or 0 by prompt, whether the answer is right: greedy, at most 64 tokens."""
    recipe = {
        "prompts": f"generate:constraints-{topics}",
        "limit": PROMPTS[topics],
        "systems": {"it": {"model": str(model)}},
        "generate": {"max_new_tokens": 64, "temperature": 0.0},
        "reward": [{"function": "constraints"}],
        "samples": 1,
        "k": [1],
    }
    with tempfile.TemporaryDirectory() as folder:
        graded = boresight.evaluate(recipe, run=Path(folder) / "evaluation", quiet=True).results["it"]
    answers = zip(graded.prompts, graded.by_prompt, strict=True)
    return {prompt.id: known(of_prompt[0].reward) for prompt, of_prompt in answers}


def known(reward: float | None) -> float:
    """The reward of an answer; one that could not be scored ends the benchmark."""
    if reward is None:
        sys.exit("An answer could not be scored.")
    return reward


def in_words(run: Run) -> str:
    name = f"{run['side']}, rate {run['rate']:g}, seed {run['seed']}, {run['prompts']} prompts"
    gains = ", ".join(f"{step}: {100 * gain:+.1f}" for step, gain in run["gains"].items())
    reached = "not reached" if run["seconds"] is None else f"reached after {run['seconds']:.0f} s"
    return f"{name}: {reached}; points by step: {gains}"


def print_tables(tried: list[Run], final: list[Run], console: Console) -> None:
    rates = Table(title="one seed, validation topics: seconds to the result, step")
    for column in ("learning rate", *SIDES):
        rates.add_column(column)
    for rate in RATES:
        rates.add_row(f"{rate:g}", *(cell(tried, side, "rate", rate) for side in SIDES))
    seeds = Table(title="the fastest rate of each side, test topics")
    for column in ("seed", *SIDES, "ratio"):
        seeds.add_column(column)
    for seed in SEEDS:
        ratio = next(ratios([run for run in final if run["seed"] == seed]), None)
        cells = [cell(final, side, "seed", seed) for side in SIDES]
        seeds.add_row(str(seed), *cells, "unknown" if ratio is None else f"{ratio:.2f}")
    console.print(rates)
    console.print(seeds)


def cell(runs: list[Run], side: str, key: str, value: float) -> str:
    run = next(run for run in runs if run["side"] == side and run[key] == value)
    return "not reached" if run["seconds"] is None else f"{run['seconds']:.0f} s, step {run['step']}"


def ratios(runs: list[Run]) -> Iterator[float]:
    """TRL's seconds over boresight's, of a seed that both sides brought to the result."""
    ours, theirs = (next(run["seconds"] for run in runs if run["side"] == side) for side in SIDES)
    if ours is not None and theirs is not None:
        yield theirs / ours


if __name__ == "__main__":
    main()
