"""The packed attention and the chunked head, each against the formula written out with full matrices."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as hf
from torch.autograd import gradcheck
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from boresight.models.packed import flex
from boresight.models.packed import head as head_file
from boresight.models.packed.attention import UnsupportedAttention, install, packed_attention, poisoned_mask
from boresight.models.packed.flex import block_mask, flex_packed_attention, may_attend, visible_pairs
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.packing import pack, whole_blocks
from tests.models.tiny_decoders import GROUPED, build, make_row, random_rows

CAUSAL = SimpleNamespace(is_causal=True)
SCALING = 0.3


def packed(rows):
    return pack(rows, len(rows[0].completions), torch.device("cpu"))


def random_qkv(tokens, heads=4, shared=2, width=8, dtype=torch.float64):
    torch.manual_seed(0)
    shapes = [(1, heads, tokens, width), (1, shared, tokens, width), (1, shared, tokens, width)]
    return [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]


def full_attention(query, key, value, batch, softcap=None):
    """Softmax over a T x T score matrix, the layout's rule as its mask."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * SCALING
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    at = torch.arange(query.shape[2])
    seen = may_attend(batch)(0, 0, at[:, None], at[None, :])
    return (scores.masked_fill(~seen, -math.inf).softmax(-1) @ value).transpose(1, 2)


def test_an_empty_prompt_is_refused_before_any_kernel_sees_it():
    """Nothing would predict the first token of its answer; a kernel of the CPU divides by its length."""
    row = replace(make_row([1], [2, 3]), prompt=np.array([], np.int32))
    with pytest.raises(ValueError, match=r"row .* has an empty prompt"):
        packed([make_row([1], [2]), row])


