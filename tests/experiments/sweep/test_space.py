"""What a sweep tries, and what its recipe refuses."""

import pytest
import yaml

from boresight.cli import main
from boresight.core.errors import UserError
from boresight.experiments.sweep.recipe import SweepRecipe, replaced_by_set
from boresight.experiments.sweep.space import grid, setting_in_words, setting_of


def test_a_grid_is_every_combination_the_last_key_fastest():
    points = grid({"a": [1, 2], "b": ["x", "y"]}, None, 0)
    assert points == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_some_of_a_grid_are_drawn_without_repeats_and_the_same_again():
    space = {"a": list(range(6)), "b": list(range(9))}
    drawn = grid(space, 10, seed=3)
    assert len({tuple(point.values()) for point in drawn}) == 10
    assert drawn == grid(space, 10, seed=3) != grid(space, 10, seed=4)
    with pytest.raises(UserError, match="54 points, fewer than 55"):
        grid(space, 55, 0)


def test_sections_become_dotted_keys_and_1e_7_a_number():
    """PyYAML reads 1e-7 as text; a range is a value, not a section."""
    raw = yaml.safe_load("{optim: {lr: [1e-7, 2e-7]}, method.beta: {low: 0.01, high: 0.2, log: true}}")
    assert setting_of(raw) == {
        "optim.lr": [1e-7, 2e-7],
        "method.beta": {"low": 0.01, "high": 0.2, "log": True},
    }
    assert setting_in_words({"optim.lr": 1e-7, "model.name": "starter"}) == "lr 1e-07, name starter"


def test_overrides_go_to_the_sweep_or_to_what_it_sweeps(written):
    sweep = SweepRecipe.load(
        written(), ["trials=2", "confirm.seeds=4", "train.batch=5", "space.optim.lr=[1e-3]"]
    )
    assert sweep.count == 2 and sweep.confirm.seeds == 4
    assert sweep.base().train.batch == 5 and sweep.space["optim.lr"] == [1e-3]
    assert sweep.recipe_with({"method.beta": 0.7}).method.beta == 0.7


def test_set_and_settings_replace_what_they_exclude(raw):
    """As on the command line: `boresight init` writes epochs, and a sweep sets a few steps."""
    del raw["recipe"]["train"]["steps"]
    raw["recipe"]["train"]["epochs"] = 2
    sweep = SweepRecipe.parse(raw | {"set": {"train.steps": 3}})
    assert (sweep.base().train.steps, sweep.base().train.epochs) == (3, None)
    assert replaced_by_set(sweep) == ["train.steps=3 replaces train.epochs=2.0 of the swept recipe"]
    varied = SweepRecipe.parse(raw | {"space": {"train.steps": [3, 5]}})
    assert [varied.recipe_with(setting).train.steps for setting in varied.planned()] == [3, 5]
    assert varied.base().train.epochs == 2 and replaced_by_set(varied) == []
    with pytest.raises(UserError, match="both set"):
        SweepRecipe.parse(raw | {"set": {"train.steps": 3, "train.epochs": 1}})


def test_a_resolved_sweep_reads_back(raw):
    sweep = SweepRecipe.parse(raw)
    assert SweepRecipe.parse(yaml.safe_load(sweep.to_yaml())) == sweep


MISTAKES = {
    "the loss cannot rank": ({"metric": "loss"}, "'loss' is not a held-out number that ranks runs"),
    "the KL has no good direction": ({"metric": "kl_per_token"}, "neither more nor less of it is better"),
    "unknown key in the space": ({"space": {"optim.rl": [1]}}, "unknown key optim.rl; did you mean 'lr'"),
    "a value no recipe takes": ({"space": {"method.beta": [-1]}}, "method.beta is -1"),
    "a range in a grid": ({"space": {"optim.lr": {"low": 1, "high": 2}}}, "ranges need search: optuna"),
    "an empty range": (
        {"search": "optuna", "trials": 3, "space": {"optim.lr": {"low": 2, "high": 1}}},
        "a range needs low < high",
    ),
    "optuna without trials": ({"search": "optuna"}, "`search: optuna` needs `trials`"),
    "a list without settings": ({"search": "list"}, "`settings` and `search: list` go together"),
    "seeds used twice": ({"seeds": [1000]}, "seeds that the search does not use"),
    "no value": ({"space": {"optim.lr": []}}, "space.optim.lr is an empty list"),
    "no value to draw": (
        {"search": "optuna", "trials": 3, "space": {"optim.lr": []}},
        "space.optim.lr is an empty list",
    ),
    "a value twice": ({"space": {"optim.lr": [1e-5, "1e-5"]}}, "space.optim.lr lists 1e-05 twice"),
    "a setting twice": (
        {"search": "list", "space": {}, "settings": [{"optim.lr": 1e-5}, {"optim": {"lr": 1e-5}}]},
        "settings lists {'optim.lr': 1e-05} twice",
    ),
    "a seed twice": ({"seeds": [0, 0]}, "seeds names one twice"),
    "a grid without end": (
        {"space": {f"optim.{n}": list(range(10)) for n in range(20)}, "trials": 3},
        "the grid has 100,000,000,000,000,000,000 points",
    ),
    "unknown field": ({"sede": 1}, "unknown key sede; did you mean 'seed'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence(raw, name):
    change, sentence = MISTAKES[name]
    with pytest.raises(UserError) as error:
        SweepRecipe.parse(raw | change)
    assert sentence in str(error.value)


def test_a_missing_swept_recipe_names_the_file(written, tmp_path):
    path = written()
    (tmp_path / "base.yaml").unlink()
    with pytest.raises(UserError, match=r"base\.yaml: there is no such recipe"):
        SweepRecipe.load(path)


def test_help_shows_every_field_of_a_sweep(capsys):
    with pytest.raises(SystemExit):
        main.main(["sweep", "--help"])
    shown = capsys.readouterr().out
    for words_of_help in ("confirm.top", "prune.rule", "space.KEY.log", "The held-out number to compare by"):
        assert words_of_help in shown
