"""The last layer where tokens are scored: the states, gradients and counted operations of the plain path."""

from dataclasses import replace

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from boresight.models.packed import last_layer
from boresight.models.packed.last_layer import LastLayer, last_layer_at
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import pack
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.policy import causal_model
from boresight.training.activations import recompute_activations
from tests.models.tiny_decoders import CONFIGS, GROUPED, VOCABULARY, build, make_row, random_rows

ROWS = [*random_rows(4, 2, seed=3), make_row([3, 1], [5], [])]


def plan_of(model):
    plan = packed_plan(model, ROWS)
    assert isinstance(plan, PackedPlan)
    return plan


def states_and_gradients(model, plan):
    """Hidden states at the scored positions, and the gradients of all weights of a loss that weighs each."""
    batch = pack(ROWS, 2, torch.device("cpu"))
    states = plan.hidden(model, batch, batch.scored)
    weights = torch.linspace(-1, 2, states.numel(), dtype=states.dtype).view_as(states)
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = (weights * states).sum()
    return states, dict(
        zip(wanted, torch.autograd.grad(loss, wanted.values(), allow_unused=True), strict=True)
    )


def assert_equal_to_plain(model, tolerance):
    plan = plan_of(model)
    assert plan.partial_last_layer
    (states, grads), (expected, expected_grads) = (
        states_and_gradients(model, replace(plan, partial_last_layer=partial)) for partial in (True, False)
    )
    pairs = {"states": (states, expected)} | {name: (grads[name], expected_grads[name]) for name in grads}
    for name, (a, b) in pairs.items():
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).abs().max() <= tolerance * b.abs().max(), name
    return len([gradient for gradient in grads.values() if gradient is not None])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture(name):
    """float64, but for Cohere's norm and Gemma 2's softmax, which transformers rounds to float32."""
    assert assert_equal_to_plain(
        build(CONFIGS[name](), torch.float64), 1e-6 if name in ("gemma2", "cohere") else 1e-10
    )


def test_float32_with_the_layers_that_replace_torchs():
    assert assert_equal_to_plain(build(CONFIGS["llama"]()), 1e-4)


def test_lora_on_all_linear_layers():
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(build(hf.LlamaConfig(**GROUPED), torch.float64), config).double().eval()
    assert assert_equal_to_plain(model, 1e-10) == 2 * 2 * 7


def operations(run):
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


def test_operations_by_hand():
    """Two prompts of 6 tokens with answers of 3 and 2: 22 tokens, of which 2 * (1 + 2 + 1) = 8 predict.

    So 14 positions skip queries and output (32 x 32 each) and the MLP (3 matrices of 32 x 48). A product has
    a multiplication and an addition per weight and position, and is done three times: in the forward, for
    the gradient of its input, and for that of its weights.
    """
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    rows = [make_row(range(i, i + 6), [7, 8, 9], [4, 5]) for i in (1, 2)]
    batch, plan = pack(rows, 2, torch.device("cpu")), plan_of(model)
    assert batch.ids.shape == (1, 22) and len(batch.scored) == 8
    full, partial = (
        operations(
            lambda p=p: (
                replace(plan, partial_last_layer=p).hidden(model, batch, batch.scored).sum().backward()
            )
        )
        for p in (False, True)
    )
    assert full - partial == 3 * 2 * 14 * (2 * 32 * 32 + 3 * 32 * 48)


def test_a_layer_that_gives_other_states_there_is_computed_everywhere(monkeypatch):
    """As a module would whose result at a position depends on others; here all land one position early."""
    in_place = last_layer._in_place
    monkeypatch.setattr(last_layer, "_in_place", lambda forward, at: in_place(forward, (at - 1).clamp(0)))
    model = build(CONFIGS["llama"]())
    assert not plan_of(model).partial_last_layer
    packed, padded = (completion_logprobs(model, ROWS, layout=layout).sums for layout in ("packed", "padded"))
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-4)


def test_a_decoder_that_expects_all_positions_after_its_norm_is_run_in_full():
    """GPT-2 gives its states the shape of the token ids."""
    sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    model = build(hf.GPT2Config(**sizes))
    assert LastLayer.of(model) is not None
    assert not plan_of(model).partial_last_layer


def test_names_that_are_not_recognized_and_queries_that_come_with_keys():
    """GPT-NeoX has one layer for queries, keys and values, which is needed at all positions."""
    model, joint = build(CONFIGS["llama"]()), build(CONFIGS["gpt-neox"]())
    layer, other = model.model.layers[-1], joint.gpt_neox.layers[-1]
    assert LastLayer.of(model).inside == (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp)
    assert LastLayer.of(joint).inside == (other.attention.dense, other.mlp)
    layer.feed_forward = layer.__dict__["_modules"].pop("mlp")
    assert LastLayer.of(model) is None


def test_the_modules_are_as_before_even_after_an_error():
    """The norm has a forward of its own, as accelerate gives to modules, and keeps it."""
    model = build(CONFIGS["llama"]())
    last, own = LastLayer.of(model), model.model.norm.forward
    model.model.norm.forward = own
    with pytest.raises(KeyError), last_layer_at(last, torch.tensor([1])):
        assert all("forward" in vars(module) for module in last.inside)
        raise KeyError
    assert not any("forward" in vars(module) for module in last.inside)
    assert model.model.norm.forward is own


def test_under_activation_checkpointing_and_on_a_gpu_it_is_computed_everywhere(monkeypatch):
    model = build(CONFIGS["llama"]())
    some, none = torch.tensor([1]), torch.tensor([], dtype=torch.int64)
    assert last_layer.applies(model, some) and not last_layer.applies(model, none)
    recompute_activations(causal_model(model))
    assert not last_layer.applies(model, some)
    recompute_activations(causal_model(model), on=False)
    monkeypatch.setattr(last_layer, "fills", lambda device: True)
    assert not last_layer.applies(model, some)
