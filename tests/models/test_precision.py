"""How far rounding may move log-probabilities: limits by hand, and what is never rounding."""

import math

import pytest
import torch

from boresight.models.precision import Disagreement, per_root_token, token_noise


def beyond(gap, length, noise=0.06):
    return Disagreement.of(torch.tensor(gap), torch.tensor(length)).beyond_rounding(noise)


def test_noise_by_precision():
    assert [token_noise(name) for name in ("float64", "float32", "float16", "bfloat16")] == [
        0,
        0,
        0.0075,
        0.06,
    ]
    assert token_noise(torch.bfloat16) == 0.06


def test_a_completion_may_be_off_by_six_deviations_of_its_length():
    """100 tokens: 6 * 0.06 * 10 = 3.6 nats. Another one of the other sign keeps the mean at 0."""
    assert beyond([3.59, -3.59], [100.0, 100.0]) is None
    said = beyond([3.7, -3.7], [100.0, 100.0])
    assert said == (
        "a completion is off by 0.37 nats times the square root of its tokens, where rounding explains 0.36"
    )


def test_a_short_completion_counts_as_sixteen_tokens():
    """6 * 0.06 * 4 = 1.44 nats, of one token as of sixteen."""
    for length in (1.0, 16.0):
        assert beyond([1.43, -1.43], [length, length]) is None
        assert beyond([1.45, -1.45], [length, length]) is not None
    assert per_root_token(torch.tensor([-2.0, 3.0]), torch.tensor([4.0, 25.0])).tolist() == pytest.approx(
        [0.5, 0.6]
    )


def test_the_mean_may_be_off_by_five_deviations_of_all_tokens():
    """40 completions of 100 tokens: 5 * 0.06 / sqrt(4000) + 0.0036 = 0.0083 nats per token, 0.83 each."""
    assert beyond([0.83] * 40, [100.0] * 40) is None
    said = beyond([-0.84] * 40, [100.0] * 40)
    assert said == "the mean is -0.0084 nats per token over 4,000 tokens, where rounding explains 0.0083"


def test_many_tokens_leave_what_rounding_costs_sampled_tokens_on_average():
    """A million tokens, each 0.0018 nats below the float32 sampler: half of 0.06 squared."""
    assert beyond([-0.18] * 10_000, [100.0] * 10_000) is None
    assert beyond([-0.5] * 10_000, [100.0] * 10_000) is not None


def test_the_mean_of_few_tokens_is_that_of_sixteen():
    """3 tokens in two completions: 5 * 0.06 * 4 = 1.2 nats, and 0.0036 per token, in all."""
    assert beyond([0.6, 0.6], [1.0, 2.0]) is None
    assert beyond([0.62, 0.6], [1.0, 2.0]) is not None


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_rounding(broken):
    assert beyond([broken, 0.0], [10.0, 10.0]) is not None


def test_half_as_precise_numbers_have_an_eighth_of_the_room():
    assert beyond([0.44, -0.44], [100.0, 100.0], token_noise("float16")) is None
    assert beyond([0.46, -0.46], [100.0, 100.0], token_noise("float16")) is not None
