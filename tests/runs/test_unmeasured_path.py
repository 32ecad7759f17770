"""A run on CUDA begins with a warning for as long as RESULTS.md has no numbers of a run on a GPU."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.runs import environment
from boresight.runs.train import run_training

RESULTS = Path(__file__).parents[2] / "benchmarks" / "RESULTS.md"
RECIPE = {"method": {"name": "sft"}, "data": {"train": "none.jsonl"}, "optim": {"lr": 1e-4}}


def test_the_warning_goes_when_results_are_there():
    assert ("\n## On a GPU" in RESULTS.read_text()) == environment.CUDA_IS_MEASURED


def first_line(folder, device, monkeypatch):
    """What a run prints first; it ends at its missing data. torch claims to see one GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    out = io.StringIO()
    recipe = Recipe.parse(RECIPE | {"model": {"device": device}})
    monkeypatch.setattr("boresight.runs.train._run", lambda *args: args[2].print("the run"))
    run_training(recipe, folder, Console(file=out, width=200))
    return out.getvalue().splitlines()[0]


@pytest.mark.parametrize(
    ("device", "warned"), [("cuda", True), (None, True), ("cuda:0", True), ("cpu", False)]
)
def test_the_first_line_of_a_run_on_cuda_is_the_warning(tmp_path, monkeypatch, device, warned):
    said = first_line(tmp_path / "run", device, monkeypatch)
    assert said.startswith("CUDA: this path has not been measured on a GPU yet") == warned


def test_a_device_that_is_not_there_stops_the_run_before_its_folder(tmp_path):
    recipe = Recipe.parse(RECIPE | {"model": {"device": "cuda:7"}})
    with pytest.raises(UserError, match="'cuda:7' was requested"):
        run_training(recipe, tmp_path / "run", Console(file=io.StringIO()))
    assert not (tmp_path / "run" / "recipe.yaml").exists()
