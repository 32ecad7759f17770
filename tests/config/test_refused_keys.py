"""Hints for unknown and missing keys name what exists: a key, or the settings of the chosen method."""

import pytest
import yaml

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.config.refusals.unknown_key import KnownKeys, dotted_fields, hint_for
from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe

MINIMAL = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}


def refusal(kind, raw):
    with pytest.raises(UserError) as found:
        kind.parse(raw, "r.yaml")
    return str(found.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"method": {"name": "ipo", "beta": 0.1}},
            "unknown key method.beta; ipo has method.tau and method.reduction.",
        ),
        ({"method": {"name": "sft", "beta": 0.1}}, "unknown key method.beta; sft has no settings."),
        (
            {"method": {"name": "ipo"}, "beta": 0.1},
            "unknown key beta; ipo has method.tau and method.reduction.",
        ),
        ({"beta": 0.1}, "unknown key beta; here it is called method.beta."),
        ({"method": {"name": "dpo", "bta": 0.1}}, "unknown key method.bta; did you mean 'method.beta'?"),
        ({"method": {"name": "dpo", "lr": 0.1}}, "unknown key method.lr; did you mean 'optim.lr'?"),
        ({"method": {"nme": "dpo"}}, "unknown key method.nme; did you mean 'method.name'?"),
        ({"lr": 1e-4}, "unknown key lr; did you mean 'optim.lr'?"),
        ({"train": {"lr": 1e-4}}, "unknown key train.lr; did you mean 'optim.lr'?"),
        ({"train": {"r": 8}}, "unknown key train.r; did you mean 'model.lora.r'?"),
        (
            {"data": {"train": "x", "temperature": 1}},
            "unknown key data.temperature; did you mean 'rollout.temperature' or 'evaluate.temperature'?",
        ),
        ({"train": {"learning_rate": 1}}, "unknown key train.learning_rate; here it is called optim.lr."),
    ],
)
def test_a_hint_names_a_key_that_exists(change, sentence):
    assert refusal(Recipe, MINIMAL | change) == f"r.yaml: {sentence}"


def test_a_key_of_another_method_lists_those_of_the_chosen_one():
    """`tau` shares two letters with `beta`, which is another quantity."""
    said = refusal(Recipe, MINIMAL | {"method": {"name": "dpo", "tau": 1}})
    assert said.startswith("r.yaml: unknown key method.tau; dpo has method.beta, method.loss_type, ")
    assert said.endswith(" and method.sft_weight.")


@pytest.mark.parametrize("name", methods.names())
def test_no_hint_names_the_unknown_key_itself_or_one_that_there_is_not(name):
    """Over every method and every key of every other one."""
    own = list(methods.get(name).Config.model_fields)
    keys = [*dotted_fields(Recipe), "method.name", *(f"method.{key}" for key in own)]
    known = KnownKeys(keys, {"method": (name, own)})
    others = {key for other in methods.names() for key in methods.get(other).Config.model_fields}
    for key in sorted(others - {*own}):
        hint = hint_for(f"method.{key}", own, known)
        named = hint.partition("here it is called ")[2].partition(" ")[0]
        assert named != f"method.{key}" and (not named or named in keys), (key, hint)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"optim": {"lrr": 1e-5}}, "unknown key optim.lrr; did you mean 'optim.lr'?"),
        ({"data": {"trian": "x.jsonl"}}, "unknown key data.trian; did you mean 'data.train'?"),
        ({"optim": {"lrr": 1e-5}, "data": {}}, "unknown key optim.lrr; did you mean 'optim.lr'?"),
        ({"optim": {}}, "optim.lr is missing; set it in the recipe or as optim.lr=… on the command line."),
    ],
)
def test_a_misspelled_required_key_is_not_reported_as_missing(change, sentence):
    assert refusal(Recipe, MINIMAL | change) == f"r.yaml: {sentence}"


@pytest.mark.parametrize(("section", "key"), [("optim", "optim.lr"), ("data", "data.train")])
def test_a_missing_section_is_named_by_a_key_that_can_be_set(section, key):
    raw = {name: value for name, value in MINIMAL.items() if name != section}
    assert refusal(Recipe, raw).startswith(f"r.yaml: {key} is missing; set it in the recipe or as {key}=… ")
    Recipe.parse(raw | {section: {key.split(".")[1]: 1e-5 if section == "optim" else "x"}})


def test_a_misspelled_kind_of_evaluation_is_an_unknown_key():
    raw = {"systems": {"a": {"answers": "a.jsonl"}}, "jugde": {"name": "checks"}}
    assert refusal(EvaluationRecipe, raw) == "r.yaml: unknown key jugde; did you mean 'judge'?"
    del raw["jugde"]
    assert "judge, reward, countdown and lm_eval are all missing" in refusal(EvaluationRecipe, raw)


def test_the_command_line_gives_the_same_hint(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(UserError) as found:
        Recipe.load(tmp_path / "r.yaml", ["method.name=ipo", "method.beta=0.1"])
    sentence = "unknown key method.beta; ipo has method.tau and method.reduction."
    assert str(found.value) == f"command line: {sentence}"
