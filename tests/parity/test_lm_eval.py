"""lm-evaluation-harness itself, on two local tasks: what it says of each document is what the models do.

The documents are made so that the start model is right on all of them: a choice between the continuation
that it finds likelier and another one, and the text that it writes. An adapter with random weights is then a
tuned model that forgot them. No network is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from boresight.core.errors import UserError
from boresight.evaluation.harness.run_tasks import open_tasks
from boresight.evaluation.recipe import EvaluationRecipe, HarnessSection
from boresight.runs.evaluate import run_evaluation
from boresight.runs.evaluations.on_tasks import TaskEvaluation
from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.parity
pytest.importorskip("lm_eval", reason="make bench-setup installs lm_eval")
pytest.importorskip("evaluate", reason="make bench-setup installs what lm_eval needs")

COUNT, NEW_TOKENS = 24, 6

CHOICE = """\
task: own_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{likelier}}}}"
metric_list: [{{metric: acc}}]
"""
WRITTEN = """\
task: own_written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/documents.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{written}}}}"
generation_kwargs: {{until: ["@@"], max_gen_toks: {tokens}, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""


def log_likelihood(model: Any, question: str, choice: str) -> float:
    tokenizer = tiny_tokenizer()
    before = len(tokenizer(question)["input_ids"])
    ids = torch.tensor([tokenizer(f"{question} {choice}")["input_ids"]])
    with torch.no_grad():
        logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return float(logps.gather(1, ids[0, 1:, None])[before - 1 :].sum())


def written(model: Any, question: str) -> str:
    tokenizer = tiny_tokenizer()
    ids = torch.tensor([tokenizer(question)["input_ids"]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)
    return str(tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))


def choice_of(model: Any, document: dict[str, Any]) -> int:
    first, second = (log_likelihood(model, document["question"], choice) for choice in document["choices"])
    return int(second > first)


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Base, adapter and documents in a folder, and both models as peft loads them."""
    folder = tmp_path_factory.mktemp("systems")
    base = tiny_model()
    base.save_pretrained(folder / "base")
    torch.manual_seed(3)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = get_peft_model(tiny_model(), lora)
    tuned.peft_config["default"].base_model_name_or_path = str(folder / "base")
    tuned.save_pretrained(folder / "adapter")
    for name in ("base", "adapter"):
        tiny_tokenizer().save_pretrained(folder / name)
    base, tuned = tiny_model().eval(), PeftModel.from_pretrained(tiny_model(), folder / "adapter").eval()
    documents = []
    for i in range(COUNT):
        document = {"question": f"question number {i}:", "choices": [f"yes {i}", f"no {i * i}"]}
        documents.append(
            document | {"likelier": choice_of(base, document), "written": written(base, document["question"])}
        )
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (folder / "tasks").mkdir()
    (folder / "tasks/documents.jsonl").write_text(lines)
    (folder / "tasks/choice.yaml").write_text(CHOICE.format(folder=folder / "tasks"))
    (folder / "tasks/written.yaml").write_text(WRITTEN.format(folder=folder / "tasks", tokens=NEW_TOKENS))
    return {"folder": folder, "base": base, "tuned": tuned, "documents": documents}


@pytest.fixture
def evaluated(systems: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskEvaluation:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = systems["folder"]
    recipe = EvaluationRecipe.parse(
        {
            "systems": {
                "before": {"model": str(folder / "base")},
                "after": {"model": str(folder / "adapter")},
            },
            "lm_eval": {"tasks": ["own_choice", "own_written"], "folder": str(folder / "tasks")},
            "generate": {"device": "cpu"},
        }
    )
    found = run_evaluation(recipe, tmp_path / "out")
    assert isinstance(found, TaskEvaluation)
    return found


def test_every_document_has_the_score_that_the_model_earns(evaluated, systems):
    """The start model is right throughout; the adapter where peft's own forward says so."""
    for name, model in (("before", systems["base"]), ("after", systems["tuned"])):
        by_task = {task: {} for task in ("own_choice", "own_written")}
        for document in evaluated.results[name]:
            by_task[document.task][document.id] = document.scores
        for number, document in enumerate(systems["documents"]):
            right = choice_of(model, document) == document["likelier"]
            assert by_task["own_choice"][number] == {"acc": float(right)}, (name, number)
            same = written(model, document["question"]) == document["written"]
            assert by_task["own_written"][number] == {"exact_match": float(same)}, (name, number)


def test_what_the_tuned_model_lost_is_said(evaluated, systems):
    choice, text = evaluated.metrics["after"]
    kept = sum(choice_of(systems["tuned"], d) == d["likelier"] for d in systems["documents"])
    assert choice.before.value == 1.0 and choice.after.value == kept / COUNT
    assert text.before.value == 1.0 and text.difference.high < 0
    (lost,) = (sentence for sentence in evaluated.found.verdicts if "own_written" in sentence)
    assert lost.startswith("own_written exact_match: before beats after by")
    assert "lose" in evaluated.page.read_text()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("unsafe_code: true", "marked as unsafe"),
        ("doc_to_text: !function nowhere.f", "nowhere"),
        ("dataset_path: json\ndataset_kwargs: {data_files: {test: nowhere.jsonl}}", "nowhere.jsonl"),
    ],
)
def test_a_task_that_cannot_be_run_is_one_sentence(systems, tmp_path, monkeypatch, lines, message):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    own = tmp_path / "own"
    own.mkdir()
    text = CHOICE.format(folder=systems["folder"] / "tasks")
    keys = {line.split(":")[0] for line in lines.splitlines()}
    kept = [line for line in text.splitlines() if line.split(":")[0] not in keys]
    (own / "choice.yaml").write_text("\n".join([*kept, lines]) + "\n")
    recipe = EvaluationRecipe.parse(
        {
            "systems": {"before": {"model": str(systems["folder"] / "base")}},
            "lm_eval": {"tasks": ["own_choice"], "folder": str(own)},
        }
    )
    with pytest.raises(UserError) as refused:
        run_evaluation(recipe, tmp_path / "out")
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_the_harness_s_own_tasks_are_known():
    open_tasks(HarnessSection(tasks=["gsm8k", "arc_easy", "ifeval"]))
    with pytest.raises(UserError, match="did you mean 'gsm8k'"):
        open_tasks(HarnessSection(tasks=["gsm8kk"]))
