"""`--quiet`, `--json` and the first line: what goes to which stream, and the documented keys of each verb."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from boresight.cli import main
from boresight.cli.output import Result, json_text, with_result
from boresight.core.version import VERSION
from boresight.experiments.study import command as study_command
from boresight.synthesis import command as synthesis_command
from boresight.synthesis.run import Made
from tests.tiny import tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"^\| `([^|]+)` \| (.+) \|$", re.MULTILINE)
WITHOUT_RESULT = {"arena", "chat", "serve", "data show"}


def documented() -> dict[str, set[str]]:
    """Keys by command, of the table of docs/output.md."""
    page = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    return {verb: set(re.findall(r"`([^`]+)`", keys)) for verb, keys in TABLE.findall(page) if "`" in keys}


KEYS = documented()


@pytest.fixture
def run_verb(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main.main(list(map(str, arguments)))
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def as_json(run_verb):
    """The object that a command line prints with `--json`, which stands alone on standard output."""

    def run(*arguments, code=0):
        done, out, err = run_verb(*arguments, "--json")
        assert done == code, err
        assert out.count("\n") == 1 and out.endswith("\n")
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    return run


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A folder with a tiny model, pairs, a recipe, and a finished run of it, which printed JSON."""
    folder = tmp_path_factory.mktemp("verbs")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"prompt": f"say {i}", "chosen": f"the answer {i}", "rejected": "red green"} for i in range(24)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "method": {"name": "dpo"},
        "model": {"name": str(folder / "model")},
        "data": {"train": str(folder / "pairs.jsonl"), "eval_rows": 8},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "steps": 2},
        "evaluate": {"samples": 2, "max_new_tokens": 4, "kl_rows": 0},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_train_and_what_is_done_with_a_run(tiny_run, as_json, run_verb):
    recipe, run = tiny_run / "recipe.yaml", tiny_run / "run"
    trained = as_json("train", recipe, "--run", run)
    assert set(trained) == KEYS["train RECIPE"]
    assert trained["method"] == "dpo" and trained["steps"] == trained["model_step"] == 2
    assert Path(trained["report"]).is_file() and Path(trained["model"]).is_dir()
    accuracy = next(metric for metric in trained["metrics"] if metric["name"] == "accuracy")
    assert set(accuracy["after"]) == {"value", "low", "high", "n", "missing"}
    assert accuracy["after"]["n"] == 4  # at most a fifth of 24 rows

    explained = as_json("explain", run)
    assert set(explained) == KEYS["explain RUN"] and explained["outcome"]
    assert as_json("report", run) == {"reports": [trained["report"]]} and KEYS["report RUN…"] == {"reports"}
    again = as_json("evaluate", run)
    assert set(again) == KEYS["train RECIPE"] and again["steps"] == 2
    exported = as_json("export", run, "--to", tiny_run / "exported")
    assert set(exported) == KEYS["export RUN"] and "README.md" in exported["files"]

    second = tiny_run / "second"
    code, out, err = run_verb("train", recipe, "train.seed=1", "--run", second, "--quiet")
    assert (code, out) == (0, f"{second}/report.html\n")
    assert "step 1/2" not in err and VERSION not in err
    compared = as_json("compare", run, second)
    assert set(compared) == KEYS["compare RUN…"] and compared["runs"] == [str(run), str(second)]
    assert compared["differences"]["train.seed"] == ["0", "1"]


def test_check(tiny_run, as_json, run_verb):
    recipe = tiny_run / "recipe.yaml"
    found = as_json("check", recipe, "data.max_length=2", code=1)
    assert set(found) == KEYS["check RECIPE"]
    assert not found["passed"] and found["stop"] and found["findings"][0]["severity"] == "error"
    read = as_json("explain", found["findings"][0]["name"])
    assert set(read) == KEYS["explain FINDING"] and read["text"]
    code, out, err = run_verb("check", recipe, "data.max_length=2", "--quiet")
    assert code == 1 and re.fullmatch(r"[1-9]\d* errors?, \d+ warnings?, \d+ notes?.*\n", out)
    assert "no row is left to train on after tokenizing" in err  # once, as the last line


def test_evaluate_by_a_recipe(as_json, tmp_path):
    """`good` adds three numbers to the target, `bad` subtracts the last one."""
    problems = [{"id": f"p{i}", "nums": [i, i + 1, i + 2], "target": 3 * i + 3} for i in range(1, 7)]
    signs = {"bad": "-", "good": "+"}
    for name, sign in signs.items():
        rows = [
            {"id": p["id"], "answer": f"<answer>{p['nums'][0]}+{p['nums'][1]}{sign}{p['nums'][2]}</answer>"}
            for p in problems
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    recipe = {
        "prompts": "problems.jsonl",
        "systems": {name: {"answers": f"{name}.jsonl"} for name in signs},
        "judge": {"name": "countdown"},
    }
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(recipe))
    found = as_json("evaluate", "eval.yaml", "--run", "out")
    assert set(found) == KEYS["evaluate RECIPE"] and len(found["verdicts"]) == 1
    assert found["evaluation"]["pairs"][0]["candidate"] == "good"


