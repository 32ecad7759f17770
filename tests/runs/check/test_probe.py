"""A learning-rate ramp on a tiny model: what it trains on, what it measures, and what is made of it."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from boresight.checks.forecast.ramp_file import read_ramp, write_ramp
from boresight.checks.forecast.row_mean import RowMean
from boresight.checks.forecast.suggestion import suggest
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.data.prepare import DatasetCache
from boresight.data.reading.same_prompt import prompt_key
from boresight.reports.facts import facts
from boresight.reports.read_run import read_run
from boresight.runs.check import lr_ramp
from boresight.runs.check.lr_ramp import EVERY, STEPS, hold_out_for_ramp, measure_ramp, ramp_rates
from boresight.runs.check.preflight import preflight
from boresight.runs.check.probe import probe_run, top_rate
from boresight.runs.check.ramp_table import _cell, answers_in_words
from boresight.runs.explain import explain
from boresight.runs.train import run_training
from boresight.training.optimizer.learning_rate import learning_rate_sum
from tests.tiny import tiny_model, tiny_tokenizer

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model and 60 pairs, two to a prompt."""
    folder = tmp_path_factory.mktemp("place")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    pairs = [
        {"prompt": f"say {i // 2}", "chosen": "green " * (1 + i % 3), "rejected": f"red {i % 2}"}
        for i in range(60)
    ]
    shown = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
    labeled = [{**row, "label": True} for row in shown] + [
        {"prompt": row["prompt"], "completion": row["rejected"], "label": False} for row in pairs
    ]
    for name, rows in {"preference": pairs, "demonstration": shown, "labeled": labeled}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(place, method="dpo", **train) -> Recipe:
    kind = {"sft": "demonstration", "kto": "labeled"}.get(method, "preference")
    return Recipe.parse(
        {
            "method": {"name": method},
            "model": {"name": str(place), "lora": {"r": 2, "dropout": 0.0}},
            "data": {"train": str(place / f"{kind}.jsonl"), "eval_rows": 6},
            "optim": {"lr": 1e-3},
            "train": {"batch": 4, **train},
            "evaluate": {"samples": 2, "max_new_tokens": 3},
        }
    )


def test_rates_grow_by_one_factor_up_to_the_top():
    rates = ramp_rates(0.64, steps=3, span=64.0)
    assert rates == pytest.approx([0.01, 0.08, 0.64])


@pytest.mark.parametrize("method", ["dpo", "simpo", "orpo", "kto", "reward", "sft"])
def test_a_ramp_gains_on_pairs_that_it_does_not_train_on(place, method):
    ramp = measure_ramp(recipe(place, method), DatasetCache(), QUIET, top=0.02)
    assert len(ramp.points) == STEPS // EVERY and ramp.batch == 4
    budgets = [point.budget for point in ramp.points]
    assert budgets[-1] == pytest.approx(sum(ramp_rates(0.02))) and budgets == sorted(budgets)
    assert ramp.points[-1].gain.mean > 0 and ramp.points[-1].gain.n >= lr_ramp.FEWEST
    assert ramp.start.gain.mean == 0.0
    if method != "reward":
        assert ramp.points[-1].kl_per_token.mean > ramp.points[0].kl_per_token.mean > 0
    assert (ramp.points[-1].chosen_per_token is None) == (method in ("reward", "sft"))


def test_a_ramp_of_labeled_answers_measures_each_side_on_its_own_rows(place):
    """Good answers rise and bad ones fall against the reference point; who wrote them is told too."""
    ramp = measure_ramp(recipe(place, "kto"), DatasetCache(), QUIET, top=0.02)
    last = ramp.points[-1]
    assert last.chosen_per_token.n + last.rejected_per_token.n == last.gain.n
    assert 0 < last.chosen_per_token.n < last.gain.n
    assert last.chosen_per_token.mean > last.rejected_per_token.mean
    assert ramp.answers.chosen.n == last.chosen_per_token.n or ramp.answers.chosen.n <= lr_ramp.SAMPLED
    assert ramp.answers.own.n >= ramp.answers.chosen.n > 0


