"""The study's published settings, and what is said of them before a step is taken.

The numbers are those one gets by hand. A cosine with 10 % warm-up sums to half the constant schedule, so
5,000 pairs in batches of 24 at 2e-7 give 209 * 2e-7 / 2 = 2.1e-5. Both curves on UltraFeedback are
proportional to the sum up to their first points, 0.15 nats at 2.6e-5 and 0.105 at 2.75e-5: 0.122 and 0.081
nats, of which the geometric mean is 0.099. DPO's loss at beta 0.05 is ln(1 + exp(-0.05 * 0.099)) = 0.691.
"""

import math
from pathlib import Path

import pytest

from boresight.config.recipe import Recipe
from boresight.models.source import Unreachable
from boresight.runs.check.preflight import preflight

STUDY = Path(__file__).parents[2] / "recipes" / "study"
RECIPES = {path.stem for path in STUDY.glob("*.yaml") if not path.stem.startswith("plan-")}
PUBLISHED = sorted(name for name in RECIPES if not name.endswith("-tuned"))
TUNED = sorted(RECIPES.difference(PUBLISHED))

DIAGNOSIS = {
    "dpo-5k": "learning-rate-budget",
    "dpo-20k": "learning-rate-budget",
    "dpo-figure": "loss-hides-learning",
    "ipo": "ipo-target",
    "synthetic": "learning-rate-budget",
    "xpo-alpha0.1": "alpha-dominates",
    "xpo-alpha0.01": "learning-rate-budget",
    "countdown-sft": "few-steps",
    "countdown-sft-lora": "few-steps",
    "countdown-rloo-b16": "few-rollouts",
    "countdown-rloo-b20": "few-rollouts",
    "countdown-rloo-b24": "few-rollouts",
}
SOUND = {"sft", "dpo-61k"}
"""Published settings whose budget is sound; what is wrong with them shows in the data."""


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Neither the model nor the data are looked for: names and counts in the recipe are enough."""
    monkeypatch.setattr("boresight.checks.inputs.make_tokenizer", _unreachable)


def _unreachable(recipe):
    raise Unreachable(f"model: {recipe.model.name!r}: the Hugging Face hub cannot be reached.")


def checked(name, *overrides):
    recipe = Recipe.load(STUDY / f"{name}.yaml", list(overrides))
    return preflight(recipe, rows=recipe.data.limit)


def without_machine(report):
    return [f for f in report.findings if f.name not in ("memory", "duration", "not-checked")]


def test_every_published_recipe_has_a_diagnosis_and_a_tuned_one_beside_it():
    assert set(PUBLISHED) == set(DIAGNOSIS) | SOUND
    assert {name.removesuffix("-tuned") for name in TUNED} == {
        "sft", "dpo-5k", "dpo-20k", "dpo-figure", "dpo-61k", "xpo", "ipo", "synthetic",
        "countdown-sft", "countdown-sft-lora", "countdown-rloo",
    }  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_first_finding_is_the_diagnosis(name):
    found = without_machine(checked(name))
    assert (found[0].name if found else None) == DIAGNOSIS.get(name)


@pytest.mark.parametrize("name", TUNED)
def test_tuned_recipes_have_neither_errors_nor_warnings(name):
    assert [str(f) for f in without_machine(checked(name)) if f.severity != "note"] == []


def test_the_5k_run_will_look_flat():
    """The schedule is not stated: a cosine ends at 0.691, a constant rate at 0.687, no bug assumed."""
    cosine = checked("dpo-5k").forecast
    constant = checked("dpo-5k", "optim.schedule=constant", "optim.warmup=0").forecast
    assert cosine.budget == pytest.approx(2.1e-5, rel=0.01)
    assert constant.budget == pytest.approx(4.2e-5, rel=0.01)
    assert cosine.margin.middle == pytest.approx(0.099, abs=5e-4)
    assert cosine.loss[2] == pytest.approx(math.log1p(math.exp(-0.05 * cosine.margin.middle)))
    assert 0.690 <= cosine.loss[2] <= 0.691 and 0.686 <= constant.loss[2] <= 0.688
    assert cosine.flat and constant.flat
    why = checked("dpo-5k").findings[0].why
    assert "expect a flat curve, the loss going from 0.693 to 0.691" in why
    assert "49 times as much" in checked("dpo-5k").findings[0].fix


def test_pairs_that_nobody_measured_have_no_forecast():
    """The synthetic pairs are the run's own: their budget makes a note, no number of theirs."""
    report = checked("synthetic")
    assert report.forecast.margin is None and report.forecast.loss is None
    # By name: a machine with little free memory has a finding of its own before it.
    budget = next(finding for finding in report.findings if finding.name == "learning-rate-budget")
    assert budget.severity == "note" and "On yours nothing was measured" in budget.why


def test_ipo_will_look_flat_near_2500():
    """The loss is (h - 50)^2: a tenth of a nat takes ten off 2500."""
    f = checked("ipo").forecast
    assert f.loss[0] == 2500
    assert 2480 < f.loss[2] < f.loss[1] < 2500


def test_the_best_run_is_the_one_with_the_largest_budget():
    """20,000 pairs sum to 8.4e-5, half a nat; it is the only preference run that beat SFT."""
    margins = {name: checked(name).forecast.margin.middle for name in ("dpo-20k", "dpo-5k", "ipo")}
    assert max(margins, key=margins.get) == "dpo-20k"
    assert 0.4 < margins["dpo-20k"] < 1


def test_the_figure_hides_nearly_two_nats():
    f = checked("dpo-figure").forecast
    assert 1.5 < f.margin.middle < 2
    expected = math.log1p(math.exp(-0.01 * f.margin.middle))
    assert f.loss[2] == pytest.approx(expected) == pytest.approx(0.6842, abs=0.001)


def test_pure_bf16_would_have_moved_a_quarter_of_a_percent():
    assert checked("dpo-5k").forecast.movable == pytest.approx(0.0024, abs=2e-4)
    assert checked("dpo-5k", "optim.lr=1e-6").forecast.movable == pytest.approx(0.019, abs=1e-3)
    assert checked("dpo-5k", "optim.lr=5e-6").forecast.movable == pytest.approx(0.078, abs=1e-3)
