"""The stand-ins of layers: the same function, found out by trial, gone after the forward."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.autograd import gradcheck

from boresight.models.kernels import fused
from boresight.models.kernels.adapters import AdaptedLinear, DropoutLinear, dropped_inputs, only_adapter
from boresight.training.activations import recompute_activations
from tests.models.tiny_decoders import CONFIGS, GROUPED, build


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_rms_norm_against_its_formula_and_finite_differences(shift):
    torch.manual_seed(0)
    x, weight = double(2, 3, 5), double(5)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (shift + weight)
    torch.testing.assert_close(fused.RMSNorm.apply(x, weight, 1e-3, shift), expected)
    assert gradcheck(lambda x, w: fused.RMSNorm.apply(x, w, 1e-3, shift), (x, weight))


def test_swiglu_against_finite_differences():
    torch.manual_seed(0)
    gate, up = double(2, 5), double(2, 5)
    torch.testing.assert_close(fused.SwiGLU.apply(gate, up), F.silu(gate) * up)
    assert gradcheck(fused.SwiGLU.apply, (gate, up))


@pytest.mark.parametrize("frozen", [False, True])
def test_linear_equals_torch_linear(frozen):
    torch.manual_seed(0)
    x = torch.randn(1, 40, 32, requires_grad=True)
    weight = torch.randn(48, 32, requires_grad=not frozen)
    bias = torch.randn(48, requires_grad=not frozen)
    wanted = [x] if frozen else [x, weight, bias]
    got, expected = fused.Linear.apply(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(expected)
    for a, b in zip(*(torch.autograd.grad(y, wanted, upstream) for y in (got, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_dropout_and_linear_against_finite_differences():
    torch.manual_seed(0)
    x, weight = double(2, 3, 5), double(4, 5)

    def seeded(function):
        torch.manual_seed(1)
        return function()

    got = seeded(lambda: DropoutLinear.apply(x, weight, 0.4))
    expected = seeded(lambda: F.linear(F.dropout(x, 0.4), weight))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda x, w: seeded(lambda: DropoutLinear.apply(x, w, 0.4)), (x, weight))


def test_a_linear_layer_with_an_adapter_against_its_formula_and_finite_differences():
    torch.manual_seed(0)
    x, weight, bias, down, up = double(2, 3, 5), double(4, 5), double(4), double(2, 5), double(4, 2)
    expected = F.linear(x, weight, bias) + 0.7 * F.linear(F.linear(x, down), up)
    got = AdaptedLinear.apply(x, weight, bias, down, up, 0.7)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda *inputs: AdaptedLinear.apply(*inputs, 0.7), (x, weight, bias, down, up))


def adapted(dropout):
    config = LoraConfig(r=2, lora_dropout=dropout, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(build(hf.LlamaConfig(**GROUPED)), config).train()


def test_adapters_draw_the_same_dropout_and_give_the_same_gradients():
    model, ids = adapted(0.3), torch.arange(1, 12)[None]
    with fused.fused_layers(model.base_model.eval()):  # layers are tried without dropout, which draws
        model.train()

    def run(replace):
        torch.manual_seed(0)
        with fused.fused_layers(model.base_model) if replace else nullcontext():
            out = model(input_ids=ids).logits
        out.square().mean().backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return out.detach(), grads

    (got, got_grads), (expected, expected_grads) = run(True), run(False)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got_grads.keys() == expected_grads.keys() and got_grads
    for name, gradient in expected_grads.items():
        assert (got_grads[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


@pytest.mark.parametrize(("dropout", "training"), [(0.0, True), (0.3, False)])
def test_layers_with_adapters_and_without_dropout_are_one_node(dropout, training):
    """Values and gradients are PEFT's; the layers inside are not called."""
    model, ids = adapted(dropout).train(training), torch.arange(1, 12)[None]
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert not [pair for module in layers for pair in dropped_inputs(module)]

    def run(context):
        with context:
            out = model(input_ids=ids).logits
        out.square().mean().backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return out.detach(), grads

    with fused.fused_layers(model.base_model):
        assert layers and all("forward" in vars(module) for module in layers)
    (got, got_grads), (expected, expected_grads) = (
        run(context) for context in (fused.fused_layers(model.base_model), nullcontext())
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got_grads.keys() == expected_grads.keys() and got_grads
    for name, gradient in expected_grads.items():
        assert (got_grads[name] - gradient).abs().max() <= 1e-4 * gradient.abs().max(), name


def second_adapter(model):
    model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    model.base_model.set_adapter(["default", "other"])


def with_dora(model):
    model.add_adapter("dora", LoraConfig(r=2, target_modules="all-linear", use_dora=True))
    model.set_adapter("dora")


def adapters_disabled(model):
    model.base_model.disable_adapter_layers()


def merged(model):
    model.merge_adapter()


def of_half_precision(model):
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.bfloat16() if "lora_" in name else parameter.data


@pytest.mark.parametrize("change", [second_adapter, with_dora, adapters_disabled, merged, of_half_precision])
def test_layers_that_compute_something_else_are_left_to_peft(change):
    model = adapted(0.0)
    change(model)
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    assert layers and not any(only_adapter(module) for module in layers)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma", "gemma3"])
def test_layers_are_recognised_and_come_back_even_after_an_error(name):
    model = build(CONFIGS[name]())
    expected = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]
    if model.config.get_text_config().to_dict().get("hidden_act") == "silu":  # Gemma's MLP has GELU
        expected += [layer.mlp for layer in model.model.layers]
    with pytest.raises(KeyError), fused.fused_layers(model.model):
        assert expected and all("forward" in vars(module) for module in expected)
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_gated_mlp_with_another_activation_stays():
    model = build(CONFIGS["gemma"]())
    with fused.fused_layers(model.model):
        assert "forward" not in vars(model.model.layers[0].mlp)


def test_a_norm_of_that_name_which_computes_something_else_stays():
    class OddRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

        def forward(self, x):
            return x / x.abs().mean(-1, keepdim=True) * self.weight

    norm = OddRMSNorm()
    with fused.fused_layers(norm):
        assert "forward" not in vars(norm)


def test_nothing_is_replaced_in_float64_under_autocast_or_checkpointing():
    def replaced(model):
        with fused.fused_layers(model.model):
            return any("forward" in vars(module) for module in model.modules())

    model = build(hf.LlamaConfig(**GROUPED))
    assert replaced(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert not replaced(model)
    recompute_activations(model)
    assert not replaced(model)
    recompute_activations(model, on=False)
    assert replaced(model) and not replaced(model.double())
