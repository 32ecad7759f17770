"""The verbs as functions: what a notebook sees. The bodies are tested where they live."""

import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import boresight
from boresight import methods
from boresight.given import GivenObjects
from tests.tiny import tiny_model, tiny_tokenizer

VERBS = ("train", "check", "evaluate", "report", "synthesize", "compare", "explain")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model and twelve pairs."""
    folder = tmp_path_factory.mktemp("api")
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [{"prompt": f"say {i}", "chosen": f"answer {i}", "rejected": f"red {i}"} for i in range(12)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def recipe(place):
    """A recipe as dictionaries: three steps of four pairs."""
    return {
        "method": {"name": "dpo"},
        "model": {"name": str(place / "model"), "device": "cpu"},
        "data": {"train": str(place / "pairs.jsonl")},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "eval_every": 1},
        "evaluate": {"samples": 2, "max_new_tokens": 4},
    }


@pytest.fixture(scope="module")
def run(place, recipe):
    return boresight.train(recipe, run=place / "run", quiet=True, method={"beta": 0.5})


def in_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_nothing_heavy():
    assert in_python("""
        import sys, boresight
        heavy = ("torch", "transformers", "numpy", "scipy", "pydantic", "rich", "yaml")
        print([name for name in heavy if name in sys.modules])
    """) == "[]"  # fmt: skip


def test_verbs_can_be_called_and_packages_of_their_names_imported():
    assert in_python(f"""
        import boresight, boresight.training.metrics, boresight.findings.finding as finding
        from boresight.reports.tables import metrics
        from boresight.stats.intervals import clopper_pearson
        print(all(callable(getattr(boresight, name)) for name in {VERBS}), round(clopper_pearson(1, 2)[1], 3))
    """) == "True 0.987"  # fmt: skip


def test_every_verb_is_typed_and_documented():
    assert set(VERBS) | {"UserError"} == set(boresight.__all__)
    for name in VERBS:
        verb = getattr(boresight, name)
        assert inspect.signature(verb).return_annotation != inspect.Signature.empty, name
        assert "Raises:" in verb.__doc__, name


def test_train_returns_the_run(run, place):
    assert run.folder == place / "run" and run.page.exists() and run.finished
    assert run.config["method"]["beta"] == 0.5, "sections are merged into the recipe"
    assert run.config["method"]["name"] == "dpo", "what they do not name stays"
    steps, losses = run.series("loss")
    assert steps == [1, 2, 3] and losses[0] == pytest.approx(0.6931, abs=1e-4)
    assert len(run.series("margin", "eval")[0]) == 4, "before the first step and after each"
    assert run.metric("accuracy").after.n == 2, "a fifth of twelve rows is held out"


def test_a_name_that_was_not_logged_suggests_the_nearest(run):
    with pytest.raises(boresight.UserError, match="did you mean 'margin'"):
        run.series("margins")
    with pytest.raises(boresight.UserError, match="did you mean 'accuracy'"):
        run.metric("acuracy")
    with pytest.raises(boresight.UserError, match="neither train nor eval"):
        run.series("loss", "test")


def test_the_recipe_given_is_not_changed(recipe, run):
    assert recipe["method"] == {"name": "dpo"}


def test_check_finds_what_the_command_finds_and_prints_it(recipe, place):
    found = boresight.check(recipe, optim={"lr": 1e-9}, rows=96)
    assert found.forecast.steps == 24 and found.forecast.budget < 1e-7
    assert f"{len(found.errors)} errors" in str(found)
    assert "<pre" in found._repr_html_()


def test_a_mistake_is_one_sentence(recipe, place):
    with pytest.raises(boresight.UserError, match=r"^recipe: unknown key optim\.rl; did you mean 'optim.lr'"):
        boresight.train(recipe, run=place / "never", optim={"rl": 1})
    with pytest.raises(boresight.UserError, match="name the run to resume"):
        boresight.train(recipe, resume=True)
    assert not (place / "never").exists()


def test_text_from_data_stays_text_in_a_notebook(run):
    from dataclasses import replace

    hostile = replace(run, notes=["<script>alert(1)</script>"])
    assert "<script>" in str(hostile)
    assert "<script>" not in hostile._repr_html_()


def test_explain_report_and_compare(run, place, recipe):
    other = boresight.train(recipe, run=place / "other", quiet=True)
    assert boresight.explain(run.folder).outcome
    run.page.unlink()
    assert boresight.report(run.folder).page.exists()
    compared = boresight.compare(run.folder, other.folder, out=place / "compare.html")
    assert {"method.beta"} <= {d.key for d in compared.differences}
    assert compared.page.exists() and "method.beta: 0.5 | 0.1" in str(compared)


def test_evaluate_returns_rates_and_verdicts(place):
    rows = [{"prompt": f"say {i}", "response": "x" * (i + 1)} for i in range(6)]
    for name, more in (("a", ""), ("b", "!")):
        lines = (json.dumps({**row, "response": row["response"] + more}) + "\n" for row in rows)
        (place / f"{name}.jsonl").write_text("".join(lines))
    found = boresight.evaluate(
        {"systems": {n: {"answers": str(place / f"{n}.jsonl")} for n in "ab"}, "judge": {"name": "checks"}},
        judge={"check": "tests.rewards:length"},
        trust={"controls": 0, "repeats": 0},
        run=place / "evaluation",
        quiet=True,
    )
    (pair,) = found.pairs
    assert pair.counts == {"won": 6, "tied": 0, "lost": 0, "failed": 0} and pair.rate.value == 1.0
    assert found.page.exists() and "b wins 100.0 %" in str(found)


MY_LOSS = '''
"""A margin of one nat and no more: L = |h - 1|."""

from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps


class Config(MethodConfig):
    """Settings."""

    target: float = 1.0
    """Nats."""


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """Mean over pairs, nats."""
    return LossOutput.mean_of((x.margin - cfg.target).abs())
'''


def test_a_loss_of_ones_own_is_named_by_its_import_path(tmp_path, monkeypatch, recipe):
    """At step 0 the margin is 0, so the loss is the target itself: 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_losses").mkdir()
    (tmp_path / "my_losses" / "nearby.py").write_text(MY_LOSS)
    own = {**recipe, "method": {"name": "my_losses.nearby", "target": 2.0}}
    run = boresight.train(own, run="run", quiet=True)
    assert run.series("loss")[1][0] == pytest.approx(2.0, abs=1e-4)
    assert run.config["method"] == {"name": "my_losses.nearby", "target": 2.0}
    assert boresight.explain("run").outcome


