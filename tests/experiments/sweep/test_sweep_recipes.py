"""The sweeps that are shipped: they parse, have the size they say, and `check` lets their trials run."""

from pathlib import Path

import pytest

from boresight.checks import inputs
from boresight.checks.run import machine
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.models.source import Unreachable
from boresight.runs.check.preflight import preflight

FOLDER = Path(__file__).parents[3] / "recipes" / "sweeps"
SIZES = {"dpo": 16, "dpo-tuned": 16, "xpo": 16, "ipo": 8, "rloo": 10, "countdown-tiny": 6}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Neither the model nor the data are looked for, on a machine with 24 GB free."""

    def unreachable(recipe):
        raise Unreachable("model: the hub cannot be reached.")

    monkeypatch.setattr(inputs, "make_tokenizer", unreachable)
    monkeypatch.setattr(machine, "available_gb", lambda device: 24.0)


def test_every_sweep_is_listed():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_no_trial_that_check_would_stop(name):
    sweep = SweepRecipe.load(FOLDER / f"{name}.yaml")
    assert sweep.count == SIZES[name]
    for setting in [{}, *sweep.planned()]:
        recipe = sweep.recipe_with(setting)
        assert preflight(recipe, rows=recipe.data.limit or 1000).errors == [], setting


def test_the_rloo_sweep_draws_from_a_grid_of_54():
    sweep = SweepRecipe.load(FOLDER / "rloo.yaml")
    assert len({tuple(setting.items()) for setting in sweep.planned()}) == 10
    assert SweepRecipe.load(FOLDER / "rloo.yaml", ["trials=54"]).count == 54
