"""The command line: one function per verb, each of which calls one function of the package.

Nothing heavy is imported before a verb runs, so `boresight --help` answers at once.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from boresight.cli import exits, results
from boresight.cli.output import Result, is_first_process, print_start, with_result
from boresight.cli.threads import set_wait_policy
from boresight.cli.usage import VerbGroup
from boresight.core.errors import UserError, naming
from boresight.core.version import VERSION
from boresight.core.wording import plural

app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(cls=VerbGroup, help="Inspect data before training.", no_args_is_help=True)
app.add_typer(data_app, name="data")
convert_app = typer.Typer(
    cls=VerbGroup, help="Turn configs of other trainers into recipes.", no_args_is_help=True
)
app.add_typer(convert_app, name="convert")


def _print_version(wanted: bool) -> None:
    if wanted:
        _say(f"boresight {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Align small language models to preferences and verifiers; check beforehand whether a run can work."""


class RecipeCommand(TyperCommand):
    """A verb whose help ends with the names of the recipes for it, and with every field of such a recipe."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print Typer's own help, then the names of recipes and the fields."""
        super().format_help(ctx, formatter)
        from boresight.cli.recipe_help import print_fields, print_names

        print_names(str(self.name))
        print_fields(str(self.name))


RecipePath = Annotated[
    Path,
    typer.Argument(
        help="A recipe: a YAML file, or one of the names that `train --help` lists.", metavar="RECIPE"
    ),
]
NamedRecipePath = Annotated[
    Path, typer.Argument(help="A recipe: a YAML file, or one of the names below.", metavar="RECIPE")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the recipe, such as method.beta=0.1 optim.lr=2e-6.")
]
Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
LayoutOption = Annotated[str | None, typer.Option(help="Layout of the data, if detection finds two.")]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        help="Columns with other names than a layout reads, as `data.columns`: '{prompt: question}'.",
        metavar="MAPPING",
    ),
]


@app.command()
@with_result(starts_with=["data"])
def init(
    data: Annotated[str, typer.Argument(help="A data file, saved data set or hub id.", metavar="DATA")],
    model: Annotated[str, typer.Option(help="`starter`, a folder or a hub id.")] = "starter",
    method: Annotated[
        str | None, typer.Option(help="Method, such as ipo; default by the data: dpo, sft, kto or grpo.")
    ] = None,
    layout: LayoutOption = None,
    columns: ColumnsOption = None,
    to: Annotated[Path | None, typer.Option(help="File to write; default DATA-METHOD.yaml.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Choose the learning rate by a few steps at growing rates.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> Result:
    """Inspect data, model and machine, and write a first recipe with comments."""
    from boresight.core.console import Terminal
    from boresight.data.reading.renaming.mapping import parse_columns
    from boresight.models.source import refuse_missing_model

    with naming("--model", "model"):
        refuse_missing_model(model)
    from boresight.runs.init.command import write_recipe  # slow, so after the check

    with naming("--model", "model"):
        written = write_recipe(
            data,
            Terminal(),
            model=model,
            method=method,
            layout=layout,
            columns=parse_columns(columns),
            to=to,
            probe=probe,
            force=force,
        )
    return Result(str(written), lambda: {"recipe": written})


@app.command(cls=RecipeCommand)
@with_result(starts_with=["recipe"])
def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe: a YAML file, or one of the names below. Or a run folder, to resume the run.",
            metavar="RECIPE|RUN",
        ),
    ],
    overrides: Overrides = None,
    run: Annotated[
        Path | None,
        # torchrun takes --run for an abbreviation of an option of its own, even after our verb.
        typer.Option("--run", "--run-folder", help="Folder of the run; default runs/RECIPE-TIME."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --run; fails if there is none.")
    ] = False,
) -> Result:
    """Train a model from a recipe, evaluate it before and after, and write a report.

    Given the folder of an interrupted run, resume it from its last checkpoint, by its own recipe.
    """
    from boresight.config.recipe import Recipe
    from boresight.runs.folder import default_folder, recipe_to_resume
    from boresight.training.distributed.collectives import joined

    with joined():
        if recipe.is_dir():
            recipe, run, resume = recipe_to_resume(recipe, run), recipe, True
        if resume and run is None:
            raise UserError("--resume: name the run to resume, as in --run runs/mine.")
        chosen, arguments = Recipe.load(recipe, overrides), [str(recipe), *(overrides or [])]
        _say_once(Recipe.replaced(recipe, overrides))
        from boresight.runs.train import run_training as run_recipe  # slow, so after the checks

        report = run_recipe(chosen, run or default_folder(recipe), resume=resume, arguments=arguments)
        _say_once(_after_training(report.parent))
    return Result(str(report), lambda: results.run_keys(report.parent))


@app.command()
@with_result(starts_with=["recipe"])
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Number of training rows, in place of reading the data.")
    ] = None,
    overfit: Annotated[
        int | None, typer.Option(min=4, help="Also overfit this many rows as a sanity check.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also forecast from a few steps at growing learning rates.")
    ] = False,
) -> Result:
    """Check a recipe before it is run. Exits 1 if it cannot work."""
    from boresight.config.recipe import Recipe
    from boresight.core.console import Terminal

    console, chosen = Terminal(), Recipe.load(recipe, overrides)
    _say_once(Recipe.replaced(recipe, overrides))
    arguments = [str(recipe), *(overrides or [])]
    if probe and rows is not None:
        raise UserError("--rows: a probe reads the data; leave --rows out.")
    from boresight.runs.check.preflight import preflight, with_commands  # slow, so after the checks

    if probe:
        from boresight.runs.check.probe import check_by_probe

        found = check_by_probe(chosen, console, arguments)
    else:
        found = with_commands(
            preflight(chosen, rows=rows, rehearsing=True, console=console), chosen, arguments
        )
    found.show_before_closing(console)
    if found.closing:
        exits.print_sentence(found.closing, "red")
    outcome = None
    if overfit and not found.refused_input:
        from boresight.runs.check.overfit import overfit as overfit_rows

        outcome = overfit_rows(chosen, overfit, console)
    failed = found.stop is not None or (outcome is not None and not outcome.passed)
    return Result(found.verdict, lambda: results.check_keys(found, outcome), int(failed))


