"""Recipes of evaluation: checked like those of runs, one sentence a mistake."""

from pathlib import Path

import pytest
import yaml

from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.scorers import judges

ROOT = Path(__file__).parents[2]


def raw(**changes):
    return {
        "prompts": "p.jsonl",
        "systems": {"old": {"model": "starter"}, "new": {"answers": "new.jsonl"}},
        "judge": {"name": "checks", "check": "constraint_met"},
    } | changes


def test_the_recipe_that_comes_along_is_sound_and_takes_overrides():
    found = EvaluationRecipe.load(
        ROOT / "recipes" / "eval-winrate.yaml", ["systems.trained.model=runs/x", "judge.batch=4"]
    )
    assert found.systems["trained"].model == "runs/x" and found.judge.batch == 4
    assert judges.name_of(found.judge) == "reward_model"


def test_what_is_written_down_is_read_back():
    found = EvaluationRecipe.parse(raw())
    assert EvaluationRecipe.parse(yaml.safe_load(found.to_yaml())) == found
    assert found.judge.check == "constraint_met"


def test_a_recipe_without_judge_and_countdown_is_refused():
    given = {key: value for key, value in raw().items() if key != "judge"}
    with pytest.raises(UserError, match="judge, reward, countdown and lm_eval are all missing"):
        EvaluationRecipe.parse(given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": {"name": "cheks"}}, "did you mean 'checks'"),
        ({"judge": {}}, "judge.name is missing; set it to one of checks, countdown, llm"),
        ({"judge": {"name": "checks", "chek": 1}}, "unknown key judge.chek; did you mean 'judge.check'"),
        ({"judge": {"name": "llm", "model": "m"}}, "judge.endpoint is missing"),
        ({"systems": {"a": {"model": "x"}}}, "systems is .*at least 2"),
        (
            {"systems": {"a": {"modl": "x"}, "b": {"model": "x"}}},
            "unknown key systems.a.modl; did you mean 'systems.a.model'",
        ),
        (
            {"systems": {"a": {"model": "x", "answers": "y"}, "b": {"model": "x"}}},
            "give exactly one of model, answers",
        ),
        ({"prompts": None}, "prompts is missing"),
        ({"prompt": "x"}, "unknown key prompt; did you mean 'prompts'"),
    ],
)
def test_a_mistake_is_one_sentence(changes, message):
    with pytest.raises(UserError, match=message) as found:
        EvaluationRecipe.parse(raw(**changes))
    assert "\n" not in str(found.value)


KEY = "sk-planted-0123456789abcdef"


@pytest.mark.parametrize(
    "judge",
    [
        {"key_env": KEY},
        {"endpoint": f"https://user:{KEY}@host/v1"},
        {"endpoint": f"https://host/v1?key={KEY}"},
    ],
)
@pytest.mark.parametrize("name", ["llm", "reward_endpoint"])
def test_a_key_in_the_judge_is_refused_and_not_quoted(name, judge):
    given = {"name": name, "endpoint": "https://host/v1", "model": "m", **judge}
    with pytest.raises(UserError, match="key_env") as found:
        EvaluationRecipe.parse(raw(judge=given))
    assert KEY not in str(found.value) and "\n" not in str(found.value)
