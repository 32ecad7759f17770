"""Recipes: every one in the repository parses, and every mistake gets one sentence with the way out."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from boresight import methods
from boresight.config import recipe
from boresight.config.lora import LoraConfig
from boresight.config.recipe import Recipe
from boresight.config.section import fields
from boresight.config.synonyms import SYNONYMS
from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.synthesis.recipe import SynthesisRecipe

ROOT = Path(__file__).parent.parent
ALIASES = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi"))
RECIPES = sorted(ROOT.glob("recipes/**/*.yaml"))
MINIMAL = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


READERS = {
    "train": Recipe.load,
    "evaluate": EvaluationRecipe.load,
    "synthesize": SynthesisRecipe.load,
    "sweep": SweepRecipe.load,
    "study": StudyPlan.load,
}


def verb_of(path: Path) -> str:
    """Which verb a recipe is for, as its folder or its file's name says."""
    if path.parent.name == "sweeps":
        return "sweep"
    return {"eval": "evaluate", "synth": "synthesize", "plan": "study"}.get(path.stem.split("-")[0], "train")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_recipe_in_the_repository_parses(path):
    READERS[verb_of(path)](path)


def test_there_are_recipes():
    assert len(RECIPES) >= 3


def test_overrides_reach_every_level_and_yaml_scientific_notation_is_a_number(recipe_file):
    recipe = Recipe.load(recipe_file, ["method.beta=0.3", "optim.lr=2e-6", "model.lora.r=4", "data.limit=7"])
    assert recipe.method.beta == 0.3
    assert recipe.optim.lr == 2e-6
    assert recipe.model.lora.r == 4
    assert recipe.data.limit == 7


def test_resolved_recipe_reads_back_as_the_same_recipe(recipe_file, tmp_path):
    recipe = Recipe.load(recipe_file, ["model.lora={}"])
    again = tmp_path / "resolved.yaml"
    again.write_text(recipe.to_yaml())
    assert Recipe.load(again) == recipe


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("method.bta=0.1", "unknown key method.bta; did you mean 'method.beta'?"),
        ("optim.rl=1", "unknown key optim.rl; did you mean 'optim.lr'?"),
        ("trian.batch=1", "unknown key trian; did you mean 'train'?"),
        ("model.lora.rr=1", "unknown key model.lora.rr"),
        ("method.name=dop", "there is no method 'dop'; did you mean 'dpo'?"),
        ("optim.lr=fast", "optim.lr is 'fast'"),
        ("train.batch=0", "train.batch is 0"),
        ("optim.betas=[0.9, 1.0]", "optim.betas.1 is 1.0: input should be less than 1"),
        ("optim.betas=[-0.1, 0.9]", "optim.betas.0 is -0.1: input should be greater than or equal to 0"),
        ("data.truncation=left", "data.truncation is 'left'"),
        ("method={beta: 0.1}", "method.name is missing"),
        ("method=5", "method.name is missing"),
        ("method.name=[dpo]", "method.name is ['dpo']: must be a name"),
        ("method.beta=true", "method.beta is true: must be a number"),
        ("optim.lr=.inf", "optim.lr is inf: input should be a finite number"),
        ("optim.lr=[", "optim.lr is '[': input should be a valid number"),
        ("optim.lr=" + 2000 * "[", 79 * "[" + "…: input should be a valid number"),
        ("train.seed=-1", "train.seed is -1: input should be greater than or equal to 0"),
        ("train.steps=1e21", "train.steps is '1e21': "),
        ("train.eval_every=10000000000000", "larger than 1,000,000,000,000, which is not a sensible number"),
        (
            "model.lora=true",
            "model.lora is true: must be a section of settings; null turns it off, {} takes all defaults",
        ),
        ("optim.learning_rate=1e-5", "unknown key optim.learning_rate; here it is called optim.lr"),
        ("num_train_epochs=3", "unknown key num_train_epochs; here it is called train.epochs"),
        ("lr", "overrides are written section.key=value"),
        ("optim.lr.x=1", "lr is a value, not a section"),
    ],
)
def test_a_mistake_names_the_field_and_the_way_out(recipe_file, override, says):
    with pytest.raises(UserError, match=None) as caught:
        Recipe.load(recipe_file, [override])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith("?.")


def test_steps_and_epochs_together_are_refused(recipe_file):
    with pytest.raises(UserError, match=r"both set; keep one: train\.epochs=null"):
        Recipe.load(recipe_file, ["train.steps=3", "train.epochs=1"])


