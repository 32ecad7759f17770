"""Tasks of lm-evaluation-harness: our half of it, with a stand-in for the package.

`tests/parity/test_lm_eval.py` runs the package itself.
"""

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from boresight.cli import main
from boresight.core.errors import UserError
from boresight.evaluation.harness.comparison import TaskComparison
from boresight.evaluation.harness.documents import Document, documents_of
from boresight.evaluation.harness.run_tasks import import_harness, open_tasks
from boresight.evaluation.recipe import EvaluationRecipe, HarnessSection
from boresight.reports.evaluations import tasks as tasks_page
from boresight.reports.evaluations.tasks import render_tasks
from boresight.stats.intervals import paired_difference
from tests.tiny import tiny_model, tiny_tokenizer

# From the harness's results to documents ------------------------------------------------------------------


def sample(number, metrics, by_filter="none", **changes):
    return {
        "doc_id": number, "doc_hash": f"hash {number}", "target": "4", "filter": by_filter,
        "arguments": [(f"question {number}", {"until": ["\n"]})], "filtered_resps": ["four"],
        "metrics": list(metrics), **metrics, **changes,
    }  # fmt: skip


def results(samples, reported, lower=()):
    higher = dict.fromkeys(lower, False)
    return {"samples": {"t": samples}, "results": {"t": reported}, "higher_is_better": {"t": higher}}


def test_every_metric_that_is_a_mean_over_documents_is_read():
    samples = [sample(i, {"acc": float(i > 0), "brier": np.float64(0.1 * i)}) for i in range(3)]
    found = documents_of(results(samples, {"acc,none": 2 / 3, "brier,none": 0.1}, lower=["brier"]))
    assert [d.scores for d in found] == [
        {"acc": 0.0, "brier": 0.0}, {"acc": 1.0, "brier": 0.1}, {"acc": 1.0, "brier": 0.2},
    ]  # fmt: skip
    assert found[1] == Document(
        "t", "none", 1, "hash 1", "question 1", "4", "four", {"acc": 1.0, "brier": 0.1}, ["brier"], []
    )


@pytest.mark.parametrize(
    ("values", "reported"),
    [([(-3.5, 4), (-1.0, 2)], 2.1), ([0.25, 0.75], 0.6), (["a", "b"], 0.5), ([0.0, 1.0], None)],
    ids=["word perplexity", "corpus number", "text", "not reported"],
)
def test_a_metric_that_is_no_mean_has_no_value_per_document(values, reported):
    samples = [sample(i, {"acc": 1.0, "x": value}) for i, value in enumerate(values)]
    found = documents_of(results(samples, {"acc,none": 1.0, "x,none": reported}))
    assert [d.scores for d in found] == [{"acc": 1.0}] * 2
    assert found[0].not_by_document == ["x"]


def test_filters_are_apart_and_the_likeliest_choice_is_the_response():
    samples = [
        sample(0, {"em": 0.0}, "strict"),
        sample(0, {"em": 1.0}, "flexible"),
        sample(
            1, {"em": 1.0}, "strict",
            arguments=[("q", " A"), ("q", " B")], filtered_resps=[(-2.0, False), (-1.5, True)],
        ),
    ]  # fmt: skip
    found = documents_of(results(samples, {"em,strict": 0.5, "em,flexible": 1.0}))
    assert [(d.id, d.filter, d.scores["em"]) for d in found] == [
        (0, "strict", 0.0), (1, "strict", 1.0), (0, "flexible", 1.0),
    ]  # fmt: skip
    assert found[1].response == " B" and found[1].prompt == "q"


def test_a_value_that_is_not_finite_is_missing():
    samples = [sample(i, {"nll": value}) for i, value in enumerate([1.0, math.nan])]
    found = documents_of(results(samples, {"nll,none": math.nan}))
    assert [d.scores["nll"] for d in found] == [1.0, None]


def test_tasks_without_documents_are_refused():
    with pytest.raises(UserError, match="the tasks have no documents"):
        documents_of({"samples": {}})


# The comparison -------------------------------------------------------------------------------------------


def documents(scores, task="t", metric="acc", digest="", **changes):
    return [
        Document(task, "none", i, f"{digest}{i}", "q", "a", "r", {metric: score}, **changes)
        for i, score in enumerate(scores)
    ]


def test_a_planted_loss_is_found_and_an_equal_task_says_what_may_be_lost():
    before = documents([1.0] * 45 + [0.0] * 15) + documents([1.0, 0.0] * 30, "u")
    after = documents([1.0] * 25 + [0.0] * 35) + documents([1.0, 0.0] * 30, "u")
    found = TaskComparison({"before": before, "after": after})
    lost, equal = found.measured["after"]
    expected = paired_difference([1.0] * 45 + [0.0] * 15, [1.0] * 25 + [0.0] * 35, bounds=(-1, 1))
    assert lost.difference == expected and lost.unit == "share"
    assert found.verdicts[0].startswith("t acc: before beats after by 33.3 points [")
    assert "after Holm's adjustment." in found.verdicts[0] and "not significant" not in found.verdicts[0]
    least = -equal.difference.low * 100
    assert found.verdicts[1].endswith(f"A loss of up to {least:.1f} points cannot be ruled out.")
    assert "after loses on 1 of 2 tasks" in render_tasks(found)


