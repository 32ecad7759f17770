"""Add a run's held-out margins to the curves that `boresight check` forecasts from.

    python scripts/calibrate.py runs/dpo-135m --data "UltraFeedback" [--file other.jsonl]

A point is (sum of learning rates so far, held-out margin in nats, held-out accuracy), one an evaluation.
Points of one model on the same data are pooled, so runs at several rates and lengths make one curve, from
which runs on the same file or hub data set are forecast. A run is added once: adding it again replaces its
line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from boresight.checks.forecast import calibration
from boresight.checks.forecast.pair_sources import digest_name, pair_sources
from boresight.checks.inputs import make_skeleton, make_tokenizer, size_of
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import write_text
from boresight.reports.read_run import RunData, read_run


def main(
    run: Annotated[Path, typer.Argument(help="A finished run on preference pairs.")],
    data: Annotated[str, typer.Option(help="What the pairs are, for readers.")] = "",
    own_answers: Annotated[
        bool, typer.Option("--own-answers", help="The pairs are answers of the start model itself.")
    ] = False,
    file: Annotated[Path, typer.Option(help="File of curves.")] = calibration.FILE,
) -> None:
    """Append the run's points."""
    try:
        line = curve_of(read_run(run), data) | {"own_answers": own_answers}
        add(line, file)
    except UserError as error:
        typer.secho(f"calibrate: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{len(line['points'])} points of {run.name} are in {file}")


def curve_of(run: RunData, data: str) -> dict:
    """One line of the file. Raises `UserError` when the run has no held-out margins."""
    recipe = Recipe.parse(dict(run.config), run.name)
    sums = {0: 0.0} | {int(line["step"]): line.get("lr_sum") for line in run.train}
    measured = {int(line["step"]): line for line in run.eval if line.get("margin") is not None}
    points = [
        [float(f"{sums[step]:.4g}"), round(float(line["margin"]), 4), line.get("accuracy")]
        for step, line in measured.items()
        if sums.get(step)
    ]
    if not points:
        raise UserError(
            f"{run.name}: no held-out margin was logged; give a preference run with held-out rows."
        )
    if all(margin <= 0 for _, margin, _ in points):
        raise UserError(f"{run.name}: no held-out margin is above 0, so there is no curve to forecast from.")
    return {
        "model": recipe.model.name,
        "parameters": size_of(recipe, make_skeleton(recipe, make_tokenizer(recipe))),
        "lora": recipe.model.lora is not None,
        "method": recipe.method_name,
        "beta": getattr(recipe.method, "beta", None),
        "data": data or Path(recipe.data.train).name,
        "pairs": sorted(pairs_of_run(run)),
        "source": f"own run {run.name}: lr {recipe.optim.lr:g}, batch {recipe.train.batch}, {run.last_step} "
        f"steps, seed {recipe.train.seed}",
        "points": points,
    }


def pairs_of_run(run: RunData) -> set[str]:
    """Sources of the pairs that a run was trained on: by their bytes, and by their hub id if they had one.

    None with `data.columns`, by which the same file may hold other pairs.
    """
    train = run.data.get("train") or {}
    data = run.config["data"]
    if data.get("columns") is not None:
        return set()
    known = {digest_name(train["sha256"])} if train.get("sha256") else set()
    return known | {name for name in pair_sources(data["train"]) if "sha256:" not in name}


def add(line: dict, file: Path) -> None:
    """Write the file with `line` in it, in place of an older line of the same source."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    kept = [old for old in lines if old.strip() and json.loads(old)["source"] != line["source"]]
    write_text(file, "\n".join([*kept, json.dumps(line)]) + "\n")


if __name__ == "__main__":
    typer.run(main)
