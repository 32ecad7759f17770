"""Files that are no recipe of the verb, and recipes as editors and other programs write them."""

import codecs
import gzip
import json

import pytest
import yaml

from boresight.config.recipe import Recipe
from boresight.config.recipe_files import FOLDER
from boresight.config.refusals.other_file import REQUIRED
from boresight.core.errors import UserError
from boresight.core.files import read_json
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.synthesis.recipe import SynthesisRecipe

KINDS = {
    "train": Recipe,
    "evaluate": EvaluationRecipe,
    "synthesize": SynthesisRecipe,
    "sweep": SweepRecipe,
    "study": StudyPlan,
}
NAMES = {
    "train": "dpo",
    "evaluate": "eval-winrate",
    "synthesize": "synth-demo",
    "sweep": "sweeps/dpo",
    "study": "study/plan-cpu",
}
ROWS = [{"prompt": "a", "chosen": "b", "rejected": "c"}]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(kind, name):
    with pytest.raises(UserError) as found:
        kind.load(name)
    return str(found.value)


def test_the_table_of_required_sections_is_that_of_the_recipes():
    assert {
        verb: {name for name, field in kind.model_fields.items() if field.is_required()}
        for verb, kind in KINDS.items()
    } == REQUIRED


@pytest.mark.parametrize("verb", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_recipe_of_another_verb_is_named_as_such(verb, other):
    if verb != other:
        assert refusal(KINDS[verb], NAMES[other]) == f"{NAMES[other]}: is a recipe of `boresight {other}`."


def test_every_recipe_in_the_package_is_refused_by_the_other_verbs_alone():
    for file in FOLDER.rglob("*.yaml"):
        sections = yaml.safe_load(file.read_text()).keys()
        assert sum(required <= sections for required in REQUIRED.values()) == 1, file


@pytest.mark.parametrize("name", ["p.jsonl", "p.ndjson", "p.csv", "p.tsv", "p.parquet", "p.json", "p.JSONL"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_data_file_is_answered_with_init(tmp_path, name, compressed):
    content = (json.dumps(ROWS) if name == "p.json" else json.dumps(ROWS[0]) + "\n").encode()
    if compressed:
        name, content = f"{name}.gz", gzip.compress(content)
    (tmp_path / name).write_bytes(content)
    assert refusal(Recipe, name) == f"{name}: is a data file; `boresight init {name}` writes a recipe for it."
    assert refusal(EvaluationRecipe, name) == f"{name}: is a data file; give a recipe that names it."


def test_the_command_is_one_for_a_shell(tmp_path):
    (tmp_path / "my pairs.jsonl").write_text("{}\n")
    assert "`boresight init 'my pairs.jsonl'` writes" in refusal(Recipe, "my pairs.jsonl")


def test_a_data_file_that_is_not_there_is_a_missing_recipe():
    assert "there is no such recipe" in refusal(Recipe, "p.jsonl")


@pytest.mark.parametrize("name", ["r.json", "r.yaml"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_recipe_may_be_json_and_begin_with_a_byte_order_mark(tmp_path, name, mark):
    raw = {"method": {"name": "dpo"}, "data": {"train": "x.jsonl"}, "optim": {"lr": 1e-5}}
    (tmp_path / name).write_bytes(mark + json.dumps(raw, indent=1).replace("\n", "\r\n").encode())
    assert Recipe.load(name) == Recipe.parse(raw)


def test_json_of_other_programs_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "config.json").write_bytes(codecs.BOM_UTF8 + b'{"a": 1}')
    assert read_json(tmp_path / "config.json") == {"a": 1}
