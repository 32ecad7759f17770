"""The loop: exact accumulation for every method, a trajectory that stays what it was, and learning."""

import json
import math
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from boresight import methods
from boresight.core.errors import UserError
from boresight.findings.monitor import read_findings, watch
from boresight.training.forward import INPUT_KINDS
from boresight.training.loop import accumulate, evaluate_rows, is_due, run_steps
from tests.tiny import tiny_model
from tests.training.fixtures import make_task

LM_METHODS = [name for name in methods.names() if INPUT_KINDS[methods.get(name).Input].head == "lm"]


def gradients(task):
    """Exact gradient of the first batch, by parameter name."""
    gathered = accumulate(task, task.batches.batch(0).rows, step=1)
    grads = {n: p.grad / gathered.weight for n, p in task.policy.named_parameters() if p.grad is not None}
    return grads, gathered


@pytest.mark.parametrize("method", LM_METHODS)
def test_one_batch_of_eight_equals_micro_batches(tmp_path, method):
    """The same eight rows in one forward and in several: gradients, loss and metrics agree in float64."""
    shared = ("train.batch=8", "train.steps=2")
    whole, once = gradients(
        make_task(tmp_path / "a", method, *shared, "train.tokens_per_forward=10000", dtype=torch.float64)
    )
    cut, parts = gradients(
        make_task(tmp_path / "b", method, *shared, "train.tokens_per_forward=80", dtype=torch.float64)
    )
    assert whole.keys() == cut.keys() and len(whole) > 0
    for name in whole:
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-6, atol=1e-9)
    assert any(grad.abs().max() > 0 for grad in whole.values())
    assert parts.weight == once.weight
    for name, value in once.summary().items():
        assert parts.summary()[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), name


def no_forward(*arguments, **named):
    raise AssertionError("the policy was run")


@pytest.mark.parametrize("method", LM_METHODS)
def test_before_the_first_step_the_reference_says_what_the_policy_would(tmp_path, method, monkeypatch):
    """Held-out numbers at step 0 are those of a forward, and where the reference is stored none is made."""
    task = make_task(tmp_path, method, dtype=torch.float64)
    rows = make_task(tmp_path / "other", method).batches.batch(0).rows
    told = evaluate_rows(task, rows, 0.0, unmoved=True).summary()
    for name, value in evaluate_rows(task, rows, 0.0).summary().items():  # the reference is in float32
        assert told[name] == pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True), name
    if INPUT_KINDS[task.method.Input].unmoved(task.reference, rows) is not None:
        monkeypatch.setattr(task.policy, "forward", no_forward)
        evaluate_rows(task, rows, 0.0, unmoved=True)


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"], lines


def test_dpo_starts_at_ln_2_and_learns_its_own_pairs(tmp_path):
    """Sixteen pairs, twenty epochs: the loss starts at ln 2 = 0.6931 and every pair is ordered at the end."""
    task = make_task(tmp_path, "dpo", "train.batch=8", "train.steps=40", "optim.lr=0.003")
    run_steps(task)
    curve, lines = losses(tmp_path)
    assert curve[0] == pytest.approx(0.693147, abs=1e-5)
    assert lines[0] == {**lines[0], "step": 1, "split": "train", "margin": 0.0}
    assert [line for line in lines if line["split"] == "train"][-1]["accuracy"] == 1.0
    assert curve[-1] < 0.3


def test_sft_learns_its_own_text(tmp_path):
    task = make_task(tmp_path, "sft", "train.batch=8", "train.steps=40", "optim.lr=0.01")
    run_steps(task)
    curve, _ = losses(tmp_path)
    assert curve[-1] < 0.6 * curve[0]


def test_metrics_name_what_a_preference_run_must_log(tmp_path):
    task = make_task(tmp_path, "dpo", "train.batch=8", "train.steps=2")
    run_steps(task)
    _, lines = losses(tmp_path)
    line = next(line for line in lines if line["split"] == "train")
    learning = {"loss", "margin", "margin_p10", "margin_p50", "margin_p90", "accuracy"}
    drift = {"chosen_logratio", "rejected_logratio", "logratio_per_token"}
    data = {"chosen_len", "rejected_len", "truncated_share"}
    step = {"lr", "lr_sum", "grad_norm", "clipped", "tokens_per_second", "peak_memory_gb"}
    assert learning | drift | data | step <= set(line)


