"""Attention by two calls over sequences (`model.kernels: fast`), against one softmax under a dense mask.

On a CPU the calls are written out in `plain_varlen`; the operators of CUDA are checked on tensors without
memory, and `test_gpu.py` runs them where there is a GPU.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from torch._subclasses.fake_tensor import FakeTensorMode

from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.fast import kernels_of_run
from boresight.models.packed import shared_prefix
from boresight.models.packed.attention import UnsupportedAttention, packed_attention
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import pack
from boresight.models.packed.plan import packed_plan
from boresight.models.packed.shared_prefix import (
    PrefixCalls,
    backward_of,
    forward_of,
    prefix_calls,
    prompts_first,
    shared_prefix_attention,
)
from boresight.models.packed.varlen_flash import Sequences, varlen_backward, varlen_forward
from boresight.models.reference.cache import cached_reference
from boresight.models.reward import completion_outputs
from tests.models.plain_varlen import stand_in_for_flash
from tests.models.tiny_decoders import CONFIGS, GROUPED, build, make_row, random_rows

CPU = torch.device("cpu")
CAUSAL = SimpleNamespace(is_causal=True)
SCALING = 0.3
HEADS = [(14, 2, 64), (9, 3, 64), (8, 8, 80), (12, 2, 128)]
"""Heads of queries, of keys, and their width: Qwen2.5-0.5B, SmolLM2-135M, Phi-2's width, Qwen2.5-1.5B."""
ONE = [make_row([1, 2, 3], [4, 5], [6]), make_row([7], [], []), make_row([8, 9], [], [3])]
"""Rows with one-token parts, and prompts without completions."""
ROWS = [*random_rows(5, 3, seed=4), make_row([5, 6], [], [], []), *random_rows(3, 3, seed=5)]


@pytest.fixture
def plain_calls(monkeypatch):
    stand_in_for_flash(monkeypatch)


def fast_pack(rows, fill=False, device=CPU):
    with kernels_of_run("fast"):
        return pack(rows, len(rows[0].completions), device, fill=fill)


def random_qkv(tokens, heads, shared, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(1, tokens, heads, width), (1, tokens, shared, width), (1, tokens, shared, width)]
    made = [torch.randn(s, dtype=torch.float64, generator=generator).to(dtype) for s in shapes]
    return [x.transpose(1, 2).requires_grad_() for x in made]  # token by token in memory, as models make them


def visible(batch):
    """Whether each token attends to each other one, `(T, T)`, by what the layout is for."""
    seen = torch.zeros(2 * batch.ids.shape[1:], dtype=torch.bool)
    for span in (*batch.spans, *batch.filler):
        for own, before in ((span.prompt, False), *((c, True) for c in span.completions)):
            seen[own, own] = torch.ones(own.stop - own.start, own.stop - own.start).tril().bool()
            if before:
                seen[own, span.prompt] = True
    return seen


