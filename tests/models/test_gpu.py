"""What a GPU computes: packed against padded, sampled against trained, in float32 and bfloat16.

Without a GPU the same tests run on the CPU, where they show that they are right themselves.
`make test-gpu` runs them where they matter.
"""

import numpy as np
import pytest
import torch
import transformers as hf

from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.fast import kernels_of_run
from boresight.models.packed import head
from boresight.models.packed.fused_head import fused_token_logprobs
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.reference.cache import cached_reference
from boresight.models.sampler.sample import SamplingParams, sample
from tests.devices import WIDE, on_each_device
from tests.models.plain_varlen import stand_in_for_flash
from tests.models.tiny_decoders import GROUPED, build, make_row, random_rows

PRECISIONS = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
CLOSE = {"cpu": (1e-5, 1e-4), "cuda": (1e-4, 1e-3)}
"""Largest relative error of values and of gradients; a GPU's exponentials and sums are coarser."""
ROWS = random_rows(12, 2, seed=3, longest_prompt=60, longest_completion=40)


@pytest.fixture
def fast_kernels_of(monkeypatch):
    """Calls with a device prepare `model.kernels: fast` there; a CPU computes what the kernels do."""
    return lambda device: None if device == "cuda" else stand_in_for_flash(monkeypatch)


def model_on(device, kind=hf.LlamaConfig, **settings):
    return build(kind(**GROUPED | WIDE | settings)).to(device)


def sums_and_gradients(model, rows, layout, dtype="float32", kernels="proven"):
    """Log-probabilities, and the gradient of their sum of squares by the number of tokens.

    Fast kernels of a GPU compile the layers.
    """
    model.zero_grad(set_to_none=True)
    tokens = 8192 if kernels == "fast" else None
    with arithmetic(model, dtype, tokens, kernels):
        logps = completion_logprobs(model, rows, layout=layout)
    (logps.sums / logps.lengths.clamp(min=1)).square().sum().backward()
    return logps.sums.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}


