"""`boresight evaluate` by a reward: models and files, from recipe to page; continued; mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.core import files
from boresight.core.errors import UserError
from boresight.evaluation.recipe import EvaluationRecipe, RewardRecipe
from boresight.reports.page import write_report
from tests.rows import jsonl
from tests.tiny import tiny_model, tiny_tokenizer

QUESTIONS = [f"say {i}" for i in range(6)]


def own(prompts, completions, rows):
    """1 for the gold answer, 0 for another one; a row without gold is not judged."""
    return [
        None if "gold" not in row else float(text.strip() == row["gold"])
        for text, row in zip(completions, rows, strict=True)
    ]


def last_word(completion, row):
    return completion.split()[-1] if completion.split() else None


def length(prompts, completions, rows):
    return [len(text) for text in completions]


def asks(prompts, completions, answer, **columns):
    """A reward in TRL's convention, with a gold answer that the evaluation's file must have."""
    return [float(text == gold) for text, gold in zip(completions, answer, strict=True)]


def fails(prompts, completions, rows):
    raise RuntimeError("the scorer is out of order")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models that differ in their weights."""
    home = tmp_path_factory.mktemp("models")
    for name, seed in (("one", 1), ("other", 2)):
        tiny_model(seed=seed).save_pretrained(home / name)
        tiny_tokenizer().save_pretrained(home / name)
    return home


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Questions with a gold answer, and completions made elsewhere, some of them missing."""
    monkeypatch.chdir(tmp_path)
    jsonl(
        tmp_path / "asked.jsonl",
        [{"prompt": q, "id": f"q{i}", "gold": "yes"} for i, q in enumerate(QUESTIONS)],
    )
    rows = [
        {"id": f"q{i}", "completions": ["yes"] * i + ["no"] * (4 - i), "finish_reason": "stop"}
        for i in range(5)
    ]
    jsonl(tmp_path / "elsewhere.jsonl", [*rows, {"prompt": "of another set", "completion": "yes"}])
    return tmp_path


def recipe(place, **changes):
    raw = {
        "prompts": "asked.jsonl",
        "systems": {"elsewhere": {"answers": "elsewhere.jsonl"}},
        "reward": f"{__name__}:own",
        "reading": f"{__name__}:last_word",
        "k": [1, 2, 4],
    } | ({"ledger": "judgements.sqlite"} if "rank_by" in changes else {})
    given = {key: value for key, value in {**raw, **changes}.items() if value is not None}
    (place / "eval.yaml").write_text(json.dumps(given))
    return place / "eval.yaml"


def generating(models):
    """Changes of a recipe: the two models before the file, four samples each, ranked by their length."""
    return {
        "systems": {
            **{name: {"model": str(models / name)} for name in ("one", "other")},
            "elsewhere": {"answers": "elsewhere.jsonl"},
        },
        "generate": {"max_new_tokens": 4, "temperature": 1.0, "device": "cpu"},
        "samples": 4,
        "rank_by": {"name": "checks", "check": f"{__name__}:length"},
    }


def test_a_missing_model_is_named_by_its_key_before_prompts_are_read(place, monkeypatch):
    """The name may come from a recipe of the package, where the user gave another system's alone."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = recipe(place, prompts="missing.jsonl", systems={"start": {"model": "runs/nothing"}}, k=[1])
    with pytest.raises(UserError, match=r"^systems\.start\.model: 'runs/nothing' is neither"):
        run_quietly(EvaluationRecipe.load(made), place / "out")


def evaluate(*arguments):
    with pytest.raises(SystemExit) as left:
        main.main(["evaluate", *map(str, arguments)])
    return int(left.value.code or 0)


def found_in(folder):
    found = json.loads((folder / "evaluation.json").read_text())
    return found, {m["name"]: m for m in found["metrics"]}