@app.command()
@with_result()
def explain(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run folder, TRL's output folder or trainer_state.json, or the name of a finding.",
            metavar="RUN|FINDING",
        ),
    ],
    beta: Annotated[
        float | None, typer.Option(help="Beta of a TRL run on pairs whose log does not contain it.")
    ] = None,
) -> Result:
    """Diagnose a finished run (causes in order, with the evidence), or explain a finding by its name."""
    from boresight.core.console import Terminal
    from boresight.findings.page import is_finding
    from boresight.findings.trl_log import NOT_OF_TRL

    if not run.exists() and is_finding(str(run)):
        from boresight.findings.printing import print_section, section_text

        if beta is not None:
            raise UserError(NOT_OF_TRL)
        print_section(str(run), Terminal())
        text = section_text(str(run))
        return Result(text, lambda: {"finding": str(run), "text": text})
    print_start("explain", run)
    from boresight.runs.explain import explain as explain_run

    found = explain_run(run, beta=beta)
    found.show(Terminal())
    return Result(results.explained(found), lambda: results.explain_keys(found))


@app.command(cls=RecipeCommand)
@with_result(starts_with=["recipe"])
def evaluate(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe: a YAML file, or one of the names below. Or a run folder.", metavar="RECIPE|RUN"
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as systems.trained.model=runs/mine limit=200."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the results; default runs/RECIPE-TIME.")] = None,
) -> Result:
    """Compare systems by win rate under a judge, or by any reward.

    Given a run folder alone, evaluate its model again by the run's own recipe, and rewrite its report.
    """
    from boresight.evaluation.recipe import EvaluationRecipe
    from boresight.runs.folder import default_folder

    if recipe.is_dir():
        from boresight.core.console import Terminal
        from boresight.runs.measure import evaluate_run

        if overrides or run is not None:
            from boresight.reports.samples.cut import again_with_more_tokens

            raise UserError(
                f"{recipe}: a run is measured by its own recipe; leave the other arguments out, or give them "
                f"to eval-reward, as in `{again_with_more_tokens(recipe, 256)}`."
            )
        report = evaluate_run(recipe, Terminal(soft_wrap=True))
        return Result(str(report), lambda: results.run_keys(report.parent))
    chosen = EvaluationRecipe.load(recipe, overrides)
    from boresight.runs.evaluate import run_evaluation  # slow, so after the checks

    found = run_evaluation(chosen, run or default_folder(recipe))
    return Result(str(found.page), lambda: results.evaluation_keys(found.folder, found.verdicts))


