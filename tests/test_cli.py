"""The command line as a user meets it: bad input is one sentence and exit code 2, nothing left behind."""

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from boresight.cli import main
from tests.tiny import tiny_model, tiny_tokenizer


@dataclass
class Done:
    """What a finished command left: exit code and both streams."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def boresight(capsys, tmp_path, monkeypatch):
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Done:
        with pytest.raises(SystemExit) as left:
            main.main(list(map(str, arguments)))
        code = left.value.code
        return Done(code if isinstance(code, int) else int(code is not None), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path, model):
    pairs = [
        {"prompt": f"say {i}", "chosen": f"the answer {i}", "rejected": f"red green {i}"} for i in range(12)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    raw = {
        "method": {"name": "dpo"},
        "model": {"name": str(model)},
        "data": {"train": str(tmp_path / "pairs.jsonl")},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4},
        "evaluate": {"samples": 2, "max_new_tokens": 4},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_help_does_not_import_torch(boresight):
    heavy = "('torch', 'transformers', 'scipy')"
    code = f"import sys, boresight.cli.main; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    shown = boresight("--help")
    assert shown.returncode == 0 and "train" in shown.stdout


def test_train_help_shows_every_field_with_its_docstring(boresight):
    shown = boresight("train", "--help").stdout
    for words in (
        "optim.lr",
        "Peak learning rate",
        "data.truncation",
        "method.name: ipo",
        "method.tau",
        "model.lora.r",
    ):
        assert words in shown


def test_a_run_from_recipe_to_report(boresight, tmp_path, recipe):
    done = boresight("train", recipe, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "step 0: loss 0.6931, expected 0.6931" in done.stdout
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {
        "config.yaml", "data.json", "environment.json", "metrics.jsonl", "evaluation.json", "samples.jsonl",
        "model", "report.html",
    } <= names  # fmt: skip
    answered = [json.loads(line)["id"] for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    numbers = json.loads((tmp_path / "run/evaluation.json").read_text())["numbers"]
    assert list(numbers["answer_tokens"]) == answered and len(answered) > 1  # those that `compare` pairs
    again = boresight("train", recipe, "--run", tmp_path / "run")
    assert again.returncode == 2
    assert "measures it again); give another folder with --run" in again.stderr
    (tmp_path / "run/report.html").unlink()
    resumed = boresight("train", tmp_path / "run")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "run/report.html").is_file()
    elsewhere = boresight("train", tmp_path / "run", "--run", tmp_path / "other")
    assert elsewhere.returncode == 2 and "resumed in its own folder; leave --run out" in elsewhere.stderr


def test_a_folder_without_a_run_is_not_resumed(boresight, tmp_path):
    (tmp_path / "empty").mkdir()
    done = boresight("train", tmp_path / "empty")
    assert done.returncode == 2
    assert "empty: no run to resume (it has no config.yaml); give a recipe or a run folder." in done.stderr
    assert list((tmp_path / "empty").iterdir()) == []


MISTAKES = {
    "unknown model": (["model.name=nobody/nothing"], "'nobody/nothing' is neither `starter` nor a folder"),
    "unknown key": (["optim.rl=1"], "unknown key optim.rl; did you mean 'optim.lr'?"),
    "wrong type": (["train.batch=many"], "train.batch is 'many'"),
    "missing file": (["data.train=none.jsonl"], "none.jsonl"),
}
BAD_DATA = {
    "missing column": ('{"prompt": "a", "chosen": "b"}\n', "rejected"),
    "empty completion": ('{"prompt": "a", "chosen": "b", "rejected": ""}\n', "row 1: `rejected` is empty"),
    "last role": (
        '{"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]}\n',
        "row 1",
    ),
    "broken json": ('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": \n', "row 2"),
    "empty file": ("", "is empty"),
}


def refused(done, words, run):
    """One sentence with `words` on stderr, exit code 2, no run folder."""
    assert done.returncode == 2, done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("boresight: ") and words in last
    assert "Traceback" not in done.stderr
    assert not run.exists()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_recipe(boresight, tmp_path, recipe, name):
    settings, words = MISTAKES[name]
    done = boresight("train", recipe, *settings, "--run", tmp_path / "run")
    refused(done, words, tmp_path / "run")


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(boresight, tmp_path, recipe, name):
    text, words = BAD_DATA[name]
    (tmp_path / "bad.jsonl").write_text(text)
    done = boresight("train", recipe, "data.train=bad.jsonl", "--run", tmp_path / "run")
    refused(done, words, tmp_path / "run")


def test_data_check_and_show(boresight, tmp_path, recipe, model):
    with gzip.open(tmp_path / "good.jsonl.gz", "wt") as good:
        good.write((tmp_path / "pairs.jsonl").read_text())
    checked = boresight("data", "check", tmp_path / "good.jsonl.gz")
    assert checked.returncode == 0 and "12 preference pairs" in checked.stdout
    shown = boresight("data", "show", tmp_path / "good.jsonl.gz", "--model", model, "--rows", 1)
    assert shown.returncode == 0, shown.stderr
    assert "the answer 0" in shown.stdout
    (tmp_path / "bad.jsonl").write_text(BAD_DATA["empty completion"][0])
    assert boresight("data", "check", tmp_path / "bad.jsonl").returncode == 1


def test_data_show_counts_the_rows_that_it_shows(boresight, tmp_path, model):
    rows = [("one", "red"), ("", "red"), ("two", "blue"), ("three", "green")]
    lines = [json.dumps({"prompt": "say", "chosen": good, "rejected": bad}) for good, bad in rows]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    shown = boresight("data", "show", tmp_path / "some.jsonl", "--model", model, "--rows", 2).stdout
    assert "read the first 2 preference pairs" in shown and "1 malformed row dropped" in shown
    assert "one" in shown and "two" in shown and "three" not in shown


def test_data_show_makes_what_recipes_name(boresight, model):
    shown = boresight("data", "show", "generate:constraints-train", "--model", model, "--rows", 1)
    assert "made 480 prompts from a seed" in shown.stdout and "Use at most 15 words." in shown.stdout


def test_data_show_scores_the_turns_that_training_would(boresight, tmp_path, model):
    turns = [
        ("system", "be kind"),
        ("user", "one"),
        ("assistant", "red"),
        ("user", "two"),
        ("assistant", "blue"),
    ]
    row = {"messages": [{"role": role, "content": said} for role, said in turns]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")
    show = ("data", "show", tmp_path / "chat.jsonl", "--model", model)
    assert all(f"⟦{said}" in boresight(*show).stdout for said in ("red", "blue"))
    shown = boresight(*show, "--score", "last", "--system", "fold", "--layout", "messages").stdout
    assert "⟦red" not in shown and "⟦blue" in shown
    assert "1 system turn folded" in shown and "1 of 2 assistant turns learned" in shown


def test_every_python_file_says_what_it_is():
    source = Path(__file__).parent.parent / "src"
    for file in source.rglob("*.py"):
        text = file.read_text().lstrip()
        assert not text or text.startswith(('"""', 'r"""')), file
