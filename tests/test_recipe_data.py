"""Every recipe reads rows of the columns that the data set which it names has."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from boresight.checks.inputs import kind_of
from boresight.config.recipe import Recipe
from boresight.core.schema import Demonstration, Labeled, Preference, Prompt
from boresight.data.demo import data_path
from boresight.data.reading.load import read
from boresight.data.reading.sources.generated import GENERATORS, PREFIX
from boresight.experiments.study.rehearsal.hub_rows import HUB_SHAPES, synthesized
from boresight.runs.explain import explain
from boresight.runs.measure import evaluate_run
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "src/boresight/recipes"


ULTRA = "HuggingFaceH4/ultrafeedback_binarized"
SYNTHESIZED = {
    "runs/synth-study/pairs.jsonl", "runs/synth-onpolicy/pairs.jsonl",
    "runs/study-data/hh-train.jsonl", "runs/study-data/ultrafeedback-train.jsonl",
}  # fmt: skip
"""What `boresight synthesize` or scripts/hold_out.py writes, in canonical form."""
USERS = {"prompts.jsonl", "seeds.jsonl"}
"""Files that a user is to bring."""
BUILT_IN = {"demo"}
LABELS = "docs/study/laptop/labels/"
"""What scripts/study_labels.py writes for the arms of a plan, in canonical form, one file per seed."""

KINDS = {"preference": Preference, "demonstration": Demonstration, "labeled": Labeled, "prompt": Prompt}
SIDES = {"data.train", "data.eval"}
ASKED = {"evaluate.prompts", "prompts", "prompts.source", "answers.prompts"}


def settings(raw: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted keys and values of a recipe or plan, of every section and override in it."""
    for key, value in raw.items() if isinstance(raw, dict) else ():
        yield prefix + key, value
        yield from settings(value, f"{prefix}{key}.")


def named() -> list[tuple[str, str, str]]:
    """(recipe, "data" or "prompts", source) for every source that a recipe names."""
    found = set()
    for path in sorted(RECIPES.rglob("*.yaml")):
        for key, value in settings(yaml.safe_load(path.read_text())):
            what = dict.fromkeys(SIDES, "data") | dict.fromkeys(ASKED, "prompts")
            ends = [last for last in what if key == last or key.endswith(f".{last}")]
            if ends and isinstance(value, str):
                found.add((str(path.relative_to(RECIPES)), what[ends[0]], value))
    return sorted(found)


def test_every_recipe_names_its_data_or_a_recipe_that_does():
    names = {name for name, _, _ in named()}
    for path in RECIPES.rglob("*.yaml"):
        recipe = yaml.safe_load(path.read_text())
        if (name := str(path.relative_to(RECIPES))) not in names and "lm_eval" not in recipe:
            based_on = (path.parent / recipe["recipe"]).resolve()
            assert str(based_on.relative_to(RECIPES)) in names, name


def test_every_data_set_has_made_up_rows():
    hub = {_data_set(source) for _, _, source in named() if _on_the_hub(source)}
    assert hub <= set(HUB_SHAPES)


def _data_set(source: str) -> str:
    """A hub id without its split and configuration."""
    return source.partition("@")[0].partition(":")[0]


def _on_the_hub(source: str) -> bool:
    other = source.startswith((PREFIX, LABELS)) or source in SYNTHESIZED | USERS | BUILT_IN
    return not other and not data_path(source).exists()


@pytest.mark.parametrize(("name", "what", "source"), named())
def test_a_recipe_reads_its_data(name, what, source, tmp_path):
    kind, trains = "prompt", "method" in yaml.safe_load((RECIPES / name).read_text())
    if what == "data":
        kind = kind_of(Recipe.load(RECIPES / name)).data if trains else "preference"
    if source in USERS | BUILT_IN or source.startswith(LABELS):
        return
    if source.startswith(PREFIX):
        made, _ = GENERATORS[source.removeprefix(PREFIX)]
        assert made == kind or (not trains and what == "data")  # arms of a plan have their own methods
        return
    file = data_path(source)
    if not file.exists():
        row = synthesized if source in SYNTHESIZED else HUB_SHAPES[_data_set(source)].row
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row(n)) + "\n" for n in (1, 2)))
    loaded = read(file, kind=kind, limit=2)
    assert [type(example) for example in loaded.examples] == [KINDS[kind]] * 2


@pytest.mark.parametrize(("source", "rows"), [("trl-lib/kto-mix-14k", 30), (ULTRA, 15)])
def test_the_kto_recipe_trains_on_labels_and_on_pairs(tmp_path, source, rows):
    """The whole way: checks, training, held-out numbers, the report, its explanation, and evaluated again."""
    tiny_model(max_position_embeddings=2048).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(HUB_SHAPES[source].row(n)) + "\n" for n in range(rows))
    )
    settings = {
        "data.train": tmp_path / "rows.jsonl", "model.name": tmp_path / "model", "train.batch": 4,
        "evaluate.samples": 6, "evaluate.max_new_tokens": 4, "check.allow": "[few-steps]",
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in settings.items()]
    run = tmp_path / "run"
    run_training(Recipe.load(RECIPES / "kto.yaml", overrides), run)
    facts = json.loads((run / "data.json").read_text())
    assert (facts["train"]["kept"], facts["eval"]["kept"]) == (24, 6)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == 0.5 and {line["split"] for line in lines} == {"train", "eval"}
    metrics = {m["name"]: m for m in json.loads((run / "evaluation.json").read_text())["metrics"]}
    assert metrics["accuracy"]["label"] == "held-out answers on their label's side of the reference point"
    assert any(metrics["margin"]["label"] in sentence for sentence in explain(run).outcome)
    asked = [json.loads(line)["prompt"] for line in (run / "samples.jsonl").read_text().splitlines()]
    assert len(asked) == 6 if source != ULTRA else len(asked) == 3  # both sides of a pair have one prompt
    evaluate_run(run, Console(file=io.StringIO()))
    again = {m["name"]: m for m in json.loads((run / "evaluation.json").read_text())["metrics"]}
    assert again["margin"]["after"]["value"] == pytest.approx(metrics["margin"]["after"]["value"], abs=1e-4)


def test_the_countdown_recipe_trains_on_queries_and_completions(tmp_path):
    tiny_model(max_position_embeddings=2048).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    row = HUB_SHAPES["Asap7772/cog_behav_all_strategies"].row
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row(n)) + "\n" for n in range(10)))
    settings = {
        "data.train": tmp_path / "rows.jsonl", "model.name": tmp_path / "model", "train.batch": 4,
        "evaluate.rewarded": 2, "evaluate.samples": 1, "evaluate.max_new_tokens": 4,
        "check.allow": "[few-steps]",
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in settings.items()]
    run_training(Recipe.load(RECIPES / "countdown" / "sft.yaml", overrides), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert facts["train"]["layout"] == "plain_answers"
    assert facts["train"]["kept"] == facts["train"]["rows"] == 8
