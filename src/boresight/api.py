"""The verbs of the command line as functions: the same recipes, the same folders, and values for further use.

    run = boresight.train("dpo", data={"train": "my_pairs.jsonl"}, method={"beta": 0.3})
    run.metric("accuracy").after             # Interval(value=…, low=…, high=…, n=…)
    run.series("margin", "eval")             # steps, nats

A recipe is the path of a YAML file, or its contents as nested dictionaries. Keywords are its sections, merged
into it key by key: `method={"beta": 0.3}` does what `method.beta=0.3` does on the command line.

Invalid input raises `boresight.UserError` with one sentence: what is wrong, where, and how to fix it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from boresight.core.errors import UserError
from boresight.core.plugins import forget_changed_modules

if TYPE_CHECKING:
    from rich.console import Console

    from boresight.config.base import BaseRecipe
    from boresight.data.tokenizer import Tokenizer
    from boresight.reports.compare import Comparison
    from boresight.reports.read_run import RunData
    from boresight.runs.check.preflight import Report
    from boresight.runs.evaluate import Evaluation
    from boresight.runs.evaluations.by_reward import RewardEvaluation
    from boresight.runs.evaluations.on_tasks import TaskEvaluation
    from boresight.runs.explain import Explanation
    from boresight.synthesis.run import Made

Recipe = str | Path | Mapping[str, Any]
"""Path or name of a recipe, or its contents as a mapping."""
R = TypeVar("R", bound="BaseRecipe")


def train(
    recipe: Recipe | None = None,
    *,
    rows: Iterable[Mapping[str, Any]] | None = None,
    eval_rows: Iterable[Mapping[str, Any]] | None = None,
    tokenizer: Tokenizer | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    **sections: Any,
) -> RunData:
    """Train by a recipe, evaluate before and after, and write the report.

        boresight.train(rows=rows, method="dpo", model="starter")

    Args:
        recipe: a YAML file, or its contents as nested dictionaries. Without a recipe, `optim.lr` is `auto`.
        rows: training rows in memory, a list of dictionaries or a `datasets.Dataset`, in any layout that a
            file may have. They are written to `<run>-rows.jsonl`, from which the run can resume.
        eval_rows: held-out rows in memory; written to `<run>-eval-rows.jsonl`.
        tokenizer: tokenizer of `model`, if that is a model in memory; it is written to `<run>-model/`.
        run: folder of the run; by default a new one under `runs/`. An interrupted run there resumes from its
            last checkpoint.
        resume: raise an error if there is no run in `run` to resume.
        quiet: print nothing. Findings are in the run in either case.
        sections: changes to the recipe, one dictionary per section: `optim={"lr": 5e-5}`. `method` and
            `model` may be a name, `model` also a transformers model.

    Returns:
        The run: `metrics` (before, after and paired difference with 95 % intervals), `series(name, split)`,
        `samples`, `findings`, `folder`, `page`. Margins and KL are in nats, learning rates per step.

    Raises:
        UserError: a mistake in the recipe or the data, an error that `check` finds and `check.allow` does not
            name, or a folder whose run is finished, of another recipe or locked by another process. The run
            folder is not changed then; rows and model in memory may have been written.
        Interrupted: Ctrl-C or SIGTERM; the run stopped at a checkpoint, and the same call with its folder as
            `run` resumes it.
    """
    from boresight.config import recipe as training
    from boresight.core.errors import UserError
    from boresight.given import GivenObjects
    from boresight.reports.read_run import read_run
    from boresight.runs.folder import default_folder
    from boresight.runs.train import run_training as run_recipe

    if resume and run is None:
        raise UserError("resume: name the run to resume, as in run='runs/mine'.")
    base: Recipe = {"optim": {"lr": "auto"}} if recipe is None else recipe
    named = {name: {"name": value} if isinstance(value, str) else value for name, value in sections.items()}
    model = named.pop("model", {})
    if isinstance(model, Mapping):
        named, model = {**named, "model": model}, None
    folder = Path(run) if run else default_folder(_named(base, _method_of(base, named)))
    given = GivenObjects(folder, rows, eval_rows, model, tokenizer)
    chosen = _parsed(training.Recipe, base, _merged(named, given.sections))
    given.write()
    run_recipe(chosen, folder, _console(quiet), resume=resume)
    return read_run(folder)


def check(recipe: Recipe, *, rows: int | None = None, **sections: Any) -> Report:
    """Check a recipe before it is run: data, tokens, model, method, machine, forecast.

    Args:
        recipe: a YAML file, or the same as nested dictionaries.
        rows: number of training rows, if the data are not available; no data are read then.
        sections: changes to the recipe, one dictionary per section.

    Returns:
        `findings` (errors first, each with cause, fix and rows), `errors`, and `forecast`: the sum of
        learning rates, the expected margin in nats with its range and whether it is `borrowed` from runs of
        other models, and the loss at that margin. `print` shows what the command shows.

    Raises:
        UserError: a mistake in the recipe, or `optim.lr` is `auto`. Data or a model that cannot be read
            become a finding, and `stop` is the sentence with which `train` would stop.
    """
    from boresight.config import recipe as training
    from boresight.runs.check.preflight import preflight

    return preflight(_parsed(training.Recipe, recipe, sections), rows=rows, rehearsing=True)


def explain(run: str | Path, *, beta: float | None = None) -> Explanation:
    """Diagnose a finished run: causes in order, with the evidence.

    Args:
        run: a run folder, or the `trainer_state.json` that transformers and TRL write.
        beta: beta of a TRL run whose log does not contain it; with it, margins are in nats.

    Returns:
        `outcome`, a list of sentences, and `findings`, the most likely cause first.

    Raises:
        UserError: there is no run, the log of a TRL run has no steps, or `beta` does not apply to the log.
    """
    from boresight.runs.explain import explain as explain_run

    return explain_run(Path(run), beta=beta)


def evaluate(
    recipe: Recipe, *, run: str | Path | None = None, quiet: bool = False, **sections: Any
) -> Evaluation | RewardEvaluation | TaskEvaluation | RunData:
    """Compare systems by win rate under a judge, by a reward, or on tasks of lm-evaluation-harness.

    Args:
        recipe: a YAML file of an evaluation (`eval-winrate`), or nested dictionaries. Or the
            folder of a training run, whose trained model is measured again by the run's own recipe.
        run: folder of the results; by default a new one under `runs/`. An interrupted evaluation by the same
            recipe is continued.
        quiet: print nothing.
        sections: changes to the recipe, as in `systems={"dpo": {"model": "runs/dpo"}}`.

    Returns:
        `pairs`, each with `rate` (a share with its 95 % interval, ties one half), `verdict`, `counts` and
        `comparisons` by prompt; `trust`, the judge's results on controls with a known answer; `folder`,
        `page`. For a recipe with `reward`: `metrics` and `results` (every completion) by system,
        `found.verdicts`, `folder`, `page`; the same with `lm_eval`, where results are documents. For a run
        folder: the run, as `train` returns it.

    Raises:
        UserError: a mistake in the recipe or the files, or not one judgment succeeded.
    """
    if not isinstance(recipe, Mapping) and Path(recipe).is_dir():
        return _evaluate_run(Path(recipe), run, sections, quiet)
    from boresight.evaluation.recipe import EvaluationRecipe
    from boresight.runs.evaluate import run_evaluation
    from boresight.runs.folder import default_folder

    chosen = _parsed(EvaluationRecipe, recipe, sections)
    folder = Path(run) if run else default_folder(_named(recipe, "evaluation"))
    return run_evaluation(chosen, folder, _console(quiet))


def _evaluate_run(folder: Path, run: str | Path | None, sections: Mapping[str, Any], quiet: bool) -> RunData:
    from boresight.reports.read_run import read_run
    from boresight.runs.measure import evaluate_run

    if run is not None or sections:
        raise UserError(f"{folder}: a run is measured by its own recipe; leave the other arguments out.")
    evaluate_run(folder, _console(quiet))
    return read_run(folder)


def synthesize(
    recipe: Recipe, *, run: str | Path | None = None, quiet: bool = False, **sections: Any
) -> Made:
    """Make preference pairs: prompts, answers, judge, pairs, card. Call it again to resume.

    Every paid reply is stored in the folder's ledger and is not requested again. Set a budget
    (`budget={"max_usd": 5}`), and print the expected cost with `boresight synthesize RECIPE --dry-run`.

    Args:
        recipe: a YAML file of synthetic data (`synth-demo`), or nested dictionaries.
        run: folder of the data; by default `runs/RECIPE`.
        quiet: print nothing.
        sections: changes to the recipe.

    Returns:
        `folder`, `pairs` (their number), `file` (the data file for `train`) and `card`.

    Raises:
        UserError: a mistake in the recipe, unreadable prompts, a spent budget, an endpoint that fails.
    """
    from boresight.config.recipe_files import recipe_stem
    from boresight.synthesis.recipe import SynthesisRecipe
    from boresight.synthesis.run import run_synthesis as make

    chosen = _parsed(SynthesisRecipe, recipe, sections)
    folder = Path(run) if run else Path("runs") / recipe_stem(_named(recipe, "synthetic"))
    return make(chosen, folder, _console(quiet))


def report(run: str | Path) -> RunData:
    """Rewrite `report.html` of a run folder, and return the run.

    Raises:
        UserError: `run` is no run folder.
    """
    from boresight.reports.page import write_report
    from boresight.reports.read_run import read_run

    write_report(Path(run))
    return read_run(Path(run))


def compare(*runs: str | Path, out: str | Path = "compare.html") -> Comparison:
    """Compare run folders on one page; the first is the baseline.

    Args:
        runs: two or more run folders.
        out: the page to write; the metrics are written beside it as Markdown, CSV and LaTeX.

    Returns:
        `verdicts` (paired by prompt, p-values adjusted by Holm's method), `differences` in set-up, `page`.

    Raises:
        UserError: fewer than two runs, or a folder that is not a run folder.
    """
    from boresight.reports.compare import write_comparison

    return write_comparison([Path(run) for run in runs], Path(out))


def _parsed(kind: type[R], recipe: Recipe, sections: Mapping[str, Any]) -> R:
    """Parse and check a recipe of class `kind`, with `sections` merged in.

    Modules of the user that have changed on disk are imported anew, so that the recipe uses their current
    content.
    """
    forget_changed_modules()
    if isinstance(recipe, Mapping):
        source, raw = "recipe", recipe
    else:
        source, raw = str(recipe), kind.read(recipe)
    parsed = kind.parse(_merged(raw, sections), source)
    parsed.refuse_without_effect(source)
    return parsed


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` merged in, dictionary by dictionary; neither argument is modified."""
    merged = copy.deepcopy(dict(base))
    for key, change in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(change, Mapping):
            merged[key] = _merged(below, change)
        else:
            merged[key] = copy.deepcopy(change)
    return merged


def _named(recipe: Recipe, otherwise: str) -> Path:
    return Path(otherwise if isinstance(recipe, Mapping) else recipe)


def _method_of(recipe: Recipe, sections: Mapping[str, Any]) -> str:
    """Return the name of the method, after which the folder of a run is named if its recipe has no file."""
    method = sections.get("method") or (recipe.get("method") if isinstance(recipe, Mapping) else None)
    return str(method.get("name", "run")) if isinstance(method, Mapping) else "run"


def _console(quiet: bool) -> Console:
    from boresight.core.console import Terminal

    return Terminal(soft_wrap=True, quiet=quiet)