def test_data_check(tiny_run, as_json, run_verb, tmp_path):
    found = as_json("data", "check", tiny_run / "pairs.jsonl")
    assert set(found) == KEYS["data check FILE"]
    assert (found["rows"], found["kind"], found["bad_rows"]) == (24, "preference", [])
    assert found["contradicted_rows"] is None and set(found["lengths"]) == {"prompt", "chosen", "rejected"}
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": ""}\n')
    found = as_json("data", "check", "bad.jsonl", code=1)
    assert found["bad_rows"] == [{"row": 1, "field": "rejected", "message": "is empty"}]
    assert run_verb("data", "check", "bad.jsonl", "--quiet") == (1, "1 malformed row of 1.\n", "")


def test_tables_of_scores(as_json, run_verb, tmp_path):
    (tmp_path / "scores.csv").write_text("system,k,n\na,3,10\nb,7,10\n")
    found = as_json("compare", "scores.csv")
    assert set(found) == KEYS["compare CSV"] and len(found["verdicts"]) == 3
    _, out, err = run_verb("compare", "scores.csv")
    assert out.split("\n")[:-2] == found["verdicts"] and err == ""
    assert run_verb("compare", "scores.csv", "--quiet") == (0, "compare.html\n", "")
    _, out, err = run_verb("compare", "scores.csv", "--quiet", "--json")
    assert json.loads(out) == found and err == ""


def test_recipes_that_are_written(tiny_run, as_json, run_verb, tmp_path):
    arguments = ("init", tiny_run / "pairs.jsonl", "--model", tiny_run / "model", "--to")
    assert as_json(*arguments, "one.yaml") == {"recipe": "one.yaml"} and KEYS["init DATA"] == {"recipe"}
    assert run_verb(*arguments, "two.yaml", "--quiet")[1] == "two.yaml\n"
    (tmp_path / "trl.yaml").write_text("model_name_or_path: m\ndataset_name: d\nlearning_rate: 1.0e-6\n")
    found = as_json("convert", "trl-config", "trl.yaml", "--method", "dpo", code=0)
    assert set(found) == KEYS["convert trl-config FILE"] and found["recipe"] == "recipe.yaml"


def test_doctor(as_json):
    found = as_json("doctor")
    assert set(found) == KEYS["doctor"] and found["boresight"] == VERSION
    assert {"model", "lora_gb", "lora", "all_weights_gb", "all_weights"} == set(found["models"][0])


def test_verbs_that_run_for_long(as_json, tmp_path, monkeypatch):
    """Their ends stand in for them: what is printed is what they return."""
    monkeypatch.setattr(study_command, "run_study", lambda *_: study_command.UnfinishedRuns(2, 1))
    found = as_json("study", code=1)
    assert found == {"failed_runs": 2, "stopped_runs": 1} and KEYS["study"] == set(found)
    made = Made(tmp_path, 3, tmp_path / "card.md")
    monkeypatch.setattr(synthesis_command, "run_synthesis", lambda *_: made)
    found = as_json("synthesize", "synth-demo", "--run", tmp_path)
    assert set(found) == KEYS["synthesize RECIPE"] and found["pairs"] == 3


def test_the_price_of_a_synthesis(as_json):
    found = as_json("synthesize", "synth-demo", "--dry-run")
    assert set(found) == KEYS["synthesize RECIPE --dry-run"] and found["requests"] > 0
    assert set(found["stages"][0]) == {"stage", "model", "requests", "cached", "tokens", "usd", "minutes"}


def commands(group, name=""):
    for verb, command in getattr(group, "commands", {}).items():
        full = f"{name} {verb}".strip()
        yield from commands(command, full) if hasattr(command, "commands") else [(full, command)]


def test_every_verb_with_a_result_has_the_options():
    flags = {
        name: {option for p in command.params for option in p.opts} & {"--quiet", "--json"}
        for name, command in commands(typer.main.get_command(main.app))
    }
    assert {name for name, found in flags.items() if not found} == WITHOUT_RESULT
    assert {name for name, found in flags.items() if found == {"--json"}} == {"report", "doctor"}
    assert {verb.split(" RECIPE")[0].split(" RUN")[0] for verb in KEYS} >= {
        "train",
        "check",
        "sweep",
        "doctor",
    }


