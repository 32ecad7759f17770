"""Forwards of fixed lengths: a row's log-probability has the same bits whatever it is computed with.

`GpuRounding` stands in for a GPU, whose products round by their shape.
"""

from dataclasses import replace

import pytest
import torch

from boresight.data.batching import micro_batches
from boresight.models.eval_mode import arithmetic
from boresight.models.packed import head as head_file
from boresight.models.packed import last_layer, packing
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import BLOCK, filled_forwards, filled_length, pack
from boresight.models.reference.frozen import store_reference
from tests.models.tiny_decoders import CONFIGS, build, make_row, random_rows
from tests.rounding import GpuRounding

CPU = torch.device("cpu")


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Fill forwards as on CUDA; groups of 8 positions in the head."""
    monkeypatch.setattr(packing, "fills", lambda device: True)
    monkeypatch.setattr(head_file, "fills", lambda device: True)
    monkeypatch.setattr(last_layer, "fills", lambda device: True)
    monkeypatch.setattr(head_file, "ROWS", 8)


@pytest.mark.parametrize(
    ("full", "lengths"),
    [
        (4096, {1: 1024, 1024: 1024, 1025: 2048, 2049: 4096, 4096: 4096, 4097: 8192}),
        (1000, {1: 256, 257: 512, 513: 1024, 1025: 2048}),  # in whole blocks of 128, at least two
        (None, {1: 256, 257: 384, 4097: 4224}),
    ],
)
def test_few_lengths(full, lengths):
    with filled_forwards(full):
        assert {tokens: filled_length(tokens) for tokens in lengths} == lengths
    assert filled_length(300) == 384


def test_the_filler_is_short_spans_at_positions_that_every_model_has():
    with filled_forwards(2048):
        batch = pack([make_row([1, 2], [3, 4, 5])], 1, CPU, fill=True)
    assert batch.ids.shape == (1, 512) and batch.ids[0, 5:].sum() == 0
    assert [span.prompt for span in batch.filler] == [
        slice(5, 133), slice(133, 261), slice(261, 389), slice(389, 512)
    ]  # fmt: skip
    assert batch.positions[0, 5:].max() == BLOCK - 1


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-neox"])
def test_filler_changes_no_value_and_no_gradient(name, as_on_a_gpu, monkeypatch):
    """float64: every gradient as without filler."""
    model, rows = build(CONFIGS[name](), torch.float64), random_rows(5, 2, seed=4)

    def sums_and_gradients():
        sums = completion_logprobs(model, rows, layout="packed").sums
        grads = torch.autograd.grad((sums * torch.arange(1, 11).view(5, 2)).sum(), list(model.parameters()))
        return sums, grads

    with filled_forwards(1024):
        sums, gradients = sums_and_gradients()
    monkeypatch.setattr(packing, "fills", lambda device: False)
    monkeypatch.setattr(head_file, "fills", lambda device: False)
    monkeypatch.setattr(last_layer, "fills", lambda device: False)
    plain, expected = sums_and_gradients()
    torch.testing.assert_close(sums, plain, rtol=1e-11, atol=1e-11)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("trained", [True, False], ids=["trained head", "frozen head"])
def test_a_head_in_groups_of_positions_gives_what_one_product_gives(trained, softcap, monkeypatch):
    """19 positions in groups of 8: the last group is filled up. float64; values, entropies, gradients."""
    monkeypatch.setattr(head_file, "ROWS", 8)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 6, dtype=torch.float64, generator=generator) for n in (19, 50))
    targets = torch.arange(19) % 50
    found = []
    for filled in (True, False):
        monkeypatch.setattr(head_file, "fills", lambda device, filled=filled: filled)
        x, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(trained)
        logps, spread = token_logprobs(x, targets, Head(w, softcap=softcap), entropy=True)
        (logps * torch.linspace(-1, 2, 19)).sum().backward()
        found.append([logps, spread, x.grad, *([w.grad] if trained else [])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


ROWS = [replace(row, id=str(i)) for i, row in enumerate(random_rows(24, 2, seed=5, longest_prompt=30))]


def policy_and_reference(model, tokens):
    """Of every row, the policy's log-probabilities in steps of six rows and the stored reference's of all."""
    with arithmetic(model, "bfloat16", tokens), torch.no_grad():
        stored = store_reference(model, ROWS, tokens)(ROWS)
        steps = [ROWS[i : i + 6] for i in range(0, 24, 6)]
        policy = {
            row.id: sums
            for step in steps
            for group in micro_batches(step, tokens)
            for row, sums in zip(group, completion_logprobs(model, group).sums, strict=True)
        }
    return torch.stack([policy[row.id] for row in ROWS]), stored


def test_equal_lengths_give_log_ratios_of_exactly_zero(as_on_a_gpu):
    """Rows meet in other company each time; all forwards are filled up to 256 tokens."""
    with GpuRounding(coarse=True) as rounding:
        policy, stored = policy_and_reference(build(CONFIGS["llama"]()), 256)
    assert rounding.products > 100
    assert torch.equal(policy, stored)


def test_without_filler_the_same_rows_differ(monkeypatch):
    """So the test above can fail: by its shape alone a forward changes an answer by more than 0.01 nats."""
    with GpuRounding(coarse=True):
        policy, stored = policy_and_reference(build(CONFIGS["llama"]()), 256)
    assert (policy - stored).abs().max() > 0.01


def test_sums_over_a_completion_do_not_depend_on_the_order_of_its_tokens():
    """As on CUDA, where tokens are added as they come: a million small numbers beside one large."""
    values = torch.cat([torch.tensor([1e4]), torch.full((100_000,), 1e-3)])
    batch = pack([make_row([1], [2])], 1, CPU)
    for order in (torch.arange(100_001), torch.arange(100_001).flip(0)):
        many = replace(batch, owner=torch.zeros(100_001, dtype=torch.int64))
        assert many.per_completion(values[order]).item() == pytest.approx(10_100.0, abs=1e-3)
