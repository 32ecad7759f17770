"""Preflight as a whole: healthy recipes pass, broken ones are stopped by name, looking twice costs once."""

from __future__ import annotations

import io
import json
import random
from dataclasses import asdict

import pytest
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file

from boresight.checks.cache import key
from boresight.config.dotted import apply_override
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.load import load_model
from boresight.runs.check import preflight as module
from boresight.runs.check.preflight import before_training, finding_names, preflight
from tests.checks import builders as b
from tests.tiny import tiny_model, tiny_tokenizer

SIZES = {"135M": 134_515_008, "0.5B": b.QWEN, "tiny": 870_000}
# Settings that worked for somebody, with how many rows: published recipes and this project's own.
HEALTHY = {
    "SmolLM2-135M DPO": ("dpo", "135M", 120_000, "optim.lr=1e-6 method.beta=0.5 train.batch=128"),
    "zephyr-220m DPO": ("dpo", "135M", 62_000, "optim.lr=5e-7 optim.schedule=linear train.batch=16"),
    "0.5B DPO": ("dpo", "0.5B", 60_000, "optim.lr=1e-6 train.batch=32"),
    "0.5B DPO, ladder's top": ("dpo", "0.5B", 60_000, "optim.lr=5e-6 train.batch=64"),
    "0.5B IPO": ("ipo", "0.5B", 48_000, "optim.lr=5e-6 method.tau=0.1 train.batch=64 optim.warmup=0.05"),
    "LoRA DPO": ("dpo", "135M", 20_000, "optim.lr=1e-4 model.lora={} train.batch=32"),
    "SimPO": ("simpo", "0.5B", 60_000, "optim.lr=1e-6 train.batch=128"),
    "reward model": ("reward", "0.5B", 60_000, "optim.lr=1e-5 train.batch=64"),
    "smol-smoltalk SFT": ("sft", "135M", 460_000, "optim.lr=1e-3 train.batch=128"),
    "Countdown SFT": ("sft", "0.5B", 1_000, "optim.lr=5e-5 train.batch=64 train.epochs=6"),
    "Countdown RLOO": ("rloo", "0.5B", 12_800, "optim.lr=1e-5 method.beta=0.001 train.batch=128"),
    "tiny Countdown SFT": ("sft", "tiny", 64_000, "optim.lr=2e-3 train.batch=128"),
    "tiny Countdown RLOO": ("rloo", "tiny", 6_400, "optim.lr=5e-5 train.batch=64"),
    "XPO": ("xpo", "0.5B", 30_000, "optim.lr=5e-7 method.alpha=1e-5 train.batch=64"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_error_on_healthy_recipes(name):
    method, size, rows, settings = HEALTHY[name]
    found = b.found_in_recipe(b.recipe(method, *settings.split()), rows, SIZES[size])
    assert [str(f) for f in found if f.severity == "error"] == []


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_model(vocab=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def make_recipe(tmp_path, model_folder, cached):
    """`make_recipe(pairs, "a.b=c")` writes the pairs and gives a recipe that trains on them."""

    def make(pairs, *settings):
        lines = (json.dumps(asdict(p)).replace("chosen_score", "score_chosen") for p in pairs)
        lines = (line.replace("rejected_score", "score_rejected") for line in lines)
        (tmp_path / "pairs.jsonl").write_text("".join(line + "\n" for line in lines))
        raw = {
            "method": {"name": "dpo"},
            "model": {"name": str(model_folder)},
            "data": {"train": str(tmp_path / "pairs.jsonl"), "max_length": 400},
            "optim": {"lr": 1e-3},
            "train": {"batch": 8},
        }
        for setting in settings:
            apply_override(raw, setting)
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw))
        return Recipe.parse(raw)

    return make


def swapped_pairs():
    return [b.swapped(p, scores=True) for p in b.pairs(120)]


def test_a_healthy_folder_passes_and_counts_its_rows(make_recipe):
    report = preflight(make_recipe(b.pairs(120)))
    assert report.errors == []
    assert (report.rows, report.sampled) == (96, 96)  # a fifth is held out
    assert report.forecast.steps == 12
    assert report.load.parameters == sum(
        p.numel() for p in tiny_model(vocab=len(tiny_tokenizer())).parameters()
    )


def test_an_error_stops_training_and_can_be_allowed_by_name(make_recipe):
    console = Console(file=io.StringIO())
    with pytest.raises(
        UserError, match=r"check: In 100 % of 96 pairs with different scores.*check.allow=\[labels-swapped\]"
    ):
        before_training(make_recipe(swapped_pairs()), console)
    allowed = before_training(make_recipe(swapped_pairs(), "check.allow=[labels-swapped]"), console)
    assert allowed[0].name == "labels-swapped" and allowed[0].severity == "warning"


def test_allowing_what_does_not_exist_is_refused(make_recipe):
    with pytest.raises(
        UserError, match="no finding is called 'labels-swaped'; did you mean 'labels-swapped'"
    ):
        preflight(make_recipe(b.pairs(60), "check.allow=[labels-swaped]"))


def test_the_same_content_is_looked_at_once(make_recipe, cached, monkeypatch):
    recipe = make_recipe(swapped_pairs())
    first = preflight(recipe)
    monkeypatch.setattr(module.at_hand, "read_examples", lambda recipe: pytest.fail("read again"))
    assert [f.name for f in preflight(recipe).findings] == [f.name for f in first.findings]
    assert preflight(recipe.model_copy(update={"train": recipe.train})).rows == first.rows
    monkeypatch.undo()
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: cached)
    (kept,) = (cached / "check").iterdir()
    kept.write_text(kept.read_text().replace("labels-swapped", "labels-right"))
    assert [f.name for f in preflight(recipe).findings] == [f.name for f in first.findings]
    assert "labels-swapped" not in [f.name for f in preflight(make_recipe(b.pairs(120))).findings]


