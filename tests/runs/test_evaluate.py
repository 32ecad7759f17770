"""A whole evaluation on files: answers matched, judged, examined, written; continued where it stopped."""

import io
import json

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.split import prompts_in
from boresight.evaluation.matching import matched
from boresight.evaluation.recipe import EvaluationRecipe, GenerateSection, SystemSection
from boresight.evaluation.systems import generate_responses, prompts_of, read_answers, vllm_responses
from boresight.export.plan import export_plan
from boresight.reports.page import write_report
from boresight.reports.read_run import read_run
from boresight.runs.evaluate import run_win_rate
from boresight.runs.explain import explain
from tests.rows import jsonl
from tests.runs.check.faults import save_learned_positions
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fake_vllm import FakeVllm


@pytest.fixture
def files(tmp_path):
    """Twelve problems; `new` solves nine of them, `old` three, and one answer of `old` is missing."""
    problems = [{"id": f"p{i}", "nums": [i, i + 1, i + 2], "target": 3 * i + 3} for i in range(1, 13)]

    def answers(solved):
        for i, problem in enumerate(problems):
            a, b, c = problem["nums"]
            sign = "+" if i in solved else "*"
            yield {"id": problem["id"], "answer": f"<answer>{a}+{b}{sign}{c}</answer>"}

    old = list(answers({0, 1, 2}))
    old[11]["answer"] = None
    return {
        "prompts": jsonl(tmp_path / "problems.jsonl", problems),
        "old": jsonl(tmp_path / "old.jsonl", old),
        "new": jsonl(tmp_path / "new.jsonl", answers(set(range(2, 11)))),
    }


def recipe(files, **changes):
    return EvaluationRecipe.parse(
        {
            "prompts": files["prompts"],
            "systems": {"old": {"answers": files["old"]}, "new": {"answers": files["new"]}},
            "judge": {"name": "countdown"},
            "trust": {"controls": 5, "repeats": 5},
        }
        | changes
    )


def said(*arguments):
    console = Console(file=io.StringIO(), width=500)
    return run_win_rate(*arguments, console).page, console.file.getvalue()


