"""A row has one log-probability, whatever rows are computed with it and were before.

Truth is a plain forward of transformers over one sequence in a fresh model. Tolerance: 1e-5 nats per token.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from boresight.models.lengths import LengthSwitch, length_switches
from boresight.models.packed.logprobs import completion_logprobs, completion_token_logprobs
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.reward import completion_scores
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.plain import next_logits
from boresight.models.sampler.sample import sample
from tests.models.families import LATENT
from tests.models.tiny_decoders import GROUPED, SHAPE, VOCABULARY, make_row

LIMIT = 32
"""Tokens up to which frequencies are those of pretraining."""
QUARTER = SHAPE["hidden_size"] // SHAPE["num_attention_heads"] // 2
SHORT = GROUPED | {"max_position_embeddings": LIMIT}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": LIMIT,
    "short_factor": [1.0] * QUARTER,
    "long_factor": [8.0] * QUARTER,
}


def scaled(rope_type, **settings):
    return {"rope_type": rope_type, "rope_theta": 1e4, "factor": 4.0, **settings}


VARIANTS = {
    "default": lambda: hf.LlamaConfig(**GROUPED),
    "linear": lambda: hf.LlamaConfig(**GROUPED, rope_parameters=scaled("linear")),
    "llama3": lambda: hf.LlamaConfig(
        **GROUPED,
        rope_parameters=scaled(
            "llama3", low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=LIMIT
        ),
    ),
    "yarn": lambda: hf.Qwen2Config(
        **GROUPED, rope_parameters=scaled("yarn", original_max_position_embeddings=LIMIT)
    ),
    "dynamic": lambda: hf.LlamaConfig(**SHORT, rope_parameters=scaled("dynamic")),
    "longrope": lambda: hf.LlamaConfig(**GROUPED, rope_parameters=LONGROPE),
    "longrope (Phi 3)": lambda: hf.Phi3Config(
        **GROUPED, original_max_position_embeddings=LIMIT, rope_parameters=LONGROPE
    ),
    "longrope (Phi 3.5 MoE)": lambda: hf.PhimoeConfig(
        **GROUPED,
        num_local_experts=2,
        num_experts_per_tok=1,
        original_max_position_embeddings=LIMIT,
        rope_parameters=LONGROPE | {"short_mscale": 1.0, "long_mscale": 1.5},
    ),
    "proportional": lambda: hf.LlamaConfig(
        **GROUPED, rope_parameters=scaled("proportional", partial_rotary_factor=0.5)
    ),
    "yarn with scaled queries (Ministral 3)": lambda: hf.Ministral3Config(
        **GROUPED,
        head_dim=8,
        rope_parameters=scaled("yarn", original_max_position_embeddings=LIMIT, llama_4_scaling_beta=0.5),
    ),
    "yarn with a scale of attention (DeepSeek V3)": lambda: hf.DeepseekV3Config(
        **SHAPE,
        **LATENT,
        rope_parameters=scaled(
            "yarn", original_max_position_embeddings=LIMIT, mscale=1.0, mscale_all_dim=1.0
        ),
    ),
    "dynamic in one kind of layer": lambda: hf.Gemma3TextConfig(
        **SHORT,
        head_dim=8,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": scaled("dynamic"),
        },
    ),
}
DEPENDENT = [name for name in VARIANTS if "dynamic" in name or "longrope" in name]


def model_of(variant, kind=hf.AutoModelForCausalLM):
    config = VARIANTS[variant]()
    config.num_labels = 1
    torch.manual_seed(0)
    model = kind.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(6)
    return model


def ids(count, seed):
    return np.random.default_rng(seed).integers(3, VOCABULARY, count)


ROWS = [
    make_row(ids(9, 0), ids(6, 1), ids(9, 2), id="short"),
    make_row(ids(20, 3), ids(5, 4), ids(25, 5), id="one of each"),
    make_row(ids(30, 6), ids(20, 7), ids(28, 8), id="long"),
    make_row(ids(LIMIT - 4, 9), ids(4, 10), ids(5, 11), id="at the limit and one beyond"),
]


def sequences(rows):
    for row in rows:
        for completion in row.completions:
            yield torch.tensor(np.concatenate([row.prompt, completion.ids]).astype(np.int64)), len(row.prompt)


def plain(variant, rows):
    """Log-probabilities of the tokens of each completion, by a forward over one sequence in a fresh model."""
    for sequence, start in sequences(rows):
        model = model_of(variant)
        logits = model(input_ids=sequence[None], use_cache=False).logits[0, :-1]
        yield model, logits.log_softmax(-1).gather(-1, sequence[1:, None]).squeeze(-1)[start - 1 :]


def test_every_type_that_transformers_has_is_among_the_variants():
    """A new type needs a variant here, and an entry in `LENGTH_DEPENDENT` if it depends on the length."""
    assert {variant.split()[0] for variant in VARIANTS} == {"default", *ROPE_INIT_FUNCTIONS}


@pytest.mark.parametrize("layout", ["auto", "padded"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_beside_any_others_is_the_row_alone(variant, layout):
    model = model_of(variant)
    truth = [logps.sum().item() for _, logps in plain(variant, ROWS)]
    with torch.no_grad():
        assert isinstance(packed_plan(model, ROWS), PackedPlan)
        together = completion_logprobs(model, ROWS, layout=layout).sums
        alone = torch.cat([completion_logprobs(model, [row], layout=layout).sums for row in ROWS])
        again = torch.cat([completion_logprobs(model, [row], layout=layout).sums for row in ROWS[::-1]])
    lengths = torch.tensor([[len(c.ids) for c in row.completions] for row in ROWS])
    for found in (together, alone, again.flip(0)):
        assert ((found - torch.tensor(truth).view(-1, 2)).abs() / lengths).max() < 1e-5


@pytest.mark.parametrize("variant", DEPENDENT)
def test_gradients_and_entropies_too(variant):
    model = model_of(variant)
    weights = torch.arange(1.0, 9).view(-1, 2)
    logps = completion_logprobs(model, ROWS, entropy=True)
    (logps.sums * weights).sum().backward()
    expected = dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    for (fresh, tokens), weight in zip(plain(variant, ROWS), weights.flatten(), strict=True):
        (tokens.sum() * weight).backward()
        for name, parameter in fresh.named_parameters():
            expected[name] = expected[name] + parameter.grad
    for name, parameter in model.named_parameters():
        assert (parameter.grad - expected[name]).abs().max() < 1e-4 * expected[name].abs().max(), name
    alone = [completion_logprobs(model, [row], entropy=True) for row in ROWS]
    torch.testing.assert_close(logps.entropy, torch.cat([part.entropy for part in alone]))
    assert torch.equal(logps.lengths, torch.cat([part.lengths for part in alone]))


@pytest.mark.parametrize("variant", DEPENDENT)
def test_tokens_one_by_one(variant):
    model = model_of(variant)
    found = [logps for row in completion_token_logprobs(model, ROWS) for logps in row]
    for mine, (_, true) in zip(found, plain(variant, ROWS), strict=True):
        torch.testing.assert_close(mine, true.detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["auto", "padded"])
@pytest.mark.parametrize("variant", ["dynamic", "longrope"])
def test_scores_of_reward_models(variant, layout):
    model = model_of(variant, hf.AutoModelForSequenceClassification)
    model.config.pad_token_id = 0
    together = completion_scores(model, ROWS, layout=layout)
    for (sequence, _), score in zip(sequences(ROWS), together.flatten(), strict=True):
        fresh = copy.deepcopy(model)
        assert score.item() == pytest.approx(fresh(input_ids=sequence[None]).logits.item(), abs=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sampler_draws_from_each_prompt_as_if_alone(variant):
    """Prompts on both sides of the limit, and an answer that crosses it: by the logits of plain forwards."""
    model = model_of(variant)
    prompts = [ids(12, 0), ids(40, 1), ids(LIMIT - 3, 2)]
    with torch.no_grad():
        together = next_logits(model, prompts)
        for prompt, logits in zip(prompts, together, strict=True):
            fresh = copy.deepcopy(model)(input_ids=torch.tensor(prompt)[None], use_cache=False)
            torch.testing.assert_close(logits, fresh.logits[0, -1], rtol=1e-4, atol=1e-4)
    params = SamplingParams(max_new_tokens=6, temperature=0, seed=0)
    together = [group[0].ids for group in sample(model, prompts, params)]
    alone = [sample(copy.deepcopy(model), [prompt], params)[0][0].ids for prompt in prompts]
    assert [list(found) for found in together] == [list(found) for found in alone]


@pytest.mark.skipif(
    not hasattr(hf.DogeForCausalLM, "create_masks_for_generate"),
    reason="this transformers gives Doge no causal mask where a batch has no padding",
)
def test_sparse_attention_takes_the_keys_that_it_takes_of_a_row_alone(monkeypatch):
    """Doge keeps so many keys; of equal ones (all, in a fresh model) padding would decide which."""
    monkeypatch.setitem(VARIANTS, "doge", lambda: hf.DogeConfig(**GROUPED, keep_window_size=LIMIT))
    model = model_of("doge")
    assert length_switches(model) == (LengthSwitch(LIMIT, growing=True),)
    with torch.no_grad():
        truth = [tokens.sum().item() for _, tokens in plain("doge", ROWS)]
        found = completion_logprobs(model, ROWS).sums.flatten()
        assert found.tolist() == pytest.approx(truth, abs=1e-4)
        prompts = [ids(12, 0), ids(40, 1), ids(LIMIT + 3, 2)]
        for prompt, logits in zip(prompts, next_logits(model, prompts), strict=True):
            alone = model(input_ids=torch.tensor(prompt)[None], use_cache=False).logits[0, -1]
            torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-4)


def test_where_a_model_computes_in_another_way():
    assert length_switches(model_of("default")) == length_switches(model_of("yarn")) == ()
    assert length_switches(model_of("dynamic")) == (LengthSwitch(LIMIT, growing=True),)
    assert length_switches(model_of("longrope")) == (LengthSwitch(LIMIT, growing=False),)
    assert length_switches(model_of("dynamic in one kind of layer")) == (LengthSwitch(LIMIT, growing=True),)
    growing, fixed = LengthSwitch(32, True), LengthSwitch(32, False)
    assert [growing.key(n) for n in (1, 32, 33, 34)] == [32, 32, 33, 34]
    assert [fixed.key(n) for n in (1, 32, 33, 34)] == [False, False, True, True]