def test_files_that_the_recipe_names_are_part_of_the_content(make_recipe, tmp_path, monkeypatch):
    """A template is edited: what was found before is not said again."""
    monkeypatch.chdir(tmp_path)
    recipe = make_recipe(b.pairs(60), "model.chat_template=mine.j2")
    (tmp_path / "mine.j2").write_text(tiny_tokenizer().chat_template)
    before = key(recipe)
    assert before == key(recipe)
    (tmp_path / "mine.j2").write_text(tiny_tokenizer().chat_template + " ")
    assert key(recipe) != before
    assert key(make_recipe(b.pairs(60), "method.name=simpo")) != key(make_recipe(b.pairs(60)))


def test_a_template_other_than_the_model_s_own_stops_training(make_recipe):
    """SFT has written conversations in ChatML and the model brings that template; DPO is to use another."""
    found = preflight(make_recipe(b.pairs(60), "model.chat_template=plain")).findings
    assert found[0].name == "template-mismatch" and found[0].severity == "error"
    assert "the model template writes" in found[0].why
    assert preflight(make_recipe(b.pairs(60))).errors == []


def sometimes_raises(prompts, completions, rows):
    raise RuntimeError("not mended yet")


def test_a_reward_that_was_mended_is_asked_again(make_recipe, monkeypatch):
    """The user's own code is no part of any digest, so nothing that rests on it is kept."""
    settings = ("method.name=rloo", f"reward=[{{function: '{__name__}:sometimes_raises'}}]")
    recipe = make_recipe(b.pairs(40), *settings)
    assert "reward-fails" in [f.name for f in preflight(recipe).findings]
    monkeypatch.setattr(f"{__name__}.sometimes_raises", lambda p, c, r: [float(len(text)) for text in c])
    assert "reward-fails" not in [f.name for f in preflight(recipe).findings]


def test_a_cut_recipe_names_the_side(make_recipe):
    rng = random.Random(1)

    def longer(pair):
        words = " ".join(rng.choice(b.FILLERS) for _ in range(60))
        chosen = [{"role": "assistant", "content": pair.chosen[0]["content"] + words}]
        return b.replace(pair, chosen=chosen)

    report = preflight(make_recipe([longer(p) for p in b.pairs(120)]))
    assert "chosen-truncated" in [f.name for f in report.findings]


