"""Preflight checks: everything that can be checked without training, in seconds.

    report = preflight(recipe, rehearsing=True)
    report.stop          the sentence with which `boresight train` would stop before its first step

The findings about the data, which take the longest, are cached under a digest of the data. Findings about the
recipe itself are recomputed each time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rich.console import Console
from rich.text import Text

from boresight import methods
from boresight.checks import cache
from boresight.checks import inputs as at_hand
from boresight.checks.cache import Looked
from boresight.checks.data import labels, malformed, shortcuts, tokens
from boresight.checks.data.examples import Examples
from boresight.checks.data.tokens import Tokens
from boresight.checks.forecast import forecast
from boresight.checks.forecast.forecast import Forecast
from boresight.checks.forecast.ramp import Ramp
from boresight.checks.inputs import Missing
from boresight.checks.run import machine, method, model, reward, rollouts
from boresight.checks.run.machine import Load
from boresight.checks.run.method import MethodSetting
from boresight.checks.run.model import Wiring
from boresight.config.recipe import Recipe
from boresight.core.console import print_stage
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.printable import Printable
from boresight.core.schema import Labeled, Prompt, to_prompt
from boresight.core.wording import plural
from boresight.data.prepare import DatasetCache
from boresight.data.reading.split import refuse_absent_data
from boresight.data.stored.view import concatenated, each_changed
from boresight.data.tokenizer import Tokenizer
from boresight.findings.finding import Finding, checks_of, error, note, ranked, run_checks
from boresight.findings.printing import STYLES, print_findings
from boresight.models.load import device_called
from boresight.models.policy import Policy
from boresight.runs.check.forecast_table import forecast_table
from boresight.runs.check.probed_use import use_by_ramp
from boresight.scorers.rewards import RewardSum, check_rewards
from boresight.training.build import batch_plan, rewards_of
from boresight.training.footprint.layer import Shape
from boresight.training.forward import kind_of
from boresight.training.logging.integrations import refuse_missing_trackers
from boresight.training.probes.answers import prompts_to_answer, refuse_unanswerable

EXAMPLES = (malformed, labels, shortcuts)
"""Checks of the examples as they were read."""
AREAS = (*EXAMPLES, tokens, reward, model, method, forecast, rollouts, machine)
"""Areas of checks, causes before symptoms: a fault in the data may explain findings of later areas."""
REPLACED = {"few-steps": ("train.epochs", "train.steps"), "learning-rate-budget": ("optim.lr",)}
"""Settings that the suggested fix of a finding replaces on the command line, by the name of the finding."""
STOPS = {
    "device": "device-not-available",
    "trackers": "tracker-not-installed",
    "tokenizer": "model-not-loadable",
    "data": "data-not-readable",
    "tokens": "data-not-readable",
    "prompts": "data-not-readable",
    "reward": "reward-not-loadable",
    "rows": "data-not-readable",
    "model": "model-not-loadable",
    "first step": "first-step-fails",
}
"""Inputs that training requires, in the order in which it reads them, with the finding for an unreadable
one."""
AT_ONCE = {"data", "tokenizer"}
"""Inputs without which no other check is run."""


@dataclass(frozen=True)
class Report(Printable):
    """Result of `preflight`.

    `rows` is the number of training rows, None if unknown, and `sampled` the number of rows that were
    tokenized for the checks. `load` has the memory and time of the run.
    """

    findings: list[Finding]
    forecast: Forecast | None
    load: Load | None
    rows: int | None
    sampled: int
    commands: Mapping[str, str] = field(default_factory=dict)
    """Command that trains with the fix of a finding, by the name of the finding."""
    probe: str = "boresight check RECIPE --probe"
    """Command that measures the margin."""

    @property
    def errors(self) -> list[Finding]:
        """Findings that stop a run."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def stop(self) -> str | None:
        """Sentence with which `boresight train` would stop before its first step; None if it would not."""
        if not self.errors:
            return None
        if self.refused_input:
            return self.refused_input[0].why
        return f"check: {self.errors[0].why.rstrip('.')}; {self._way_out}."

    @property
    def closing(self) -> str | None:
        """The last sentence of a command that has printed the findings. As `stop`, but errors that can be
        allowed are only named."""
        if not self.errors or self.refused_input:
            return self.stop
        names = [finding.name for finding in self.errors]
        return f"check: {' and '.join(names)} stop{'s' * (len(names) == 1)} the run; {self._way_out}."

    @property
    def before_closing(self) -> list[Finding]:
        """The findings to print before `closing`; none if the only one has the text of `closing` itself."""
        return [] if self.findings == self.refused_input else self.findings

    @property
    def refused_input(self) -> list[Finding]:
        """The first error, if training would stop at its input."""
        return [finding for finding in self.errors[:1] if finding.name in STOPS.values()]

    @property
    def _way_out(self) -> str:
        names = ",".join(finding.name for finding in self.errors)
        return f"fix {'it' if len(self.errors) == 1 else 'them'}, or proceed with check.allow=[{names}]"

    @property
    def verdict(self) -> str:
        """Number of findings by severity: `0 errors, 1 warning, 2 notes, 120 rows tokenized`."""
        counts = (plural(sum(f.severity == s for f in self.findings), s) for s in STYLES)
        sampled = f", {plural(self.sampled, 'row')} tokenized" if self.sampled else ""
        return f"{', '.join(counts)}{sampled}"

    def show(self, console: Console) -> None:
        """Print forecast, findings and verdict."""
        self._show(self.findings, console)

    def show_before_closing(self, console: Console) -> None:
        """Print forecast, findings and verdict, as they precede `closing`."""
        self._show(self.before_closing, console)

    def _show(self, findings: Sequence[Finding], console: Console) -> None:
        if self.forecast:
            console.print(forecast_table(self.forecast, self.rows, self.load, self.probe))
        print_findings(findings, console, self.commands)
        console.print(Text(self.verdict, style="red" if self.errors else "green"))