def relative(a, b):
    """Largest difference, as a share of the largest value."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


@on_each_device
@pytest.mark.parametrize("kind", [hf.LlamaConfig, hf.Qwen2Config, hf.GPTNeoXConfig])
def test_packed_rows_give_what_padded_ones_give(kind, device):
    """float32: values and every gradient, as shares of the largest entry."""
    settings = {"num_key_value_heads": None} if kind is hf.GPTNeoXConfig else {}
    model = model_on(device, kind, **settings)
    assert isinstance(packed_plan(model, ROWS), PackedPlan), packed_plan(model, ROWS)
    fast, fast_grads = sums_and_gradients(model, ROWS, "packed")
    plain, plain_grads = sums_and_gradients(model, ROWS, "padded")
    values, gradients = CLOSE[device]
    assert relative(fast, plain) < values
    for name, gradient in plain_grads.items():
        assert relative(fast_grads[name], gradient) < gradients, name


@on_each_device
def test_packed_rows_in_bfloat16_err_no_more_than_padded_ones(device):
    """Both round to eight bits; against float32 the packed error may be twice the padded one."""
    model = model_on(device)
    exact, exact_grads = sums_and_gradients(model, ROWS, "padded")
    plain, plain_grads = sums_and_gradients(model, ROWS, "padded", "bfloat16")
    fast, fast_grads = sums_and_gradients(model, ROWS, "packed", "bfloat16")
    assert relative(fast, exact) < 2 * relative(plain, exact) + 0.005
    for name, gradient in exact_grads.items():
        allowed = 2 * relative(plain_grads[name], gradient) + 0.02
        assert relative(fast_grads[name], gradient) < allowed, name


@on_each_device
@pytest.mark.parametrize(
    ("heads", "shared", "width", "layout"),
    [(14, 2, 64, "packed"), (9, 3, 64, "padded"), (8, 8, 80, "padded"), (12, 2, 128, "padded")],
)
def test_fast_kernels_in_bfloat16_err_no_more_than_proven_ones(
    device, heads, shared, width, layout, fast_kernels_of
):
    """Against float32 their error may be twice that of the proven kernels, packed for one shape of heads,
    which compiles, and padded for the others; for values and every gradient."""
    fast_kernels_of(device)
    shape = {"num_attention_heads": heads, "num_key_value_heads": shared, "head_dim": width}
    model = model_on(device, hidden_size=8 * heads, max_position_embeddings=1024, **shape)
    longer = {"cpu": (30, 20), "cuda": (400, 300)}[device]
    rows = [*random_rows(6, 2, 5, 60, 40), *random_rows(4, 2, 6, *longer)]
    exact, exact_grads = sums_and_gradients(model, rows, "padded")
    proven, proven_grads = sums_and_gradients(model, rows, layout, "bfloat16")
    fast, fast_grads = sums_and_gradients(model, rows, "packed", "bfloat16", "fast")
    with arithmetic(model, "bfloat16", 8192, "fast"):
        plan = packed_plan(model, rows)
    assert isinstance(plan, PackedPlan) and plan.compiled == (device == "cuda")
    assert relative(fast, exact) < 2 * relative(proven, exact) + 0.005
    for name, gradient in exact_grads.items():
        allowed = 2 * relative(proven_grads[name], gradient) + 0.02
        assert relative(fast_grads[name], gradient) < allowed, name


@on_each_device
def test_fast_kernels_give_a_row_the_same_bits_in_any_company(device, fast_kernels_of):
    """In forwards of one length: with a reference from other micro-batches, the log-ratio at step 0 is 0.

    Products of a CPU may round a row by its place.
    """
    fast_kernels_of(device)
    model = model_on(device)
    with arithmetic(model, "bfloat16", 8192, "fast"), torch.no_grad():  # filled up to a quarter, 2,048 tokens
        together = completion_logprobs(model, ROWS).sums
        backward = completion_logprobs(model, ROWS[::-1]).sums.flip(0)
        some = completion_logprobs(model, ROWS[3:9]).sums
    same = 0 if device == "cuda" else 0.1
    torch.testing.assert_close(backward, together, rtol=0, atol=same)
    torch.testing.assert_close(some, together[3:9], rtol=0, atol=same)


@on_each_device
def test_a_row_alone_gives_what_it_gives_in_company(device):
    model = model_on(device)
    together, _ = sums_and_gradients(model, ROWS, "packed")
    for i in (0, 7):
        alone, _ = sums_and_gradients(model, [ROWS[i]], "packed")
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)


@on_each_device
@pytest.mark.parametrize("trained", [True, False], ids=["full", "frozen head"])
def test_a_vocabulary_of_many_tiles(device, trained, monkeypatch):
    """Head tiles smaller than the vocabulary, whatever their size is on this device."""
    monkeypatch.setattr(head, "TILE_ELEMENTS", 1)  # widths of 256
    monkeypatch.setattr(head, "CUDA_TILE_ELEMENTS", 1)
    model = model_on(device, vocab_size=1000)
    model.lm_head.weight.requires_grad_(trained)
    fast = completion_logprobs(model, ROWS, layout="packed").sums
    plain = completion_logprobs(model, ROWS, layout="padded").sums
    values, gradients = CLOSE[device]
    assert relative(fast, plain) < values
    for ours, theirs in zip(
        torch.autograd.grad(fast.sum(), model.model.norm.weight),
        torch.autograd.grad(plain.sum(), model.model.norm.weight),
        strict=True,
    ):
        assert relative(ours, theirs) < gradients


@on_each_device
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("trained", [True, False], ids=["full", "frozen head"])
def test_the_fused_head_gives_what_the_proven_one_gives(device, trained, softcap, monkeypatch):
    """In bfloat16, over several tiles and two groups of positions; compiled on a GPU."""
    monkeypatch.setattr(head, "TILE_ELEMENTS", 1)
    monkeypatch.setattr(head, "CUDA_TILE_ELEMENTS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 64, generator=generator) for n in (700, 1000))
    targets, found = torch.arange(700, device=device) * 7 % 1000, []
    for function in (fused_token_logprobs, token_logprobs):
        x = hidden.to(device, torch.bfloat16).requires_grad_()
        w = (weight / 8).to(device, torch.bfloat16).requires_grad_(trained)
        logps, spread = function(x, targets, Head(w, softcap=softcap), entropy=True)
        logps.mean().backward()
        found.append([logps.detach(), spread, x.grad, *([w.grad] if trained else [])])
    (logps, spread, *gradients), (expected, other, *proven) = found
    torch.testing.assert_close(logps, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(spread, other, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(gradients, proven, strict=True):
        assert relative(ours.float(), theirs.float()) < 0.02


@on_each_device
@pytest.mark.parametrize("kernels", ["proven", "fast"])
def test_a_training_forward_gives_samples_the_probability_they_were_drawn_with(device, kernels):
    """Prompts of several lengths, two samples each, more than fit at once: rows end and others enter. Fast
    kernels capture a step of each shape on a GPU, and replay it; both draw the same samples."""
    model = model_on(device)
    prompts = [np.arange(3, 3 + n, dtype=np.int32) for n in (2, 9, 17, 30)]
    params = SamplingParams(max_new_tokens=40, seed=0, stop_token_ids=(5, 6))
    usual = sample(model, prompts, params, 2, max_batch=3)
    with kernels_of_run(kernels):
        groups = sample(model, prompts, params, 2, max_batch=3)
    for one, other in zip(groups, usual, strict=True):
        assert [s.ids.tolist() for s in one] == [s.ids.tolist() for s in other]
    rows = [make_row(p, *(s.ids for s in group)) for p, group in zip(prompts, groups, strict=True)]
    drawn = torch.tensor([[s.logps.sum() for s in group] for group in groups])
    trained = completion_logprobs(model, rows, layout="packed").sums.cpu().float()
    torch.testing.assert_close(trained, drawn, rtol=1e-4, atol=1e-3)


@on_each_device
@PRECISIONS
def test_the_stored_reference_is_what_the_policy_gives_at_first(device, dtype, tmp_path):
    """Computed alike, policy and reference differ by nothing that is not a difference between models."""
    model = model_on(device)
    with arithmetic(model, dtype):
        stored = cached_reference(model, ROWS, 400, folder=tmp_path)(ROWS)
        now = completion_logprobs(model, ROWS).sums.detach().float().cpu()
    torch.testing.assert_close(now, stored, rtol=0, atol=1e-3 if dtype == "float32" else 0.1)


@pytest.mark.gpu
def test_batches_of_any_length_share_one_compiled_kernel():
    from torch._dynamo.utils import counters

    model = model_on("cuda")
    for seed in (1, 2):  # the first lengths may compile
        sums_and_gradients(model, random_rows(12, 2, seed, 60, 40), "packed")
    before = counters["stats"]["unique_graphs"]
    for seed in range(3, 9):
        sums_and_gradients(model, random_rows(5 * seed, 2, seed, 60, 40), "packed")
    assert counters["stats"]["unique_graphs"] == before