def test_completions_made_elsewhere(place, capsys):
    """Of four samples 0 to 4 are right, and the sixth question has none: pass@2 (0 + 1/2 + 5/6 + 1 + 1) / 5;
    of pairs that are split, half go to the right answer."""
    assert evaluate(recipe(place), "--run", "out") == 0
    found, metrics = found_in(place / "out")
    after = {name: m["after"]["value"] for name, m in metrics.items()}
    expected = {"accuracy": 0.5, "pass_at_2": (1 / 2 + 5 / 6 + 2) / 5, "pass_at_4": 4 / 5}
    expected |= {"majority_at_2": 0.5, "majority_at_4": (1 / 2 + 2) / 5}
    assert after == pytest.approx({**expected, "format_rate": 1.0, "truncated": 0.0})
    assert (metrics["accuracy"]["after"]["n"], metrics["accuracy"]["after"]["missing"]) == (5, 1)
    out = capsys.readouterr().out
    assert "elsewhere: 1 completion is of none of the prompts and is dropped." in out
    assert all(f"\n{line}" in out for line in ("accuracy", "format rate", "pass@2", "maj@4", "truncated"))
    lines = [
        json.loads(line) for line in (place / "out" / "completions-elsewhere.jsonl").read_text().splitlines()
    ]
    assert len(lines) == 21 and lines[-1]["failure"] == "there is no completion"
    assert {line["reading"]["answer"] for line in lines[:-1]} == {"yes", "no"}
    assert "(decided" not in out and found["correct_at"] == 1.0


def test_two_models_and_a_file(place, models, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made = recipe(place, **generating(models), seeds={"tiny": ["one", "other"]}, prompts="asked.jsonl")
    assert evaluate(made, "--run", "out") == 0
    out = capsys.readouterr().out
    found, metrics = found_in(place / "out")
    assert {name.partition(":")[2] for name in metrics} == {"other", "elsewhere"}
    assert metrics["accuracy:elsewhere"]["difference"]["value"] == pytest.approx(0.5)
    assert metrics["best_of_2:other"]["before"]["n"] == 6
    assert metrics["truncated:other"]["after"]["value"] == 1.0, "four tokens end no tiny answer"
    assert metrics["truncated:other"]["better"] == "lower"
    assert "tiny over 2 seeds: accuracy 0.0 %" in out and "one: 24 of 24 completions are truncated." in out
    assert (
        "elsewhere and one do not differ significantly: +50.0 points" in out
        and "after Holm's adjustment" in out
    )
    assert found["seeds"]["tiny"]["against"] == "tiny" and found["seeds"]["tiny"]["difference"] is None
    tables = [
        line for line in out.splitlines() if line.startswith(("metric", "accuracy", "pass@", "best of"))
    ]
    assert len(tables) == 2 * 6 and all(len(line) <= 80 for line in tables)
    assert "maj@2" in (place / "out" / "report.md").read_text()
    page = (place / "out" / "report.html").read_text()
    assert "other, best of k" in page and "Always right" not in page


def test_an_evaluation_that_is_cut_short_goes_on(place, models, monkeypatch):
    """Killed after one of its files and started again, it ends with the files of one that was not."""

    class Killed(BaseException):
        """No handler of an Exception sees it."""

    made = EvaluationRecipe.load(recipe(place, **generating(models)))
    seen = []
    monkeypatch.setattr(files, "on_write", lambda point, path, _: seen.append((point, path.name)))
    run_quietly(made, place / "whole")
    written = [name for point, name in seen if point == "done"]
    names = [
        "answers-one.sha256",
        "answers-one.jsonl",
        "completions-other.jsonl",
        "evaluation.json",
        "report.html",
    ]
    assert [name for name in written if name in names] == names
    generated = []
    for name in names:
        cut = place / f"cut-{name}"

        def kill(point, path, _, name=name):
            if (point, path.name) == ("done", name):
                raise Killed

        monkeypatch.setattr(files, "on_write", kill)
        with pytest.raises(Killed):
            run_quietly(made, cut)
        monkeypatch.setattr(files, "on_write", lambda point, path, _: generated.append((point, path.name)))
        run_quietly(made, cut)
        assert contents(cut) == contents(place / "whole"), name
    assert generated.count(("done", "answers-one.jsonl")) == 1, "only after the first kill"


def run_quietly(made, folder):
    from rich.console import Console

    from boresight.runs.evaluate import run_evaluation

    return run_evaluation(made, folder, Console(quiet=True))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "environment.json"}


