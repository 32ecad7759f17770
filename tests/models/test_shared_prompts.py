"""Rows with the same prompt in one forward: it is computed once, with the numbers of each row alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import Span, pack
from boresight.models.reference.frozen import store_reference
from tests.models.tiny_decoders import CONFIGS, VOCABULARY, build, make_row, random_rows

CPU = torch.device("cpu")
MODEL = build(CONFIGS["llama"](), torch.float64)


def test_where_everything_lies():
    """Two rows ask [1, 2], and a row between them asks [6]: 8 tokens in place of 10.

    Position 1, the end of the shared prompt, predicts the first tokens of both answers.
    """
    batch = pack([make_row([1, 2], [3, 4]), make_row([6], [7]), make_row([1, 2], [5, 8])], 1, CPU)
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5, 8, 6, 7]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2, 3, 0, 1]]
    assert batch.spans == (
        Span(slice(0, 2), (slice(2, 4), slice(4, 6))),
        Span(slice(6, 7), (slice(7, 8),)),
    )
    assert [row.completions for row in batch.rows] == [(slice(2, 4),), (slice(7, 8),), (slice(4, 6),)]
    assert batch.scored[batch.predictors].tolist() == [1, 2, 6, 1, 4]
    assert batch.targets.tolist() == [3, 4, 7, 5, 8]
    assert batch.owner.tolist() == [0, 0, 1, 2, 2]


def sums_and_gradients(model, batches):
    """Log-probabilities of rows in several forwards, and the gradients of a loss that weighs each."""
    sums = torch.cat([completion_logprobs(model, rows, layout="packed").sums for rows in batches])
    weights = torch.linspace(-1, 2, sums.numel(), dtype=sums.dtype).view_as(sums)
    return sums.detach(), torch.autograd.grad((weights * sums).sum(), list(model.parameters()))


def assert_equal_to_rows_alone(model, rows, tolerance):
    together, alone = (sums_and_gradients(model, batches) for batches in ([rows], [[row] for row in rows]))
    torch.testing.assert_close(together[0], alone[0], rtol=tolerance, atol=tolerance)
    for a, b in zip(together[1], alone[1], strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max()))


def sharing(count, k, prompts, seed):
    """Random rows over a few prompts of one length, in any order; one token at least is scored."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, VOCABULARY, (prompts, rng.integers(1, 10)))
    rows = [
        make_row(few[i % prompts], *(c.ids for c in row.completions), masks=[c.mask for c in row.completions])
        for i, row in enumerate(random_rows(count, k, seed))
    ]
    return [*rows, make_row(few[0], *([[5]] * k))]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 9), k=st.integers(1, 4), prompts=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_values_and_every_gradient_over_random_shapes(count, k, prompts, seed):
    assert_equal_to_rows_alone(MODEL, sharing(count, k, prompts, seed), 1e-9)


@pytest.mark.parametrize("name", ["gemma2", "gpt-neox"])
def test_with_soft_caps_and_joint_projections(name):
    assert_equal_to_rows_alone(build(CONFIGS[name](), torch.float64), sharing(6, 2, 2, seed=0), 1e-6)


def products(run):
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    counts = counter.get_flop_counts()["Global"]
    return sum(n for kind, n in counts.items() if kind in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_operations_of_the_first_layer_by_hand():
    """Three pairs with one prompt of 10 tokens: 20 tokens less are multiplied with all weights of a layer
    but the last, where they save keys and values alone (2 matrices of 32 x 16); no token of a prompt but its
    end is scored.

    Two operations per weight, three times: forward, gradient of the input, gradient of the weight.
    """
    rows = [make_row(range(10), [n, 7, 8], [9, n]) for n in (1, 2, 3)]
    apart = [
        make_row([n, *range(1, 10)], *(c.ids for c in row.completions)) for n, row in enumerate(rows, 20)
    ]
    counts = [products(lambda r=r: sums_and_gradients(MODEL, [r])) for r in (apart, rows)]
    whole = 2 * 32 * (32 + 16) + 3 * 32 * 48
    # The end of the prompt is computed once in place of three times: 2 positions less in the last layer.
    last = 20 * 2 * 32 * 16 + 2 * (2 * 32 * 32 + 3 * 32 * 48)
    assert counts[0] - counts[1] == 6 * (20 * whole + last)


def test_the_reference_computes_each_prompt_once():
    """Nine rows, three per prompt of 4 tokens, in any order; a forward has room for three pairs."""
    rows = [make_row([9, 8, 7, n % 3], [n, 1], [2, n]) for n in range(9)]
    lengths = []
    handle = MODEL.model.embed_tokens.register_forward_hook(
        lambda _, given, out: lengths.append(given[0].numel())
    )
    try:
        completion_logprobs(MODEL, rows[:1])  # tries the layout
        lengths.clear()
        found = store_reference(MODEL, rows, 4 + 3 * 4)(rows)
    finally:
        handle.remove()
    assert lengths == [16, 16, 16]
    alone = torch.cat([completion_logprobs(MODEL, [row]).sums for row in rows]).detach()
    torch.testing.assert_close(found, alone.float(), rtol=1e-6, atol=1e-6)
