"""Runs in bfloat16 with the rounding of a GPU: they start, resume, and use a stored reference again.

`GpuRounding` is coarse here, so that a model of two layers shows the noise of one of thirty.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from boresight.checks.run import initial_loss as first_checks
from boresight.checks.run.initial_loss import FirstStep
from boresight.core.errors import UserError
from boresight.findings.finding import run_checks
from boresight.models.eval_mode import arithmetic
from boresight.models.packed import head, last_layer, packing
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.precision import token_noise
from boresight.models.reference import cache
from boresight.models.reference.cache import cached_reference
from boresight.models.reference.frozen import LiveReference, store_reference
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.loop import Batch, run_steps
from boresight.training.mismatched import each_alone, together
from boresight.training.rollouts.sampling import completion
from tests.devices import WIDE
from tests.rounding import GpuRounding
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, random_rows
from tests.training.test_loop import LM_METHODS
from tests.training.test_resume import Halt, halt_at, train_lines, weights

SETTINGS = (
    "model.dtype=bfloat16",
    "train.tokens_per_forward=4096",  # as on a GPU, so that every forward is filled up to one length
    "train.batch=8",
    "train.steps=5",
    "train.save_every=2",
)


def policy_of(seed=0):
    return tiny_model(**WIDE, initializer_range=0.2, seed=seed)


def task_in(folder, method, *settings, stored, policy=None, reference_of=None, temperature=1.0):
    """A task with its reference stored in `stored`, or with rows that the float32 policy sampled."""
    policy = policy or policy_of()
    task = make_task(folder, method, *SETTINGS, *settings, policy=policy)
    if task.kind.online:
        given, steps = task.batches.rows, task.batches.steps
        task.batches = SimpleNamespace(
            steps=steps, batch=lambda step: Batch(fresh_rows(policy, given[:4], temperature))
        )
        if task.reference is not None:
            limit = task.tokens_per_forward
            task.reference = LiveReference(reference_of or policy_of(), limit)
    elif task.reference is not None:
        rows = together([*task.batches.rows, *task.eval_rows])
        model, limit = reference_of or policy, task.tokens_per_forward
        with arithmetic(model, "bfloat16", limit):
            own = cached_reference(model, rows, limit, folder=stored)
        task.reference = each_alone(own, [*task.batches.rows, *task.eval_rows])
    return task


def fresh_rows(policy, rows, temperature):
    """The rows with completions that `policy` sampled in float32, and their log-probabilities."""
    k = len(rows[0].completions)
    params = SamplingParams(max_new_tokens=12, seed=0, temperature=temperature)
    drawn = sample(policy, [row.prompt for row in rows], params, k)
    return [
        replace(row, completions=tuple(map(completion, group)))
        for row, group in zip(rows, drawn, strict=True)
    ]


@pytest.fixture(params=[True, False], ids=["filled", "any length"])
def filled(request, monkeypatch):
    """Forwards of few lengths, as on CUDA, or of any, as where a model runs padded."""
    for module in (packing, head, last_layer):
        monkeypatch.setattr(module, "fills", lambda device: request.param)
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("method", LM_METHODS)
def test_five_steps_a_cut_and_a_stored_reference(tmp_path, method, filled):
    """A whole run; one cut at step 3 and resumed, to the same bits; one with forwards of another length."""
    with GpuRounding(coarse=True):
        whole = task_in(tmp_path / "whole", method, stored=tmp_path)
        run_steps(whole)
        cut = halt_at(task_in(tmp_path / "cut", method, stored=tmp_path), step=3)
        with pytest.raises(Halt):
            run_steps(cut)
        resumed = task_in(tmp_path / "cut", method, stored=tmp_path)
        run_steps(resumed, tmp_path / "cut" / "checkpoints" / "step-2")
        run_steps(task_in(tmp_path / "other", method, "train.tokens_per_forward=100", stored=tmp_path))
    for name, weight in weights(whole).items():
        assert torch.equal(weights(resumed)[name], weight), name
    assert train_lines(tmp_path / "cut")[-2:] == train_lines(tmp_path / "whole")[-2:]
    assert len(list(tmp_path.glob("*.sqlite"))) == (whole.reference is not None and not whole.kind.online)


@pytest.mark.parametrize("method", ["dpo", "kto", "ipo"])
def test_the_first_log_ratios_are_zero_where_lengths_are_equal(tmp_path, method, filled):
    said = []
    with GpuRounding(coarse=True):
        task = task_in(tmp_path, method, "train.steps=1", stored=tmp_path)
        task.tracker.say = lambda line, **style: said.append(line)
        run_steps(task)
    assert ("largest |log-ratio| 0.0e+00" in said[0]) == filled


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto", "rloo", "grpo"])
def test_another_reference_is_refused(tmp_path, method):
    """Of the same shape with other random weights; groups are compared with it where there is a KL term."""
    settings = ["method.beta=0.1"] if method in ("rloo", "grpo") else []
    with GpuRounding(coarse=True):
        task = task_in(tmp_path, method, *settings, stored=tmp_path, reference_of=policy_of(seed=1))
        with pytest.raises(UserError, match="the policy is not the reference before training"):
            run_steps(task)


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_another_temperature_is_refused(tmp_path, method):
    with GpuRounding(coarse=True):
        task = task_in(tmp_path, method, stored=tmp_path, temperature=0.7)
        with pytest.raises(UserError, match="step 0: sampler and trainer differ by"):
            run_steps(task)


def test_a_stored_reference_of_another_model_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "reference_fingerprint", lambda model: "same")
    with GpuRounding(coarse=True):
        task_in(tmp_path / "a", "dpo", stored=tmp_path, reference_of=policy_of(seed=1))
        with pytest.raises(UserError, match=r"but the model gives .*; delete the file"):
            task_in(tmp_path / "b", "dpo", stored=tmp_path)


def test_a_check_before_training_allows_rounding_and_no_other_model():
    """The reference was computed in forwards of 40 tokens. Without allowance rounding is a fault."""
    policy, rows, noise = policy_of(), random_rows(8, 2), token_noise("bfloat16")

    def found(reference, noise):
        first = FirstStep(policy, lambda _: reference, rows, noise)
        return [f.name for f in run_checks(first_checks, first)]

    with GpuRounding(coarse=True), arithmetic(policy, "bfloat16"):
        own, other = (store_reference(model, rows, 40)(rows) for model in (policy, policy_of(seed=1)))
        assert found(own, noise) == []
        assert found(own, 0.0) == found(other, noise) == ["reference-not-policy"]


def test_the_emulated_noise_is_that_of_a_large_model():
    """0.01 to 0.1 nats per token between two orders of summation."""
    model = policy_of()
    rows = fresh_rows(model, random_rows(16, 2), 1.0)
    found = []
    for salt in (0, 1):
        with GpuRounding(coarse=True, salt=salt), arithmetic(model, "bfloat16"), torch.no_grad():
            found.append(completion_logprobs(model, rows, tokens=True).tokens)
    noise = (found[0] - found[1]).flatten()
    assert 0.01 < noise[noise != 0].std() < 0.1
