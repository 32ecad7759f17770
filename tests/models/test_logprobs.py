"""Log-probabilities of completions: the plain path by hand, then the fast path against the plain one."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from boresight.data.rows import Completion, Row
from boresight.models.logprobs import completion_logprobs


def row(prompt, *completions, masks=None):
    masks = masks or [[True] * len(c) for c in completions]
    return Row(
        id="r",
        prompt=np.array(prompt, np.int32),
        completions=tuple(
            Completion(np.array(c, np.int32), np.array(m, bool))
            for c, m in zip(completions, masks, strict=True)
        ),
    )


def tiny_llama(**changes):
    torch.manual_seed(0)
    config = LlamaConfig(
        **dict(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
        )
        | changes
    )
    return LlamaForCausalLM(config).eval()


def test_a_model_that_knows_nothing_gives_each_token_one_in_vocabulary():
    """Zero head weights: every token has probability 1/64, so 3 scored tokens sum to -3 ln 64."""
    model = tiny_llama()
    torch.nn.init.zeros_(model.lm_head.weight)
    got = completion_logprobs(
        model,
        [row([1, 2], [3, 4, 5], [6, 7], masks=[[True, True, True], [False, True]])],
        layout="padded",
        entropy=True,
    )
    assert got.sums.tolist() == [pytest.approx([-3 * math.log(64), -math.log(64)])]
    assert got.lengths.tolist() == [[3, 1]]
    assert got.entropy.tolist() == [pytest.approx([3 * math.log(64), math.log(64)])]


def test_padded_equals_a_sum_over_positions_one_sequence_at_a_time():
    model = tiny_llama()
    prompt, answer = [5, 9, 11], [7, 8]
    logps = model(torch.tensor([prompt + answer])).logits.log_softmax(-1)[0]
    expected = logps[2, 7] + logps[3, 8]
    other = row([4], [1, 2, 3, 4, 5, 6, 7])
    got = completion_logprobs(model, [row(prompt, answer), other], layout="padded")
    torch.testing.assert_close(got.sums[0, 0], expected)


def test_rows_of_one_batch_carry_the_same_number_of_completions():
    with pytest.raises(ValueError, match="same number"):
        completion_logprobs(tiny_llama(), [row([1], [2]), row([1], [2], [3])])