def test_trajectory_stays_what_it_was(tmp_path):
    """Twenty DPO steps at a fixed seed; a change here is a change of results and must be meant."""
    task = make_task(tmp_path, "dpo", "train.batch=4", "train.steps=20", rows=10)
    run_steps(task)
    curve, _ = losses(tmp_path)
    golden = json.loads((Path(__file__).parent / "golden_dpo.json").read_text())
    assert curve == pytest.approx(golden, abs=2e-4)


def test_a_policy_that_is_not_the_reference_stops_at_step_0(tmp_path):
    task = make_task(tmp_path, "dpo", "train.batch=4", "train.steps=2")
    task.policy = tiny_model(seed=1)
    with pytest.raises(UserError, match="the policy is not the reference before training"):
        run_steps(task)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    task = make_task(tmp_path, "sft", "train.batch=4", "train.steps=2")
    with torch.no_grad():
        task.policy.model.norm.weight[0] = float("nan")
    with pytest.raises(UserError, match=r"step 1: the gradient is not finite; .*there is no checkpoint yet"):
        run_steps(task)


def test_nan_in_the_middle_is_found_by_the_monitor_and_leaves_the_last_checkpoint(tmp_path):
    """The third step's loss becomes NaN: nothing of it is in the checkpoint of the second."""
    settings = ("train.batch=4", "train.steps=4", "train.save_every=1")
    task = make_task(tmp_path, "dpo", *settings)
    watch(tmp_path, task.tracker, task.recipe, 4, eval_rows=4)
    build, steps = task.kind.build, count()

    def poisoned(model, reference, rows, temperature):
        x = build(model, reference, rows, temperature)
        if torch.is_grad_enabled() and next(steps) == 2:
            x = replace(x, policy_chosen=x.policy_chosen * torch.tensor([math.nan, 1.0, 1.0, 1.0]))
        return x

    task.kind = replace(task.kind, build=poisoned)
    with pytest.raises(UserError, match=r"step 3: .*not finite \(rows row-\d+\); .*step-2 is good"):
        run_steps(task)
    found = [(f.name, f.step) for f in read_findings(tmp_path) if f.severity == "error"]
    assert found == [("not-finite", 3)]
    weights = load_file(tmp_path / "checkpoints/step-2/model/model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_final_weights_load_elsewhere(tmp_path):
    from transformers import AutoModelForCausalLM

    task = make_task(tmp_path, "sft", "train.batch=4", "train.steps=2", "train.save_every=1")
    run_steps(task)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for (name, here), there in zip(task.policy.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(there, here, msg=name)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step-1",
        "step-2",
    ]  # train.keep is 2
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(
    ("every", "updates", "expected"),
    [(5, 1, [5, 10, 15]), (5, 4, [8, 12, 16]), (4, 4, [4, 8, 12, 16]), (2, 4, [4, 8, 12, 16]), (9, 4, [12])],
)
def test_what_is_wanted_every_few_steps_is_due_at_the_end_of_a_rollout(every, updates, expected):
    assert [step for step in range(1, 17) if is_due(step, every, updates)] == expected


def test_a_run_with_several_updates_evaluates_and_saves_at_the_end_of_rollouts(tmp_path):
    """16 steps, 4 on each rollout: what is wanted every 5 steps is due at 8, 12 and 16."""
    often = ("train.steps=16", "train.eval_every=5", "train.save_every=5", "train.keep=9")
    task, measured = make_task(tmp_path, "rloo", "rollout.updates=4", *often, policy=tiny_model()), []
    task.probes = [lambda step: measured.append(step) or {"reward": {"a": 0.0}}]
    run_steps(task)
    assert [step for step in measured if step] == [8, 12, 16]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} >= {"step-8", "step-12"}