@app.command()
@with_result(quiet=False)
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN…")],
) -> Result:
    """Rewrite report.html of each run folder, and its tables."""
    print_start("report", *runs)
    from boresight.reports.page import write_report_of
    from boresight.reports.read_run import read_run

    pages = []
    for data in [read_run(run) for run in runs]:  # all are read before anything is written
        pages.append(write_report_of(data))
        _say(pages[-1])
    return Result("", lambda: {"reports": pages})


@app.command(cls=RecipeCommand)
@with_result(starts_with=["recipe"])
def synthesize(
    recipe: NamedRecipePath,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as prompts.limit=9 pairs.min_words=5."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the data; default runs/RECIPE.")] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Print the planned requests and their cost; send none.")
    ] = False,
    max_usd: Annotated[float | None, typer.Option(help="Spending limit in USD, across resumes.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Token limit, across resumes.")] = None,
    max_requests: Annotated[int | None, typer.Option(help="Request limit, across resumes.")] = None,
) -> Result:
    """Make preference pairs: prompts, answers, judge, pairs, card. Run it again to resume."""
    from boresight.core.console import Terminal
    from boresight.synthesis import command

    ceilings = {"max_usd": max_usd, "max_tokens": max_tokens, "max_requests": max_requests}
    given = [f"budget.{name}={value}" for name, value in ceilings.items() if value is not None]
    made = command.synthesize(recipe, [*(overrides or []), *given], run, dry_run, Terminal())
    if isinstance(made, list):
        requests = plural(sum(e.requests - e.cached for e in made), "request")
        estimated = results.estimate_keys(made)
        return Result(requests, lambda: estimated)
    keys = {"folder": made.folder, "pairs": made.pairs, "file": made.file, "card": made.card}
    return Result(str(made.file), lambda: keys)


@app.command()
@with_result()
def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or one CSV of system, k and n.", metavar="RUN…")
    ],
    out: Annotated[Path, typer.Option(help="Page to write; tables are written beside it.")] = Path(
        "compare.html"
    ),
    bar: Annotated[float | None, typer.Option(help="With a CSV: a share to compare every row with.")] = None,
) -> Result:
    """Compare runs, or a published table of scores, on one page."""
    if [run.suffix for run in runs] == [".csv"]:
        from boresight.reports.leaderboard import write_leaderboard

        path, sentences = write_leaderboard(runs[0], out, bar)
        _say(*sentences, path)
        return Result(str(path), lambda: {"page": path, "verdicts": sentences})
    if bar is not None:
        raise UserError("--bar compares the rows of a CSV with a share; leave it out for run folders.")
    print_start("compare", *runs)
    from boresight.core.console import Terminal
    from boresight.reports.compare import write_comparison

    found = write_comparison(runs, out)
    found.show(Terminal(soft_wrap=True))
    return Result(str(found.page), lambda: results.comparison_keys(found))


