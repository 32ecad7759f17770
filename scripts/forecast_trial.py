"""Forecast runs by a learning-rate ramp, then make them, and compare: does the forecast hold?

    python scripts/forecast_trial.py predict --shared ../shared --models MODELS   # ramps, to commit
    python scripts/forecast_trial.py run --shared ../shared --models MODELS       # their runs
    python scripts/forecast_trial.py table

Cases are in `forecast_trial_cases.yaml`. Predictions and outcomes are JSON lines in `benchmarks/forecast`,
each written when it is known, so that both commands go on where they stopped. A run without a prediction is
not made.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from rich.console import Console

from boresight.checks.forecast.ramp import Ramp
from boresight.config.recipe import Recipe
from boresight.core.files import append_jsonl, read_jsonl
from boresight.data import demo
from boresight.runs.check.preflight import preflight
from boresight.runs.check.probe import probe_run
from boresight.runs.train import run_training

ROOT = Path(__file__).parents[1]
CASES = yaml.safe_load(Path(__file__).with_name("forecast_trial_cases.yaml").read_text(encoding="utf-8"))
OUTCOMES = ROOT / "benchmarks" / "forecast"
UNRESOLVED = "not above 0"
"""What a ramp without a resolved gain foretells; it holds where the interval of the margin contains 0."""
CLOSE = 0.03
"""Nats per token within which the change of chosen answers must be foretold."""
app = typer.Typer(add_completion=False, help=__doc__)
Shared = Annotated[Path, typer.Option(help="Folder with data/.")]
Models = Annotated[Path, typer.Option(help="Folder of real models, one folder each.")]
Only = Annotated[str, typer.Option(help="Pattern of the cases, `model × pairs × weights`.")]


def key(case: dict[str, Any]) -> str:
    """Name of a case among predictions and outcomes."""
    return f"{case['model']} × {case['pairs']} × {case['weights']}"


def recipe_of(case: dict[str, Any], shared: Path, models: Path) -> Recipe:
    """The run of a case, with the rate that it names."""
    pairs, model = CASES["sets"][case["pairs"]], CASES["models"][case["model"]]
    folder = models / case["model"]
    given = pairs["file"] != "demo"
    data = {"train": str(shared / "data" / pairs["file"] if given else demo.PAIRS)}
    raw: dict[str, Any] = {
        "method": {"name": "dpo", "beta": 0.1},
        "model": {"name": str(folder) if folder.is_dir() else case["model"]},
        "data": data if given else data | {"eval": str(demo.HELDOUT_PAIRS)},
        "optim": {"lr": case["lr"]},
        "evaluate": {"samples": 0} if given else {"prompts": str(demo.TEST_PROMPTS)},
    }
    if case["weights"] == "lora":
        raw["model"]["lora"] = {"dropout": 0.0}
    settings = [*CASES["settings"], *pairs.get("set", []), *model.get("set", [])]
    return Recipe.parse(raw).changed(settings)


def known(name: str) -> dict[str, dict[str, Any]]:
    """What was written before, by case."""
    return {line["case"]: line for line in read_jsonl(OUTCOMES / f"{name}.jsonl")}


def keep(name: str, line: dict[str, Any]) -> None:
    """Add a prediction or an outcome."""
    OUTCOMES.mkdir(parents=True, exist_ok=True)
    append_jsonl(OUTCOMES / f"{name}.jsonl", [line])


def stamp() -> dict[str, str]:
    """Commit and day."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {"commit": commit.stdout.strip(), "date": date.today().isoformat()}


def chosen_at(ramp: Ramp, budget: float) -> float:
    """Change of the log-probability of chosen answers, nats per token, between two points of a ramp."""
    points = [point for point in ramp.points if point.chosen_per_token]
    sums = [0.0, *(point.budget for point in points)]
    changes = [0.0, *(point.chosen_per_token.mean for point in points)]
    return float(np.interp(budget, sums, changes))