def test_a_ramp_of_answers_of_one_label(place, tmp_path):
    """No good answer gives the length of the samples: that of the bad ones does."""
    rows = [{"prompt": f"say {n}", "completion": f"red {n}", "label": False} for n in range(40)]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = recipe(place, "kto")
    data = chosen.data.model_copy(update={"train": str(tmp_path / "bad.jsonl")})
    chosen = chosen.model_copy(update={"data": data})
    ramp = measure_ramp(chosen, DatasetCache(), QUIET, top=0.02)
    assert ramp.points[-1].gain.mean > 0 and ramp.points[-1].chosen_per_token is None
    assert ramp.points[-1].rejected_per_token.n >= lr_ramp.FEWEST
    assert "chosen" not in ramp.answers.foreign and ramp.limit.budget > 0
    assert "chosen" not in answers_in_words(ramp.answers)[0][1]
    write_ramp(tmp_path, ramp)
    assert read_ramp(tmp_path).limit == ramp.limit


def test_what_is_measured_shares_no_prompt_with_what_is_trained(place):
    chosen = recipe(place)
    made = hold_out_for_ramp(DatasetCache().of(chosen, "preference"), tiny_tokenizer(), QUIET)
    for side in (made.train, made.eval):
        assert [side.examples[owner].id for owner in side.owners] == [row.id for row in side.rows]
    trained, measured = (set(map(prompt_key, side.examples)) for side in (made.train, made.eval))
    assert trained.isdisjoint(measured)
    assert len(made.train.rows) + len(made.eval.rows) == 54  # six are the run's own held-out rows


def test_a_model_that_falls_apart_ends_the_ramp(place, monkeypatch):
    monkeypatch.setattr(lr_ramp, "BROKEN_KL", 1e-4)
    ramp = measure_ramp(recipe(place), DatasetCache(), QUIET, top=0.5)
    assert len(ramp.points) < STEPS // EVERY


def test_what_has_no_ramp_is_refused(place, tmp_path):
    rloo = Recipe.parse(
        {
            "method": {"name": "rloo"},
            "model": {"name": str(place)},
            "data": {"train": str(place / "preference.jsonl")},
            "optim": {"lr": 1e-3},
            "reward": [{"function": "countdown"}],
        }
    )
    with pytest.raises(UserError, match=r"optim\.lr: rloo learns from answers that it samples"):
        measure_ramp(rloo, DatasetCache(), QUIET, top=0.1)
    lines = (place / "preference.jsonl").read_text().split("\n")[:12]
    (tmp_path / "few.jsonl").write_text("\n".join(lines) + "\n")
    raw = recipe(place).to_dict()
    raw["data"] |= {"train": str(tmp_path / "few.jsonl"), "eval_rows": 0}
    with pytest.raises(UserError, match="a learning-rate ramp needs 8 rows to train on and 8 to measure"):
        measure_ramp(Recipe.parse(raw), DatasetCache(), QUIET, top=0.1)


def test_the_top_of_a_ramp_lies_beyond_the_run_or_at_ten_times_the_published_rate(place):
    """For LoRA on pairs the highest published rate is 2e-4; the rates sum to a factor of the top."""
    factor = sum(ramp_rates(1.0))
    chosen = recipe(place)
    assert top_rate(chosen, planned=1e-3 * factor) == pytest.approx(1.5e-3)
    assert top_rate(chosen, planned=1.0 * factor) == pytest.approx(2e-3)
    assert top_rate(chosen, planned=1e-9) == pytest.approx(2e-4)


def test_a_probe_says_what_is_harmless_and_how_to_run_it(place):
    said = io.StringIO()
    console = Console(file=said, width=80)
    probed = probe_run(recipe(place, steps=40), console, arguments=["mine.yaml", "optim.lr=1e-3", "a=b c"])
    probed.show(console)
    assert probed.report.forecast.margin == probed.ramp.expect(probed.planned)
    assert probed.command.startswith("boresight train mine.yaml 'a=b c' optim.lr=")
    assert all(len(line) <= 80 for line in said.getvalue().split("\n")) and "…" not in said.getvalue()
    assert f"up to a sum of {probed.ramp.limit.budget:.2g}" in said.getvalue()