def test_from_files_to_page(files, tmp_path):
    """New wins 8 (all it solves but p3, which both solve), loses 2, ties 1, one is missing: 8.5 of 11."""
    page, text = said(recipe(files), tmp_path / "out")
    results = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (pair,) = results["pairs"]
    assert {k: pair[k] for k in ("won", "tied", "lost", "failed")} == {
        "won": 8,
        "tied": 1,
        "lost": 2,
        "failed": 1,
    }
    assert pair["win_rate"]["value"] == pytest.approx(8.5 / 11)
    assert results["metrics"][0]["after"] == pair["win_rate"]
    assert pair["not_length_controlled_because"]
    assert {c["name"]: c["share"]["value"] for c in results["trust"]["controls"]}["identical"] == 1.0
    lines = [json.loads(line) for line in (tmp_path / "out" / "comparisons.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines].count("won") == 8 and len(lines) == 12
    html = page.read_text()
    assert "new and old do not differ significantly" in html and "new beats old" not in html
    assert "Calls an answer and itself a tie" in html
    assert "1 prompt is missing" in text


def test_what_could_not_be_found_out_about_the_judge_is_said(files, tmp_path):
    """Human labels carry no Countdown problem, so the verifier can judge none of them."""
    labels = tmp_path / "labels.csv"
    labels.write_text("prompt,answer_a,answer_b,preferred\nq,x,y,a\n")
    page, text = said(
        recipe(files, trust={"controls": 0, "repeats": 0, "people": str(labels)}), tmp_path / "out"
    )
    assert f"Not one pair of {labels} could be judged." in text
    assert "could be judged." in page.read_text()


def test_the_page_of_an_evaluation_is_not_written_over_by_a_runs_report(files, tmp_path):
    page, _ = said(recipe(files), tmp_path / "out")
    before = page.read_text()
    for read in (write_report, read_run, explain, lambda run: export_plan(run, "merged", "float32")):
        with pytest.raises(UserError, match="holds an evaluation and no training run"):
            read(tmp_path / "out")
    assert page.read_text() == before
    page.unlink()  # what the message names does it: the folder's own recipe, into the folder
    run_win_rate(
        EvaluationRecipe.load(tmp_path / "out" / "config.yaml"), tmp_path / "out", Console(file=io.StringIO())
    )
    assert page.read_text() == before


def test_the_same_recipe_goes_on_and_another_is_refused(files, tmp_path):
    said(recipe(files), tmp_path / "out")
    said(recipe(files), tmp_path / "out")
    with pytest.raises(UserError, match=r"the recipe differs in limit \(null there, 3 here\)"):
        said(recipe(files, limit=3), tmp_path / "out")
    with pytest.raises(UserError, match="exists but holds no evaluation"):
        said(recipe(files), tmp_path)


def test_models_answer_and_their_answers_are_kept(files, tmp_path):
    place = tmp_path / "model"
    tiny_model().save_pretrained(place)
    tiny_tokenizer().save_pretrained(place)
    systems = {"tiny": {"model": str(place)}, "new": {"answers": files["new"]}}
    made = recipe(files, systems=systems, generate={"max_new_tokens": 4, "device": "cpu"}, limit=6)
    _, text = said(made, tmp_path / "out")
    kept = tmp_path / "out" / "answers-tiny.jsonl"
    assert len(kept.read_text().splitlines()) == 6
    assert "of 6 answers reached 4 tokens" in text
    _, again = said(made, tmp_path / "out")
    assert "reached 4 tokens" not in again, "what was generated is not generated again"
    kept.write_text(kept.read_text().replace('"id"', '"id" ', 1))
    with pytest.raises(UserError, match=r"answers-tiny.jsonl: this file is torn or was edited; restore it"):
        said(made, tmp_path / "out")
    kept.unlink()
    assert "of 6 answers reached 4 tokens" in said(made, tmp_path / "out")[1]


def test_prompts_beyond_a_table_of_positions_have_no_answer(tmp_path):
    """Missing and counted: neither an error in the middle nor an empty answer that loses."""
    save_learned_positions(tmp_path / "model", positions=70)  # a few more than the short prompts have
    asked = ["say 1", "red " * 300, "say 2"]
    other = jsonl(tmp_path / "o.jsonl", [{"prompt": p, "answer": "x"} for p in asked])
    made = {
        "systems": {"other": {"answers": other}, "tiny": {"model": str(tmp_path / "model")}},
        "judge": {"name": "checks", "check": "tests.rewards:length"},
        "generate": {"max_new_tokens": 300, "device": "cpu"},
    }
    _, text = said(EvaluationRecipe.parse(made), tmp_path / "out")
    assert "tiny: 1 of 3 prompts have no answer: they fill the model's context." in text
    assert "2 of 2 answers reached 300 tokens or the end of the model's context" in text
    (pair,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["pairs"]
    assert (pair["failed"], pair["win_rate"]["missing"]) == (1, 1)
    kept = (tmp_path / "out" / "answers-tiny.jsonl").read_text().splitlines()
    assert [json.loads(line)["answer"] is None for line in kept] == [False, True, False]


def test_prompts_come_from_the_first_systems_answers(files, tmp_path):
    rows = [{"prompt": f"say {i}", "response": "x" * i} for i in range(1, 5)]
    a = jsonl(tmp_path / "a.jsonl", rows)
    b = jsonl(tmp_path / "b.jsonl", [{**row, "response": "y"} for row in reversed(rows)])
    judge = {"name": "checks", "check": "tests.rewards:length"}
    systems = {"a": {"answers": a}, "b": {"answers": b}}
    said(EvaluationRecipe.parse({"systems": systems, "judge": judge}), tmp_path / "out")
    (pair,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["pairs"]
    assert (pair["lost"], pair["tied"]) == (3, 1), "matched by the prompt's text, not by place"


def test_a_prompt_that_files_answer_several_times_is_compared_as_often(files, tmp_path):
    """Prompt 1 twice, and prompt 2 three times, of which the last repeats the one before."""
    asked = ["say 1", "say 2", "say 1", "say 2", "say 2"]
    a = jsonl(tmp_path / "a.jsonl", [{"prompt": p, "answer": x} for p, x in zip(asked, "vwxyy", strict=True)])
    b = jsonl(tmp_path / "b.jsonl", [{"prompt": p, "answer": "zz"} for p in asked])
    systems = {"a": {"answers": a}, "b": {"answers": b}}
    judge = {"name": "checks", "check": "tests.rewards:length"}
    _, text = said(EvaluationRecipe.parse({"systems": systems, "judge": judge}), tmp_path / "out")
    assert "2 prompts with 4 answers each system, 2 systems" in text
    (pair,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["pairs"]
    assert (pair["won"], pair["win_rate"]["n"]) == (4, 2)
    lines = [json.loads(line) for line in (tmp_path / "out" / "comparisons.jsonl").read_text().splitlines()]
    assert [line["reference"] for line in lines] == ["v", "w", "x", "y"]
    assert len({line["id"] for line in lines}) == 4


def test_a_model_answers_each_prompt_once_however_often_it_stands_there(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"id": f"r{n}", "prompt": f"say {n % 2}"} for n in range(4)]
    other = jsonl(tmp_path / "o.jsonl", [{"id": f"r{n}", "answer": "x" * (n + 20)} for n in range(4)])
    systems = {"tiny": {"model": str(tmp_path / "model")}, "other": {"answers": other}}
    judge = {"name": "checks", "check": "tests.rewards:length"}
    made = {"prompts": jsonl(tmp_path / "p.jsonl", rows), "systems": systems, "judge": judge,
            "generate": {"max_new_tokens": 2, "device": "cpu"}}  # fmt: skip
    _, text = said(EvaluationRecipe.parse(made), tmp_path / "out")
    assert "of 2 answers reached 2 tokens" in text
    (pair,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["pairs"]
    assert (pair["won"], pair["win_rate"]["n"]) == (4, 2)


def test_answers_to_other_prompts_are_refused(files, tmp_path):
    other = jsonl(tmp_path / "other.jsonl", [{"prompt": "something else", "answer": "x"}])
    with pytest.raises(UserError, match="answers none of the 12 prompts"):
        said(
            recipe(files, systems={"a": {"answers": other}, "b": {"answers": files["new"]}}), tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x"}, "row 1: there is no answer"),
        ({"answer": "x"}, "`prompt` and `id` are both missing"),
        ({"prompt": "x", "answer": 3}, "`answer` is not text"),
        ({"prompt": [{"role": "robot", "content": "x"}], "answer": "x"}, "row 1: `prompt`"),
        (
            {"prompt": "[{'role': 'user', 'content': nan}]", "answer": "x"},
            "row 1: `prompt` looks like messages",
        ),
        (["x"], "not an object"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(UserError, match=message):
        read_answers(jsonl(tmp_path / "a.jsonl", [row]))


def test_columns_of_prompts_are_renamed_in_the_file(files, tmp_path):
    """An evaluation has no `data.columns`, and neither has `evaluate.prompts` of a run."""
    rows = [{"request": "q", "better": "a", "worse": "b"}]
    prompts = jsonl(tmp_path / "prompts.jsonl", rows)
    with pytest.raises(UserError) as error:
        said(recipe(files, prompts=prompts), tmp_path / "out")
    named = "rename `request` to `prompt` and `better` to `chosen` and `worse` to `rejected` in the file"
    assert named in str(error.value) and "data.columns=" not in str(error.value)
    with pytest.raises(UserError, match="rename `request` to `prompt`"):
        prompts_in(prompts)


def test_a_run_folder_answers_with_what_it_said_after_training(tmp_path):
    jsonl(
        tmp_path / "samples.jsonl",
        [{"id": "a", "prompt": [{"role": "user", "content": "q"}], "before": "x", "after": "y"}],
    )
    rows = read_answers(tmp_path)
    prompts = prompts_of(rows, tmp_path)
    assert matched("run", prompts, rows, tmp_path).answers == {"a": "y"}


def test_a_server_answers_what_the_model_itself_answers(tmp_path):
    """Greedy, over HTTP: the prompts are rendered and tokenised here, the stop token is the template's."""
    tiny_model(initializer_range=0.2).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    prompts = [Prompt([{"role": "user", "content": f"say {i}"}], f"p{i}") for i in range(3)]
    settings, quiet = GenerateSection(max_new_tokens=6), Console(quiet=True)
    with FakeVllm(tmp_path / "model") as server:
        section = SystemSection(model=str(tmp_path / "model"), base_url=server.url)
        told = vllm_responses("a", section, prompts, settings, 1, quiet)
        assert {body["temperature"] for body in server.asked} == {0.0}
    assert told == generate_responses("a", str(tmp_path / "model"), prompts, settings, 1, quiet)
    with FakeVllm(tmp_path / "model") as server:
        server.context = 70  # the last prompt has more, and the others room for a few tokens
        long = Prompt([{"role": "user", "content": "red " * 60}], "long")
        section, settings = section.model_copy(update={"base_url": server.url}), GenerateSection()
        *short, (none,) = vllm_responses("a", section, [*prompts, long], settings, 1, quiet)
        assert none.text is None and all(response.text is not None for (response,) in short)
        assert {len(body["prompt"]) + body["max_tokens"] for body in server.asked} == {70}
    with pytest.raises(UserError, match=r"^systems\.a\.base_url: 'nowhere' does not begin with http"):
        vllm_responses("a", section.model_copy(update={"base_url": "nowhere"}), prompts, settings, 1, quiet)
    with pytest.raises(UserError, match="base_url needs a model"):
        EvaluationRecipe.parse(
            {
                "systems": {n: {"answers": "x", "base_url": "http://x"} for n in "ab"},
                "judge": {"name": "countdown"},
            }
        )