def preflight(
    recipe: Recipe,
    *,
    rows: int | None = None,
    datasets: DatasetCache | None = None,
    rehearsing: bool = False,
    ramp: Ramp | None = None,
    console: Console | None = None,
) -> Report:
    """Check a recipe before it is run.

    Args:
        rows: number of training rows, for a run that is planned for another machine: then data are not
            checked, and an unreachable hub is not an error.
        datasets: cache that keeps what is read and tokenized here, for a run that follows.
        rehearsing: also load the model and compute the gradient of a few rows, if no error was found.
            `boresight train` does without, since its first step does the same.
        ramp: make the forecast from this ramp of the recipe, instead of from other runs.
        console: console for a line that announces the rehearsal, which may take minutes.

    Raises:
        UserError: `optim.lr` is `auto`, `check.allow` contains a name that is no finding or cannot be
            allowed, or the settings of a judge among the rewards are wrong. Inputs that cannot be read become
            findings.
    """
    _ = recipe.optim.peak  # raises for `auto`
    refuse_unknown(recipe.check.allow)
    check_rewards(recipe.reward)
    datasets = datasets or DatasetCache()
    missing = Missing(elsewhere=rows is not None)
    missing.attempt("device", device_called, recipe.model.device)
    missing.attempt("trackers", refuse_missing_trackers, recipe.train.trackers)
    if rows is None:
        missing.attempt("data", refuse_absent_data, recipe.data)
    tokenizer = None
    if "data" not in missing.refused:
        tokenizer = missing.attempt("tokenizer", at_hand.make_tokenizer, recipe)
    if missing.refused.keys() & AT_ONCE:  # at once, since reading the data may take minutes
        return _refused_at_once(missing, rows)
    asked = prompts_to_ask(recipe, missing) if rows is None else ()
    looked = look_at_data(recipe, tokenizer, missing, datasets, asked) if rows is None else Looked(rows=rows)
    skeleton = missing.attempt("model", at_hand.make_skeleton, recipe, tokenizer) if tokenizer else None
    if skeleton is not None and tokenizer is not None and asked:
        missing.attempt("prompts", refuse_unanswerable, recipe, skeleton, tokenizer, asked)
    size = at_hand.size_of(recipe, skeleton)
    steps = steps_of(recipe, looked.rows)
    found = looked.findings
    if skeleton is not None and tokenizer is not None:
        found = [*found, *run_checks(model, wiring(recipe, skeleton, tokenizer))]
    chosen = methods.get(recipe.method_name)
    setting = MethodSetting(
        recipe, chosen, looked.answer_tokens, steps, labels=looked.labels, rows=looked.rows or None
    )
    found += run_checks(method, setting)
    expected = forecast.forecast(recipe, steps, size, ramp=ramp) if steps else None
    found += run_checks(forecast, expected) if expected else []
    load = load_of(recipe, skeleton, size, looked) if size else None
    if load is not None and ramp is not None:
        load = replace(load, measured=use_by_ramp(load, ramp))
    found += run_checks(machine, load) if load else []
    found = [allowed(recipe, finding) for finding in found]
    if rehearsing and rows is None and not any(finding.severity == "error" for finding in found):
        if console is not None and can_rehearse(missing):
            print_stage(console, "loading the model and computing one gradient")
        rehearse_first_step(recipe, missing, datasets, size)
    return Report(
        findings=ranked([*refusals(missing), *found, *not_checked(missing)]),
        forecast=expected,
        load=load,
        rows=looked.rows,
        sampled=looked.sampled,
    )