def test_help_fits_80_columns(run_verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    verbs = [name.split() for name, _ in commands(typer.main.get_command(main.app))]
    for verb in ([], *verbs):
        code, out, _ = run_verb(*verb, "--help")
        assert code == 0 and [line for line in out.split("\n") if len(line) > 80] == [], verb


def test_a_table_is_no_result(run_verb):
    for flag in ("--json", "--quiet"):
        code, out, err = run_verb("study", "--list", flag)
        assert (code, out) == (2, "") and f"{flag}: --list prints a table and has no result" in err


def test_a_table_has_no_first_line(run_verb):
    code, out, _ = run_verb("study", "--list")
    assert code == 0 and VERSION not in out and "| arm" in out


def test_an_error_leaves_standard_output_empty(run_verb, tmp_path):
    for flag in ("--json", "--quiet"):
        code, out, err = run_verb("train", "none.yaml", flag)
        assert (code, out) == (2, "") and err.split("\n")[-2].startswith("boresight: ")


def test_numbers_that_are_not_finite_are_null():
    keys = {
        "value": math.nan,
        "limits": (1.5, math.inf),
        "path": Path("a/b"),
        "text": "\ud800é\u202e",
        3: None,
    }
    assert (
        json_text(keys)
        == '{"value": null, "limits": [1.5, null], "path": "a/b", "text": "\\ud800\\u00e9\\u202e", "3": null}'
    )
    with pytest.raises(TypeError, match="no JSON for complex"):
        json_text({"value": 1j})


def test_other_processes_of_a_run_print_nothing(capsys, monkeypatch):
    @with_result()
    def verb() -> Result:
        return Result("done", lambda: {"done": True})

    verb(as_json=True)
    monkeypatch.setenv("RANK", "1")
    verb(as_json=True)
    verb(as_json=False, only_result=True)
    assert capsys.readouterr().out == '{"done": true}\n'


STREAMS = """
import os, subprocess, sys
from boresight.cli.streams import only_result_on_stdout, tolerating_closed_pipes
with tolerating_closed_pipes():
    with only_result_on_stdout():
        print("by print")
        os.write(1, b"by number\\n")
        subprocess.run([sys.executable, "-c", "print('by a process')"])
    print("result")
"""


def test_what_processes_and_libraries_write_is_not_the_result():
    done = subprocess.run([sys.executable, "-c", STREAMS], capture_output=True, text=True)
    assert done.stdout == "result\n"
    assert {"by print", "by number", "by a process"} <= set(done.stderr.split("\n"))


FIRST_LINE = """
import sys
from boresight.cli.main import main

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise SystemExit(77)

sys.meta_path.insert(0, NoTorch())
main(sys.argv[1:])
"""


OF_A_RECIPE = ["train", "check", "evaluate", "sweep", "synthesize"]
OF_A_RUN = ["explain", "chat"]


@pytest.mark.parametrize("verb", [*OF_A_RECIPE, *OF_A_RUN, "init"])
def test_the_first_line_is_printed_before_torch_is_imported(verb, tiny_run, tmp_path):
    subject = {"evaluate": "eval-winrate", "sweep": "sweeps/dpo", "synthesize": "synth-demo"}
    subject |= {"init": "pairs.jsonl"} | dict.fromkeys(OF_A_RUN, str(tiny_run))
    arguments = [verb, subject.get(verb, str(tiny_run / "recipe.yaml"))]
    command = [sys.executable, "-c", FIRST_LINE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 77, done.stderr
    assert done.stdout == f"boresight {VERSION}: {' '.join(arguments)}\n"


def test_a_wrong_setting_is_found_before_transformers_is_imported(tmp_path):
    """Which takes seconds, and with the modules of a run many of them."""
    (tmp_path / "r.yaml").write_text("method: {name: dpo}\ndata: {train: x.jsonl}\noptim: {lr: 1.0e-5}\n")
    command = [sys.executable, "-c", FIRST_LINE.replace("torch", "transformers"), "train", "r.yaml"]
    done = subprocess.run([*command, "method.betta=0.3"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == "boresight: command line: unknown key method.betta; did you mean 'method.beta'?\n"
    assert done.returncode == 2
    done = subprocess.run([*command, "train.steps=4"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 77  # the recipe is right, and the run's modules are imported


def test_a_run_that_is_too_short_names_the_command_that_is_not(tiny_run, run_verb, tmp_path):
    """300 pairs at the recipe's batch of 32: 240 of them to train on, 8 steps; 30 take 4 epochs."""
    rows = [
        {"prompt": f"ask {i}", "chosen": f"the answer {i} is good", "rejected": f"red green {i}"}
        for i in range(300)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["dpo", "data.train=pairs.jsonl", f"model.name={tiny_run / 'model'}"]
    code, out, err = run_verb("check", *arguments)
    assert code == 0, out + err
    words = " ".join(out.split())
    assert "few-steps" in words and "Take more epochs (train.epochs=4 for 30 steps)" in words
    assert f"$ boresight train {' '.join(arguments)} train.epochs=4\n" in out
    assert "few-steps" not in run_verb("check", *arguments, "train.epochs=4")[1]