def test_a_module_that_is_no_method_is_refused():
    with pytest.raises(boresight.UserError, match=r"json\.decoder has no Config and no loss"):
        methods.get("json.decoder")
    with pytest.raises(boresight.UserError, match=r"cannot import 'nowhere\.at_all'"):
        methods.get("nowhere.at_all")


# Rows and models in memory ---------------------------------------------------------------------------------

ROWS = [{"prompt": f"say {i}", "chosen": f"answer {i}", "rejected": f"red {i}"} for i in range(12)]


def settings(place):
    """A short run of a method and a model that are named, without a recipe."""
    return {
        "method": "dpo",
        "model": str(place / "model"),
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "steps": 2},
        "evaluate": {"samples": 0},
        "check": {"probes": 0},
    }


def test_rows_in_memory_train_as_the_same_rows_in_a_file(place, tmp_path):
    from_file = boresight.train(
        run=tmp_path / "file", quiet=True, data={"train": str(place / "pairs.jsonl")}, **settings(place)
    )
    given = boresight.train(run=tmp_path / "given", quiet=True, rows=ROWS, **settings(place))
    assert given.series("loss") == from_file.series("loss")
    assert given.config["data"]["train"] == str(tmp_path / "given-rows.jsonl")
    with pytest.raises(boresight.UserError, match="this run is finished"):
        boresight.train(run=tmp_path / "given", quiet=True, rows=ROWS, **settings(place))
    with pytest.raises(boresight.UserError, match=r"given-rows\.jsonl: holds other rows"):
        boresight.train(run=tmp_path / "given", quiet=True, rows=ROWS[1:], **settings(place))


def test_rows_are_written_beside_the_working_folder_as_beside_others(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    given = GivenObjects(Path(), rows=ROWS)
    given.write()
    assert given.sections == {"data": {"train": str(tmp_path / "mine-rows.jsonl")}}
    assert (tmp_path / "mine-rows.jsonl").is_file()


def test_a_dataset_its_held_out_rows_and_a_model_in_memory(place, tmp_path):
    datasets = pytest.importorskip("datasets")
    run = boresight.train(
        run=tmp_path / "run",
        quiet=True,
        rows=datasets.Dataset.from_list(ROWS[:8]),
        eval_rows=[{**row, "score": np.float32(1.5)} for row in ROWS[8:]],
        tokenizer=tiny_tokenizer(),
        **(settings(place) | {"model": tiny_model()}),
    )
    assert (run.data["train"]["kept"], run.data["eval"]["kept"]) == (8, 4)
    assert run.config["model"]["name"] == str(tmp_path / "run-model")


def test_another_model_in_memory_needs_another_folder(tmp_path):
    """The model that is there already would be trained, without a word."""
    GivenObjects(tmp_path / "run", model=tiny_model(), tokenizer=tiny_tokenizer()).write()
    GivenObjects(tmp_path / "run", model=tiny_model(), tokenizer=tiny_tokenizer()).write()
    with pytest.raises(boresight.UserError, match="run-model: holds another model; give another folder"):
        GivenObjects(tmp_path / "run", model=tiny_model(seed=1), tokenizer=tiny_tokenizer()).write()
    assert [path.name for path in tmp_path.iterdir()] == ["run-model"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rows": []}, "rows: there is not one row in it"),
        ({"rows": ROWS[0]}, "rows: got one dict; give a list of rows"),
        ({"rows": [ROWS[0], "text"]}, "rows: row 2 is a str; give mappings"),
        ({"rows": [{**ROWS[0], "when": {1, 2}}]}, "rows: row 1: `when`: a set is not JSON"),
        ({"rows": [{**ROWS[0], "score": float("nan")}]}, "rows: row 1: `score`: Out of range float values"),
        ({"rows": ROWS, "model": tiny_model()}, "a model in memory needs its tokenizer"),
        ({"rows": ROWS, "optim": {"rate": 1}}, "unknown key optim.rate"),
    ],
)
def test_what_cannot_be_written_is_named_and_nothing_is_left(place, tmp_path, given, told):
    with pytest.raises(boresight.UserError, match=told):
        boresight.train(run=tmp_path / "run", quiet=True, **(settings(place) | given))
    assert list(tmp_path.iterdir()) == []
