"""Diagnose a finished run.

The log of a run folder, or the `trainer_state.json` that transformers and TRL write, is replayed through the
live checks, and the findings are sorted with causes before symptoms.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from boresight.checks.forecast import forecast
from boresight.checks.forecast.expectation import SMALL_MARGIN
from boresight.checks.forecast.ramp import Ramp
from boresight.checks.inputs import size_of
from boresight.checks.run import method
from boresight.checks.run.method import MethodSetting
from boresight.config.recipe import Recipe
from boresight.config.reward import penalty_names
from boresight.core.console import RESULT_WIDTH, at_most
from boresight.core.errors import UserError
from boresight.core.printable import Printable
from boresight.core.strict_model import is_count
from boresight.core.wording import plural
from boresight.data.reading.renaming.guess import in_one_line
from boresight.findings import log_checks
from boresight.findings.finding import Finding, graded, note, ranked, run_checks, warning
from boresight.findings.history import NATS, SCALED_BY_BETA, History, mean
from boresight.findings.monitor import Monitor, read_findings
from boresight.findings.printing import print_findings
from boresight.findings.questions import looked_for
from boresight.findings.remedies import MOST, LogSource
from boresight.findings.trl_log import (
    NOT_OF_TRL,
    SCALED,
    USUAL_BETA,
    TrlFacts,
    name_in_trl,
    read_trainer_state,
    trainer_state_in,
)
from boresight.methods.foreign_logs import method_of_log
from boresight.reports.facts import lookup
from boresight.reports.headline import direction, mostly_cut
from boresight.reports.read_run import Metric, RunData, read_run
from boresight.runs.check.beside_ramp import beside_the_ramp
from boresight.stats.units import unit_named

SMALLEST_PACE = 0.03
"""Smallest margin, in nats, from which the needed sum of learning rates is extrapolated."""
CAUSES = (
    "not-finite",
    "nothing-scored",
    "rewards-stay-zero",
    "labels-reversed",
    "learning-rate-budget",
    "learning-rate-too-high",
    "alpha-dominates",
    "rows-lost",
    "kl-negative",
    "kl-explodes",
    "answers-truncated",
    "reward-constant-live",
    "reward-hacking",
)
"""Names of findings that cause other findings; they come first among findings of the same severity."""


@dataclass(frozen=True)
class Explanation(Printable):
    """The diagnosis of a run.

    `outcome` is a list of sentences. `findings` are sorted, the most likely cause first. `looked_for` answers
    the usual questions with yes, no or unknown. `commands` maps the name of a finding to a command to try.
    """

    name: str
    outcome: list[str]
    findings: list[Finding]
    looked_for: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)

    def show(self, console: Console) -> None:
        """Print the outcome, the causes in order, and the answers to the questions, in at most 80 columns."""
        with at_most(console, RESULT_WIDTH):
            console.print(Text(self.name, style="bold"))
            for sentence in self.outcome:
                console.print(Text(sentence))
            console.print()
            print_findings(self.findings, console, self.commands)
            if not self.findings:
                console.print(Text("Nothing in the log points to a fault.", style="green"))
            console.print(Text("\nLooked for", style="bold"))
            for sentence in self.looked_for:
                console.print(Text(sentence))


def explain(path: Path, *, beta: float | None = None) -> Explanation:
    """Diagnose a finished run: its outcome, its findings with causes first, and commands to try.

    Args:
        path: a run folder; or the `trainer_state.json` of a TRL run, a folder that contains one, or a folder
            of checkpoints that do, of which the latest is read.
        beta: beta of a TRL run; by default it is derived from the log if possible.

    Raises:
        UserError: `path` is neither, the log of a TRL run has no steps, `beta` is not above 0, or `beta` is
            given for a run folder or for a log without rewards of pairs.
    """
    state = path if path.suffix == ".json" and path.is_file() else trainer_state_in(path)
    if state is not None:
        return _explain_trl(state, beta)
    run = read_run(path)
    if beta is not None:
        raise UserError(NOT_OF_TRL)
    recipe = _recipe(run)
    planned = _planned_steps(run, recipe)
    monitor = _replayed(run, recipe, planned)
    history, ramp = monitor.history, run.ramp
    found = [*monitor.at_end(), *run_checks(log_checks, history)]
    found += [*read_findings(path), *_lost_rows(run.data), *_unresolved(run.metrics)]
    if recipe and run.last_step:
        found += _settings(recipe, planned, ramp, ended=run.last_step >= planned)
    if recipe is None or recipe.method.margin_unit == NATS:
        found = with_measured_budget(found, history)
    found = in_order(found)
    foretold = beside_the_ramp(run, ramp) if ramp else []
    commands = _commands(found, _source_of(run, recipe))
    return Explanation(run.name, [*_outcome(run), *foretold], found, looked_for(history, found), commands)


def in_order(findings: list[Finding]) -> list[Finding]:
    """Sort findings by severity and, within a severity, causes before symptoms.

    `learning-rate-budget` becomes an error if there is also `not-learning`, which it explains.
    """
    names = {finding.name for finding in findings if finding.severity != "note"}
    if "learning-rate-budget" in names and "not-learning" in names:
        findings = [replace(f, severity="error") if f.name == "learning-rate-budget" else f for f in findings]
    return ranked(sorted(findings, key=lambda f: CAUSES.index(f.name) if f.name in CAUSES else len(CAUSES)))


def rows_lost(data: Mapping[str, Any]) -> Finding | None:
    """Return the finding `rows-lost` if at least 5 % of the training rows were dropped or cut, else None.

    Args:
        data: the content of `data.json`.
    """
    train = data.get("train")
    counts = (
        [train.get(key) for key in ("rows", "dropped", "truncated")] if isinstance(train, Mapping) else []
    )
    rows, *left_out = [count if is_count(count) else 0 for count in counts] or [0]
    lost = sum(left_out)
    share = lost / rows if rows else 0.0
    if share < 0.05:
        return None
    return graded(
        "rows-lost",
        share,
        0.5,
        f"{lost:,} of {rows:,} training rows were dropped or cut at data.max_length.",
        "Raise data.max_length.",
        count=lost,
    )


def with_measured_budget(findings: Sequence[Finding], history: History) -> list[Finding]:
    """Replace the forecast finding `learning-rate-budget` by one from the margin that the run reached.

    The findings are returned unchanged if the run logged no margin.
    """
    bought = _final_margin(history)
    if bought is None:
        return list(findings)
    measured = spent_budget(history, bought)
    return [*([measured] if measured else []), *(f for f in findings if f.name != "learning-rate-budget")]


def spent_budget(history: History, margin: float) -> Finding | None:
    """Return the finding `learning-rate-budget` if the sum of learning rates was too small, else None.

    A small margin grows in proportion to the sum of rates, which gives the sum needed for a good margin. None
    if the sum was large enough to move the policy elsewhere: on the training rows alone, or away from the
    labels. Pairs that the policy samples are new at every step, so their margin does not measure the sum.
    """
    budget, held = history.recent("lr_sum", 1), history.held_out_share()
    if not budget or not budget[0] or margin >= SMALL_MARGIN or (held and held.low > 0.55):
        return None
    memorized = (_in_nats(history, history.recent("margin", 20)) or 0.0) >= SMALL_MARGIN
    reversed_labels = margin <= -SMALL_MARGIN or (held is not None and held.high < 0.5)
    if memorized or reversed_labels or history.values("reward"):
        return None
    seen = f"; held-out accuracy is {held.value:.2f} [{held.low:.2f}, {held.high:.2f}]" if held else ""
    if history.unit != NATS:
        trained = history.recent("accuracy", 20)
        if trained and mean(trained) >= 0.6:
            return None
        seen += f", at TRL's usual beta of {USUAL_BETA:g} (--beta sets another)"
    times = forecast.GOOD_MARGIN / max(margin, SMALLEST_PACE)
    few = "" if margin > SMALLEST_PACE else "at least "
    most = f"; raise the rate at most {MOST:g} times from one run to the next" if times > MOST else ""
    return graded(
        "learning-rate-budget",
        1 - margin,
        0.5,
        f"The learning rates sum to {budget[0]:.1e} over {plural(history.step, 'step')}, which yielded a "
        f"{history.margin_name} of {margin:.2g} nats{seen}.",
        f"At this pace {forecast.GOOD_MARGIN:g} nats take {few}{times:,.0f} times as much, a "
        f"sum of {budget[0] * times:.1e}, by a higher rate or more steps{most}.",
        numbers=(("times", times),),
    )


def _final_margin(history: History) -> float | None:
    """The margin at the end of a run, nats, of the held-out rows or else of its last rows; None if none was
    logged."""
    held = history.held_out("margin")
    return _in_nats(history, history.recent("margin", 20) if held is None else [held])


def _in_nats(history: History, margins: list[float]) -> float | None:
    """The mean of margins of a log in nats; None without margins."""
    if not margins:
        return None
    return mean(margins) / USUAL_BETA if history.unit != NATS else mean(margins)


def not_resolved(metric: Metric) -> Finding | None:
    """Return the finding `not-resolved` if the change of an outcome metric is not significant, else None."""
    d = metric.difference
    if d is None or d.excludes_zero or metric.name not in ("accuracy", "reward", "win_rate", "constraints"):
        return None
    return note(
        "not-resolved",
        f"The change of {metric.label}, {unit_named(metric.unit).change(d)} on {d.n:,}, is not significantly "
        "different from 0.",
        "Evaluate on more prompts before you trust either sign.",
        count=d.n,
    )


def got_worse(metric: Metric) -> Finding | None:
    """Return the finding `got-worse` if a metric is significantly worse after training, else None."""
    d = metric.difference
    if d is None or direction(metric) != "worse":
        return None
    return warning(
        "got-worse",
        f"{metric.label[:1].upper()}{metric.label[1:]} got worse, by "
        f"{unit_named(metric.unit).change(d)} on {d.n:,}.",
        "Look at the samples, and for the causes above.",
        count=d.n,
    )


def _explain_trl(state: Path, beta: float | None) -> Explanation:
    if beta is not None and not (math.isfinite(beta) and beta > 0):
        raise UserError(f"--beta: {beta:g} is not a number above 0.")
    lines, facts = read_trainer_state(state, beta)
    if not lines:
        raise UserError(f"{state}: its log_history holds no training step, so there is nothing to explain.")
    if beta is not None and not any(SCALED & numbers.keys() for _, _, numbers in lines):
        raise UserError(NOT_OF_TRL)
    unit = NATS if facts.beta else SCALED_BY_BETA
    monitor = Monitor(History(steps=facts.steps, eval_rows=facts.eval_rows, unit=unit))
    for step, split, numbers in lines:
        monitor.see(step, split, numbers)
    history = monitor.history
    found = [*monitor.at_end(), *run_checks(log_checks, history)]
    found = in_order(with_measured_budget(found, history))
    commands = _commands(found, _source_in_trl(history))
    outcome = list(_outcome_in_trl(history, facts))
    return Explanation(state.parent.name, outcome, found, looked_for(history, found, name_in_trl), commands)


def _outcome_in_trl(h: History, facts: TrlFacts) -> Iterator[str]:
    if last := h.recent("loss", 20):
        yield f"{plural(facts.steps, 'step')}; the loss ended at {mean(last):.4f}."
    if rates := h.recent("lr_sum", 1):
        yield f"Learning rates sum to about {rates[0]:.1e}."
    if facts.beta:
        yield f"Beta is {facts.beta:g}; margins are in nats."
    elif facts.without_reference:
        yield "Rewards are beta times log-probabilities, as of CPO, SimPO and ORPO: margins are not read."
    elif h.values("margin"):
        yield f"Beta is not in the log: nats are for TRL's usual {USUAL_BETA:g}; --beta sets another."
    if facts.eval_sets:
        first, count = facts.eval_sets[0], len(facts.eval_sets)
        yield f"Held-out numbers are those of {first!r}, one of {count} evaluation sets."
    if h.values("accuracy", "eval"):
        yield f"The log does not say how many rows were held out; intervals are for {facts.eval_rows}."


def _source_in_trl(h: History) -> LogSource:
    rewards, margins, accuracies = (bool(h.values(name)) for name in ("reward", "margin", "accuracy"))
    method = method_of_log(rewards=rewards, margins=margins, accuracies=accuracies)
    length = max(h.values("sampled_len"), default=None)
    return LogSource(
        train=f"trl {method} --config CONFIG.yaml",
        check=f"boresight check {method} data.train=DATA.jsonl",
        show="boresight data show DATA.jsonl --model MODEL",
        of_trl=True,
        rate=max(h.values("lr"), default=None),
        tokens=length,
    )


def _source_of(run: RunData, recipe: Recipe | None) -> LogSource:
    """Return what suggested commands are made of: the run's own recipe, and a new run folder."""
    config, after = shlex.quote(str(run.folder / "config.yaml")), shlex.quote(f"runs/{run.name}-next")
    rate = recipe.optim.lr if recipe and isinstance(recipe.optim.lr, float) else None
    weight = getattr(recipe.method, "sft_weight", None) if recipe else None
    return LogSource(
        train=f"boresight train {config} --run {after}",
        check=f"boresight check {config}",
        show=_show(recipe),
        sft_weight=float(weight) if isinstance(weight, int | float) else None,
        rate=rate,
        tokens=recipe.rollout.max_new_tokens if recipe else None,
        length=recipe.data.max_length if recipe else None,
        samples=recipe.rollout.k if recipe else None,
        temperature=recipe.rollout.temperature if recipe else None,
    )


