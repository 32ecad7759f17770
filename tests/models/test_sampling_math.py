"""Draws from known distributions: which token a uniform number picks, and how often."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from boresight.core.errors import UserError
from boresight.models.sampler.draw import BLOCK, CANDIDATES, RowSettings, draw_tokens, draw_truncated, invert
from boresight.models.sampler.params import SamplingParams, extend, requests, settings_of
from tests.tiny import tiny_model


def row_settings(n, vocabulary, temperature=1.0, top_p=1.0, top_k=0):
    return RowSettings.of([temperature] * n, [top_p] * n, [top_k] * n, vocabulary, torch.device("cpu"))


def test_a_uniform_number_picks_the_token_whose_interval_holds_it():
    """p = (.5, 0, .3, .2) cuts [0, 1) at .5, .5 and .8; the token of probability zero has no interval."""
    p = torch.tensor([[0.5, 0.0, 0.3, 0.2]], dtype=torch.float64)
    uniforms = [0.0, 0.4999, 0.5, 0.7999, 0.8, math.nextafter(1, 0)]
    assert [invert(p, torch.tensor([u], dtype=torch.float64)).item() for u in uniforms] == [0, 0, 2, 2, 3, 3]


@given(st.integers(1, 3 * BLOCK), st.integers(0, 2**31), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_two_step_search_is_a_plain_search_of_the_running_sum(size, seed, sparse):
    rng = np.random.default_rng(seed)
    p = rng.random((4, size)) * ((rng.random((4, size)) < 0.1) if sparse else 1)
    p[:, rng.integers(size)] += 0.1
    uniforms = rng.random(4)
    got = invert(torch.tensor(p), torch.tensor(uniforms)).numpy()
    plain = [
        np.searchsorted(np.cumsum(row), u * row.sum(), side="right")
        for row, u in zip(p, uniforms, strict=True)
    ]
    np.testing.assert_array_equal(got, plain)
    assert (p[np.arange(4), got] > 0).all()


def test_logps_are_of_the_whole_distribution_at_the_temperature():
    """Logits (ln 1, ln 2, ln 4) at temperature 1/2 are (1, 4, 16)/21, whatever top-k cuts off."""
    logits = torch.tensor([[0.0, math.log(2), math.log(4)]], dtype=torch.float64)
    chosen, logp = draw_tokens(
        logits, row_settings(1, 3, temperature=0.5, top_k=1), torch.tensor([0.5]).double()
    )
    assert chosen.item() == 2
    assert logp.item() == pytest.approx(math.log(16 / 21), abs=1e-12)


def test_greedy_takes_the_likeliest_token_and_its_logp_at_temperature_one():
    logits = torch.tensor([[0.0, math.log(3), 0.0]], dtype=torch.float64)
    chosen, logp = draw_tokens(logits, row_settings(1, 3, temperature=0), torch.tensor([0.99]).double())
    assert (chosen.item(), logp.item()) == (1, pytest.approx(math.log(3 / 5), abs=1e-12))


def expected_after_truncation(p, top_k, top_p):
    """Sort, cut, renormalise: the definition, written plainly."""
    order = np.argsort(-p)
    kept = p[order].copy()
    kept[top_k or len(p) :] = 0
    kept /= kept.sum()
    kept[np.cumsum(kept) - kept >= top_p] = 0
    out = np.zeros_like(p)
    out[order] = kept / kept.sum()
    return out


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, 0), (0.6, 1.0, 0), (1.0, 0.7, 0), (1.0, 1.0, 5), (1.5, 0.8, 9), (1.0, 0.999, 0)],
)
def test_tokens_come_as_often_as_the_settings_say(temperature, top_p, top_k):
    """Chi-square of 40,000 draws against the distribution that is meant; more tokens than candidates."""
    draws, vocabulary = 40_000, 2 * CANDIDATES
    logits = torch.randn(vocabulary, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = (logits / temperature).softmax(-1).numpy()
    want = expected_after_truncation(p, top_k, top_p)
    uniforms = torch.tensor(np.random.default_rng(11).random(draws))
    chosen, _ = draw_tokens(
        logits.expand(draws, -1), row_settings(draws, vocabulary, temperature, top_p, top_k), uniforms
    )
    counts = np.bincount(chosen.numpy(), minlength=vocabulary)
    assert (counts[want == 0] == 0).all()
    assert chisquare(counts[want > 0], draws * want[want > 0]).pvalue > 1e-3


def test_a_wide_nucleus_looks_beyond_the_first_candidates():
    """Of n equal tokens top-p 0.9 keeps 0.9 n, more than are looked at first; u near 1 picks the last."""
    n = 4 * CANDIDATES
    p = torch.full((1, n), 1 / n, dtype=torch.float64)
    p += torch.arange(n, 0, -1) * 1e-9  # an order without ties
    got = draw_truncated(p, torch.tensor([0.9]), torch.tensor([n]), torch.tensor([0.999999]).double())
    assert got.item() == math.ceil(0.9 * n) - 1


def test_rows_with_different_settings_share_a_batch():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    uniforms = torch.tensor([0.2, 0.9, 0.9, 0.7]).double()
    temperature, top_p, top_k = [0.0, 1.0, 0.7, 2.0], [1.0, 0.5, 1.0, 0.9], [0, 0, 3, 0]
    mixed = RowSettings.of(temperature, top_p, top_k, 50, torch.device("cpu"))
    together = draw_tokens(logits, mixed, uniforms)
    for i in range(4):
        alone = RowSettings.of(
            temperature[i : i + 1], top_p[i : i + 1], top_k[i : i + 1], 50, torch.device("cpu")
        )
        token, logp = draw_tokens(logits[i : i + 1], alone, uniforms[i : i + 1])
        assert token.item() == together[0][i].item()
        assert logp.item() == pytest.approx(together[1][i].item(), abs=1e-6)


def test_logits_that_are_not_numbers_are_refused():
    """A token is found even so, inside the vocabulary, since an index outside of it kills a GPU process."""
    logits = torch.full((1, 320), torch.nan)
    (sample,) = requests(tiny_model(), [np.array([1])], SamplingParams(max_new_tokens=1, seed=0), 1)
    one_row = settings_of([sample], 320, logits.device)
    token, _ = draw_tokens(logits, one_row, torch.tensor([0.5], dtype=torch.float64))
    assert 0 <= int(token) < 320
    with pytest.raises(UserError, match="are sampled from are NaN"):
        extend([sample], logits, one_row)
