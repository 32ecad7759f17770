"""Every recipe reads rows of the columns that the data set which it names has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from boresight.checks.inputs import kind_of
from boresight.config.recipe import Recipe
from boresight.core.schema import Demonstration, Preference, Prompt
from boresight.data.reading.generated import PREFIX
from boresight.data.reading.load import read
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def ultrafeedback(n: int) -> dict[str, object]:
    chosen, rejected = turns(f"Name {n}.", "One."), turns(f"Name {n}.", "No.")
    scores = {"score_chosen": 8.0, "score_rejected": 3.0}
    return {
        "prompt": f"Name {n}.", "prompt_id": f"{n:064x}", "chosen": chosen, "rejected": rejected,
        "messages": chosen, **scores,
    }  # fmt: skip


ROWS = {
    "Asap7772/cog_behav_all_strategies": lambda n: {
        "query": f"Make {n} of 3 and 4.", "completion": f"<think>3 + 4</think> <answer> {n} </answer>",
    },
    "HuggingFaceH4/ultrafeedback_binarized": ultrafeedback,
    "HuggingFaceTB/smol-smoltalk": lambda n: {"messages": turns(f"Name {n}.", "One."), "source": "made-up"},
    "Jiayi-Pan/Countdown-Tasks-3to4": lambda n: {"target": 7 + n, "nums": [3, 4, n]},
}  # fmt: skip
"""A row with the columns of each data set on the hub that a recipe names, values made up."""

KINDS = {"preference": Preference, "demonstration": Demonstration, "prompt": Prompt}


def named() -> list[tuple[str, str]]:
    """(recipe, data set) for every recipe and each of its sources that is not made on the spot or a file."""
    found = []
    for path in sorted(RECIPES.rglob("*.yaml")):
        raw = yaml.safe_load(path.read_text())
        prompts = raw.get("prompts")
        data = {raw.get("data", {}).get(side) for side in ("train", "eval")}
        data |= {prompts.get("source") if isinstance(prompts, dict) else prompts}
        found += [(str(path.relative_to(RECIPES)), d) for d in sorted(filter(None, data)) if _on_the_hub(d)]
    return found


def _on_the_hub(source: str) -> bool:
    return "/" in source and not source.startswith((PREFIX, "runs/", "src/"))


def test_recipes_name_these_data_sets_and_no_others():
    assert {source.partition("@")[0] for _, source in named()} == set(ROWS)


@pytest.mark.parametrize(("name", "source"), named())
def test_a_recipe_reads_its_data(name, source, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(ROWS[source.partition("@")[0]](n)) + "\n" for n in (1, 2)))
    raw = yaml.safe_load((RECIPES / name).read_text())
    kind = kind_of(Recipe.load(RECIPES / name)).data if "method" in raw else "prompt"
    loaded = read(file, kind=kind)
    assert [type(example) for example in loaded.examples] == [KINDS[kind]] * 2


def test_the_countdown_recipe_trains_on_queries_and_completions(tmp_path):
    tiny_model(max_position_embeddings=2048).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    row = ROWS["Asap7772/cog_behav_all_strategies"]
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