def test_time_and_memory_of_a_probed_run_are_those_of_its_ramp(place):
    """40 steps of 4 rows at the ramp's tokens a second; without a probe they are estimated."""
    chosen = recipe(place, steps=40)
    said = io.StringIO()
    probed = probe_run(chosen, Console(file=said, width=500))
    probed.show(Console(file=said, width=500))
    load = probed.report.load
    assert load.measured.seconds == pytest.approx(load.row_tokens * 160 / probed.ramp.tokens_per_second)
    assert load.memory_gb == pytest.approx(probed.ramp.peak_memory_gb, abs=0.05)
    assert "of training steps, measured by a ramp of this run, scaled by tokens" in said.getvalue()
    assert preflight(chosen).load.basis == "estimated from shapes, to within a factor of two"
    tokens = [point.tokens for point in probed.ramp.points]
    assert min(tokens) > 4 * 10 and len(set(tokens)) > 1  # rows of a few words, of several lengths


def test_auto_takes_the_rate_that_a_ramp_suggests_and_keeps_it(place, tmp_path, monkeypatch):
    """The run's recipe holds a number; the same command goes on with it and measures no second ramp."""
    raw = recipe(place, steps=20).to_dict()
    raw["optim"]["lr"] = "auto"
    chosen = Recipe.parse(raw)
    with pytest.raises(UserError, match=r"optim\.lr: auto is set by a ramp"):
        preflight(chosen)
    said = io.StringIO()
    run_training(chosen, tmp_path / "run", Console(file=said, width=200))
    kept = Recipe.load(tmp_path / "run/config.yaml")
    ramp = read_ramp(tmp_path / "run")
    wanted = suggest(recipe(place, steps=20), 20, ramp.limit.budget)
    assert kept.optim.lr == wanted.lr and ramp.end == pytest.approx(sum(ramp_rates(2e-3)))
    assert f"optim.lr=auto: {' '.join(wanted.settings)}" in said.getvalue()
    expected = ramp.expect(learning_rate_sum(kept.train.steps, kept.optim))
    outcome = explain(tmp_path / "run").outcome
    foretold = f"The ramp forecast a margin of {expected.middle:.2g} nats"
    assert any(line.startswith(foretold) for line in outcome), outcome
    assert any(line.startswith("At the ramp's pace its tokens take ") for line in outcome), outcome
    assert any(
        line.startswith(f"Peak memory was {ramp.peak_memory_gb:.1f} GB in the ramp") for line in outcome
    )
    shown = dict(facts(read_run(tmp_path / "run")))
    assert "by its ramp)" in shown["time of training steps"] and "by its ramp)" in shown["peak memory"]
    assert "of training steps, measured by a ramp of this run" in said.getvalue().replace("\n", " ")
    for name in ("evaluation.json", "report.html"):
        (tmp_path / "run" / name).unlink()
    monkeypatch.setattr("boresight.runs.check.probe.measure_ramp", lambda *_: pytest.fail("measured again"))
    run_training(chosen, tmp_path / "run", QUIET)
    assert (tmp_path / "run/report.html").is_file()


def test_a_run_that_died_before_its_first_checkpoint_keeps_its_ramp(place, tmp_path, monkeypatch):
    """It is checked again before it begins again: by its ramp, as the first time."""
    raw = recipe(place, steps=20).to_dict()
    raw["optim"]["lr"] = "auto"
    chosen, seen = Recipe.parse(raw), []

    def dies(*_):
        raise RuntimeError("dies")

    def noted(recipe, console, datasets, ramp, arguments):
        seen.append(ramp)
        return []

    monkeypatch.setattr("boresight.runs.train.run_steps", dies)
    monkeypatch.setattr("boresight.runs.train.preflight_findings", noted)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="dies"):
            run_training(chosen, tmp_path / "run", QUIET)
    assert seen[0].points and seen[1].points == seen[0].points == read_ramp(tmp_path / "run").points


@pytest.mark.parametrize(
    ("values", "digits", "text"),
    [
        ([0.0, 1.0], 2, "0.50 ±6.35"),
        ([0.010, 0.012], 3, "0.011 ±0.013"),
        ([1.0] * 16, 2, "1.00"),
        ([2.0], 2, "2.00"),
    ],
)
def test_a_mean_has_the_decimals_of_its_interval(values, digits, text):
    """Student's t with one degree of freedom is 12.706: half of 12.706 times 1/2, and 12.706 times 0.001."""
    assert _cell(RowMean.of(values), digits) == text