def test_without_data_or_model_the_forecast_still_comes(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe = b.recipe(
        "dpo", "method.beta=0.05", "optim.lr=2e-7", "train.batch=24", model={"name": "Qwen/Qwen2.5-0.5B"}
    )
    report = preflight(recipe, rows=5000)
    first = report.findings[0]
    assert (first.name, first.severity) == (
        "learning-rate-budget",
        "warning",
    )  # what is borrowed stops no run
    assert "borrowed from dpo runs of" in first.why
    assert report.forecast.budget == pytest.approx(2.1e-5, rel=0.02)
    assert "not-checked" in [f.name for f in report.findings]


def test_a_model_that_would_not_load_is_an_error_in_the_same_words(make_recipe, tmp_path, monkeypatch):
    """By the headers of its weights: no weight is read."""
    folder = tmp_path / "broken"
    tiny_model(tie_word_embeddings=False).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError) as loading:
        load_model(str(folder))
    monkeypatch.setattr(
        "transformers.modeling_utils.safe_open", lambda *_, **__: pytest.fail("weights were read")
    )
    recipe = make_recipe(b.pairs(120), f"model.name={folder}")
    found = preflight(recipe).errors[0]
    assert (found.name, found.why) == ("model-not-loadable", str(loading.value))
    with pytest.raises(UserError, match=r"^model: the weights of .* do not fit its LlamaForCausalLM"):
        module.before_training(recipe, Console(quiet=True))
    allowing = make_recipe(b.pairs(120), f"model.name={folder}", "model.allow_weights=[lm_head.*]")
    assert "model-not-loadable" not in [f.name for f in preflight(allowing).findings]


def test_a_model_that_is_missing_is_said_before_the_data_are_read(make_recipe, monkeypatch):
    recipe = make_recipe(b.pairs(120), "model.name=./nowhere")
    monkeypatch.setattr(module, "look_at_data", lambda *_: pytest.fail("the data were read"))
    report = preflight(recipe, rehearsing=True)
    assert [found.name for found in report.findings] == ["model-not-loadable"]
    assert report.forecast is None and report.stop.startswith("model: there is no folder './nowhere'")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.train=nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("data.eval=nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("data.layout=paris", "data.layout: there is no layout 'paris'"),
    ],
)
def test_a_data_file_that_is_missing_is_said_before_the_tokenizer_is_loaded(
    make_recipe, monkeypatch, setting, words
):
    recipe = make_recipe(b.pairs(120), setting)
    monkeypatch.setattr(module.at_hand, "make_tokenizer", lambda *_: pytest.fail("a tokenizer was loaded"))
    report = preflight(recipe, rehearsing=True)
    assert [found.name for found in report.findings] == ["data-not-readable"]
    assert report.stop.startswith(words)


def test_an_input_that_is_refused_is_the_first_finding_above_others(make_recipe):
    recipe = make_recipe(b.pairs(120), "data.columns={chosen: better}")
    refused = preflight(recipe).refused_input[0]
    other = module.note("other", "Something else.", "Change it.")
    alone, with_others = (module.Report([refused, *more], None, None, 0, 0) for more in ([], [other]))
    assert alone.before_closing == [] and alone.closing == refused.why
    assert with_others.before_closing == [refused, other] and with_others.closing == refused.why


def test_pairs_that_have_not_been_measured_have_no_range_but_the_command_that_measures(make_recipe):
    for settings, like in (([], False), (["check.like=demo"], True)):
        recipe = make_recipe(b.pairs(120), *settings)
        expected = module.forecast.forecast(recipe, 20, b.QWEN)
        report = module.Report([], expected, None, 96, 0)
        shown = " ".join(str(module.with_commands(report, recipe, ["r.yaml", "optim.lr=1e-5"])).split())
        assert "unknown: these pairs have not been measured; `boresight check r.yaml optim.lr=1e-5 " in shown
        assert "on other pairs" not in shown and "which gives" not in shown
        assert ("if like demo" in shown) == like


def test_names_are_those_of_the_checks():
    assert {"labels-swapped", "learning-rate-budget", "memory", "alpha-dominates"} <= set(finding_names())
    assert len(finding_names()) == len(set(finding_names()))


def test_a_check_that_breaks_does_not_stop_a_run(make_recipe, monkeypatch):
    def broken(recipe, tokenizer):
        raise RuntimeError("out of luck\nand of memory")

    monkeypatch.setattr(module.at_hand, "make_skeleton", broken)
    (found,) = [f for f in preflight(make_recipe(b.pairs(120))).findings if f.name == "not-checked"]
    assert found.severity == "note"
    assert "The model could not be checked: RuntimeError: out of luck." in found.why