@app.command()
def predict(shared: Shared, models: Models, only: Only = "") -> None:
    """Make the ramp of every case that has no prediction yet."""
    made = known("predictions")
    for case in CASES["cases"]:
        if key(case) in made or not re.search(only, key(case)):
            continue
        started = time.monotonic()
        recipe = recipe_of(case, shared, models)
        probed = probe_run(recipe, Console(stderr=True))
        meant = probed.recipe
        budget = probed.report.forecast.budget
        expected = probed.ramp.expect(budget)
        keep(
            "predictions",
            {
                "case": key(case),
                "settings": [f"optim.lr={meant.optim.lr}", f"train.steps={meant.train.steps}"],
            }
            | {"sum": budget, "margin": expected and [expected.low, expected.middle, expected.high]}
            | {"extrapolated": budget > probed.ramp.end, "chosen_per_token": chosen_at(probed.ramp, budget)}
            | {"harmless_sum": probed.ramp.limit.budget, "why": probed.ramp.limit.why}
            | {"borrowed": borrowed(meant)}
            | {"ramp": probed.ramp.as_dict(), "seconds": time.monotonic() - started}
            | stamp(),
        )


def borrowed(recipe: Recipe) -> list[float] | None:
    """The range that the calibration gives without a ramp, nats."""
    forecast = preflight(recipe).forecast
    if forecast is None:
        return None
    if forecast.margin:
        return [forecast.margin.low, forecast.margin.high]
    return list(forecast.elsewhere.ends) if forecast.elsewhere else None


@app.command()
def run(shared: Shared, models: Models, out: Path = Path("runs/forecast"), only: Only = "") -> None:
    """Make every run that was forecast and is not there yet."""
    predictions, done = known("predictions"), known("outcomes")
    for case in CASES["cases"]:
        name = key(case)
        if name in done or name not in predictions or not re.search(only, name):
            continue
        recipe = recipe_of(case, shared, models).changed(predictions[name]["settings"])
        folder = out / name.replace(" × ", "-")
        if not (folder / "report.html").is_file():
            run_training(recipe, folder, Console(stderr=True))
        keep("outcomes", {"case": name, **measured(folder), **stamp()})


def measured(folder: Path) -> dict[str, Any]:
    """Margin, change of chosen answers per token, and change of good answers, of a finished run."""
    read = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in ("evaluation", "start", "end")
    }
    metrics = {metric["name"]: metric for metric in read["evaluation"]["metrics"]}
    start, end = read["start"]["numbers"], read["end"]["numbers"]
    lengths, before, after = end["chosen_len"], start["chosen_logps"], end["chosen_logps"]
    chosen = [(after[id] - before[id]) / lengths[id] for id in after]
    good = metrics.get("good_answer", {}).get("difference")
    return {
        "margin": [metrics["margin"]["after"][side] for side in ("low", "value", "high")],
        "chosen_per_token": math.fsum(chosen) / len(chosen),
        "good_answers": good and [good[side] for side in ("low", "value", "high")],
    }


@app.command()
def table() -> None:
    """Print predictions beside outcomes."""
    predictions, outcomes = known("predictions"), known("outcomes")
    print("| model × pairs × weights | sum | by the ramp | by other runs | reached | within | chosen, both |")
    print("|---|---|---|---|---|---|---|")
    held, widths, harm, by_others = [], [], [], []
    for name, said in predictions.items():
        got, margin = outcomes.get(name), said["margin"]
        foretold = UNRESOLVED if margin is None else "{1:.2g} ({0:.2g} to {2:.2g})".format(*margin)
        others = said.get("borrowed")
        line = [name, f"{said['sum']:.1e}", foretold]
        line += ["{:.2g} to {:.2g}".format(*others) if others else "unknown"]
        if got is None:
            print("| " + " | ".join([*line, "–", "–", f"{said['chosen_per_token']:+.3f}, –"]) + " |")
            continue
        low, value, high = got["margin"]
        least, _, most = margin or (0.0, 0.0, 0.0)
        within = low <= most and high >= least
        held.append(within)
        by_others += [low <= others[1] and high >= others[0]] if others else []
        if margin is not None:
            widths.append(margin[2] / margin[0])
        harm.append(abs(said["chosen_per_token"] - got["chosen_per_token"]) <= CLOSE)
        reached = f"{value:.2g} [{low:.2g}, {high:.2g}]"
        chosen = f"{said['chosen_per_token']:+.3f}, {got['chosen_per_token']:+.3f}"
        print("| " + " | ".join([*line, reached, "yes" if within else "no", chosen]) + " |")
    if held:
        print(
            f"\nwithin the range: {sum(held)} of {len(held)}; median width: a factor of {median(widths):.2g}"
        )
        print(f"within the range of other runs' curves: {sum(by_others)} of {len(by_others)}")
        print(f"chosen answers within {CLOSE} nats per token: {sum(harm)} of {len(harm)}")


if __name__ == "__main__":
    sys.exit(app())