def _show(recipe: Recipe | None) -> str:
    """Return the beginning of a command that prints rows of the training data (of the first file)."""
    if recipe is None:
        return "boresight data show DATA.jsonl --model MODEL"
    data = recipe.data
    options = {
        "--model": recipe.model.name,
        "--chat-template": recipe.model.chat_template,
        "--layout": data.layout,
        "--columns": in_one_line(data.columns) if data.columns else None,
        "--score": data.score if data.score != "all" else None,
        "--system": data.system if data.system != "keep" else None,
    }
    given = [word for option, value in options.items() if value is not None for word in (option, value)]
    return shlex.join(["boresight", "data", "show", next(iter(data.sources)), *given])


def _commands(findings: Sequence[Finding], source: LogSource) -> dict[str, str]:
    """Return a command to try for each finding that is more than a note, by the name of the finding."""
    weighty = [finding for finding in findings if finding.severity != "note"]
    return {f.name: command for f in weighty if (command := source.command(f)) is not None}


def _recipe(run: RunData) -> Recipe | None:
    """Return the run's recipe; None if it is missing, or if this version cannot parse it."""
    try:
        return Recipe.parse(dict(run.config)) if run.config else None
    except (UserError, TypeError):
        return None


def _planned_steps(run: RunData, recipe: Recipe | None) -> int:
    """Optimizer steps of the whole run, of which one that was stopped has logged the first; those in the log
    where the plan is not known."""
    from boresight.runs.check.preflight import steps_of

    kept = lookup(run.data, "train", "kept")
    planned = steps_of(recipe, kept) if recipe and is_count(kept) and kept else None
    return max(planned or 0, run.last_step)


