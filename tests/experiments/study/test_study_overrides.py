"""Changes to a plan from the command line."""

import pytest
import yaml

from boresight.cli import main
from boresight.core.errors import UserError
from boresight.experiments.study.outcomes.settings import resolved_settings
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, arm_recipe


def recipes_of(path, *overrides):
    plan = load_plan(path, overrides)
    return {name: arm_recipe(plan, path.parent, ArmRun(name, 0)) for name in plan.arms}


def test_an_arm_takes_keys_of_its_recipe_and_its_own(written):
    path = written()
    plan = load_plan(path, ["arms.fast.seeds=[0, 3]", "arms.slow.optim.lr=0.002", "answers.max_new_tokens=9"])
    assert plan.arms["fast"].seeds == [0, 3] and plan.answers.max_new_tokens == 9
    assert plan.arms["slow"].set == {"optim.lr": 2e-3}
    assert arm_recipe(plan, path.parent, ArmRun("slow", 0)).optim.lr == 2e-3
    assert arm_recipe(plan, path.parent, ArmRun("fast", 3)).optim.lr == 0.01


def test_the_command_line_comes_after_the_plan(written, raw):
    """A key of the plan's `set` is replaced, by its own name and below it, whatever the order there."""
    raw["arms"]["fast"]["set"] = {"model.lora.r": 4, "optim.lr": 0.01, "model.lora": {"alpha": 6}}
    path = written()
    found = recipes_of(path, "arms.fast.model.lora.r=2", "arms.fast.set.optim.lr=0.5")["fast"]
    assert (found.model.lora.r, found.model.lora.alpha, found.optim.lr) == (2, 6, 0.5)


def test_names_may_hold_dots(written, raw):
    raw["arms"]["xpo-0.1"] = raw["arms"]["slow"] | {"title": "x"}
    raw["arms"]["xpo-0"] = raw["arms"]["slow"] | {"title": "y"}
    found = recipes_of(written(), "arms.xpo-0.1.optim.lr=0.5", "arms.xpo-0.optim.lr=0.25")
    assert (found["xpo-0.1"].optim.lr, found["xpo-0"].optim.lr, found["slow"].optim.lr) == (0.5, 0.25, 1e-6)


def test_arms_that_share_a_value_do_not_share_its_change(written, raw):
    shared = {"r": 4, "alpha": 8}
    raw["arms"]["slow"]["set"] = {"model.lora": shared}
    raw["arms"]["fast"]["set"] = {"model.lora": shared}
    path = written()
    assert "&id001" in path.read_text()  # an anchor of YAML, as plans that ship have them
    found = recipes_of(path, "arms.fast.model.lora.r=2")
    assert (found["slow"].model.lora.r, found["fast"].model.lora.r) == (4, 2)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("arms.fats.optim.lr=1", "arms.fats.*did you mean 'fast'"),
        ("arms.fast.optm.lr=1", "arms.fast: unknown key optm.lr; did you mean 'optim'"),
        ("arms.fast.sedes=[1]", "arms.fast: unknown key sedes; did you mean 'seeds'"),
        ("arms.fast.set.sedes.x=1", "arms.fast: unknown key sedes.x"),
        ("arms.fast.optim.lrr=1", "arm fast: unknown key optim.lrr; did you mean 'optim.lr'"),
        ("arms.fast=1", "names arms.fast and no setting of it"),
        ("arms.fast", "written section.key=value"),
        ("titel=x", "unknown key titel; did you mean 'title'"),
        ("figures.los.title=x", "figures.los.*did you mean 'loss'"),
        ("figures.loss.titel=x", "unknown key figures.loss.titel; did you mean 'figures.loss.title'"),
        ("answers.max=1", "unknown key answers.max; "),
        ("answers.start.x=1", "start is a value, not a section"),
        ("arms.fast.seeds=[]", "arms.fast.seeds"),
        ("arms.fast.train.seed=77", "command line: arms.fast.train.seed has no effect.*; change those"),
        ("arms.fast.data.split_seed=5", "command line: arms.fast.data.split_seed has no effect.*; remove it"),
    ],
)
def test_a_wrong_override_is_one_sentence(written, override, says):
    path = written()
    with pytest.raises(UserError, match=says) as caught:
        resolved_settings(load_plan(path, [override]), path.parent)
    assert str(caught.value).count("\n") == 0


def test_a_plan_without_arms_is_refused_as_one(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "groups": {}, "arms": None}))
    with pytest.raises(UserError, match="arms"):
        load_plan(path, ["arms.fast.optim.lr=1"])


def test_the_command_line_hands_changes_to_the_plan(written, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main.main(["study", "--plan", str(written()), "--list", *arguments])
        return left.value.code or 0, capsys.readouterr()

    code, printed = run("arms.slow.optim.lr=0.125")
    assert code == 0 and "| 0.125 |" in printed.out and "| 1e-06 |" in printed.out
    code, printed = run("arms.slow.optim.lrr=1")
    assert code == 2 and "did you mean 'optim.lr'" in printed.err
