"""Area, informative prompts and tokens, from a run's log."""

import json
from pathlib import Path

import pytest
import yaml

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.experiments.study.outcomes.label_use import (
    area_under,
    held_out_by_calls,
    informative_prompts,
    seconds_of_steps,
    trained_tokens,
    training_rows,
)
from boresight.reports.read_run import RunData, read_run
from boresight.runs.train import run_training
from tests.tiny import tiny_model, tiny_tokenizer


def run_of(train, evaluated):
    lines = [{"step": step, "split": "train", **numbers} for step, numbers in train.items()]
    held_out = [{"step": step, "split": "eval", **numbers} for step, numbers in evaluated.items()]
    return RunData("r", Path("runs/r"), True, train=lines, eval=held_out)


def test_an_area_by_hand():
    """From 0.2 to 0.6 over 100 calls and to 0.8 over 300 more: (100 · 0.4 + 300 · 0.7) / 400 = 0.625."""
    assert area_under([(0, 0.2), (100, 0.6), (400, 0.8)]) == pytest.approx(0.625)
    assert area_under([(64, 0.5), (128, 0.5)]) == 0.5
    with pytest.raises(UserError, match="has no area"):
        area_under([(0, 0.2)])


def test_evaluations_are_placed_at_the_calls_before_them():
    run = run_of(
        {1: {"verifier_calls": 8}, 2: {"verifier_calls": 16}, 3: {"verifier_calls": 20}},
        {0: {"reward": 0.1}, 2: {"reward": 0.3}, 3: {"reward": 0.5}},
    )
    assert held_out_by_calls(run) == [(0, 0.1), (16, 0.3), (20, 0.5)]


def test_of_evaluations_of_one_rollout_the_last_counts():
    """Steps 1 to 4 train on the same 8 samples, steps 5 and 6 on 8 others."""
    calls = {step: {"verifier_calls": 8 if step <= 4 else 16} for step in range(1, 7)}
    run = run_of(calls, {0: {"reward": 0.1}, 2: {"reward": 0.2}, 4: {"reward": 0.4}, 6: {"reward": 0.3}})
    assert held_out_by_calls(run) == [(0, 0.1), (8, 0.4), (16, 0.3)]


def test_a_step_that_was_measured_twice_is_refused():
    lines = [{"step": step, "split": "eval", "reward": 0.1} for step in (0, 2, 2)]
    run = RunData("r", Path("runs/r"), True, train=[{"step": 1, "verifier_calls": 8}], eval=lines)
    with pytest.raises(UserError, match="runs/r: two evaluations after step 2"):
        held_out_by_calls(run)


@pytest.mark.parametrize(
    ("train", "evaluated", "says"),
    [
        ({1: {"loss": 1.0}}, {0: {"reward": 0.1}}, "logs no verifier_calls"),
        ({1: {"verifier_calls": 8}}, {0: {"reward": 0.1}, 1: {"reward": None}}, "after step 1 has no reward"),
        ({1: {"verifier_calls": 8}}, {0: {"margin": 0.1}}, "after step 0 has no reward"),
    ],
)
def test_what_is_not_in_the_log_has_no_area(train, evaluated, says):
    with pytest.raises(UserError, match=says):
        held_out_by_calls(run_of(train, evaluated))


def test_prompts_that_told_answers_apart_are_counted():
    """Of 8 and 4 pairs a quarter and a half are left: 2 + 2. Of 2 groups of 4, half are unequal: 1."""
    lost = {"identical_share": 0.25, "ties_share": 0.5, "unscorable_share": 0.0}
    more = {"identical_share": 0.0, "ties_share": 0.25, "unscorable_share": 0.25}
    pairs = run_of({1: {"verifier_calls": 16, **lost}, 2: {"verifier_calls": 24, **more}}, {})
    assert informative_prompts(pairs, k=8) == pytest.approx(4)
    twice = {"verifier_calls": 8, "zero_variance": 0.5}  # two updates with the same samples
    assert informative_prompts(run_of({1: twice, 2: twice}, {}), k=4) == pytest.approx(1)
    masked = twice | {"too_few_scored": 0.25}  # half a group more, of which fewer than two have a reward
    assert informative_prompts(run_of({1: masked, 2: masked}, {}), k=4) == pytest.approx(0.5)
    assert informative_prompts(run_of({1: twice, 2: {"verifier_calls": 16}}, {}), k=4) is None
    assert informative_prompts(run_of({1: {"loss": 1.0}}, {}), k=4) is None


def test_tokens_are_summed_over_steps():
    timed = {"seconds": 2.0, "tokens_per_second": 50.0}
    assert trained_tokens(run_of({1: timed, 2: {"skipped": 1.0}, 3: timed}, {})) == pytest.approx(200)
    assert trained_tokens(run_of({1: {"loss": 1.0}}, {})) is None


def test_seconds_are_at_least_those_of_the_logged_steps():
    """Two steps of 2.0 s in the log, of which a process that was killed kept nothing."""
    timed = {"seconds": 2.0}
    assert seconds_of_steps(run_of({1: timed, 2: {"skipped": 1.0}, 3: timed}, {})) == pytest.approx(4)
    assert seconds_of_steps(run_of({1: {"loss": 1.0}}, {})) == 0


@pytest.fixture
def logged(tmp_path):
    """Train on batches of 4 of 6 prompts, as many as `steps`; returns what was logged."""

    def run(method, k, updates=1, steps=3):
        tiny_model().save_pretrained(tmp_path / "model")
        tiny_tokenizer().save_pretrained(tmp_path / "model")
        rows = [{"nums": [3, 4, n], "target": 7 + n} for n in range(1, 9)]
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe = {
            "method": {"name": method},
            "model": {"name": str(tmp_path / "model")},
            "data": {"train": str(tmp_path / "prompts.jsonl"), "eval_rows": 2},
            "optim": {"lr": 1e-4},
            "reward": [{"function": "tests.rewards:length"}],
            "rollout": {"k": k, "max_new_tokens": 4, "updates": updates},
            "train": {"batch": 4, "steps": steps, "eval_every": 1, "guard": None},
            "evaluate": {"samples": 0, "rewarded": 2, "max_new_tokens": 4},
            "check": {"probes": 0, "allow": ["few-steps", "few-rollouts", "learning-rate-budget"]},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        run_training(Recipe.load(path), tmp_path / "run")
        return read_run(tmp_path / "run")

    return run


@pytest.mark.parametrize(("method", "per_prompt"), [("rloo", 3), ("online_dpo", 2)])
def test_a_run_counts_its_verifier_calls(logged, method, per_prompt):
    """Batches of 4 prompts over 6 prompts, two passes: 4, 8 and 12 prompts have been answered."""
    log = logged(method, per_prompt)
    curve = held_out_by_calls(log)
    assert [calls for calls, _ in curve] == [4 * per_prompt * step for step in range(4)]
    assert 0 <= informative_prompts(log, k=3) <= 12 and trained_tokens(log) > 0
    assert training_rows(log) is None  # they are sampled
    assert min(value for _, value in curve) <= area_under(curve) <= max(value for _, value in curve)


def test_a_run_with_several_updates_per_rollout_has_an_area(logged):
    """Two rollouts of 12 samples, two updates with each, evaluated at the end: three places on the axis."""
    log = logged("rloo", 3, updates=2, steps=2)
    assert [line["step"] for line in log.eval] == [0, 2, 4]
    after = {line["step"]: line["reward"] for line in log.eval}
    assert held_out_by_calls(log) == [(0, after[0]), (12, after[2]), (24, after[4])]