def dense_attention(query, key, value, batch):
    """One softmax over all T tokens, `(1, T, heads, d)`."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.transpose(2, 3) * SCALING).masked_fill(~visible(batch), -math.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def test_the_order_of_tokens_and_the_sequences_of_both_calls_by_hand():
    """Prompts of 3, 1 and 2 tokens; the second row has no token to score, so its prompt comes last."""
    rows = [[3, 2, 1], [1, 0, 0], [2, 0, 1]]
    assert prompts_first(rows) == [[0, 5, 7], [9, 10, 10], [3, 8, 8]]
    calls = prefix_calls(rows, [4], CPU)
    assert calls.segments.bounds.tolist() == [0, 3, 5, 7, 8, 9, 10, 14]
    assert calls.heads.bounds.tolist() == [0, 3, 5] and calls.tails.bounds.tolist() == [0, 3, 4]
    assert (calls.head_tokens, calls.tail_tokens) == (5, 4)
    assert {s.longest for s in (calls.segments, calls.heads, calls.tails)} == {128}
    assert prefix_calls([[129, 2]], [], CPU).segments.longest == 256
    assert calls.tensors.numbers.tolist() == [8, 3, 3, 128, 128, 128, 5, 4]
    assert str(PrefixCalls.read(*calls.tensors)) == str(calls)


def test_a_packed_batch_in_that_order():
    batch = fast_pack(ONE)
    assert batch.ids.tolist() == [[1, 2, 3, 8, 9, 4, 5, 6, 3, 7]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 3, 4, 3, 2, 0]]
    assert batch.scored[batch.predictors].tolist() == [2, 5, 2, 4] and batch.targets.tolist() == [4, 5, 6, 3]
    assert batch.owner.tolist() == [0, 0, 1, 5] and batch.short is None


def test_equal_scores_average_the_values_of_prompt_and_own_completion(plain_calls):
    """Keys of 0 give equal weights. The second token of a completion sees 1 and 2 of the prompt, 5 and 6 of
    its own: mean 3.5, from 1.5 and 5.5 with 2 keys each. The first sees 1, 2 and 5: mean 8/3."""
    batch = fast_pack([make_row([1, 2], [3, 4], [5])])
    value = torch.tensor([1.0, 2, 5, 6, 9]).view(1, 1, 5, 1).expand(1, 1, 5, 8)
    query, key = torch.ones(1, 1, 5, 8), torch.zeros(1, 1, 5, 8)
    out = shared_prefix_attention(query, key, value, batch.calls.tensors, 1.0)
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([1, 1.5, 8 / 3, 3.5, 4]))


@pytest.mark.parametrize(("heads", "shared", "width"), HEADS)
@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("rows", [ROWS, ONE, [make_row([1], [2])], [make_row([1, 2], []), make_row([3], [])]])
def test_values_and_gradients_equal_dense_masked_attention(plain_calls, rows, fill, heads, shared, width):
    """In float64, with rows of every kind: one-token parts, and no token in any completion at all."""
    batch = fast_pack(rows, fill)
    inputs = random_qkv(batch.ids.shape[1], heads, shared, width)
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING)
    expected = dense_attention(*inputs, batch)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for a, b in zip(*(torch.autograd.grad(x, inputs, upstream) for x in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_gradients_of_an_upstream_that_is_no_dense_tensor(plain_calls):
    """`sum` hands on an expanded gradient, which the kernels could not read."""
    batch = fast_pack(ONE)
    inputs = random_qkv(batch.ids.shape[1], 4, 2, 8)
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING)
    expected = dense_attention(*inputs, batch)
    for a, b in zip(*(torch.autograd.grad(x.sum(), inputs) for x in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_rows_written_out_lie_in_the_same_order():
    """By which a model is tried out exactly before its kernels are."""
    batch = replace(fast_pack(ROWS, fill=True), plain=True)
    inputs = random_qkv(batch.ids.shape[1], 4, 2, 8)
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING)
    torch.testing.assert_close(got, dense_attention(*inputs, batch), rtol=1e-12, atol=1e-12)


def test_an_empty_prompt_is_refused_in_this_order_too():
    row = replace(make_row([1], [2, 3]), prompt=np.array([], np.int32))
    with pytest.raises(ValueError, match=r"row .* has an empty prompt"):
        fast_pack([row])


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "gemma2"])
def test_a_model_gives_the_same_log_probabilities_and_gradients(plain_calls, name):
    """Whole models in float64, against the padded layout."""
    model, rows = build(CONFIGS[name](), torch.float64), random_rows(6, 2, seed=7)
    found = []
    for kernels, layout in (("fast", "packed"), ("proven", "padded")):
        model.zero_grad()
        with arithmetic(model, "auto", kernels=kernels):
            sums = completion_logprobs(model, rows, layout=layout).sums
        sums.square().sum().backward()
        found.append((sums.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}))
    (fast, fast_grads), (plain, plain_grads) = found
    torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)
    for parameter, gradient in plain_grads.items():
        apart = (fast_grads[parameter] - gradient).abs().max()
        assert apart <= 1e-6 * gradient.abs().max(), parameter  # Cohere's norms round to float32


def test_the_calls_are_what_a_run_with_fast_kernels_attends_by(plain_calls, monkeypatch):
    """Once in each of two layers, after the probe; without the key they are not called."""
    made = []
    attend = shared_prefix.forward_of
    monkeypatch.setattr(shared_prefix, "forward_of", lambda *xs: made.append(xs) or attend(*xs))
    model, rows = build(hf.LlamaConfig(**GROUPED)), random_rows(3, 2, seed=1)
    with arithmetic(model, "bfloat16"):
        completion_logprobs(model, rows, layout="packed")
    assert not made
    with arithmetic(model, "bfloat16", kernels="fast"):
        packed_plan(model, rows)
        made.clear()
        completion_logprobs(model, rows, layout="packed")
    assert [query.dtype for query, *_ in made] == [torch.bfloat16] * 2


def test_a_reward_model_reads_the_same_last_tokens(plain_calls):
    config = hf.LlamaConfig(**GROUPED, num_labels=1)
    torch.manual_seed(0)
    model = hf.LlamaForSequenceClassification(config).double().eval()
    rows = random_rows(4, 2, seed=2)
    with arithmetic(model, "auto", kernels="fast"):
        fast = completion_outputs(model, rows, layout="packed")
    torch.testing.assert_close(fast, completion_outputs(model, rows, layout="padded"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (CONFIGS["gemma2"], "flash attention does not cap scores softly"),
        (lambda: hf.LlamaConfig(**GROUPED, head_dim=12), "no heads of width 12"),
        (lambda: hf.LlamaConfig(**GROUPED, head_dim=264), "no heads of width 264"),
        (lambda: hf.LlamaConfig(**GROUPED, attention_dropout=0.1), "at a rate of 0.1"),
        (lambda: hf.MistralConfig(**GROUPED, sliding_window=20), "exceeds the sliding window of 20"),
    ],
)
def test_a_model_that_flash_attention_does_not_serve_is_refused(plain_calls, config, reason):
    """Where `proven` would take another kernel, or pad with a warning."""
    model, rows = build(config()), [make_row(list(range(3, 18)), [4] * 9)]
    with arithmetic(model, "bfloat16", kernels="fast"), pytest.raises(UserError, match=reason) as error:
        completion_logprobs(model, rows)
    assert str(error.value).startswith("model.kernels: ") and "model.kernels=proven" in str(error.value)
    with arithmetic(model, "bfloat16"):
        assert completion_logprobs(model, rows).sums.isfinite().all()


def test_a_plan_is_found_for_each_kind_of_kernels(plain_calls):
    """A refusal of fast kernels does not outlive their choice, nor the plan of the proven ones carry over."""
    model, rows = build(CONFIGS["gemma2"]()), random_rows(2, 2, seed=1)
    plan = packed_plan(model, rows)
    assert not isinstance(plan, str)
    with kernels_of_run("fast"), pytest.raises(UserError, match="softly"):
        packed_plan(model, rows)
    assert packed_plan(model, rows) == plan


@pytest.mark.parametrize("options", [{"dropout": 0.1}, {"softcap": 1.5}])
def test_what_the_calls_would_leave_out_is_refused(options):
    batch = fast_pack(ONE)
    with pytest.raises(UnsupportedAttention):
        packed_attention(CAUSAL, *random_qkv(10, 4, 2, 8), batch, scaling=SCALING, **options)


def test_a_reference_is_stored_for_each_kind_of_kernels(plain_calls, tmp_path):
    """They differ by rounding, and the log-ratio of the first step would be that instead of 0."""
    model = build(hf.LlamaConfig(**GROUPED))
    for kernels in ("proven", "fast"):
        with arithmetic(model, "bfloat16", kernels=kernels):
            cached_reference(model, ROWS, 400, folder=tmp_path)
    names = sorted(path.stem.partition("-")[2] for path in tmp_path.glob("*.sqlite"))
    assert names == ["bfloat16", "bfloat16-fast"]


def has_operators():
    """Whether this torch has the two operators with the arguments that are passed by place."""
    names = ("_flash_attention_forward", "_flash_attention_backward")
    if not all(hasattr(torch.ops.aten, name) for name in names):
        return False
    last = [[a.name for a in getattr(torch.ops.aten, n).default._schema.arguments] for n in names]
    return last[0][9] == "return_debug_mask" and last[1][12:14] == ["rng_state", "unused"]


@pytest.mark.skipif(not has_operators(), reason="this torch has no such flash attention operators")
@pytest.mark.parametrize(("heads", "shared", "width"), HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_operators_of_cuda_take_and_return_these_shapes(dtype, heads, shared, width):
    """On fake CUDA tensors, which have shapes, types and devices, and no memory."""
    with FakeTensorMode():
        query = torch.empty(7, heads, width, dtype=dtype, device="cuda")
        key, value = (torch.empty(5, shared, width, dtype=dtype, device="cuda") for _ in range(2))
        queries, keys = (Sequences(torch.empty(3, dtype=torch.int32, device="cuda"), 128) for _ in range(2))
        rule = {"causal": False, "scaling": SCALING}
        out, lse = varlen_forward(query, key, value, queries, keys, **rule)
        assert out.shape == query.shape and lse.shape == (heads, 7) and lse.dtype == torch.float32
        grads = varlen_backward(out, query, key, value, out, lse, queries, keys, **rule)
        for grad, of in zip(grads, (query, key, value), strict=True):
            assert (grad.shape, grad.dtype, grad.device) == (of.shape, of.dtype, of.device)


def on_cuda(calls):
    """The same calls with bounds on a CUDA device, without memory."""

    def moved(sequences):
        bounds = torch.empty(len(sequences.bounds), dtype=torch.int32, device="cuda")
        return replace(sequences, bounds=bounds)

    names = ("segments", "heads", "tails")
    return replace(calls, **{name: moved(getattr(calls, name)) for name in names})


@pytest.mark.skipif(not has_operators(), reason="this torch has no such flash attention operators")
@pytest.mark.parametrize("rows", [[[5, 3, 2], [4, 0, 1]], [[5, 0], [3, 0]]], ids=["two calls", "one call"])
def test_both_passes_on_fake_cuda_tensors(rows):
    """An operation between a CUDA tensor and one of the host would raise."""
    calls = prefix_calls(rows, [], CPU)
    with FakeTensorMode():
        calls = on_cuda(calls)
        tokens = sum(map(sum, rows))
        query = torch.empty(tokens, 4, 64, dtype=torch.bfloat16, device="cuda")
        key, value = (torch.empty(tokens, 2, 64, dtype=torch.bfloat16, device="cuda") for _ in range(2))
        out, lse = forward_of(query, key, value, calls, SCALING)
        assert (out.shape, out.dtype, out.device) == (query.shape, query.dtype, query.device)
        grads = backward_of(torch.empty_like(out), query, key, value, out, lse, calls, SCALING)
        for grad, of in zip(grads, (query, key, value), strict=True):
            assert (grad.shape, grad.dtype, grad.device) == (of.shape, of.dtype, of.device)


@pytest.mark.parametrize("rows", [ROWS, ONE, [make_row([1, 2], [])]])
def test_the_operators_are_traced_as_they_compute(plain_calls, rows):
    """Shapes, types and memory layouts that `torch.compile` expects of them, and their gradients."""
    batch = fast_pack(rows)
    tokens = batch.ids.shape[1]
    inputs = [x[0].transpose(0, 1) for x in random_qkv(tokens, 4, 2, 8)]
    torch.library.opcheck(
        torch.ops.boresight.shared_prefix_attention,
        (*(x.detach().requires_grad_() for x in inputs), *batch.calls.tensors, SCALING),
        test_utils=(
            "test_schema",
            "test_autograd_registration",
            "test_faketensor",
            "test_aot_dispatch_static",
        ),
    )


@pytest.mark.gpu
@pytest.mark.parametrize(("heads", "shared", "width"), HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_kernels_of_cuda_against_a_dense_mask_in_float64(dtype, heads, shared, width):
    """Rows beyond a block of 128 tokens too; values and gradients to 1 % of their norm, as 8 bits allow."""
    rows = [*ROWS, *random_rows(4, 3, seed=6, longest_prompt=300, longest_completion=200)]
    batch = fast_pack(rows, fill=True, device=torch.device("cuda"))
    exact = random_qkv(batch.ids.shape[1], heads, shared, width)
    inputs = [x.detach().to("cuda", dtype).requires_grad_() for x in exact]
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING)
    expected = dense_attention(*exact, batch)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad(got, inputs, upstream.to("cuda", dtype))
    for a, b in zip((got, *grads), (expected, *torch.autograd.grad(expected, exact, upstream)), strict=True):
        assert (a.detach().cpu().double() - b).norm() < 0.01 * b.norm()
