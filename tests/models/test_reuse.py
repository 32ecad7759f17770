"""Outputs of linear layers that sampling has computed, in place of products in the forward after it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from boresight.data.rows import Completion, Row
from boresight.models.kernels import libraries
from boresight.models.kernels.libraries import Libraries
from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.lora import adapters_off
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import pack
from boresight.models.policy import causal_model
from boresight.models.reuse.check import compare_with_products
from boresight.models.reuse.linears import reusable_linears
from boresight.models.reuse.store import LinearOutputs, reusing
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.activations import recompute_activations
from tests.models.tiny_decoders import CONFIGS, GROUPED, SHAPE, VOCABULARY, build

PARAMS = SamplingParams(max_new_tokens=7, seed=0, stop_token_ids=tuple(range(6)))


def adapted(model, **settings):
    config = LoraConfig(r=2, init_lora_weights=False, **({"target_modules": "all-linear"} | settings))
    return get_peft_model(model, config).to(model.dtype).eval()


def rolled_out(model, seed=0, prompts=4, k=3, max_batch=5):
    """Rows of sampled completions, and the outputs of the layers that sampled them.

    Few rows are decoded at a time, so that samples enter and move while others are decoded.
    """
    rng = np.random.default_rng(seed)
    asked = [rng.integers(0, VOCABULARY, n).astype(np.int32) for n in rng.integers(1, 9, prompts)]
    outputs = LinearOutputs(sum(map(len, asked)) + prompts * k * (PARAMS.max_new_tokens - 1))
    params = replace(PARAMS, seed=seed)
    drawn = sample(model, asked, params, k, max_batch=max_batch, outputs=outputs)
    rows = [
        Row(str(i), prompt, tuple(Completion(s.ids, np.ones(len(s.ids), bool)) for s in group))
        for i, (prompt, group) in enumerate(zip(asked, drawn, strict=True))
    ]
    return rows, outputs


def values_and_gradients(model, rows, outputs):
    """Log-probabilities of all tokens, and gradients of all weights of a loss that weighs each of them."""
    with reusing(outputs), gradients_in_place():
        logps = completion_logprobs(model, rows, layout="packed", tokens=True)
        weights = torch.linspace(-1, 2, logps.tokens.numel(), dtype=logps.tokens.dtype)
        (weights.view_as(logps.tokens) * logps.tokens).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return logps.tokens.detach(), found


def assert_as_computed(model, rows, outputs, tolerance):
    (logps, grads), (expected, expected_grads) = (
        values_and_gradients(model, rows, given) for given in (outputs, None)
    )
    assert (logps - expected).abs().max() <= tolerance * expected.abs().max()
    assert grads.keys() == expected_grads.keys() and grads
    for name, expected_grad in expected_grads.items():
        off = (grads[name] - expected_grad).abs().max()
        assert off <= tolerance * expected_grad.abs().max(), (name, off)


def operations(model, rows, outputs):
    completion_logprobs(model, rows)  # a model is tried before its first forward of rows
    with FlopCounterMode(display=False) as counter, reusing(outputs), torch.no_grad():
        completion_logprobs(model, rows, layout="packed")
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["llama", "llama-tied-biased", "qwen2", "qwen3", "gemma", "granite"])
@pytest.mark.parametrize("seed", [0, 1])
def test_log_probabilities_and_gradients_are_those_of_the_products(name, seed):
    model = build(CONFIGS[name](), torch.float64)
    rows, outputs = rolled_out(model, seed)
    assert len(outputs) and operations(model, rows, outputs) < operations(model, rows, None)
    assert_as_computed(model, rows, outputs, 1e-12)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj", "down_proj"]])
def test_with_adapters(targets):
    model = adapted(build(CONFIGS["llama"](), torch.float64), target_modules=targets)
    rows, outputs = rolled_out(model)
    assert operations(model, rows, outputs) < operations(model, rows, None)
    assert_as_computed(model, rows, outputs, 1e-12)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
@pytest.mark.parametrize("library", ["blas", "onednn"])
@pytest.mark.parametrize("with_adapters", [False, True])
def test_float32_with_packed_weights_and_the_layers_that_replace_torchs(with_adapters, library, monkeypatch):
    """Adapters are folded into the weights that sample; sums are taken in another order. With oneDNN the
    forward is filled up by tokens that have no outputs."""
    monkeypatch.setattr(libraries, "_in_force", Libraries(library, library, "onednn"))
    monkeypatch.setattr("boresight.models.sampler.sample.WORTHWHILE", 1)
    model = build(CONFIGS["llama"]())
    model = adapted(model) if with_adapters else model
    rows, outputs = rolled_out(model)
    rows = rows[2:]  # 31 tokens, or 32 with filler
    batch = pack(rows, len(rows[0].completions), model.device, model.dtype)
    assert bool(batch.filler) is (library == "onednn") and outputs.slots_of(batch) is not None
    assert_as_computed(model, rows, outputs, 1e-4)


def test_operations_by_hand():
    """A prompt of 4 tokens with answers of 3 and 2: 9 tokens, of which 1 + 2 + 1 = 4 predict.

    A token has 2 * (32 * 32 + 32 * 16) multiplications for queries, output, keys and values, and 3 * 32 * 48
    in the MLP. The last layer has those for keys and values at all tokens, the others where tokens predict.
    """
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    prompt = np.arange(4, dtype=np.int32) + 11
    outputs = LinearOutputs(100)
    for length in (2, 3):  # the first that comes without the tokens that stop
        (drawn,) = sample(model, [prompt], replace(PARAMS, max_new_tokens=length, stop_token_ids=()), 2)
        assert all(len(s.ids) == length for s in drawn)
    params = [replace(PARAMS, max_new_tokens=n, stop_token_ids=()) for n in (3, 2)]
    drawn = sample(model, [prompt, prompt], params, 1, outputs=outputs)
    answers = tuple(Completion(s.ids, np.ones(len(s.ids), bool)) for (s,) in drawn)
    rows = [Row("r", prompt, answers)]
    assert [len(answer.ids) for answer in answers] == [3, 2]
    spared = operations(model, rows, None) - operations(model, rows, outputs)
    whole = 2 * (32 * 32 + 32 * 16) + 3 * 32 * 48
    last = 2 * 32 * 16 * 9 + (2 * 32 * 32 + 3 * 32 * 48) * 4
    assert spared == 2 * (whole * 9 + last)


def test_slots_by_hand():
    """Slot 0 is for the last token of a completion; two prompts, then two samples of each, in turn."""
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    asked = [np.array([5, 6, 7], np.int32), np.array([8, 9], np.int32)]
    outputs = LinearOutputs(100)
    params = replace(PARAMS, max_new_tokens=3, stop_token_ids=())
    drawn = sample(model, asked, params, 2, outputs=outputs)
    rows = [
        Row("r", prompt, tuple(Completion(s.ids, np.ones(3, bool)) for s in group))
        for prompt, group in zip(asked, drawn, strict=True)
    ]
    # Prompts 1-3 and 4-5, as they are prefilled; the first tokens of the four samples 6-9, the second 10-13.
    expected = [1, 2, 3, 6, 10, 0, 7, 11, 0, 4, 5, 8, 12, 0, 9, 13, 0]
    assert outputs.slots_of(pack(rows, 2, torch.device("cpu"))).tolist() == expected
    assert len(outputs) == 13
    query = model.model.layers[0].self_attn.q_proj
    own = model.model.layers[0].input_layernorm(model.model.embed_tokens(torch.tensor([5, 6, 7, 8, 9])))
    torch.testing.assert_close(outputs.buffer(query)[1:6], query(own), rtol=1e-12, atol=1e-12)
    assert outputs.buffer(query)[0].eq(0).all()


def poisoned(outputs, module):
    with torch.inference_mode():
        outputs.buffer(module)[1:] *= 1.5


@pytest.mark.parametrize("name", ["self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"])
def test_other_outputs_give_other_gradients_and_are_found(name):
    """Log-probabilities change only by outputs that are added to the hidden states."""
    model = build(CONFIGS["llama"](), torch.float64)
    rows, outputs = rolled_out(model)
    one = replace(rows[2], completions=rows[2].completions[1:2])
    assert len(one.completions[0].ids) > 1
    off, sums, lengths = compare_with_products(model, outputs, one, 1.0)
    assert off < 1e-12 and lengths.item() == len(one.completions[0].ids)
    assert torch.equal(sums, completion_logprobs(model, [one]).sums)
    poisoned(outputs, model.model.layers[1].get_submodule(name))
    assert compare_with_products(model, outputs, one, 1.0)[0] == pytest.approx(1 / 3)  # |1.5 x - x| / 1.5 x
    (logps, grads), (expected, expected_grads) = (
        values_and_gradients(model, rows, given) for given in (outputs, None)
    )
    embedding = "model.embed_tokens.weight"
    assert (grads[embedding] - expected_grads[embedding]).abs().max() > 1e-3
    assert ((logps - expected).abs().max() > 1e-3) == (name == "mlp.down_proj")


def test_a_completion_that_was_not_sampled_is_not_compared():
    model = build(CONFIGS["llama"](), torch.float64)
    rows, outputs = rolled_out(model)
    assert compare_with_products(model, outputs, other_prompt(model, rows, outputs)[-1], 1.0) is None


def changed_weight(model, rows, outputs):
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    return rows


def other_rows(model, rows, outputs):
    other = replace(rows[0], completions=rows[0].completions[::-1][:2] + rows[1].completions[:1])
    return [*rows[1:], other]


def other_prompt(model, rows, outputs):
    return [*rows[1:], replace(rows[0], prompt=rows[0].prompt[::-1].copy() + 1)]


def forgotten(model, rows, outputs):
    outputs.clear()
    return rows


def dropout_on(model, rows, outputs):
    model.config.attention_dropout = 0.1
    model.train()
    return rows


def recomputed(model, rows, outputs):
    recompute_activations(model.train())
    return rows


@pytest.mark.parametrize(
    "change", [changed_weight, other_rows, other_prompt, forgotten, dropout_on, recomputed]
)
def test_what_was_not_sampled_by_these_weights_is_computed(change):
    model = build(CONFIGS["llama"](), torch.float64)
    rows, outputs = rolled_out(model)
    rows = change(model, rows, outputs)
    slots = outputs.slots_of(pack(rows, 3, torch.device("cpu")))
    assert slots is None or not reusable_linears(model)


def test_the_reference_of_adapters_is_computed():
    model = adapted(build(CONFIGS["llama"](), torch.float64))
    rows, outputs = rolled_out(model)
    with adapters_off(model), torch.no_grad():
        expected = completion_logprobs(model, rows, layout="packed").sums
        with reusing(outputs):
            assert torch.equal(completion_logprobs(model, rows, layout="packed").sums, expected)
    assert (completion_logprobs(model, rows, layout="packed").sums - expected).abs().max() > 1e-2


def test_a_layer_that_others_share_has_no_outputs():
    model = build(hf.LlamaConfig(**SHAPE), torch.float64)
    model.model.layers[1].mlp.up_proj = model.model.layers[0].mlp.up_proj
    rows, outputs = rolled_out(model)
    assert len(outputs) == 0
    assert operations(model, rows, outputs) == operations(model, rows, None)


def test_a_model_that_is_sampled_without_a_cache_has_no_outputs():
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    model = build(hf.BloomConfig(**sizes), torch.float64)
    rows, outputs = rolled_out(model)
    assert len(outputs) == 0
    with reusing(outputs):
        logps = completion_logprobs(model, rows)
    assert torch.equal(logps.sums, completion_logprobs(model, rows).sums)


def test_the_layers_are_as_before():
    model = build(CONFIGS["llama"]())
    rows, outputs = rolled_out(model)
    with reusing(outputs):
        completion_logprobs(model, rows, layout="packed")
    assert not any("forward" in vars(m) for m in causal_model(model).modules())
    assert len(reusable_linears(model)) == 2 * 7


def test_more_tokens_than_there_is_room_for():
    model = build(CONFIGS["llama"]())
    with pytest.raises(ValueError, match="more than 3 tokens"):
        params = replace(PARAMS, stop_token_ids=())
        sample(model, [np.array([1, 2], np.int32)], params, outputs=LinearOutputs(3))
