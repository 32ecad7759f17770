"""In bfloat16 logits leave their product in float32, whatever computes them."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.compact import HalfLinear, compact_frozen
from boresight.models.kernels.fast import kernels_of_run
from boresight.models.kernels.matmul import add_outer, wide_product
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.packed import head as head_file
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.sampler import params as params_file
from boresight.models.sampler.sample import SamplingParams, sample, sample_plain
from boresight.models.sampler.static import rollout as static_rollout
from boresight.models.sampler.stream import stream
from boresight.training.probes import kl
from tests.models.tiny_decoders import CONFIGS, build, make_row, random_rows
from tests.versions import NEEDS_WIDE_META


def operands(rows=40, width=64, vocabulary=700):
    """Hidden states and a weight whose logits reach 20 to 30, where bfloat16 has steps of an eighth."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator).bfloat16()
    return hidden, torch.randn(vocabulary, width, generator=generator), torch.arange(rows) * 7 % vocabulary


def exact(hidden, weight, targets):
    """From the same rounded operands, in float64."""
    logits = hidden.double() @ weight.bfloat16().double().T
    return logits.log_softmax(-1).gather(1, targets[:, None]).squeeze(1)


@pytest.mark.parametrize("trained", [True, False], ids=["trained head", "frozen head"])
def test_the_packed_head_sums_in_float32(trained, monkeypatch):
    """Several tiles; rounded logits would be off by a sixteenth."""
    monkeypatch.setattr(head_file, "TILE_ELEMENTS", 1)
    hidden, weight, targets = operands()
    hidden.requires_grad_()
    weight.requires_grad_(trained)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = token_logprobs(hidden, targets, Head(weight))
    assert (found - exact(hidden, weight, targets)).abs().max() < 1e-4
    found.sum().backward()
    expected = hidden.detach().double().requires_grad_()
    exact(expected, weight.detach(), targets).sum().backward()
    assert (hidden.grad - expected.grad).abs().max() < 0.02 * expected.grad.abs().max()


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_called_as_a_module_sums_in_float32_and_has_its_gradients(bias):
    hidden, weight, _ = operands(rows=6)
    layer = nn.Linear(64, 700, bias=bias)
    layer.weight.data = weight
    model = build(CONFIGS["llama"]())
    model.lm_head = layer
    x = hidden.view(2, 3, 64).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), wide_logits(model):
        logits = layer(x)
    assert logits.dtype == torch.float32 and logits.shape == (2, 3, 700)
    expected = x.double() @ weight.bfloat16().double().T + (layer.bias.double() if bias else 0)
    assert (logits - expected).abs().max() < 1e-4
    pull = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * pull).sum().backward()
    pull = pull.bfloat16().double().flatten(0, 1)
    torch.testing.assert_close(layer.weight.grad, (pull.T @ hidden.double()).float(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        x.grad.float().flatten(0, 1), (pull @ weight.bfloat16().double()).float(), rtol=1e-2, atol=1e-1
    )
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapter on the head"])
def test_both_layouts_leave_logits_in_float32(layout, adapted, monkeypatch):
    """What becomes a log-probability has more than the eight bits of bfloat16."""
    model = build(CONFIGS["llama"]())
    if adapted:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))
    seen = []
    softmax = torch.Tensor.log_softmax
    monkeypatch.setattr(
        torch.Tensor, "log_softmax", lambda x, *a, **k: (seen.append(x), softmax(x, *a, **k))[1]
    )
    rows = [make_row([1, 2, 3], [4, 5, 6], [7, 8])]
    with arithmetic(model, "bfloat16"):
        completion_logprobs(model, rows, layout=layout)
    if layout == "packed" and not adapted:
        assert not seen  # the head of its own, which the tests above see
        return
    (logits,) = seen
    assert (logits != logits.bfloat16().float()).float().mean() > 0.5