@pytest.mark.parametrize(
    ("written", "overrides", "source"),
    [
        ({}, ["method.betta=0.3"], "command line"),
        ({"method": {"name": "dpo", "betta": 0.3}}, ["method.beta=0.3"], "file"),
        ({"method": {"name": "dpo", "betta": 0.3}}, ["method.betta=0.4"], "command line"),
        ({}, ["method=dop"], "command line"),
        ({"method": {"name": "dop"}}, ["method.beta=0.3"], "file"),
        ({"optim": {"lr": -1}}, ["train.seed=1"], "file"),
        ({"optim": {"lr": 1e-5, "lrr": 1}, "data": {}}, ["data.train=x.jsonl"], "file"),
        ({"train": {"steps": 3, "epochs": 1}}, ["optim.lr=2e-5"], "file"),
        ({}, ["train.steps=3", "train.epochs=1"], "command line"),
        ({}, ["rollout.backend=vllm"], "command line"),
        ({"rollout": {"backend": "vllm"}}, ["rollout.k=4"], "file"),
        ({"data": {}}, ["data.limit=4"], "file"),
    ],
)
def test_an_error_names_the_command_line_where_an_override_is_wrong(tmp_path, written, overrides, source):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | written))
    with pytest.raises(UserError) as found:
        Recipe.load(path, overrides)
    assert str(found.value).startswith("command line: " if source == "command line" else f"{path}: ")


@pytest.mark.parametrize(
    ("written", "overrides", "length", "lines"),
    [
        ({"epochs": 2}, ["train.steps=4"], (4, None), ["train.steps=4 replaces train.epochs=2 of {}"]),
        ({"steps": 9}, ["train.epochs=0.5"], (None, 0.5), ["train.epochs=0.5 replaces train.steps=9 of {}"]),
        ({"epochs": 2}, ["train.epochs=3"], (None, 3.0), []),
        ({"epochs": 2}, ["train.steps=null"], (None, 2.0), []),
        ({"epochs": 2}, ["train.steps=4", "train.epochs=null"], (4, None), []),
        ({}, ["train.steps=4"], (4, None), []),
    ],
)
def test_an_override_replaces_the_setting_of_the_file_that_it_excludes(
    tmp_path, written, overrides, length, lines
):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"train": written}))
    train = Recipe.load(path, overrides).train
    assert (train.steps, train.epochs) == length
    assert Recipe.replaced(path, overrides) == [line.format(path) for line in lines]


def test_a_method_may_be_named_alone(recipe_file):
    assert Recipe.load(recipe_file, ["method=dpo"]).method_name == "dpo"


def test_files_that_are_no_recipe(tmp_path):
    (tmp_path / "dpo.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match=r"no such recipe; did you mean '.*dpo\.yaml'"):
        Recipe.load(tmp_path / "dpo.yml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: caf\xe9\n")
    with pytest.raises(UserError, match="not UTF-8 at byte 6"):
        Recipe.load(latin)
    for name in (tmp_path, tmp_path / (300 * "x"), "nul\0.yaml"):
        with pytest.raises(UserError, match="cannot be read"):
            Recipe.load(name)
    (tmp_path / "keys.yaml").write_text("1: 2\n")
    with pytest.raises(UserError, match="1 is no name of a section"):
        Recipe.load(tmp_path / "keys.yaml")


def test_missing_file_and_broken_yaml(tmp_path):
    with pytest.raises(UserError, match="no such recipe"):
        Recipe.load(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(UserError, match=r"broken.yaml: not valid YAML at line \d"):
        Recipe.load(broken)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: {name: {{ model }}}\n", "not valid YAML at line 1"),  # of a template that was not filled in
        ("? [a, b]\n: 1\n", "not valid YAML at line 1"),
        ("a: 1\nb: !!bool maybe\n", "not valid YAML at line 2"),
        ("train: {steps: 010}\n", "YAML reads 010 in base 8; write it in base 10"),
        ("train: {steps: 1:30}\n", "YAML reads 1:30 in base 60; write it in base 10"),
    ],
)
def test_what_yaml_cannot_hold_or_reads_as_another_number_is_refused(text, why, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"r\.yaml: {why}"):
        Recipe.read(tmp_path / "r.yaml")


def test_integers_in_the_forms_that_are_clear(tmp_path):
    (tmp_path / "r.yaml").write_text("a: [0, 00, -0, 1_000, 0x10, 0b11, +7, 0.5, 1.5e-3, 10:a]\n")
    assert Recipe.read(tmp_path / "r.yaml")["a"] == [0, 0, 0, 1000, 16, 3, 7, 0.5, 0.0015, "10:a"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + ALIASES, "unfold to more than 1,000,000 values"),
        ("data: &a {train: [*a]}\n", "an alias is inside the value that it refers to"),
        ("model: &m {name: x, more: *m}\n", "an alias is inside the value that it refers to"),
    ],
)
def test_aliases_that_unfold_without_end_are_refused(text, why, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"r\.yaml: .*{why}"):
        Recipe.load(tmp_path / "r.yaml")