@app.command()
def arena(
    a: Annotated[
        Path, typer.Argument(help="A run folder with samples, or a file of answers.", metavar="RUN_A")
    ],
    b: Annotated[
        Path | None,
        typer.Argument(help="Another one; without it, the start model of RUN_A.", metavar="[RUN_B]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the votes; default runs/arena-A-B.")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the order of prompts and sides.")] = 0,
    votes: Annotated[
        int | None, typer.Option(help="Votes after which the result is shown; default: one per prompt.")
    ] = None,
) -> None:
    """Vote blind between the answers of two systems in the browser; votes become preference pairs."""
    print_start("arena", a, *([] if b is None else [b]))
    from boresight.arena.command import arena as serve

    serve(a, b, out, port, seed, votes)


@app.command()
@with_result(starts_with=["run"])
def export(
    run: Run,
    to: Annotated[Path, typer.Option(help="Folder to write; it must not exist yet.")],
    merged: Annotated[
        bool, typer.Option("--merged/--adapter", help="Whole weights, or the LoRA adapter alone.")
    ] = True,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, of merged weights.")] = "float32",
    gguf: Annotated[
        str | None,
        typer.Option(
            help="Files for llama.cpp and Ollama instead, as q8_0,q4_0: f16, q8_0, q4_0; by llama.cpp also "
            "q4_k_m, q5_k_m, q6_k."
        ),
    ] = None,
    answers: Annotated[
        int,
        typer.Option(min=0, help="With --gguf: evaluation prompts that each file answers."),
    ] = 0,
    push: Annotated[
        str | None, typer.Option(help="Repository of the hub, ORG/NAME, for the folder with its card.")
    ] = None,
    dry_run: Annotated[
        bool | None,
        typer.Option(
            "--dry-run/--no-dry-run",
            help="With --push: print what would be uploaded (default), or upload it.",
        ),
    ] = None,
) -> Result:
    """Write a run's model for transformers, vLLM, llama.cpp or Ollama, with a model card."""
    from boresight.core.console import Terminal
    from boresight.export.command import export as export_run
    from boresight.export.plan import Form
    from boresight.export.push import plan_push

    if push is None and dry_run is not None:
        raise UserError(
            "--dry-run and --no-dry-run are for --push; leave them out, or name the repository with "
            "--push ORG/NAME."
        )
    target = None if push is None else plan_push(push, dry_run is not False)
    form: Form = "merged" if merged else "adapter"
    folder = export_run(run, to, form, dtype, Terminal(soft_wrap=True), gguf, answers, target)
    files = sorted(file.name for file in folder.iterdir())
    return Result(str(folder), lambda: {"folder": folder, "files": files})


@app.command("serve")
def serve_model(
    run: Annotated[Path, typer.Argument(help="A run folder, or an exported one.", metavar="RUN")],
    here: Annotated[
        bool, typer.Option("--here", help="Serve it on this machine, by the package's own sampler.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(help="Port; with --here on 127.0.0.1, where 0, the default, takes a free one."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="With --here: longest answer by default, in tokens (256).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="With --here: cpu, cuda or cuda:N.")] = None,
) -> None:
    """Print the `vllm serve` command of a run's model; --here serves a small OpenAI-compatible endpoint."""
    if here:
        print_start("serve", run)
        from boresight.core.console import Terminal
        from boresight.serving.command import serve_here

        serve_here(run, port or 0, max_new_tokens or 256, device, Terminal(soft_wrap=True))
        return
    if unused := _given({"--max-new-tokens": max_new_tokens, "--device": device}):
        raise UserError(f"{unused}: for --here alone; add --here, or leave it out.")
    from boresight.models.source import note_on_base
    from boresight.serving.vllm_command import vllm_command

    _say(vllm_command(run, port))
    if note := note_on_base(str(run)):
        exits.print_sentence(note, "yellow")  # on stderr: standard output is the command alone


@app.command()
def chat(
    run: Annotated[str, typer.Argument(help="A run folder, a model folder or a hub id.", metavar="RUN")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of sampling, for a temperature above 0; default 0.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message to begin with.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")] = None,
) -> None:
    """Chat with a run's model; /before sends the same message to its start model."""
    if seed is not None and temperature == 0:
        raise UserError("--seed: decoding at temperature 0 is greedy; add --temperature 1, or leave it out.")
    print_start("chat", run)
    from boresight.cli.chat import Settings
    from boresight.cli.chat import chat as talk

    talk(run, Settings(max_new_tokens, temperature, seed or 0, system, device))


@app.command(cls=RecipeCommand)
@with_result(starts_with=["recipe"])
def sweep(
    recipe: NamedRecipePath,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the sweep; default runs/sweep-RECIPE.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
) -> Result:
    """Try many settings; train the best again on fresh seeds and test them against the default.

    Run it again to resume; run it on another machine that shares the folder to add workers.
    """
    from boresight.core.console import Terminal
    from boresight.experiments.sweep import command

    page, sentences = command.run_sweep(recipe, overrides or [], run, workers, Terminal(soft_wrap=True))
    return Result(str(page), lambda: {"folder": page.parent, "report": page, "verdicts": sentences})


@app.command()
@with_result(tables={"listed": "--list"})
def study(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Changes to the plan and to recipes of its arms, such as arms.ARM.optim.lr=2e-6."
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="`cpu`, the default: embedded models and data. `gpu`: those of the study."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A plan of your own, a YAML file, in place of --scale.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the study; default runs/study-SCALE.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Run only this arm (repeatable).")] = None,
    listed: Annotated[
        bool, typer.Option("--list", "--dry-run", help="Print the plan and its time; run nothing.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Start no run that would end later than this many minutes from now; run again to resume.",
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Two steps of every arm on tiny models, offline; then the cost."),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", help="Run nothing; rewrite the report from the existing results."),
    ] = False,
) -> Result:
    """Run a whole comparison, published settings against tuned ones, and write one report.

    Run it again to resume: finished arms are kept.
    """
    if not listed:
        print_start("study", plan or scale or "cpu")  # as run_study
    from boresight.core.console import Terminal
    from boresight.experiments.study import command

    console = Terminal(soft_wrap=True)
    ended = command.run_study(
        scale, plan, run, arm or [], listed, console, overrides or [], rehearse, minutes, report_only
    )
    return Result(
        plural(ended.failed, "failed run"),
        lambda: {"failed_runs": ended.failed, "stopped_runs": ended.stopped},
        int(ended.failed > 0),
    )


@app.command()
@with_result(quiet=False)
def doctor() -> Result:
    """Print what is installed, what the machine has, and which models fit."""
    from boresight.core.console import Terminal, print_stage

    print_stage(Terminal(), "examining packages and machine")
    from boresight.runs.doctor import diagnosis, print_diagnosis

    found = diagnosis()
    print_diagnosis(found, Terminal())
    return Result("", lambda: asdict(found))


@convert_app.command("trl-config")
@with_result()
def trl_config(
    file: Annotated[
        Path,
        typer.Argument(
            help="The YAML file of `trl … --config`, or training arguments as JSON.", metavar="FILE"
        ),
    ],
    options: Annotated[
        list[str] | None, typer.Argument(help="Further options of TRL, such as dataset_name=pairs.jsonl.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Recipe to write.")] = Path("recipe.yaml"),
    method: Annotated[
        str | None, typer.Option(help="Trainer of TRL: dpo, sft, kto, …; default by the options.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of the run with TRL; default: that of the config, or 1."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Training rows, where warm-up or epochs depend on them.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> Result:
    """Write a recipe that means what a TRL config means, and list the outcome for each option.

    Exits 1 where an option is not supported, or something is left to fill in.
    """
    print_start("convert trl-config", file)
    from boresight.conversion.command import convert_trl_config as convert
    from boresight.core.console import Terminal

    complete = convert(
        file,
        Terminal(),
        options=options or (),
        out=out,
        trainer=method,
        processes=processes,
        rows=rows,
        force=force,
    )
    return Result(str(out), lambda: {"recipe": out, "complete": complete}, int(not complete))


@data_app.command("check")
@with_result()
def data_check(
    file: Annotated[str, typer.Argument(help="A data file, saved data set or hub id.", metavar="FILE")],
    layout: LayoutOption = None,
    columns: ColumnsOption = None,
    reward: Annotated[
        str | None,
        typer.Option(help="Also score the answers by a reward: a built-in name, or package.module:function."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An argument of the reward, as column=gold (repeatable).")
    ] = None,
    correct_at: Annotated[
        float | None, typer.Option(help="Smallest reward of a right answer; default 1 for rewards in 0 to 1.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="File for the rows that the reward confirms (.jsonl or .parquet).")
    ] = None,
) -> Result:
    """Print the layout, the counts and every malformed row of a data file. Exits 1 if there is one.

    With --reward, also list the rows that it contradicts: a chosen answer that is wrong, a rejected one that
    is no worse, a wrong answer to imitate, a wrong label.
    """
    from boresight.core.console import Terminal
    from boresight.data.check_file import check_file, print_report
    from boresight.data.reading.renaming.mapping import parse_columns

    if reward is None and (option or write is not None or correct_at is not None):
        raise UserError("--option, --correct-at, --write: are for a reward; name it with --reward.")
    found, console = check_file(file, layout, columns=parse_columns(columns)), Terminal()
    verified = None
    if reward is None or not found.loaded.examples:
        print_report(found, console)
    else:
        from boresight.checks.data.check_by_reward import check_by_reward

        verified = check_by_reward(found, reward, option or [], correct_at, write, console)
    failed = bool(found.bad) or bool(verified and verified.contradicted)
    line = found.verdict if verified is None else f"{found.verdict} {verified.verdict}"
    return Result(line, lambda: results.file_keys(found, verified), int(failed))


@data_app.command("show")
def data_show(
    file: Annotated[str, typer.Argument(help="A data file, saved data set or hub id.", metavar="FILE")],
    model: Annotated[str, typer.Option(help="Model whose tokenizer and template are used.")] = "starter",
    rows: Annotated[int, typer.Option(min=1, help="How many rows.")] = 3,
    max_length: Annotated[int, typer.Option(min=2, help="Longest row, tokens.")] = 1024,
    chat_template: Annotated[str | None, typer.Option(help="Template for a tokenizer without one.")] = None,
    layout: LayoutOption = None,
    columns: ColumnsOption = None,
    score: Annotated[
        Literal["all", "last"], typer.Option(help="Assistant turns to learn, as `data.score`.")
    ] = "all",
    system: Annotated[
        Literal["keep", "fold", "drop"], typer.Option(help="System turns, as `data.system`.")
    ] = "keep",
) -> None:
    """Print real rows, token by token, with what is scored in color."""
    print_start("data show", file)
    from boresight.models.source import tokenizer_place

    with naming("--model", "model"):
        tokenizer_place(model)  # before torch is loaded
    from boresight.config.recipe import DataSection
    from boresight.core.console import Terminal
    from boresight.data.check_file import print_as_pairs
    from boresight.data.reading.renaming.mapping import parse_columns
    from boresight.data.reading.split import as_trained, read_source
    from boresight.data.show import show_rows
    from boresight.data.tokenize import tokenize
    from boresight.models.load import load_tokenizer

    console = Terminal()
    with naming("--model", "model"):
        tokenizer = load_tokenizer(model, chat_template=chat_template)
    named = parse_columns(columns)
    data = DataSection(train=file, layout=layout, columns=named, bad_rows="drop", score=score, system=system)
    loaded = as_trained(read_source(file, None, data, limit=rows), data)
    console.print(loaded.sentence, highlight=False, markup=False)
    tokens = tokenize(
        loaded.examples[:rows], tokenizer, max_length=max_length, truncation="cut", console=console
    )
    show_rows(tokens.rows, tokenizer, console, rows)
    print_as_pairs(loaded, "data show", console)


def _after_training(run: Path) -> list[str]:
    """Return lines with the commands to continue with after training.

    If the guard ended the run with its start model, there is nothing to vote on.
    """
    from boresight.training.checkpoints.trained import step_of_model

    commands = {"explain": "likely causes, and what to change"}
    if (run / "samples.jsonl").exists() and step_of_model(run) != 0:
        commands["arena"] = "vote between its answers and the start model's"
    return [
        "next:",
        *(f"  boresight {verb} {shlex.quote(str(run))}  # {why}" for verb, why in commands.items()),
    ]


def _given(options: Mapping[str, object]) -> str:
    """Return the names of the options that have a value, separated by commas."""
    return ", ".join(name for name, value in options.items() if value is not None)


def _say(*lines: object) -> None:
    """Print lines without wrapping them to the width of the terminal; control characters become symbols."""
    from boresight.core.console import Terminal

    if not Terminal.only_warnings:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _say_once(lines: list[str]) -> None:
    """Print lines in the first process only, if torchrun has started several."""
    if is_first_process():
        _say(*lines)


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and raise `SystemExit`, always, with an exit code of `boresight.cli.exits`."""
    set_wait_policy()
    sys.exit(exits.run(app, sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
