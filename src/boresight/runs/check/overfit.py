"""Overfit a few rows as a sanity check: a setup that cannot overfit cannot learn, and the findings name the
cause.

The recipe's method, model, template and mask are used as they are; batch and learning rate are not, since
this tests the implementation and not the settings.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from boresight import methods
from boresight.checks.data import tokens
from boresight.checks.forecast.calibration import SMALLEST_MODEL
from boresight.checks.inputs import make_tokenizer, make_tokens
from boresight.checks.run import initial_loss
from boresight.checks.run.initial_loss import FirstStep
from boresight.config.recipe import Recipe
from boresight.core.console import Terminal
from boresight.core.errors import UserError
from boresight.core.wording import percent, plural
from boresight.data.prepare import DatasetCache
from boresight.data.rows import Row
from boresight.data.tokenizer import Tokenizer
from boresight.findings.finding import Finding, error, ranked, run_checks
from boresight.findings.printing import print_findings
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.allocator import releasing_memory
from boresight.models.policy import Policy
from boresight.models.precision import resolve_dtype, token_noise
from boresight.models.reference.frozen import Reference, store_reference
from boresight.runs.check.preflight import wiring
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.forward import kind_of
from boresight.training.logging.logger import Tracker
from boresight.training.loop import Batch, Task, accumulate, evaluate_rows
from boresight.training.mismatched import each_alone, together, with_mismatched
from boresight.training.optimizer.adamw import make_optimizer
from boresight.training.optimizer.clipping import divide_and_clip
from boresight.training.policy import load_policy, seed_everything

PASSING = 0.95
"""Accuracy on the rows that must be exceeded."""
PASSING_SHARE = 0.5
"""Share of the initial loss by which the loss must fall for demonstrations, which have no accuracy."""
MOST_STEPS = 60
BATCH = 8
LOOK_EVERY = 4
"""Number of steps between measurements: one pass over 32 rows."""
TOKENS = 400
"""Maximum length of a row, in tokens; short rows keep the check quick."""


@dataclass(frozen=True)
class Start:
    """The rows to overfit, with recipe, model and tokenizer.

    `reference` is None for methods without a reference.
    """

    recipe: Recipe
    policy: Policy
    tokenizer: Tokenizer
    rows: Sequence[Row]
    reference: Reference | None


@dataclass(frozen=True)
class OverfitResult:
    """Result of the attempt to overfit a few rows.

    `reached` is the accuracy on the rows that were trained on or, for demonstrations, the share of the
    initial loss by which the loss fell. `steps` is the number of steps taken, `findings` are the causes of a
    failure, and `passing` is the value that `reached` must exceed.
    """

    reached: float
    steps: int
    findings: list[Finding]
    passing: float = PASSING

    @property
    def passed(self) -> bool:
        """Whether the model overfit the rows."""
        return self.reached > self.passing


@releasing_memory()
def overfit(recipe: Recipe, count: int, console: Console) -> OverfitResult:
    """Overfit `count` rows of the recipe's data, print the outcome, and return it.

    Raises:
        UserError: the method learns from answers that it samples, data or model cannot be read, or no row is
            suitable.
    """
    kind = kind_of(recipe)
    if kind.online:
        raise UserError(f"--overfit: {recipe.method_name} samples its answers, there are no rows to overfit.")
    seed_everything(recipe.train.seed)
    tokenizer = make_tokenizer(recipe)
    made = make_tokens(recipe, DatasetCache().of(recipe, kind.data), tokenizer)
    rows: Sequence[Row] = learnable(made.rows, count, min(TOKENS, recipe.data.max_length))
    policy, _ = load_policy(recipe, kind, tokenizer)
    if kind.mismatched:
        rows, _ = with_mismatched(rows, recipe.data.max_length)
    limit = forward_tokens(recipe.train, policy.device)
    with arithmetic(policy, recipe.model.dtype, limit, recipe.model.kernels):
        stored = store_reference(policy, together(rows), limit) if kind.needs_reference else None
    console.print(
        f"overfitting {plural(len(rows), 'row')}, at most {MOST_STEPS} steps of {BATCH}", highlight=False
    )
    reference = None if stored is None else each_alone(stored, rows)
    outcome = learn(Start(recipe, policy, tokenizer, rows, reference), console)
    found = [*run_checks(tokens, made), *outcome.findings] if not outcome.passed else []
    outcome = replace(outcome, findings=ranked(found))
    say(outcome, console)
    return outcome


def learnable(rows: Sequence[Row], count: int, longest: int) -> list[Row]:
    """Return the first `count` rows of at most `longest` tokens per completion whose two completions differ.

    Raises:
        UserError: there are none.
    """
    found = [
        row
        for row in rows
        if all(len(row.prompt) + len(c.ids) <= longest for c in row.completions)
        and (len(row.completions) < 2 or row.completions[0].ids.tolist() != row.completions[1].ids.tolist())
    ]
    if not found:
        raise UserError(f"--overfit: no row has at most {longest} tokens and two different answers.")
    return found[:count]


def learn(start: Start, console: Console) -> OverfitResult:
    """Check the loss before the first step against the reference, then train until the rows are overfit.

    Training ends after `MOST_STEPS` steps at the latest. The result of a failure has findings on its causes.
    """
    if start.reference is not None:
        model, device = start.recipe.model, start.policy.device
        noise = token_noise(resolve_dtype(model.dtype, device))
        limit = forward_tokens(start.recipe.train, device)
        with arithmetic(start.policy, model.dtype, limit, model.kernels):
            first = FirstStep(start.policy, start.reference, start.rows[:8], noise)
            found = run_checks(initial_loss, first)
        if found:
            return OverfitResult(0.0, 0, found)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _train(start, Path(folder), console)
        except UserError as problem:
            return OverfitResult(0.0, 0, [_stopped(problem)])


def _train(start: Start, folder: Path, console: Console) -> OverfitResult:
    task = _task(start, folder)
    trainable = [p for p in task.policy.parameters() if p.requires_grad]
    begin = evaluate_rows(task, start.rows, 0.0).summary()
    if not trainable:
        return OverfitResult(0.0, 0, diagnose(start, begin, begin))
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    passing = PASSING if "accuracy" in begin else PASSING_SHARE
    reached, step = 0.0, 0
    while step < MOST_STEPS and reached <= passing:
        task.policy.train()
        gathered = accumulate(task, _batch(start.rows, step), step)
        norm, _ = divide_and_clip(trainable, gathered.weight * task.loss_scale.value, 1.0)
        if not math.isfinite(norm):
            optimizer.zero_grad(set_to_none=True)
            if task.loss_scale.lower():
                continue
            return OverfitResult(reached, step, [_not_finite(step)])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % LOOK_EVERY == 0:
            now = evaluate_rows(task, start.rows, 0.0).summary()
            reached = _reached(begin, now)
            console.print(f"  step {step}: {_measure(now)} {reached:.2f}", highlight=False)
    found = [] if reached > passing else diagnose(start, begin, now)
    return OverfitResult(reached, step, found, passing)


def diagnose(start: Start, begin: dict[str, float], now: dict[str, float]) -> list[Finding]:
    """Return the findings that explain why the model did not overfit its rows, the most severe first.

    Args:
        begin: means of the method's metrics over the rows before training.
        now: the same means after training.
    """
    from boresight.checks.run import method, model
    from boresight.checks.run.method import MethodSetting

    found = []
    if kind_of(start.recipe).head == "lm":  # a reward model generates nothing
        found += run_checks(model, wiring(start.recipe, start.policy, start.tokenizer))
    found += run_checks(method, MethodSetting(start.recipe, methods.get(start.recipe.method_name)))
    moved = abs(now["loss"] - begin["loss"])
    if moved == 0:
        found.append(nothing_moves())
    if now.get("accuracy", 1.0) < 0.2:
        found.append(learns_backwards(now["accuracy"], len(start.rows)))
    found.append(not_learned(now))
    return ranked(found)


def nothing_moves() -> Finding:
    """Create the finding `nothing-moves`: training does not change the loss of the rows at all."""
    return error(
        "nothing-moves",
        "After training on them the loss of the rows is exactly the same: no weight that they depend on "
        "changes.",
        "Check that parameters are trainable, that tokens are scored, and that the optimizer holds the "
        "parameters.",
    )


def learns_backwards(accuracy: float, pairs: int) -> Finding:
    """Create the finding `learns-backwards`: after overfitting, the policy prefers the rejected answers.

    Args:
        accuracy: share of the pairs in which the policy prefers the chosen answer.
        pairs: number of pairs.
    """
    return error(
        "learns-backwards",
        f"After training on them the rejected answer leads in {percent(1 - accuracy)} of {pairs:,} pairs: "
        "chosen and rejected, or a sign, are swapped on the way to the loss.",
        "Check the order of completions in a row, and the sign of the margin.",
    )


def not_learned(now: dict[str, float]) -> Finding:
    """Create the finding `not-learned`: the model did not overfit the rows."""
    return error(
        "not-learned",
        f"The model did not overfit the rows; {_measure(now)} reached {_value(now):.2f} with loss "
        f"{now['loss']:.3g}.",
        "Look at the rows with `boresight data show`; something between data and loss is broken.",
    )


def say(outcome: OverfitResult, console: Console) -> None:
    """Print the verdict and the findings."""

    verdict = "overfit the rows" if outcome.passed else "did NOT overfit the rows"
    style = "green" if outcome.passed else "bold red"
    console.print(
        f"{verdict}: {outcome.reached:.2f} after {plural(outcome.steps, 'step')}",
        style=style,
        highlight=False,
    )
    print_findings(outcome.findings, console)


def _task(start: Start, folder: Path) -> Task:
    optim = start.recipe.optim.model_copy(update={"lr": _rate(start), "weight_decay": 0.0})
    train = start.recipe.train.model_copy(update={"batch": BATCH})
    return Task(
        recipe=start.recipe.model_copy(update={"optim": optim, "train": train}),
        policy=start.policy,
        tokenizer=start.tokenizer,
        reference=start.reference,
        batches=_Steps(),
        eval_rows=start.rows,
        run=folder,
        tracker=Tracker(folder, MOST_STEPS, Terminal(quiet=True)),
    )


@dataclass(frozen=True)
class _Steps:
    """Stand-in for the batches of a run, of which `accumulate` reads only the number of steps."""

    steps: int = MOST_STEPS

    def batch(self, step: int) -> Batch:
        raise NotImplementedError


def _rate(start: Start) -> float:
    """Return a learning rate that is high enough to overfit a few rows within `MOST_STEPS` steps."""
    size = sum(p.numel() for p in start.policy.parameters())
    if size < SMALLEST_MODEL:
        return max(3e-3, start.recipe.optim.peak)
    return 1e-3 if start.recipe.model.lora is not None else 2e-5


def _batch(rows: Sequence[Row], step: int) -> list[Row]:
    first = step * BATCH
    return [rows[(first + i) % len(rows)] for i in range(min(BATCH, len(rows)))]


def _reached(begin: dict[str, float], now: dict[str, float]) -> float:
    return now["accuracy"] if "accuracy" in now else 1 - now["loss"] / begin["loss"]


def _measure(now: dict[str, float]) -> str:
    return "accuracy" if "accuracy" in now else "share of the loss gone"


def _value(now: dict[str, float]) -> float:
    return now.get("accuracy", now["loss"])


def _not_finite(step: int) -> Finding:
    return error(
        "not-finite",
        f"The gradient became NaN or infinite at step {step + 1}.",
        "Look for malformed rows or broken weights, and compute in float32.",
    )


def _stopped(problem: UserError) -> Finding:
    return error(
        "stopped-at-step-zero",
        f"{str(problem).rstrip('.')}.",
        "Make policy and reference the same model on the same tokens.",
    )