def _refused_at_once(missing: Missing, rows: int | None) -> Report:
    """Return the report on a run whose data file or tokenizer is missing; nothing else is checked."""
    return Report(
        findings=refusals(missing),
        forecast=None,
        load=None,
        rows=rows,
        sampled=0,
    )


def with_commands(report: Report, recipe: Recipe, arguments: Sequence[str]) -> Report:
    """Return the report with commands to try; `arguments` are recipe and overrides of the current command."""
    commands = {}
    for finding in report.findings:
        if (setting := _remedy(finding, report, recipe)) is not None:
            replaced = REPLACED[finding.name]
            kept = [argument for argument in arguments if argument.partition("=")[0] not in replaced]
            commands[finding.name] = shlex.join(["boresight", "train", *kept, setting])
    probe = shlex.join(["boresight", "check", *arguments, "--probe"])
    return replace(report, commands=commands, probe=probe)


def _remedy(finding: Finding, report: Report, recipe: Recipe) -> str | None:
    """Return the setting that fixes a finding, such as `optim.lr=auto`; None if there is no single one."""
    from boresight.runs.check.lr_ramp import FEWEST

    if finding.name == "few-steps":
        return f"train.epochs={dict(finding.numbers)['epochs']:g}"
    enough = report.rows is not None and report.rows >= 3 * FEWEST  # it measures one third of them
    if finding.name == "learning-rate-budget" and enough and not kind_of(recipe).online:
        return "optim.lr=auto"
    return None