def _replayed(run: RunData, recipe: Recipe | None, steps: int) -> Monitor:
    held = run.data.get("eval")
    counts = [held.get(key) for key in ("kept", "prompts")] if isinstance(held, Mapping) else [0, 0]
    rows, prompts = (count if is_count(count) else 0 for count in counts)
    penalties = penalty_names(recipe.reward if recipe else ())
    monitor = Monitor(History(steps, rows, eval_prompts=prompts, penalties=penalties))
    for line in sorted([*run.train, *run.eval], key=lambda line: int(line["step"])):
        monitor.see(int(line["step"]), str(line["split"]), _numbers(line))
    return monitor


def _numbers(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("step", "split")}


def _settings(recipe: Recipe, steps: int, ramp: Ramp | None, *, ended: bool) -> list[Finding]:
    """Findings on the settings of a run of `steps` steps. A forecast is for all of them, so there is none for
    a run that has not taken them."""
    from boresight import methods

    found = run_checks(method, MethodSetting(recipe, methods.get(recipe.method_name), None, steps))
    if ended:
        found += run_checks(forecast, forecast.forecast(recipe, steps, size_of(recipe, None), ramp=ramp))
    return found


def _lost_rows(data: Mapping[str, Any]) -> list[Finding]:
    found = rows_lost(data)
    return [found] if found else []


def _unresolved(metrics: list[Metric]) -> Iterator[Finding]:
    for metric in metrics:
        for check in (got_worse, not_resolved):
            if (found := check(metric)) is not None:
                yield found


def _outcome(run: RunData) -> Iterator[str]:
    if not run.finished:
        yield "The run did not finish."
    for m in run.metrics:
        if m.difference and m.after:
            unit = unit_named(m.unit)
            resolved = "significant" if m.difference.excludes_zero else "not significant"
            yield f"{m.label}: {unit.value(m.after.value)}, {unit.change(m.difference)}, {resolved}."
    yield from mostly_cut(run)
    yield from run.notes