def test_the_rule_of_the_layout_drawn_out():
    """A prompt of two tokens with completions of two and one, then a prompt of one with one and none."""
    batch = packed([make_row([1, 2], [3, 4], [5]), make_row([6], [7], [])])
    at = torch.arange(7)
    seen = may_attend(batch)(0, 0, at[:, None], at[None, :])
    assert ["".join("x" if s else "." for s in line) for line in seen] == [
        "x......",
        "xx.....",
        "xxx....",
        "xxxx...",
        "xx..x..",
        ".....x.",
        ".....xx",
    ]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert batch.scored[batch.predictors].tolist() == [1, 2, 1, 5]
    assert batch.targets.tolist() == [3, 4, 5, 7]
    assert batch.owner.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("softcap", [None, 0.8])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_packed_attention_equals_full_attention_under_the_mask(k, softcap):
    batch = packed(random_rows(3, k, seed=k))
    inputs = random_qkv(batch.ids.shape[1])
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING, softcap=softcap)
    expected = full_attention(*inputs, batch, softcap)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(expected)
    for a, b in zip(*(torch.autograd.grad(x, inputs, upstream) for x in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_backward_of_the_joined_kernels_against_finite_differences():
    batch = packed([make_row([1, 2, 3], [4, 5], [6]), make_row([7], [8, 9, 1], [])])
    inputs = random_qkv(batch.ids.shape[1], heads=2, shared=1, width=4)

    def attend(*qkv):
        return packed_attention(CAUSAL, *qkv, batch, scaling=SCALING)[0]

    assert gradcheck(attend, inputs, fast_mode=False)


@pytest.mark.parametrize("softcap", [None, 0.8])
def test_the_block_mask_of_flex_attention_follows_the_same_rule(softcap):
    """The kernel that CUDA compiles, here run uncompiled: values only, it has no CPU backward."""
    batch = packed(random_rows(3, 2, seed=1))
    inputs = [t.detach() for t in random_qkv(batch.ids.shape[1], dtype=torch.float32)]
    got = flex_packed_attention(*inputs, batch, SCALING, softcap)
    torch.testing.assert_close(got, full_attention(*inputs, batch, softcap), rtol=1e-5, atol=1e-5)


def long_rows(k, seed):
    """Rows that reach over several blocks of 128 tokens, and some that share one."""
    return random_rows(6, k, seed, longest_prompt=700, longest_completion=400) + random_rows(9, k, seed)


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_block_mask_is_the_one_torch_makes_from_the_rule(k, fill):
    """Counted from where the rows lie, without a table of all pairs, and the same in every entry."""
    batch = pack(long_rows(k, seed=k), k, torch.device("cpu"), fill=fill)
    tokens = batch.ids.shape[1]
    expected = create_block_mask(may_attend(batch), None, None, tokens, tokens, device="cpu")
    got = block_mask(batch)
    assert got.seq_lengths == expected.seq_lengths and expected.full_kv_num_blocks.sum() > 0
    for name in ("num_blocks", "indices"):
        for side in ("kv", "full_kv", "q", "full_q"):
            assert torch.equal(getattr(got, f"{side}_{name}"), getattr(expected, f"{side}_{name}"))


def test_visible_pairs_by_hand():
    """A prompt of 100 with completions of 50 and 20 covers 170 tokens, two blocks of 128.

    In block 0 lie the prompt, 100 * 101 / 2 = 5050 pairs, and 28 tokens of the first completion, each with
    the prompt and its own: 28 * 100 + 28 * 29 / 2 = 3206. From block 1 the other 22 see the prompt and 28
    in block 0: 22 * 128 = 2816, and the 20 of the second completion the prompt: 2000. In block 1 they see
    themselves: 22 * 23 / 2 + 20 * 21 / 2 = 463.
    """
    batch = packed([make_row([1] * 100, [2] * 50, [3] * 20)])
    assert visible_pairs(batch).tolist() == [[5050 + 3206, 0], [2816 + 2000, 463]]


@pytest.mark.parametrize("softcap", [None, 0.8], ids=["joined kernels", "written out"])
def test_tokens_that_fill_up_a_block_change_nothing(softcap):
    rows = random_rows(3, 2, seed=2)
    bare, filled = (pack(rows, 2, torch.device("cpu"), fill=fill) for fill in (False, True))
    tokens, room = bare.ids.shape[1], filled.ids.shape[1]
    assert room == 256 and filled.spans == bare.spans and torch.equal(filled.predictors, bare.predictors)
    inputs = random_qkv(room)
    cut = [t[:, :, :tokens].detach().requires_grad_() for t in inputs]
    expected, _ = packed_attention(CAUSAL, *cut, bare, scaling=SCALING, softcap=softcap)
    got, _ = packed_attention(CAUSAL, *inputs, filled, scaling=SCALING, softcap=softcap)
    torch.testing.assert_close(got[:, :tokens], expected, rtol=1e-12, atol=1e-12)
    assert got.isfinite().all()
    grads = torch.autograd.grad(got[:, :tokens].square().sum(), inputs)
    for a, b in zip(grads, torch.autograd.grad(expected.square().sum(), cut), strict=True):
        torch.testing.assert_close(a[:, :, :tokens], b, rtol=1e-10, atol=1e-12)
        assert a[:, :, tokens:].abs().max() == 0


def test_whole_blocks():
    assert [whole_blocks(n) for n in (1, 128, 256, 257, 1000)] == [256, 256, 256, 384, 1024]


def test_one_graph_of_flex_attention_serves_every_length():
    """Traced as on CUDA, with dynamic shapes, and counted; what is traced is not compiled here."""
    traced = []

    def count(graph, inputs):
        traced.append(graph)
        return graph.forward

    kernel = torch.compile(flex_attention, dynamic=True, backend=count)
    for seed in range(6):
        batch = pack(long_rows(2, seed), 2, torch.device("cpu"), fill=True)
        inputs = [t.detach() for t in random_qkv(batch.ids.shape[1], width=16, dtype=torch.float32)]
        with torch.no_grad():
            kernel(*inputs, block_mask=block_mask(batch), scale=SCALING, enable_gqa=True)
    assert len(traced) == 1


@pytest.mark.slow
def test_more_variants_than_torch_compiles_by_default_are_all_compiled(monkeypatch):
    """Ten dtypes and shapes of heads: torch's own limit is eight, beyond which it computes uncompiled."""
    traced = []

    def count(graph, inputs):
        traced.append(graph)
        return graph.forward

    kernel = flex.compiled(count)
    batch = pack(long_rows(2, seed=0), 2, torch.device("cpu"), fill=True)
    variants = [(heads, dtype) for heads in (2, 3, 4, 5, 6) for dtype in (torch.float32, torch.bfloat16)]

    def run(heads, dtype):
        q, k, v = (torch.zeros(1, heads, batch.ids.shape[1], 16, dtype=dtype) for _ in range(3))
        with torch.no_grad():
            kernel(q, k, v, block_mask=block_mask(batch), scale=SCALING)

    for variant in variants:
        run(*variant)
    assert len(traced) == len(variants)
    monkeypatch.setattr(flex, "GRAPHS", 1)
    refused = pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit)
    with torch._dynamo.config.patch(recompile_limit=1), refused:
        run(8, torch.float64)  # beyond the limit it fails rather than falls back


def test_the_limit_of_graphs_holds_in_every_thread():
    """Jobs of a notebook or of a server, and autograd's own threads, which recompute layers on a GPU."""

    def limit():
        return torch._dynamo.config.recompile_limit

    here = flex.with_many_graphs(limit)
    with ThreadPoolExecutor(1) as pool:
        assert here() >= flex.GRAPHS and pool.submit(here).result() >= flex.GRAPHS


@pytest.mark.gpu
def test_compiled_flex_attention_on_cuda():
    batch = pack(random_rows(3, 2, seed=1), 2, torch.device("cuda"))
    inputs = [
        t.detach().cuda().requires_grad_()
        for t in random_qkv(batch.ids.shape[1], width=16, dtype=torch.float32)
    ]
    on_cpu = [t.detach().cpu().double().requires_grad_() for t in inputs]
    got, _ = packed_attention(CAUSAL, *inputs, batch, scaling=SCALING)
    expected = full_attention(*on_cpu, packed(random_rows(3, 2, seed=1)))
    torch.testing.assert_close(got.cpu().double(), expected, rtol=1e-3, atol=1e-3)
    got.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(inputs, on_cpu, strict=True):
        torch.testing.assert_close(a.grad.cpu().double(), b.grad, rtol=1e-2, atol=1e-2)


def test_what_would_be_left_out_is_refused():
    batch = packed([make_row([1, 2], [3, 4], [5])])
    qkv = random_qkv(5)
    for options in ({"s_aux": torch.zeros(4)}, {"position_bias": torch.zeros(1)}, {"sliding_window": 3}):
        with pytest.raises(UnsupportedAttention):
            packed_attention(CAUSAL, *qkv, batch, scaling=SCALING, **options)
    with pytest.raises(UnsupportedAttention, match="causal"):
        packed_attention(SimpleNamespace(is_causal=False), *qkv, batch, scaling=SCALING)


def test_an_attention_that_overlooks_the_layout_fails_instead_of_mixing_rows():
    """A model left on plain SDPA, or on eager attention, chokes on the mask of a packed batch."""
    for implementation in ("sdpa", "eager"):
        model = build(hf.LlamaConfig(**GROUPED, attn_implementation=implementation))
        batch = packed(random_rows(2, 2, seed=1))
        with pytest.raises(RuntimeError, match="size"):
            model.model(batch.ids, position_ids=batch.positions, attention_mask=poisoned_mask(batch.ids))


def test_installing_twice_is_installing_once():
    model = build(hf.LlamaConfig(**GROUPED))
    assert install(model) and install(model)
    assert model.config._attn_implementation == "boresight_sdpa"


# The head.


def full_logprobs(hidden, targets, head, temperature):
    logits = hidden @ head.weight.T
    logits = (logits if head.bias is None else logits + head.bias) * head.scale
    if head.softcap:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    logps = (logits / temperature).log_softmax(-1)
    return logps.gather(1, targets[:, None]).squeeze(1), -(logps.exp() * logps).sum(-1)


HEADS = {
    "plain": {},
    "scaled": {"scale": 0.3},
    "soft-capped": {"softcap": 1.2, "scale": 1.5},
    "hot": {"temperature": 2.5, "softcap": 2.0},
}


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("name", HEADS)
def test_head_equals_full_logits_and_finite_differences(name, biased, trained, monkeypatch):
    """600 tokens of vocabulary in tiles of 256: two whole tiles and a part, targets in each."""
    monkeypatch.setattr(head_file, "TILE_ELEMENTS", 1)
    options = dict(HEADS[name])
    temperature = options.pop("temperature", 1.0)
    torch.manual_seed(0)
    hidden = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(600, 3, dtype=torch.float64, requires_grad=trained)
    bias = torch.randn(600, dtype=torch.float64, requires_grad=trained) if biased else None
    targets = torch.tensor([0, 255, 256, 511, 599])

    def fast(hidden, weight, bias=None):
        return token_logprobs(hidden, targets, Head(weight, bias, **options), temperature=temperature)[0]

    inputs = [hidden, weight] + ([bias] if biased else [])
    head = Head(weight, bias, **options)
    expected, spread = full_logprobs(hidden, targets, head, temperature)
    got = token_logprobs(hidden, targets, head, temperature=temperature, entropy=True)
    torch.testing.assert_close(got[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got[1], spread, rtol=1e-12, atol=1e-12)
    assert gradcheck(fast, inputs, fast_mode=True)
    wanted = [t for t in inputs if t.requires_grad]
    upstream = torch.randn(5, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(x, wanted, upstream) for x in (got[0], expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_huge_logits_neither_overflow_nor_vanish():
    """Logits of 0 and 1000: log-probabilities 0 and -1000, where a naive exp is infinite."""
    head = Head(torch.tensor([[0.0], [1000.0]]))
    logps, _ = token_logprobs(torch.ones(2, 1), torch.tensor([0, 1]), head)
    assert logps.tolist() == [-1000.0, 0.0]


def test_no_scored_token_gives_empty_and_a_backward():
    hidden = torch.zeros(0, 4, requires_grad=True)
    logps, _ = token_logprobs(hidden, torch.zeros(0, dtype=torch.long), Head(torch.ones(7, 4)))
    logps.sum().backward()
    assert logps.shape == (0,)