def test_a_folder_of_an_earlier_version_goes_on(place, models):
    """Its completions of Countdown problems stand in `problems-SYSTEM.jsonl` and are not generated again."""
    problem = {"nums": [3, 4], "target": 7}
    jsonl(place / "problems.jsonl", [problem])
    made = EvaluationRecipe.parse(
        {
            "prompts": "problems.jsonl",
            "systems": {"one": {"model": str(models / "one")}},
            "countdown": {"samples": 2, "pass_at": [1, 2]},
            "generate": {"temperature": 1.0, "device": "cpu"},
        }
    )
    (place / "out").mkdir()
    (place / "out" / "config.yaml").write_text(made.to_yaml())
    kept = {"id": "row-1", "numbers": [3, 4], "target": 7, "completions": ["<answer>3+4</answer>", None]}
    jsonl(place / "out" / "problems-one.jsonl", [{**kept, "scores": [None, None]}])
    (accuracy, *_) = run_quietly(made, place / "out").metrics["one"]
    assert (accuracy.after.value, accuracy.after.missing) == (1.0, 1)


@pytest.mark.parametrize("name", ["documents-one.jsonl", "answers-one.jsonl", "completions-one.jsonl"])
def test_no_folder_of_an_evaluation_is_a_run(place, name):
    """Of tasks, or one that was interrupted."""
    (place / "out").mkdir()
    for file in ("config.yaml", "environment.json", "evaluation.json", name):
        (place / "out" / file).write_text("")
    with pytest.raises(UserError, match="holds an evaluation and no training run"):
        write_report(place / "out")


def test_a_study_is_no_run(place):
    (place / "out").mkdir()
    (place / "out" / "environment.json").write_text("{}")
    with pytest.raises(UserError, match="is not a run folder"):
        write_report(place / "out")


def test_the_page_is_not_written_over_by_a_runs_report(place, capsys):
    assert evaluate(recipe(place), "--run", "out") == 0
    with pytest.raises(
        UserError, match=r"out: holds an evaluation and no .*; `boresight evaluate out/config"
    ):
        write_report(Path("out"))


