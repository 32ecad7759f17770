"""Plans: the ones that ship, and those that are wrong."""

from pathlib import Path

import pytest
import yaml

from boresight.core.errors import UserError
from boresight.experiments.study import plan as plans
from boresight.experiments.study.command import listing, plan_of_scale
from boresight.experiments.study.outcomes.settings import resolved_settings
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, StudyPlan, arm_runs
from boresight.experiments.study.report.arm_settings import settings_in_words
from boresight.experiments.study.storage import refuse_other

RECIPES = Path(__file__).parents[3] / "recipes" / "study"
PUBLISHED = ("beta", "tau", "alpha", "reduction")


def test_every_first_seed_comes_before_any_second(written):
    found = arm_runs(StudyPlan.load(written()))
    assert [run.name for run in found] == [
        "slow-seed0", "fast-seed0", "onward-seed0", "slow-seed1", "fast-seed1",
    ]  # fmt: skip


def test_every_seed_may_have_its_own_data(written, raw):
    raw["arms"]["slow"]["set"] = {
        "data.train": {"a-{seed}.jsonl": 0.7, "b.jsonl": 0.3},
        "data.eval": "e{seed}.jsonl",
    }
    plan = StudyPlan.load(written())
    first, second = (plans.arm_recipe(plan, written().parent, ArmRun("slow", seed)).data for seed in (0, 1))
    assert list(first.sources) == ["a-0.jsonl", "b.jsonl"] and list(second.sources) == [
        "a-1.jsonl",
        "b.jsonl",
    ]
    assert (first.eval, second.eval) == ("e0.jsonl", "e1.jsonl")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("plan-*.yaml")), ids=lambda p: p.stem)
def test_plans_that_ship_resolve(path):
    plan = StudyPlan.load(path)
    assert resolved_settings(plan, path.parent)["recipes"]
    assert "about" in listing(plan, path.parent)


def test_a_rate_that_a_ramp_chooses_is_listed(written):
    path = written()
    plan = load_plan(path, ["arms.slow.optim.lr=auto"])
    assert "| auto |" in listing(plan, path.parent)
    recipe = plans.arm_recipe(plan, path.parent, ArmRun("slow", 0))
    assert settings_in_words(recipe) == "dpo, all weights, lr auto, beta 0.1, 3 steps of 4"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("plan-*.yaml")), ids=lambda p: p.stem)
def test_published_arms_keep_what_was_published(path):
    """Only steps, batch, model and data may shrink."""
    plan = StudyPlan.load(path)
    checked = 0
    for name, arm in plan.arms.items():
        if arm.role != "published" or "countdown-tiny" in arm.recipe:
            continue
        here = plans.arm_recipe(plan, path.parent, ArmRun(name, 0))
        there = plans.as_published(plan, path.parent, name)
        assert here.optim == there.optim, name
        assert here.model.lora == there.model.lora, name
        assert here.method == there.method, name
        checked += 1
    published = [arm for arm in plan.arms.values() if arm.role == "published"]
    assert checked >= 3 or not published


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answers": None, "comparisons": [{"title": "t", "of": "slow", "to": "fats"}]}, "'fats'.*'fast'"),
        ({"groups": {"pairs": {"title": "P", "metrics": ["acuracy"]}}}, "'acuracy'.*'accuracy'"),
        ({"titel": "x"}, "unknown key titel"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(written, change, says):
    with pytest.raises(UserError, match=says):
        StudyPlan.load(written(**change))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"train.seed": 77},
            "arms.slow.train.seed has no effect, since an arm is trained with each of its `seeds`",
        ),
        ({"train": {"steps": 3, "seed": 77}}, "arms.slow.train.seed has no effect"),
        (
            {"data.split_seed": 5},
            "arms.slow.data.split_seed has no effect, since all runs of a study train on",
        ),
    ],
)
def test_a_key_that_every_run_sets_is_refused(written, raw, changed, says):
    raw["arms"]["slow"]["set"] = changed
    with pytest.raises(UserError, match=says):
        StudyPlan.load(written())


def test_an_arm_starts_from_one_before_it(written, raw):
    arms = raw["arms"]
    backwards = {name: arms[name] for name in ("onward", "fast", "slow")}
    with pytest.raises(UserError, match="must stand before it"):
        StudyPlan.load(written(arms=backwards))
    arms["onward"]["seeds"] = [7]
    with pytest.raises(UserError, match="starts from 'fast', which lacks one of its seeds"):
        StudyPlan.load(written(arms=arms))


def test_the_first_difference_is_named_with_both_values():
    old = {"recipes": {"a-seed0": {"optim": {"lr": 1e-6}, "train": {"steps": 3}}}}
    new = {"recipes": {"a-seed0": {"optim": {"lr": 2e-6}, "train": {"steps": 4}}}}
    says = r"a-seed0.optim.lr was 1e-06 and is 2e-06 \(and 1 more\)"
    with pytest.raises(UserError, match=says):
        refuse_other(Path("runs/x"), old, new)
    refuse_other(Path("runs/x"), old, yaml.safe_load(yaml.safe_dump(old)))


def test_a_scale_without_a_plan_says_which_there_are():
    with pytest.raises(UserError, match="known: cpu, gpu"):
        plan_of_scale("phone")
