"""The trained model is measured as the run computes."""

from statistics import mean

import pytest

from boresight.config.lora import LoraConfig
from boresight.core.schema import Prompt
from boresight.models.lora import adapters_off, attach
from boresight.runs import outcome
from boresight.runs.outcome import Snapshot, likelihood_of_answers
from boresight.training.probes import likelihood
from boresight.training.probes.answers import GeneratedAnswer
from boresight.training.probes.likelihood import logps_per_token
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task

PROMPTS = [Prompt([{"role": "user", "content": text}], id=f"p{i}") for i, text in enumerate(("Tea?", "Hot?"))]
BEFORE, AFTER = ["Warm.", "Yes."], ["A warm drink.", "Very."]


def snapshot(texts):
    return Snapshot([GeneratedAnswer(text, None) for text in texts], {})


def lora_task(folder, *settings):
    tokenizer = tiny_tokenizer("chatml")
    policy = attach(tiny_model(vocab=len(tokenizer)), LoraConfig(dropout=0), seed=0)
    task = make_task(folder, "sft", "model.dtype=bfloat16", *settings, policy=policy)
    task.tokenizer = tokenizer
    return task


def test_answers_are_scored_in_the_precision_of_the_run(tmp_path):
    """On a GPU the kernels of another precision were neither tried out nor chosen for the run."""
    task = lora_task(tmp_path)
    (found,) = likelihood_of_answers(task, PROMPTS, snapshot(BEFORE), snapshot(AFTER))
    turns = [prompt.prompt for prompt in PROMPTS]
    with adapters_off(task.policy):
        exact = logps_per_token(task.policy, task.tokenizer, turns, AFTER, 64)
        with task.arithmetic():
            rounded = logps_per_token(task.policy, task.tokenizer, turns, AFTER, 64)
    assert found.after.value == pytest.approx(mean(rounded), abs=1e-9)
    assert abs(mean(rounded) - mean(exact)) > 1e-7


def test_answers_are_scored_in_forwards_of_the_run_s_size(tmp_path, monkeypatch):
    """`train.tokens_per_forward` is what the device has memory for."""
    sizes = []
    score = likelihood.completion_logprobs
    monkeypatch.setattr(
        likelihood, "completion_logprobs", lambda m, rows: (sizes.append(len(rows)), score(m, rows))[1]
    )
    task = lora_task(tmp_path, "train.tokens_per_forward=16")
    outcome.likelihood_of_answers(task, PROMPTS, snapshot(BEFORE), snapshot(AFTER))
    assert sizes == [1, 1, 1, 1]