def test_a_limit_takes_prompts_from_the_top_where_they_repeat(place):
    rows = [{"prompt": q, "id": f"q{i}", "gold": "yes"} for i, q in enumerate([*QUESTIONS, QUESTIONS[0]])]
    jsonl(place / "asked.jsonl", rows)
    assert evaluate(recipe(place, limit=2, k=[1]), "--run", "out") == 0
    lines = (place / "out" / "completions-elsewhere.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"q0", "q1"}


def test_prompts_and_gold_answers_come_from_the_first_file_without_prompts(place):
    rows = [
        {"prompt": q, "completion": "yes", "gold": g}
        for q, g in zip(QUESTIONS, ["yes", "no"] * 3, strict=True)
    ]
    jsonl(place / "first.jsonl", rows)
    made = recipe(place, prompts=None, systems={"a": {"answers": "first.jsonl"}}, k=[1])
    assert evaluate(made, "--run", "out") == 0
    assert found_in(place / "out")[1]["accuracy"]["after"]["value"] == 0.5


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([[1, 2]], "elsewhere.jsonl, row 1: not an object; write one with prompt and completions"),
        ([{"prompt": "q"}], "row 1: there is no completion; name the column completion or completions"),
        ([{"prompt": "q", "completions": "text"}], "row 1: completions is not text"),
        ([{"prompt": "q", "completion": 5}], "row 1: completion is not text"),
        ([{"completion": "yes"}], "row 1: `prompt` and `id` are both missing"),
        ([{"prompt": [1], "completion": "yes"}], "row 1: "),
        (
            [{"prompt": "[{'from': 'human', 'value': nan}]", "completion": "yes"}],
            "row 1: `prompt` looks like",
        ),
        ([{"id": "q0", "completions": ["a", "b"], "truncated": [True]}], "truncated has 1 entries for 2"),
        ([{"id": "q0", "completion": "a", "truncated": 3}], "truncated holds '3'; give true, false or null"),
        ([{"id": "no such", "completion": "a"}], "completes none of the 6 prompts"),
        ([], "elsewhere.jsonl"),
    ],
)
def test_a_bad_file_of_completions_is_one_sentence(place, capsys, rows, complaint):
    jsonl(place / "elsewhere.jsonl", rows)
    assert evaluate(recipe(place), "--run", "out") == 2
    error = capsys.readouterr().err
    assert complaint in error and "Traceback" not in error
    assert not (place / "out").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"reward": "mathh"}, "'mathh' is not built in"),
        ({"reward": []}, "reward"),
        ({"reward": f"{__name__}:nothing"}, "has no function 'nothing'"),
        ({"reward": [f"{__name__}:own", f"{__name__}:own"]}, "a function is named twice"),
        ({"reward": f"{__name__}:asks"}, "asks for the column answer, which no row has"),
        ({"reward": "countdown"}, "not a Countdown problem"),
        (
            {"reward": {"judge": {"name": "llm", "endpoint": "http://127.0.0.1:1", "model": "m"}}},
            "reward.judge",
        ),
        ({"judge": {"name": "countdown"}}, "judge and reward are two evaluations"),
        ({"k": [1, 8]}, "k: 8 is more than the completions per prompt; give k from 1 to 4"),
        ({"k": [2, 2]}, "give each k once, from 1"),
        ({"reading": "nowhere"}, "reading: 'nowhere' is no function"),
        ({"reading": f"{__name__}:nothing"}, "is no function; write it as package.module:function"),
        ({"rank_by": {"name": "rewardmodel"}}, "did you mean 'reward_model'"),
        (
            {
                "reward": {
                    "judge": {"name": "reward_endpoint", "endpoint": "http://127.0.0.1:1", "model": "m"}
                },
                "rank_by": {"name": "reward_endpoint", "endpoint": "http://127.0.0.1:1", "model": "m"},
                "ledger": None,
            },
            "ledger: runs/judgements.sqlite is that of reward.judge too; give another path",
        ),
        (
            {"rank_by": {"name": "llm", "endpoint": "http://127.0.0.1:1", "model": "m"}},
            "compares two answers and gives no number; name one that scores",
        ),
        ({"seeds": {"a": ["elsewhere", "b"]}}, "seeds.a names 'b', which is no system"),
        ({"seeds": {"a": ["elsewhere"]}}, "seeds.a names fewer than two systems"),
        ({"prompts": None, "systems": {"m": {"model": "starter"}}}, "prompts is missing"),
        ({"systems": {"m": {"model": "starter"}}, "samples": 4}, "samples above 1 need generate.temperature"),
        ({"systems": {"m": {"model": "starter"}}, "samples": 1}, "k asks for more than samples; raise that"),
        ({"correct_at": "all"}, "correct_at is 'all'"),
        ({"sampels": 3}, "unknown key sampels; did you mean 'samples'"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_sentence(place, capsys, changes, complaint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert evaluate(recipe(place, **changes), "--run", "out") == 2
    error = capsys.readouterr().err
    assert complaint in error and "Traceback" not in error
    assert not (place / "out").exists(), "nothing half-written"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"reward": f"{__name__}:fails"}, "reward: not one of 21 completions of elsewhere has a score"),
        ({"reward": f"{__name__}:fails"}, "the scorer is out of order; correct the reward; what has"),
        ({"rank_by": {"name": "checks", "check": f"{__name__}:fails"}}, "rank_by: not one of 21 completions"),
        ({"reading": f"{__name__}:fails"}, "reading: not one of 21 completions of elsewhere has a reading"),
    ],
)
def test_what_gives_nothing_for_any_completion_is_an_error(place, capsys, changes, complaint):
    assert evaluate(recipe(place, **changes), "--run", "out") == 2
    assert complaint in capsys.readouterr().err
    assert not (place / "out" / "evaluation.json").exists()


def test_the_reward_is_written_as_in_recipes_of_training():
    """A section `reward` of a training recipe is that of an evaluation; a name alone is a function."""
    section = [{"function": "countdown_correct", "weight": 2.0}, {"function": "countdown", "weight": 0.0}]
    system = {"systems": {"a": {"answers": "x"}}}
    trained = Recipe.model_fields["reward"]
    assert RewardRecipe.model_fields["reward"].annotation == trained.annotation
    assert [r.weight for r in EvaluationRecipe.parse({**system, "reward": section}).reward] == [2.0, 0.0]
    short = EvaluationRecipe.parse({**system, "reward": "countdown"})
    assert short.reward == EvaluationRecipe.parse({**system, "reward": [{"function": "countdown"}]}).reward
    assert EvaluationRecipe.parse(short.to_dict()) == short