def test_documents_are_paired_by_id_and_missing_ones_counted():
    found = TaskComparison(
        {"a": documents([1.0, 0.0, None, 1.0, 1.0]), "b": documents([1.0, 1.0, 1.0, 0.0])[::-1]}
    )
    difference = found.measured["b"][0].difference
    assert (difference.n, difference.missing) == (3, 1) and difference.value == 0.0
    assert found.notes == ["a: 1 of 5 documents of t acc have no finite score."]


def test_more_than_a_tenth_missing_is_no_verdict():
    found = TaskComparison({"a": documents([None] * 3 + [1.0] * 9), "b": documents([0.0] * 12)})
    assert found.verdicts == ["t acc: no verdict on b against a: of more than a tenth a score is missing."]
    never = TaskComparison({"a": documents([None] * 3), "b": documents([0.0] * 3)})
    assert never.verdicts[0].endswith("no document has both.")


def test_less_is_better_where_the_harness_says_so():
    worse = documents([0.4, 0.5] * 20, metric="brier", lower=["brier"])
    better = documents([0.1, 0.2] * 20, metric="brier", lower=["brier"])
    found = TaskComparison({"a": worse, "b": better})
    assert found.verdicts[0].startswith("t brier: b beats a by 30.0 points")
    assert "b gains on 1 of 1 task" in render_tasks(found)


def test_values_outside_of_zero_to_one_have_no_share():
    found = TaskComparison({"a": documents([-3.0, -2.5, -2.0]), "b": documents([-2.0, -1.7, -1.0])})
    assert found.measured["b"][0].unit == "score" and "% " not in found.verdicts[0]


def test_other_documents_under_one_number_are_refused():
    with pytest.raises(UserError, match="document 0 of t is another one for b than for a"):
        TaskComparison({"a": documents([1.0]), "b": documents([1.0], digest="other ")})


def test_a_page_shows_changed_documents_first_and_says_how_many_it_leaves_out(monkeypatch):
    monkeypatch.setattr(tasks_page, "MOST_SHOWN", 2)
    found = TaskComparison({"a": documents([1.0] * 9 + [0.0]), "b": documents([1.0] * 10)})
    page = render_tasks(found)
    assert '"t 9"' in page and '"t 5"' not in page
    assert "8 more documents are in documents-a.jsonl" in page


# The run, with a stand-in for the package -----------------------------------------------------------------


