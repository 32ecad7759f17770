"""What a sweep tries, and what its recipe refuses."""

import re

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
    "unknown key in the space": ({"space": {"optim.rl": [1]}}, "optim.rl; did you mean 'optim.lr'"),
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
    "a seed in the space": (
        {"space": {"train.seed": [1, 2, 3]}},
        "space.train.seed has no effect, since a sweep trains every setting with its own `seeds`; give",
    ),
    "a seed in a section": (
        {"space": {"train": [{"batch": 4, "seed": 1}]}},
        "space.train.seed has no effect",
    ),
    "a seed for all trials": ({"set": {"train": {"seed": 7}}}, "train.seed has no effect, since a sweep"),
    "other rows for each setting": (
        {"space": {"data.split_seed": [1, 2]}},
        "space.data.split_seed has no effect, since all trials of a sweep train on the same rows; set it",
    ),
    "a half in the settings": (
        {"search": "list", "space": {}, "settings": [{"optim.lr": 1}, {"data.eval_half": "selection"}]},
        "settings.data.eval_half has no effect, since a sweep measures on both",
    ),
    "a half for all trials": ({"set": {"data.eval_half": "selection"}}, "data.eval_half has no effect"),
    "half a whole number": (
        {"search": "optuna", "trials": 3, "space": {"train.batch": {"low": 1.5, "high": 8, "integer": True}}},
        "a range of whole numbers goes from 1.5 to 8; give whole ones",
    ),
    "unknown field": ({"sede": 1}, "unknown key sede; did you mean 'seed'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence(raw, name):
    change, sentence = MISTAKES[name]
    with pytest.raises(UserError) as error:
        SweepRecipe.parse(raw | change)
    assert sentence in str(error.value)


def test_a_seed_on_the_command_line_is_refused_there(written, capsys):
    with pytest.raises(SystemExit) as left:
        main.main(["sweep", str(written()), "train.seed=7"])
    assert left.value.code == 2
    assert "command line: train.seed has no effect, since a sweep trains" in capsys.readouterr().err


def test_the_rows_of_all_trials_may_be_others(raw):
    assert SweepRecipe.parse(raw | {"set": {"data.split_seed": 5}}).base().split_seed == 5


LIST = {"search": "list", "space": {}, "settings": [{"optim.lr": 1e-4}, {"optim.lr": 1e-3}]}
WITHOUT_EFFECT = {
    "a seed of a list": (
        LIST | {"seed": 3},
        "seed has no effect with a list, which is tried whole; remove it",
    ),
    "a seed of a whole grid": (
        {"seed": 3},
        "seed has no effect with a grid without trials",
    ),
    "a sampler of a list": (LIST | {"sampler": "random"}, "sampler has no effect with search: list, since"),
    "a sampler of a grid": ({"sampler": "random"}, "sampler has no effect with search: grid"),
    "more trials than there are": (
        {"prune": {"trials": 6}},
        "prune.trials asks for 6 other trials and the sweep has 5, so nothing can be pruned; lower it, or",
    ),
    "the trials by default, of a list of two": (LIST | {"prune": {}}, "prune.trials asks for 4 other trials"),
    "more evaluations than there are": (
        {"prune": {"after": 5}},
        "prune.after asks for 5 evaluations and a run has at most 4, so nothing can be pruned",
    ),
    "seeds of no confirmation": (
        {"confirm": {"top": 0, "seeds": 5}},
        "confirm.seeds has no effect with confirm",
    ),
    "the first of them": ({"confirm": {"top": 0, "first_seed": 5}}, "confirm.first_seed has no effect with"),
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_options_that_cannot_act_are_refused(written, name):
    change, sentence = WITHOUT_EFFECT[name]
    with pytest.raises(UserError, match=re.escape(sentence)):
        SweepRecipe.load(written(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 3, "trials": 2},
        {"prune": {"trials": 5, "after": 4}},
        {"prune": {"trials": 11}, "seeds": [0, 1]},
        {"prune": {"after": 5, "trials": 1}, "space": {"train.eval_every": [1, 2]}},
        {"prune": {"after": 5, "trials": 1}, "set": {"train.steps": 5}},
        {"search": "optuna", "trials": 5, "sampler": "random", "seed": 3, "prune": {}},
    ],
    ids=str,
)
def test_options_that_act_are_accepted(written, change):
    assert SweepRecipe.load(written(**change)).without_effect() == {}


@pytest.mark.parametrize(("set_", "most"), [({"train.steps": 20}, 10), ({"train.eval_every": None}, 4)])
def test_every_evaluation_of_a_run_may_prune(written, set_, most):
    """20 steps are evaluated after every second one, the last one too; 4 steps after each."""
    assert SweepRecipe.load(written(set={"train.eval_every": 2, **set_}, prune={"after": most})).prune
    with pytest.raises(UserError, match=f"a run has at most {most},"):
        SweepRecipe.load(written(set={"train.eval_every": 2, **set_}, prune={"after": most + 1}))


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
