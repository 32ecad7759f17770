"""Recipe keys that were renamed: both names work in files, overrides and the recipes of old runs."""

import pytest
import yaml

from boresight.config.dotted import put
from boresight.config.recipe import Recipe
from boresight.config.synonyms import EARLIER_NAMES
from boresight.core.errors import UserError


@pytest.fixture
def written(tmp_path):
    """Write a recipe of a reward model with these settings of the method; returns its path."""

    def write(**settings):
        path = tmp_path / "recipe.yaml"
        method = {"name": "reward", **settings}
        path.write_text(
            yaml.safe_dump(
                {"method": method, "model": {"name": "m"}, "data": {"train": "p"}, "optim": {"lr": 1e-6}}
            )
        )
        return path

    return write


def test_every_earlier_name_leads_to_a_key_that_there_is():
    """With the method that has the key; both names are keys of one section."""
    assert EARLIER_NAMES == {"method.centring": "method.centering"}
    assert Recipe.load("reward").method.centering == 0.01


@pytest.mark.parametrize("name", ["centring", "centering"])
def test_either_name_in_the_file_and_on_the_command_line(written, name):
    """The override counts, whichever name it and the file have."""
    assert Recipe.load(written(**{name: 0.02})).method.centering == 0.02
    for other in ("centring", "centering"):
        recipe = Recipe.load(written(**{name: 0.02}), [f"method.{other}=0.03"])
        assert recipe.method.centering == 0.03
        assert recipe.changed([f"method.{name}=0.04"]).method.centering == 0.04


def test_the_resolved_recipe_has_the_current_name_and_that_of_an_old_run_equals_it(written):
    resolved = Recipe.load(written(centring=0.02)).to_dict()
    assert resolved["method"] == {"name": "reward", "margin_scale": 0.0, "centering": 0.02}
    old = {**resolved, "method": {"name": "reward", "margin_scale": 0.0, "centring": 0.02}}
    assert Recipe.completed(old) == resolved


def test_both_names_in_one_file_are_refused(written):
    path = written(centring=0.02, centering=0.02)
    with pytest.raises(
        UserError, match=r"recipe\.yaml: method\.centring is the earlier name of method\.centering"
    ):
        Recipe.load(path)


def test_a_method_without_the_key_has_no_other_name_for_it_either():
    raw = {
        "method": {"name": "dpo", "centring": 1.0},
        "model": {"name": "m"},
        "data": {"train": "p"},
        "optim": {"lr": 1e-6},
    }
    with pytest.raises(UserError, match=r"unknown key method\.centering"):
        Recipe.parse(raw)
    changed = {}
    put(changed, "method.centring", 0.1)
    assert changed == {"method": {"centering": 0.1}}
