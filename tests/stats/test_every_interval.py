"""No interval is forgotten: `test_coverage.py` simulates every function that makes one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import boresight
from tests.stats import studies
from tests.stats.studies import Simulate

SCENARIOS: dict[Simulate, tuple[str, ...]] = {
    studies.shares: ("stats.intervals.share_interval",),
    studies.ties: ("stats.intervals.share_interval", "stats.intervals.mean_interval"),
    studies.grades: ("stats.paired.paired_metric",),
    studies.clusters: ("stats.intervals.clustered_share",),
    studies.means: ("stats.intervals.mean_interval", "stats.intervals.clustered_mean"),
    studies.paired_shares: ("stats.intervals.paired_difference",),
    studies.paired_outcomes: ("stats.intervals.paired_difference",),
    studies.unpaired_shares: ("stats.intervals.unpaired_difference",),
    studies.seeds: ("stats.over_seeds.over_seeds",),
    studies.differences_over_seeds: ("stats.over_seeds.difference_over_seeds",),
    studies.pooled_seeds: ("stats.pooled_seeds.pooled_difference",),
    studies.pooled_means: ("stats.pooled_seeds.pooled_mean",),
    studies.length_controlled: ("stats.length.length_controlled_win_rate",),
    studies.rankings: ("stats.ranking.bradley_terry",),
}
"""Scenarios, and the functions whose intervals they simulate."""

NOT_SIMULATED: dict[str, str] = {
    "arena.votes.Votes.rate": "clustered_share of votes, which are won, tied or lost",
    "checks.data.labels._inverted": "clopper_pearson of pairs, contradicted by their scores or not",
    "checks.data.verified.VerifiedFile.share": "clustered_share of rows, contradicted or not",
    "evaluation.answer_controls.answer_controls": "share_interval of answers, repeated or not",
    "evaluation.graded.comparison.RewardComparison._p": "over_seeds of one system, for its p-value",
    "evaluation.graded.metrics.GradedMetric._difference": "paired_difference of prompts' means",
    "evaluation.graded.metrics.GradedMetric.interval": "clustered_share or clustered_mean of completions",
    "evaluation.graded.seeds._difference": "difference_over_seeds",
    "evaluation.graded.seeds._mean": "over_seeds",
    "evaluation.harness.comparison.TaskComparison._measured": "paired_metric of a task's documents",
    "evaluation.harness.comparison.TaskComparison._p": "over_seeds of one system, for its p-value",
    "evaluation.judge_controls._by_prompt": "clustered_share of cases, flips and slots",
    "evaluation.leaderboard.Entry.share": "clopper_pearson of totals, wide where there are ties",
    "evaluation.leaderboard.pairs": "unpaired_difference of totals",
    "evaluation.win_rate.tournament": "bradley_terry of games on the same prompts",
    "evaluation.win_rate.win_rate": "clustered_share and length_controlled_win_rate of outcomes",
    "experiments.study.outcomes.block_results._against": "pooled_difference",
    "experiments.study.outcomes.block_results._arm": "pooled_mean",
    "experiments.study.outcomes.questions.question_of": "pooled_difference",
    "experiments.study.results.Compared.shown": "the same interval around one half",
    "experiments.study.results.difference": "over_seeds of paired differences",
    "experiments.study.results.arm_mean": "over_seeds",
    "experiments.sweep.confirm._gain": "difference_over_seeds",
    "experiments.sweep.confirm.confirmed": "over_seeds and difference_over_seeds",
    "experiments.sweep.confirm.measured_over_seeds": "over_seeds",
    "findings.history._share": "clopper_pearson of an accuracy whose few ties count one half, or of answers",
    "training.probes.answers.answer_lengths": "paired_metric of answers' lengths, in tokens",
    "reports.compare.verdicts": "paired_difference of checks, met or not",
    "reports.figures._held_out": "clopper_pearson of an accuracy whose few ties count one half",
    "reports.read_run._interval": "an interval that was written to a file",
    "export.gguf.compare.mean_kl": "clustered_mean of KL by token, an answer being a cluster; cut at 0",
    "reports.same_rows._difference": "difference_over_seeds of one run each",
    "runs.check.rollout_probe.sampled_start": "share_interval of prompts with unequal rewards",
    "stats.agreement.agreement": "clustered_share of comparisons on which two judges agree or not",
    "stats.agreement.rater_agreement": "clustered_share of pairs of raters, who agree or not",
    "stats.intervals.Interval.scaled": "another unit of the same interval",
    "stats.intervals.Interval.transformed": "another scale of the same interval",
    "stats.intervals._share_limits": "called by share_interval and clustered_share",
    "stats.length.length_matched_split.part": "clustered_share of outcomes of some of the prompts",
    "stats.paired._difference": "called by paired_metric",
    "stats.paired._interval": "called by paired_metric",
    "stats.paired.paired_metrics": "paired_metric of every metric",
    "stats.pooled_seeds._pooled": "called by pooled_difference and pooled_mean",
    "stats.pooled_seeds.paired_by_seed": "pooled_difference of the pairs' differences and of zero",
    "synthesis.card._judge": "clopper_pearson of prompts, flipped or not",
    "synthesis.card._length": "clopper_pearson of pairs, the chosen answer longer or not",
    "tasks.constraints.evaluation.compare_constraints": "paired_metric of checks, met or not",
    "training.guard.bounds.Bound.reading": "mean_interval or paired_difference of rows",
    "training.probes.likelihood.under_start_model": "paired_metric of log-likelihoods, in nats",
}
"""Functions that make an interval and have no scenario of their own, each with what it hands to whom."""


def test_every_function_that_makes_an_interval_is_simulated():
    simulated = {name for names in SCENARIOS.values() for name in names}
    found = set(functions_that_make_intervals(simulated))
    assert found - simulated - NOT_SIMULATED.keys() == set(), "simulate them, or say why not"
    assert NOT_SIMULATED.keys() - found == set(), "these make no interval"
    assert not simulated & NOT_SIMULATED.keys()


def functions_that_make_intervals(known: set[str]) -> Iterator[str]:
    """Functions that call `Interval`, the limits of a share, or a function in `known` that makes intervals.

    What only returns or shows the interval of another function makes none.
    """
    makers = known | {"stats.intervals.Interval", "stats.intervals.clopper_pearson"}
    root = Path(boresight.__file__).parent
    for path in sorted(root.rglob("*.py")):
        module, tree = _module(path, root), ast.parse(path.read_text("utf-8"))
        imported = _imports(tree)
        for name, function in _functions(tree):
            called = {imported.get(called, f"{module}.{called}") for called in _called(function)}
            if called & makers:
                yield f"{module}.{name}"


def _module(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.AST) -> dict[str, str]:
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}".removeprefix("boresight.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _called(function: ast.AST) -> Iterator[str]:
    """Names that a function calls, functions within it left out: they stand for themselves."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _called(node)


def _functions(
    tree: ast.AST, within: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        name = within + (getattr(node, "name", None) or "")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from _functions(node, f"{name}." if inner else within)
