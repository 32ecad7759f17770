"""A reward alone is a list of one, and a name its function: in files, on the command line, in sweeps."""

from __future__ import annotations

import pytest
import yaml

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.experiments.study.blocks import Block
from boresight.experiments.sweep.recipe import SweepRecipe

MINIMAL = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
LENGTH = {"function": "length", "options": {"most": 60}}
FORMS = {
    "length": ["length"],
    "my_rewards:own": ["my_rewards:own"],
    "{function: length, options: {most: 60}}": ["length"],
    "[length, {function: exact, weight: 0}]": ["length", "exact"],
    "[]": [],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


@pytest.mark.parametrize("text", FORMS)
def test_the_command_line_and_a_file_take_every_form(file, text):
    given = Recipe.load(file, [f"reward={text}"]).reward
    assert [one.function for one in given] == FORMS[text]
    file.write_text(yaml.safe_dump(MINIMAL | {"reward": yaml.safe_load(text)}))
    assert Recipe.load(file).reward == given


def test_the_written_recipe_has_the_long_form(file):
    written = Recipe.load(file, ["reward=length"]).to_dict()["reward"]
    assert [(one["function"], one["weight"]) for one in written] == [("length", 1.0)]
    assert Recipe.parse(Recipe.load(file, ["reward=length"]).to_dict()).reward[0].function == "length"


@pytest.mark.parametrize("text", ["3", "null", "{functoin: length}", "[[length]]"])
def test_what_is_no_reward_is_refused(file, text):
    with pytest.raises(UserError, match=r"^command line: .*reward\.0"):
        Recipe.load(file, [f"reward={text}"])


def test_a_sweep_over_rewards_takes_names_and_mappings(file, tmp_path):
    sweep = {
        "recipe": str(file),
        "metric": "reward",
        "space": {"reward": ["exact", LENGTH]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    found = SweepRecipe.load(tmp_path / "sweep.yaml")
    rewards = [found.recipe_with(setting).reward for setting in found.planned()]
    assert [[one.function for one in reward] for reward in rewards] == [["exact"], ["length"]]


def test_a_block_of_a_study_takes_a_name():
    block = Block.model_validate({"title": "B", "start": "starter", "prompts": "p.jsonl", "reward": "length"})
    assert [one.function for one in block.reward] == ["length"]