@pytest.fixture
def harness(monkeypatch):
    """Modules with the names that we use. Its one task scores the parity of the model's likeliest token."""
    lm_eval, tasks, models, huggingface = (
        ModuleType(name)
        for name in ("lm_eval", "lm_eval.tasks", "lm_eval.models", "lm_eval.models.huggingface")
    )
    lm_eval.asked = []

    def simple_evaluate(model, tasks, task_manager, limit, **settings):
        lm_eval.asked.append({"tasks": tasks, "limit": limit, **settings})
        if lm_eval.failing:
            raise KeyError("dataset not\nfound")
        said = [model.likeliest(f"question {i}") for i in range(limit or 12)]
        samples = [
            sample(i, {"acc": float(token % 2)}, filtered_resps=[str(token)]) for i, token in enumerate(said)
        ]
        return results(samples, {"acc,none": sum(token % 2 for token in said) / len(said)})

    class HFLM:
        def __init__(self, pretrained, tokenizer, batch_size):
            self.model, self.tokenizer = pretrained, tokenizer

        def likeliest(self, text):
            ids = torch.tensor([self.tokenizer(text)["input_ids"]])
            with torch.no_grad():
                return int(self.model(input_ids=ids).logits[0, -1].argmax())

    lm_eval.failing, lm_eval.simple_evaluate, lm_eval.tasks = False, simple_evaluate, tasks
    tasks.TaskManager = lambda include_path: SimpleNamespace(all_tasks=["parity", "t"])
    huggingface.HFLM = HFLM
    for module in (lm_eval, tasks, models, huggingface):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return lm_eval


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model and an adapter on it that changes what it says."""
    base, adapter = (tmp_path_factory.mktemp("models") / name for name in ("base", "adapter"))
    tiny_model().save_pretrained(base)
    torch.manual_seed(3)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = get_peft_model(tiny_model(), lora)
    tuned.peft_config["default"].base_model_name_or_path = str(base)
    tuned.save_pretrained(adapter)
    for folder in (base, adapter):
        tiny_tokenizer().save_pretrained(folder)
    return base, adapter


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys, models):
    monkeypatch.chdir(tmp_path)

    def run(*overrides, **section):
        settings = {"tasks": ["parity"], **section}
        systems = {name: {"model": str(m)} for name, m in zip(("before", "after"), models, strict=True)}
        recipe = {"systems": systems, "lm_eval": settings, "generate": {"device": "cpu"}}
        (tmp_path / "eval.yaml").write_text(json.dumps(recipe))
        with pytest.raises(SystemExit) as left:
            main.main(["evaluate", "eval.yaml", *overrides, "--run", "out"])
        return int(left.value.code or 0), *capsys.readouterr()

    return run


def said_by(folder):
    return [json.loads(line)["response"] for line in folder.read_text().splitlines()]


def test_models_with_their_adapters_are_run_compared_and_written_down(harness, evaluate, tmp_path):
    code, out, err = evaluate("limit=10", num_fewshot=2, chat_template=True)
    assert code == 0, err
    asked = harness.asked[0]
    assert [asked[k] for k in ("tasks", "limit", "num_fewshot")] == [["parity"], 10, 2]
    assert asked["apply_chat_template"] is True and asked["confirm_run_unsafe_code"] is False
    out_folder = tmp_path / "out"
    assert said_by(out_folder / "documents-before.jsonl") != said_by(out_folder / "documents-after.jsonl")
    result = json.loads((out_folder / "evaluation.json").read_text())
    assert [metric["name"] for metric in result["metrics"]] == ["t:acc"]
    assert result["metrics"][0]["difference"]["n"] == 10
    assert "t acc" in out and "t acc" in (out_folder / "report.md").read_text()
    assert "Tasks of lm-evaluation-harness" in (out_folder / "report.html").read_text()


def test_an_interrupted_evaluation_runs_what_it_lacks(harness, evaluate, tmp_path):
    assert evaluate()[0] == 0
    (tmp_path / "out/documents-after.jsonl").unlink()
    assert evaluate()[0] == 0 and len(harness.asked) == 3
    edited = tmp_path / "out/documents-before.jsonl"
    edited.write_text(edited.read_text().replace('"acc": 0.0', '"acc": 1.0', 1))
    code, _, err = evaluate()
    assert code == 2 and "documents-before.jsonl" in err


def test_what_the_harness_raises_is_one_sentence(harness, evaluate):
    harness.failing = True
    code, _, err = evaluate()
    assert code == 2 and "lm_eval: the tasks parity cannot be run (KeyError" in err and "Traceback" not in err


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch, evaluate, tmp_path):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    code, _, err = evaluate()
    assert code == 2 and "pip install 'boresight[lm-eval]'" in err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError):
        import_harness()


def test_an_unknown_task_is_answered_with_the_nearest(harness, evaluate, tmp_path):
    code, _, err = evaluate(tasks=["party"])
    assert code == 2 and "the harness has no task 'party'; did you mean 'parity'" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "trust_remote_code: true",
        "  trust_remote_code: True",
        "dataset_kwargs: {data_files: x, trust_remote_code: yes}",
        'dataset_kwargs: {"trust_remote_code": 1}',
        "trust_remote_code : on",
    ],
)
def test_code_of_a_data_set_is_refused(harness, tmp_path, line):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/own.yaml").write_text(f"task: own\n{line}\n")
    with pytest.raises(UserError, match=r"own\.yaml: trust_remote_code runs code"):
        open_tasks(HarnessSection(tasks=["t"], folder=str(tmp_path)))


def test_a_task_file_that_refuses_remote_code_itself_is_taken(harness, tmp_path):
    (tmp_path / "own.yml").write_text("task: t\ntrust_remote_code: false\n# trust_remote_code: true\n")
    open_tasks(HarnessSection(tasks=["t"], folder=str(tmp_path)))
    with pytest.raises(UserError, match="holds no task"):
        open_tasks(HarnessSection(tasks=["t"], folder=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": {"a": {"answers": "a.jsonl"}}}, "systems.a must be a model"),
        ({"systems": {"a": {"model": "m", "base_url": "http://h/v1"}}}, "systems.a must be a model"),
        ({"prompts": "p.jsonl"}, "prompts and layout have no effect with lm_eval"),
        ({"judge": {"name": "countdown"}}, "judge and lm_eval are two evaluations"),
        ({"lm_eval": {"tasks": []}}, "lm_eval.tasks"),
        ({"lm_eval": {"tasks": ["t"], "batch": 3}}, "batch_size"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(changes, message):
    recipe = {"systems": {"a": {"model": "m"}}, "lm_eval": {"tasks": ["t"]}, **changes}
    with pytest.raises(UserError) as refused:
        EvaluationRecipe.parse(recipe)
    assert message in str(refused.value)