def test_ordinary_aliases_are_read(tmp_path):
    (tmp_path / "r.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n")
    assert Recipe.read(tmp_path / "r.yaml")["b"] == {"x": 1, "y": [{"x": 1}, {"x": 1}]}


def test_a_recipe_is_a_file_of_a_sensible_size(tmp_path):
    with pytest.raises(UserError, match="/dev/null: a recipe is a regular file"):
        Recipe.load("/dev/null")
    (tmp_path / "r.yaml").write_bytes(b"#" * 10**6 + b"\n")
    with pytest.raises(UserError, match="larger than 1,000,000 bytes, so it is no recipe"):
        Recipe.load(tmp_path / "r.yaml")


def test_a_key_of_another_trainer_is_named_before_a_section_that_is_missing():
    with pytest.raises(UserError, match=r"unknown key learning_rate; here it is called optim\.lr"):
        Recipe.parse({"learning_rate": 1e-5})


def test_a_config_of_trl_is_told_from_a_misspelled_key():
    config = {"beta": 0.1, "learning_rate": 1e-5, "bf16": True}
    with pytest.raises(UserError, match=r"\(a config of TRL: boresight convert trl-config FILE\)\.$"):
        Recipe.parse(config)
    with pytest.raises(UserError, match=r"optim\.lr\.$"):
        Recipe.parse({"learning_rate": 1e-5, "bf16": True})


def test_a_key_that_stands_twice_is_refused(tmp_path):
    """YAML would keep the last section, and the settings of the first would be gone without a word."""
    twice = tmp_path / "twice.yaml"
    twice.write_text("base: &b {batch: 2}\ntrain: {<<: *b}\noptim:\n  lr: 1e-6\ntrain:\n  steps: 3\n")
    with pytest.raises(UserError, match=r"train stands in line 2 and again in line 5; keep one of them"):
        Recipe.load(twice)
    twice.write_text("optim:\n  lr: 1e-6\n  lr: 1e-5\n")
    with pytest.raises(UserError, match=r"lr stands in line 2 and again in line 3"):
        Recipe.load(twice)


def test_every_field_is_documented():
    undocumented = [name for name, _, _, doc in fields(recipe.Recipe) if not doc and name != "method"]
    assert undocumented == []


@pytest.mark.parametrize(
    "override",
    [
        "rollout.key_env=sk-planted-0123",
        "rollout.base_url=http://user:sk-planted-0123@host/v1",
        "rollout.base_url=https://host/v1?key=sk-planted-0123",
        "rollout.base_url=sk-planted-0123",
        "rollout.base_url=http://[sk-planted-0123",
    ],
)
def test_a_key_in_a_recipe_is_refused_and_not_quoted(recipe_file, override):
    with pytest.raises(UserError, match=r"rollout\.(key_env|base_url) must") as found:
        Recipe.load(recipe_file, [override])
    assert "planted" not in str(found.value)


def test_every_synonym_leads_to_a_key_that_exists():
    """The remark in parentheses and the value after `=` are left out; a method's key is one of any method."""
    keys = {name for name, *_ in fields(recipe.Recipe)} | {"method.name"}
    keys |= {f"model.lora.{name}" for name in LoraConfig.model_fields}
    keys |= {f"method.{key}" for name in methods.names() for key in methods.get(name).Config.model_fields}
    named = {ours.partition(" ")[0].partition("=")[0] for ours in SYNONYMS.values()}
    assert named - keys == set()


def with_method(**method):
    base = {"model": {"name": "m"}, "data": {"train": "d"}, "optim": {"lr": 1e-4}}
    return base | {"method": method}


@pytest.mark.parametrize(("name", "setting"), [("rloo", "clip"), ("grpo", "clip"), ("grpo", "clip_high")])
def test_a_clip_needs_several_updates_of_one_rollout(name, setting):
    raw = with_method(name=name, **{setting: 0.28})
    with pytest.raises(UserError, match=rf"method\.{setting} has no effect with one update per rollout"):
        Recipe.parse(raw)
    assert Recipe.parse(raw | {"rollout": {"updates": 2}})


def test_a_clip_that_a_method_has_by_itself_may_wait():
    """Also when it comes from the settings that a run has stored, where it is written out."""
    read = Recipe.parse(with_method(name="grpo"))
    assert Recipe.parse(read.to_dict()).method.clip == 0.2