def compact_model():
    """Adapters on frozen weights that are stored in bfloat16, the output layer among them."""
    base = build(CONFIGS["llama"]())
    base.lm_head.weight.data = base.lm_head.weight.data.bfloat16().float()
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    compact_frozen(base, "bfloat16", torch.bfloat16, base.lm_head)
    assert type(base.lm_head) is HalfLinear
    return model


def bfloat16_model():
    return build(CONFIGS["llama"](), torch.bfloat16)


def stream_one(model, prompts, params):
    return stream(model, prompts[0], params, lambda ids: None)


def sample_in_steps_of_fixed_shape(model, prompts, params):
    with kernels_of_run("fast"):
        return sample(model, prompts, params)


SAMPLERS = [sample, sample_in_steps_of_fixed_shape, sample_plain, stream_one]


@pytest.mark.parametrize("made", [compact_model, bfloat16_model])
@pytest.mark.parametrize("draw", SAMPLERS)
def test_no_sampler_rounds_its_logits(draw, made, monkeypatch):
    """Outside autocast, as while sampling: the trainer's are not rounded, which its ratios compare."""
    seen = []
    for module, name in ((params_file, "draw_tokens"), (static_rollout, "draw_masked")):
        given = getattr(module, name)
        monkeypatch.setattr(module, name, lambda x, *rest, f=given: (seen.append(x), f(x, *rest))[1])
    draw(made(), [np.array([1, 2, 3])], SamplingParams(max_new_tokens=3, seed=0))
    assert len(seen) >= 3
    for first, *_ in seen:  # later rows of a fixed shape may be idle
        assert (first != first.bfloat16().float()).float().mean() > 0.5


@pytest.mark.parametrize("made", [compact_model, bfloat16_model])
def test_a_cpu_converts_the_output_layer_once_and_not_at_every_step(made, monkeypatch):
    """Three decode steps; a conversion reads and writes the largest matrix of a small model."""
    model, converted = made(), []
    head = model.get_output_embeddings().weight.shape
    prompts, params = [np.array([1, 2, 3])], SamplingParams(max_new_tokens=3, seed=0)
    sample(model, prompts, params)  # with the trial of the sampler
    widen = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda x: (converted.append(x.shape), widen(x))[1])
    sample(model, prompts, params)
    assert converted.count(head) == 1


def test_the_exact_kl_is_that_of_logits_without_rounding():
    model, row = compact_model(), make_row([1, 2, 3], [4, 5, 6])
    found = kl._log_distributions(model, row)
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        hidden = model.base_model.model.model(input_ids=ids).last_hidden_state[0, 2:5].bfloat16()
    expected = hidden.double() @ model.get_output_embeddings().weight.double().T
    torch.testing.assert_close(found.double(), expected.log_softmax(-1), rtol=0, atol=1e-5)


def test_float32_is_left_as_it_was():
    model = build(CONFIGS["llama"]())
    rows = random_rows(3, 2, seed=0)
    before = completion_logprobs(model, rows, layout="padded").sums
    with wide_logits(model):
        assert "forward" not in vars(model.lm_head)
    assert torch.equal(completion_logprobs(model, rows, layout="padded").sums, before)


@NEEDS_WIDE_META
def test_on_cuda_the_product_itself_keeps_its_sums():
    """Seen on torch's `meta` device, where operators have shapes alone: no operand is widened."""
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(function)
            return function(*args, **kwargs or {})

    x, weight = (torch.empty(n, 8, dtype=torch.bfloat16, device="meta") for n in (4, 5))
    with Calls():
        out = wide_product(x, weight)
    assert out.dtype == torch.float32 and out.shape == (4, 5)
    assert torch.ops.aten.mm.dtype in called and torch.ops.aten._to_copy.default not in called


def test_a_half_precision_gradient_is_added_without_being_rounded():
    """1024 products of 1 x 1 beside 0.5 x 1: 1024.5, which bfloat16 would round to 1024."""
    total, ones = torch.zeros(1, 1), torch.ones(1025, 1).bfloat16()
    ones[0] = 0.5
    add_outer(total, ones, torch.ones(1025, 1).bfloat16())
    assert total.item() == 1024.5