def before_training(
    recipe: Recipe,
    console: Console,
    datasets: DatasetCache | None = None,
    ramp: Ramp | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> list[Finding]:
    """Run the preflight checks of `boresight train`, and return their findings.

    Errors and warnings are printed and, without a ramp, commands to try. An input that is refused is not
    printed, since its sentence is the one that is raised.

    Raises:
        UserError: an error that `check.allow` does not name.
    """
    report = preflight(recipe, datasets=datasets, ramp=ramp)
    report = report if ramp else with_commands(report, recipe, arguments)
    refused = report.refused_input
    shown = [found for found in report.findings if found.severity != "note" and found not in refused]
    print_findings(shown, console, report.commands)
    if report.stop:
        raise UserError(report.stop, closing=report.closing)
    return report.findings


def can_rehearse(missing: Missing) -> bool:
    """Whether every input of the first step is available."""
    return not missing.refused and not missing.why


def rehearse_first_step(
    recipe: Recipe, missing: Missing, datasets: DatasetCache, parameters: int | None
) -> None:
    """Rehearse the first step if all inputs are available and the machine has enough memory; an error is
    stored in `missing`."""
    from boresight.runs.check import rehearsal

    if not can_rehearse(missing):
        return
    if reason := rehearsal.why_not(recipe, parameters):
        missing.why["first step"] = reason
        return
    missing.attempt("first step", rehearsal.rehearse, recipe, datasets)


def prompts_to_ask(recipe: Recipe, missing: Missing) -> Sequence[Prompt]:
    """Return the prompts of `evaluate.prompts`; empty if there are none.

    The list is also empty for a reward model, and if the prompts cannot be read.
    """
    if not recipe.evaluate.prompts or kind_of(recipe).head != "lm":
        return ()
    return missing.attempt("prompts", prompts_to_answer, recipe, []) or ()


def look_at_data(
    recipe: Recipe,
    tokenizer: Tokenizer | None,
    missing: Missing,
    datasets: DatasetCache,
    asked: Sequence[Prompt],
) -> Looked:
    """Return findings and counts about data and tokens.

    They are read from the cache if the same content was checked before. Inputs that cannot be read are stored
    in `missing`.
    """
    rewards = missing.attempt("reward", rewards_of, recipe)
    key = cache.key(recipe)
    if key and tokenizer and (kept := cache.read_cached(key)):
        return kept
    data = datasets.of(recipe, kind_of(recipe).data)
    examples = missing.attempt("data", at_hand.read_examples, data)
    if examples is None:
        return Looked(rows=recipe.data.limit)
    examples = replace(examples, asked=asked)
    found = [finding for area in EXAMPLES for finding in run_checks(area, examples)]
    made = missing.attempt("tokens", at_hand.make_tokens, recipe, data, tokenizer) if tokenizer else None
    found += run_checks(tokens, made) if made else []
    if rewards is not None:
        scored = concatenated(examples.trained_on if kind_of(recipe).online else (), asked or examples.eval)
        missing.attempt("rows", rewards.refuse_lacking, each_changed(scored, to_prompt))
    if kind_of(recipe).online and rewards is not None:
        found += missing.attempt("reward", probe_rewards, rewards, examples) or []
    looked = Looked(found, *row_counts(examples, made), label_counts(examples))
    if key and made and not missing.refused:
        cache.write_cached(key, looked)
    return looked


def row_counts(examples: Examples, made: Tokens | None) -> tuple[int, int, float | None, float | None]:
    """Return `(training rows, rows tokenized, mean tokens per answer, mean tokens per packed row)`.

    The number of training rows is estimated from the tokenized rows; the means are None without any.
    """
    if made is None or not made.rows:
        return len(examples.trained_on), 0, None, None
    room = [min(row.tokens, made.max_length * max(1, len(row.completions))) for row in made.rows]
    answers = [len(c.ids) for _, c in made.completions]
    mean = float(np.mean(answers)) if answers else None
    fits = [
        all(len(row.prompt) + len(c.ids) <= made.max_length for c in row.completions) for row in made.rows
    ]
    kept = np.mean(fits) if made.truncation == "drop" else 1.0
    rows = len(examples.trained_on) * made.per_example * float(kept)
    return round(rows), len(made.rows), mean, float(np.mean(room))


def label_counts(examples: Examples) -> tuple[int, int] | None:
    """Return the numbers of good and of bad answers in labeled training data; None for other data."""
    labels = [example.label for example in examples.trained_on if isinstance(example, Labeled)]
    return (sum(labels), len(labels) - sum(labels)) if labels else None


def probe_rewards(rewards: RewardSum, examples: Examples) -> list[Finding]:
    """Call the reward functions on training examples, and return the findings about them."""
    return run_checks(reward, reward.RewardProbe(rewards, examples.train, rewards.of_user))


def wiring(recipe: Recipe, policy: Policy, tokenizer: Tokenizer) -> Wiring:
    """Return the facts about a model, with weights or without, that the checks of `model` need."""
    from boresight.data.stop_tokens import end_of_turn

    return Wiring(policy, tokenizer, end_of_turn(tokenizer), recipe)


def steps_of(recipe: Recipe, rows: int | None) -> int | None:
    """Return the number of optimizer steps; None if neither the recipe nor the data determine it."""
    if rows is None and recipe.train.steps is None:
        return None
    return batch_plan(recipe, rows or 1).steps * recipe.rollout.updates


def load_of(recipe: Recipe, skeleton: Policy | None, size: int, looked: Looked) -> Load:
    """Return the size of the run, from which the checks of `machine` estimate memory and time."""
    of_config = Shape.of(skeleton.config) if skeleton is not None else None
    guessed = "" if of_config else "size by the model's name, 24 layers of width 1,024 assumed"
    trained = size
    if skeleton is not None:
        trained = sum(p.numel() for p in skeleton.parameters() if p.requires_grad)
    kind = kind_of(recipe)
    visits = batch_plan(recipe, looked.rows).total if looked.rows else None
    return Load(
        recipe=recipe,
        parameters=size,
        trained=trained,
        layers=of_config.layers if of_config else 24,
        hidden=of_config.hidden if of_config else 1024,
        intermediate=of_config.intermediate if of_config else 4096,
        row_tokens=looked.row_tokens,
        rows=visits,
        kv=of_config.kv if of_config else 0,
        vocabulary=of_config.vocabulary if of_config else 0,
        passes=2.0 + trained / size + kind.needs_reference + kind.mismatched,
        assumed=guessed,
    )


def allowed(recipe: Recipe, finding: Finding) -> Finding:
    """Return the finding, with severity `warning` if it is an error that `check.allow` names."""
    if finding.severity == "error" and finding.name in recipe.check.allow:
        return replace(finding, severity="warning")
    return finding


def finding_names() -> list[str]:
    """Return the names of all findings of the preflight.

    These are the names of the checks, those for missing inputs, and `not-checked`.
    """
    own = [check.__name__.replace("_", "-") for area in AREAS for check in checks_of(area)]
    return [*own, *dict.fromkeys(STOPS.values()), "not-checked"]


def refuse_unknown(allow: Sequence[str]) -> None:
    """Raise a `UserError` for a name in `check.allow` that no check has, or whose finding cannot be
    allowed."""
    for name in allow:
        if name in STOPS.values():
            raise UserError(f"check.allow: {name} stops training and cannot be allowed; remove it.")
        if name not in finding_names():
            raise UserError(f"check.allow: no finding is called {name!r}{nearest(name, finding_names())}.")


def refusals(missing: Missing) -> list[Finding]:
    """Return an error for each input at which training would stop, in the order in which training reads them.

    `check.allow` does not apply to these errors. The same sentence is listed once, for example that of a file
    which is missing as data and as prompts.
    """
    names: dict[str, str] = {}
    for part, name in STOPS.items():
        if part in missing.refused:
            names.setdefault(missing.refused[part], name)
    return [error(name, why, "Training is not possible until this is fixed.") for why, name in names.items()]


def not_checked(missing: Missing) -> list[Finding]:
    """Return one note that lists everything that could not be checked; empty if there is nothing."""
    if not missing.why:
        return []
    parts, why = " and ".join(missing.why), next(iter(missing.why.values()))
    return [
        note(
            "not-checked",
            f"The {parts} could not be checked: {why.rstrip('.')}.",
            "Run `boresight check` again where the run will be.",
            count=len(missing.why),
        )
    ]
