"""The vocabulary head in three passes over a tile (`model.kernels: fast`), against full logits and `head`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.packed import fused_head, logprobs
from boresight.models.packed import head as head_file
from boresight.models.packed.fused_head import fused_token_logprobs, tile_pull, tile_sums, tile_weights
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.logprobs import completion_logprobs
from tests.live_bytes import LiveBytes
from tests.models.test_attention import HEADS, full_logprobs
from tests.models.test_wide_logits import exact, operands
from tests.models.tiny_decoders import CONFIGS, build, random_rows
from tests.versions import NEEDS_WIDE_META

TRAINED = pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 256 tokens."""
    monkeypatch.setattr(head_file, "TILE_ELEMENTS", 1)


def random_head(seed, positions, vocabulary, trained=True, biased=False, width=5):
    """Hidden states, targets in all of the vocabulary, weight, and bias or None; float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    hidden, weight = normal(positions, width).requires_grad_(), normal(vocabulary, width)
    bias = normal(vocabulary).requires_grad_(trained) if biased else None
    targets = torch.randint(vocabulary, (positions,), generator=generator)
    return hidden, targets, weight.requires_grad_(trained), bias


def values_and_gradients(function, inputs, upstream, **options):
    hidden, targets, weight, bias = inputs
    head = Head(weight, bias, **{k: v for k, v in options.items() if k != "temperature"})
    logps, spread = function(hidden, targets, head, options.get("temperature", 1.0))
    wanted = [x for x in (hidden, weight, bias) if x is not None and x.requires_grad]
    return [logps, spread, *torch.autograd.grad(logps, wanted, upstream)]


def in_passes(hidden, targets, head, temperature):
    return fused_token_logprobs(hidden, targets, head, temperature=temperature, entropy=True)


@TRAINED
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("name", HEADS)
def test_values_entropies_and_gradients_are_those_of_full_logits(name, biased, trained, small_tiles):
    """Random numbers of positions and tokens, one tile and several, in float64."""
    rng = np.random.default_rng(0)
    for seed, (positions, vocabulary) in enumerate([*rng.integers(1, (40, 1500), (6, 2)), (3, 256), (1, 2)]):
        inputs = random_head(seed, int(positions), int(vocabulary), trained, biased)
        upstream = torch.randn(len(inputs[0]), dtype=torch.float64)
        got = values_and_gradients(in_passes, inputs, upstream, **HEADS[name])
        expected = values_and_gradients(full_logprobs, inputs, upstream, **HEADS[name])
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_a_tied_weight_has_the_gradient_of_both_its_uses(small_tiles):
    """Hidden states are embeddings of the same weight."""
    _, targets, weight, _ = random_head(0, 20, 700)
    ids = torch.arange(20) * 31 % 700
    found = []
    for function in (in_passes, full_logprobs):
        logps, _ = function(weight[ids].tanh(), targets, Head(weight), 1.0)
        found.append([logps, *torch.autograd.grad(logps.square().sum(), weight)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", CONFIGS)
def test_models_give_the_same_log_probabilities_and_gradients(name, monkeypatch):
    """Rows with masks and empty completions; tied and untied, scaled and soft-capped heads."""
    model, rows = build(CONFIGS[name](), torch.float64), random_rows(5, 2, seed=7)
    found, called = [], []
    fused = logprobs.fused_token_logprobs
    monkeypatch.setattr(
        logprobs, "fused_token_logprobs", lambda *a, **options: called.append(a) or fused(*a, **options)
    )
    for fast in (True, False):
        monkeypatch.setattr(logprobs, "fast_kernels", lambda fast=fast: fast)
        logps = completion_logprobs(model, rows, layout="packed", temperature=0.8, entropy=True)
        gradients = torch.autograd.grad(logps.sums.square().sum(), list(model.parameters()))
        found.append([logps.sums, logps.entropy, *gradients])
        assert len(called) == 1  # with fast kernels, and then no more
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@TRAINED
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_groups_of_positions_give_what_one_gives(trained, softcap, small_tiles, monkeypatch):
    """19 positions in groups of 8, as on a GPU: the last group is filled up."""
    inputs, upstream = random_head(0, 19, 600, trained), torch.linspace(-1, 2, 19, dtype=torch.float64)
    whole = values_and_gradients(in_passes, inputs, upstream, softcap=softcap)
    monkeypatch.setattr(head_file, "ROWS", 8)
    monkeypatch.setattr(head_file, "fills", lambda device: True)
    groups = values_and_gradients(in_passes, inputs, upstream, softcap=softcap)
    for a, b in zip(groups, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_weight_may_be_added_where_it_is_kept(small_tiles):
    hidden, targets, weight, _ = random_head(0, 9, 600)
    (expected,) = torch.autograd.grad(fused_token_logprobs(hidden, targets, Head(weight))[0].sum(), weight)
    for _ in range(2):
        with gradients_in_place():
            logps, _ = fused_token_logprobs(hidden, targets, Head(weight))
        logps.sum().backward()
    torch.testing.assert_close(weight.grad, 2 * expected, rtol=1e-12, atol=1e-12)


def test_huge_logits_neither_overflow_nor_vanish():
    """Logits of 0 and 1000: log-probabilities 0 and -1000, where a naive exp is infinite."""
    head = Head(torch.tensor([[0.0], [1000.0]]))
    logps, _ = fused_token_logprobs(torch.ones(2, 1), torch.tensor([0, 1]), head)
    assert logps.tolist() == [-1000.0, 0.0]


def test_no_scored_token_gives_empty_and_a_backward():
    hidden = torch.zeros(0, 4, requires_grad=True)
    head = Head(torch.ones(7, 4))
    logps, spread = fused_token_logprobs(hidden, torch.zeros(0, dtype=torch.long), head, entropy=True)
    logps.sum().backward()
    assert logps.shape == spread.shape == (0,) and hidden.grad.shape == (0, 4)


@TRAINED
def test_sums_of_bfloat16_products_are_float32_as_in_the_proven_head(trained, small_tiles):
    """Against float64; what the backward multiplies is rounded to bfloat16 in both."""
    hidden, weight, targets = operands()
    found = []
    for function in (fused_token_logprobs, token_logprobs):
        x, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(trained)
        with torch.autocast("cpu", torch.bfloat16):
            logps, _ = function(x, targets, Head(w))
        logps.sum().backward()
        found.append([logps, x.grad] + ([w.grad] if trained else []))
    (logps, *gradients), (_, *proven) = found
    assert logps.dtype == torch.float32
    assert (logps - exact(hidden, weight, targets)).abs().max() < 1e-4
    for a, b in zip(gradients, proven, strict=True):
        assert a.dtype == b.dtype and (a - b).abs().max() < 0.01 * b.abs().max()


@TRAINED
def test_two_tiles_of_logits_are_held_at_most(trained, small_tiles, monkeypatch):
    """40 positions and 20,000 tokens: full logits would be 6.4 MB, a tile of 256 is 82 kB.

    What is inside a pass is not counted: compiled, it is in registers.
    """
    hidden, targets, weight, _ = random_head(0, 40, 20_000, trained)

    def one_pass(function, *arguments):
        with _disable_current_modes():
            out = function(*arguments)
        live.count(out)
        return out

    monkeypatch.setattr(fused_head, "_in_one_pass", one_pass)
    with LiveBytes([hidden, targets, weight]) as live:
        before = live.now
        logps, _ = fused_token_logprobs(hidden, targets, Head(weight), entropy=True)
        logps.sum().backward()
    tile, gradient = 40 * 256 * 8, weight.nbytes if trained else 0
    of_positions = 40 * (5 + 20) * 8  # gradients of hidden states, and some twenty vectors
    assert tile < live.peak - before - gradient < 2 * tile + of_positions


TILES = [(5, 256), (9, 512), (40, 300)]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("function", [tile_sums, tile_weights, tile_pull])
def test_each_pass_is_one_graph_for_tiles_of_any_size(function, softcap):
    """Traced as on CUDA, with dynamic shapes, and counted; what is traced is not compiled here."""
    traced = []

    def count(graph, inputs):
        traced.append(graph)
        return graph.forward

    compiled, bend = fused_head._compiled(function, count), (0.5, softcap, 1.5)
    for rows, width in TILES:
        raw, column = torch.randn(rows, width), torch.randint(width, (rows, 1))
        inside, each = torch.arange(rows) % 3 > 0, torch.randn(rows).abs() + 20
        rest = {
            tile_sums: (None, inside, column, bend, True),
            tile_weights: (None, each, bend, torch.bfloat16),
            tile_pull: (None, inside, column, each, each, bend, torch.bfloat16, False),
        }[function]
        with torch.no_grad():
            got, expected = compiled(raw, *rest), function(raw, *rest)
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert len(traced) == 1


@NEEDS_WIDE_META
@TRAINED
def test_a_head_reads_no_number_on_the_host(trained, small_tiles):
    """On torch's `meta` device, whose tensors have shapes and no numbers; bfloat16, as on CUDA."""
    hidden = torch.empty(7, 8, dtype=torch.bfloat16, device="meta", requires_grad=True)
    weight = torch.empty(600, 8, device="meta", requires_grad=trained)
    targets = torch.empty(7, dtype=torch.long, device="meta")
    logps, _ = fused_head._FusedLogprobs.apply(
        hidden, weight, None, targets, (1.0, None, 1.0), False, not trained
    )
    logps.sum().backward()
    assert logps.dtype == torch.float32 and hidden.grad.dtype == torch.bfloat16
