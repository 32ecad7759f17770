"""`boresight init`: the recipe fits what was looked at, reads back as it was chosen, and replaces nothing."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.runs.doctor import Size
from boresight.runs.init import command
from boresight.runs.init.choices import Setting, as_recipe, choose_settings, uses_adapters
from boresight.runs.init.data_facts import DataFacts
from boresight.runs.init.model_facts import ModelFacts
from boresight.runs.init.recipe_text import recipe_text
from tests.tiny import tiny_model, tiny_tokenizer

PAIR = {"prompt": "Name a color.", "chosen": "Blue.", "rejected": "I like many colors."}
TALK = {"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]}
LABEL = {"prompt": "Name a color.", "completion": "Blue.", "label": True}
COUNTDOWN = {"nums": [1, 2, 3], "target": 6}
KINDS = {
    "pairs": (PAIR, "dpo", "59 preference pairs"),
    "messages": (TALK, "sft", "59 demonstrations"),
    "feedback": (LABEL, "kto", "59 labeled answers"),
    "prompts": ({"prompt": "Name a color."}, "grpo", "59 prompts"),
    "problems": (COUNTDOWN, "grpo", "59 prompts"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two model folders: one with a chat template, and one without."""
    folder = tmp_path_factory.mktemp("models")
    for template in ("chatml", "base"):
        tiny_model(max_position_embeddings=2048).save_pretrained(folder / template)
        tiny_tokenizer(template).save_pretrained(folder / template)
    return folder


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Write 60 rows of a kind, the eighth of them malformed, and work in their folder."""
    monkeypatch.chdir(tmp_path)

    def write(kind: str, name: str) -> str:
        row = KINDS[kind][0]
        lines = [{**row, "id": f"r{n}"} for n in range(60)]
        lines[7] = dict.fromkeys(row, "") | {"id": "r7"}
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return name

    return write


def boresight(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main.main([*map(str, words)])
    return int(left.value.code or 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_data_decides(kind, rows, models, capsys):
    _, method, sentence = KINDS[kind]
    assert boresight("init", rows(kind, f"{kind}.jsonl"), "--model", models / "chatml") == 0
    printed = " ".join(capsys.readouterr().out.split())
    file = f"{kind}-{method}.yaml"
    assert sentence in printed and f"boresight train {file}" in printed
    assert (
        f"next: boresight check {file} --probe # " in printed
        or f"then boresight check {file} --probe # " in printed
    )
    recipe = Recipe.load(file)
    assert recipe.method_name == method
    assert recipe.data.train == f"{kind}.jsonl" and recipe.data.bad_rows == "drop"
    assert "1 malformed row, the first is row 8" in Path(file).read_text()
    longest = {"problems": 512, "prompts": 256}.get(kind, 128)  # of prompts alone, 128 for a sampled answer
    assert recipe.data.max_length == longest and recipe.model.chat_template is None
    assert (recipe.train.batch, recipe.train.epochs) == (4, 3)  # 48 rows after 11 are held out: 36 steps
    assert ("my_rewards" in printed) == (kind == "prompts")
    assert [r.function for r in recipe.reward] == {
        "prompts": ["my_rewards:reward"],
        "problems": ["countdown"],
    }.get(kind, [])


def test_pairs_under_other_names_are_not_taken_for_prompts(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    row = {"question": "Name a color.", "better_answer": "Blue.", "worse_answer": "Many."}
    Path("p.jsonl").write_text("".join(json.dumps({**row, "id": n}) + "\n" for n in range(60)))
    model = ["--model", models / "chatml"]
    assert boresight("init", "p.jsonl", *model) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and sorted(map(str, Path().iterdir())) == ["p.jsonl"]
    command = "boresight init p.jsonl --columns '{chosen: better_answer, rejected: worse_answer}'"
    assert f"look like preference pairs and are not read; to read them: {command}; to learn from the " in said
    assert boresight(*shlex.split(command)[1:], *model) == 0
    assert Recipe.load("p-dpo.yaml").data.columns
    assert boresight("init", "p.jsonl", "--method", "grpo", *model) == 0  # the user has named the kind
    assert Recipe.load("p-grpo.yaml").data.columns is None


def test_what_is_written_trains(rows, models):
    boresight("init", rows("pairs", "pairs.jsonl"), "--model", models / "base", "--to", "mine.yaml")
    recipe = Recipe.load("mine.yaml")
    assert recipe.model.chat_template == "plain" and recipe.model.lora is not None
    small = ["train.epochs=null", "train.steps=1", "evaluate.samples=0", "check.probes=0"]
    assert boresight("train", "mine", *small, "--run", "run") == 0
    assert Path("run/report.html").is_file()


def test_a_layout_that_is_named_stands_in_the_recipe(rows, models):
    boresight("init", rows("pairs", "p.jsonl"), "--model", models / "chatml", "--layout", "trl_pairs")
    assert not Path("p-dpo.yaml").exists()  # no row has that layout
    boresight("init", "p.jsonl", "--model", models / "chatml", "--layout", "plain_pairs")
    assert Recipe.load("p-dpo.yaml").data.layout == "plain_pairs"


def test_a_file_that_is_there_stays(rows, models, capsys):
    data, model = rows("pairs", "pairs.jsonl"), models / "chatml"
    taken = Path("pairs-dpo.yaml")
    taken.write_text("mine")
    assert boresight("init", data, "--model", model) == 2
    says = "pairs-dpo.yaml: is there already; name another file with --to, or replace it by --force."
    assert says in capsys.readouterr().err
    assert boresight("init", "no-such-data.jsonl", "--to", taken) == 2  # before anything is read
    assert taken.read_text() == "mine"
    assert boresight("init", data, "--model", model, "--method", "ipo", "--force", "--to", taken) == 0
    assert Recipe.load(taken).method_name == "ipo"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.jsonl"], "none.jsonl: no such file"),
        (["pairs.jsonl", "--method", "dop"], "--method: there is no method 'dop'; did you mean 'dpo'?"),
        (["pairs.jsonl", "--method", "kt"], "did you mean 'kto'"),
        (["feedback.jsonl", "--method", "dpo"], "is not a preference pair; method.name=kto learns from it"),
        (["pairs.jsonl", "--model", "no/such/model"], "there is no folder 'no/such/model'"),
        (["pairs.jsonl", "--to", "none/x.yaml"], "there is no folder none"),
        (["pairs.jsonl", "--to", "."], ".: is a folder; name a file with --to."),
        (["prompts.jsonl", "--probe"], "--probe: a ramp trains on given rows, and grpo samples its own"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(words, says, rows, models, capsys):
    for kind in ("pairs", "feedback", "prompts"):
        rows(kind, f"{kind}.jsonl")
    before = sorted(Path().iterdir())
    words = words if "--model" in words else [*words, "--model", models / "chatml"]
    assert boresight("init", *words) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert sorted(Path().iterdir()) == before


def test_a_probe_puts_its_rate_into_the_recipe(rows, models, monkeypatch, capsys):
    class Probed:
        class suggestion:
            settings = ("optim.lr=3.5e-05", "train.epochs=2.5")

        def show(self, console):
            pass

    asked = []
    monkeypatch.setattr(command, "probe_run", lambda recipe, console, **_: asked.append(recipe) or Probed())
    boresight("init", rows("pairs", "pairs.jsonl"), "--model", models / "chatml", "--probe", "--to", "r.yaml")
    assert asked[0].optim.lr == "auto"
    assert "boresight check r.yaml\n" in capsys.readouterr().out
    recipe = Recipe.load("r.yaml")
    assert (recipe.optim.lr, recipe.train.epochs) == (3.5e-5, 2.5)
    assert "lr: 3.5e-05  # measured by a ramp" in Path("r.yaml").read_text()


@pytest.mark.parametrize("kind", ["pairs", "messages", "feedback"])
def test_a_real_probe_of_given_rows(kind, models, tmp_path, monkeypatch, capsys):
    """The ramp of the tiny model: the file has its rate, and the printed command runs the file."""
    monkeypatch.chdir(tmp_path)
    made = {
        "pairs": lambda n: {"prompt": f"Say {n}.", "chosen": f"{n}.", "rejected": f"I like {n + 1}."},
        "messages": lambda n: {
            "messages": [{**TALK["messages"][0], "content": f"Say {n}."}, TALK["messages"][1]]
        },
        "feedback": lambda n: {"prompt": f"Say {n}.", "completion": f"{n % 5}.", "label": n % 2 == 0},
    }[kind]
    Path("rows.jsonl").write_text("".join(json.dumps(made(n)) + "\n" for n in range(60)))
    assert boresight("init", "rows.jsonl", "--model", models / "chatml", "--probe", "--to", "r.yaml") == 0
    printed = " ".join(capsys.readouterr().out.split())
    recipe, text = Recipe.load("r.yaml"), Path("r.yaml").read_text()
    assert f"boresight train r.yaml optim.lr={recipe.optim.lr:.2g}" in printed and "RECIPE" not in printed
    assert "measured by a ramp of this model on these rows" in text


@pytest.mark.parametrize(
    "name", ["a b#c: {d}.jsonl", "null", "x\ny.jsonl", "q'\"\\.jsonl", "line\u2028two.jsonl", "\x1b[2J"]
)
def test_any_name_reads_back_as_itself(name):
    settings = [Setting("data.train", name, f"from {name}"), Setting("optim.lr", 1e-5), Setting("reward", [])]
    text = recipe_text(f"for {name}", settings)  # refuses a text that is read back as something else
    assert as_recipe(settings)["data"]["train"] == name
    assert all(line.startswith(("#", " ", "data:", "optim:", "reward:")) for line in text.split("\n") if line)


def test_memory_decides_where_demonstrations_are_imitated():
    """0.7 GB of libraries, 16 bytes a trained weight and activations: 1B parameters need about 17 GB."""
    billion = Size("m", 1_000_000_000, 16, 2048, 8192, 512)
    model = ModelFacts(billion, 4096, None)
    talks = DataFacts("t.jsonl", None, "demonstration", "", 1000, 0, None, [100], None)
    pairs = DataFacts("p.jsonl", None, "preference", "", 1000, 0, None, [100], None)
    needed = billion.needed_gb(lora=False)
    assert 16.7 < needed < 20
    assert not uses_adapters(talks, model, 2 * needed + 0.1)
    assert uses_adapters(talks, model, 2 * needed - 0.1)
    assert uses_adapters(pairs, model, 1000.0)
    rates = {
        (data.kind, free): as_recipe(choose_settings(data, model, method, free))
        for data, method in ((talks, "sft"), (pairs, "dpo"))
        for free in (10.0, 100.0)
    }
    assert rates["demonstration", 100.0]["model"]["lora"] is None
    assert rates["demonstration", 100.0]["optim"]["lr"] == 1e-4  # the middle of the published ones
    assert rates["demonstration", 10.0]["optim"]["lr"] == 2e-4
    assert rates["preference", 100.0]["model"]["lora"] == {}


@pytest.mark.parametrize(
    ("lengths", "positions", "chosen"),
    [
        ([100] * 100, 4096, 128),
        ([129] * 100, 4096, 256),
        ([100] * 199 + [5000], 4096, 128),
        ([9000], 10**5, 9000),
        ([3000] * 9, 2048, 2048),
    ],
)
def test_nearly_all_rows_fit(lengths, positions, chosen):
    data = DataFacts("p.jsonl", None, "preference", "", 1000, 0, None, lengths, None)
    model = ModelFacts(Size("m", 10**6, 2, 64, 128, 64), positions, None)
    assert as_recipe(choose_settings(data, model, "dpo", 10.0))["data"]["max_length"] == chosen


@pytest.mark.parametrize(
    ("source", "stem"),
    [("chat.jsonl.gz", "chat"), ("a/b c.json", "b-c"), ("org/set:main@train", "set-main"), ("/", "recipe")],
)
def test_the_file_is_named_after_the_data(source, stem):
    assert command._stem(source) == stem
    assert shlex.quote(stem) == stem
