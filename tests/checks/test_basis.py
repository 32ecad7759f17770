"""Where the numbers of a finding come from: its own data and log, or somebody else's, and then it says so.

Every check stands in one of the two tables. One that rests on a ladder, published settings, curves of other
runs, a formula, or a config's or source's word belongs into the first, with the words that say so.
"""

from __future__ import annotations

import re

import pytest

from boresight.findings.finding import checks_of
from boresight.runs.check import preflight
from tests.checks import builders as b
from tests.checks.test_every_check import AREAS, PLANTED, loaded, recipe
from tests.checks.test_planted_faults import FAULTS

RESTS_ON_OTHERS = {
    "learning-rate-too-high": r"borrowed from published runs up to 1B and not measured on your model",
    "learning-rate-budget": r"borrowed from dpo runs of .* not measured with your model on your pairs",
    "over-optimization-ahead": r"borrowed from dpo runs of .* \(arXiv 2406\.02900\)",
    "ipo-target": r"in published runs and ours",
    "loss-hides-learning": r"that of good published runs",
    "kl-too-strong": r"a verifier usually pays",
    "label-weights": r"the authors of KTO recommend .* \(arXiv 2402\.01306",
    "few-rollouts": r"a public 0\.5B Countdown run",
    "half-precision-parameters": r"estimated for weights of a typical size",
    "memory": r"estimated from shapes",
    "duration": r"estimated from shapes",
    "beyond-context": r"the model by its config has",
    "dropout-in-policy": r"The model's config has",
    "labels-swapped": r"has the higher score",
    "labels-random": r"has the higher score",
    "labels-noisy": r"has the higher score",
    "equal-scores": r"scores?",
    "likelihood-displacement": r"arXiv",
    "over-optimization": r"arXiv",
}
"""Findings that rest on what others published, measured or declared, and how their sentence says it."""

RESTS_ON_ITS_OWN = {
    # the data, its tokens and the rewards
    "scores-not-finite", "empty-turns", "prompts-differ", "template-in-text", "encoding-damage",
    "identical-pairs", "conflicting-labels", "train-eval-overlap", "evaluate-prompts-overlap",
    "prompts-shuffled", "length-leak", "boilerplate", "near-identical-pairs", "foreign-answers",
    "duplicated-prompts", "nothing-held-out", "eval-too-small", "examples-sampled", "template-mismatch",
    "all-masked", "pad-masks-eos",
    "eos-not-scored", "eos-missing", "double-bos", "bos-missing", "padding-in-rows", "turns-split",
    "template-refuses", "unknown-tokens", "chosen-truncated", "rejected-truncated", "rows-truncated",
    "few-truncated", "reward-fails", "reward-reads-prompt", "reward-constant", "reward-missing",
    "reward-pays-for-wrong",
    # the model, the recipe and the loss
    "end-of-turn-does-not-stop", "frozen-parameters", "padding-drops-gradient", "untied-weights",
    "vocabulary-too-small", "dropout-in-rollouts", "pad-is-end-of-turn", "logps-not-finite",
    "dropout-in-reference", "dropout-in-training", "reference-not-policy", "gradient-direction", "kl-sign",
    "kl-without-effect", "alpha-dominates", "not-exploring", "few-steps", "one-label",
    # a probe
    "harm-ahead", "no-gain-in-ramp", "answers-of-another-model", "rewards-tie",
    # the log of the run
    "not-finite", "labels-reversed", "memorizing", "not-learning", "reward-constant-live",
    "zero-variance-groups", "rewards-missing", "steps-skipped", "reward-hacking", "reward-flat-held-out",
    "entropy-collapse", "overfitting", "length-drift", "stops-failing", "repetition", "gradient-spike",
    "clip-saturation",
}  # fmt: skip


def bf16_without_weights():
    wiring = b.wired(b.recipe("dpo", "optim.lr=2e-7"))
    wiring.model.bfloat16().to("meta")
    return b.found_in_model(wiring)


ELSEWHERE = {"model": {"name": "nowhere/another-0.5B"}}
PLANTS = {
    **{name: plant for plant, name in FAULTS.values()},
    **PLANTED,
    "loss-hides-learning": lambda: recipe("dpo", "method.beta=0.01"),
    "few-rollouts": lambda: recipe("rloo", rows=640, reward=[{"function": "countdown"}]),
    "learning-rate-budget": lambda: recipe("dpo", "optim.lr=2e-8", **ELSEWHERE),
    "over-optimization-ahead": lambda: recipe("dpo", "optim.lr=5e-5", "train.batch=8", **ELSEWHERE),
    "half-precision-parameters": bf16_without_weights,
}


def test_every_check_says_where_its_numbers_come_from():
    checks = {check.__name__.replace("_", "-") for area in AREAS for check in checks_of(area)}
    assert checks == set(RESTS_ON_OTHERS) | RESTS_ON_ITS_OWN
    assert not RESTS_ON_ITS_OWN & set(RESTS_ON_OTHERS)


@pytest.mark.parametrize("name", RESTS_ON_OTHERS)
def test_what_rests_on_others_says_so(name, monkeypatch):
    found = (
        loaded(monkeypatch, 1.0, row_tokens=500.0, rows=60_000)
        if name in ("memory", "duration")
        else PLANTS[name]()
    )
    why = next(finding.why for finding in found if finding.name == name)
    assert re.search(RESTS_ON_OTHERS[name], why), why


def test_what_rests_on_check_like_is_called_declared():
    chosen = b.recipe("dpo", "check.like=demo", "optim.lr=2e-7", data={"train": "nowhere/pairs"})
    (found,) = (f for f in b.found_in_recipe(chosen, 6_000) if f.name == "learning-rate-budget")
    assert "on demo, which check.like declares your pairs to be like, this sum yielded" in found.why
    assert "On yours nothing was measured" in found.why


def test_a_size_and_shape_that_are_guessed_are_called_so(monkeypatch):
    """Without its config a model has the parameters of its name and a usual shape."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("boresight.checks.run.machine.available_gb", lambda device: 1.0)
    chosen = b.recipe("dpo", model={"name": "nowhere/some-0.5B"})
    report = preflight.preflight(chosen, rows=5_000)
    why = next(f.why for f in report.findings if f.name == "memory")
    assert "estimated from shapes (size by the model's name, 24 layers of width 1,024 assumed)" in why
