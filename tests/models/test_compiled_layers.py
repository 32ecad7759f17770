"""Compiled layers (`model.kernels: fast`): the numbers of uncompiled ones, from a fixed number of graphs.

Layers are traced as on a GPU and run operation by operation; `test_gpu.py` compiles them where there is one.
"""

import logging

import pytest
import torch
import transformers as hf
from torch._dynamo.backends.debugging import aot_eager

from boresight.config.lora import LoraConfig
from boresight.models.eval_mode import arithmetic
from boresight.models.lora import attach
from boresight.models.packed import compiled_layers, last_layer, packing, shared_prefix
from boresight.models.packed.compiled_layers import compiled_forward
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.plan import packed_plan
from boresight.training.activations import recompute_activations
from tests.models.plain_varlen import stand_in_for_flash
from tests.models.tiny_decoders import CONFIGS, GROUPED, build, make_row, random_rows

LONG = [make_row(range(1, 60), range(1, 60), range(2, 61)) for _ in range(2)]
"""More than 256 tokens, for which a forward has 512."""


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that were compiled, as they come."""
    stand_in_for_flash(monkeypatch)
    for module in (packing, last_layer):
        monkeypatch.setattr(module, "fills", lambda device: True)
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(compiled_layers, "compiled_forward", lambda kind: compiled_forward(kind, backend))
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def run(model, rows):
    """Sums of log-probabilities and gradients of all trained parameters."""
    model.zero_grad()
    with arithmetic(model, "auto", tokens_per_forward=1024, kernels="fast"):
        sums = completion_logprobs(model, rows, layout="packed").sums
    sums.square().sum().backward()
    return sums.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def same(found, expected):
    (sums, grads), (other, other_grads) = found, expected
    torch.testing.assert_close(sums, other, rtol=1e-9, atol=1e-9)
    assert grads.keys() == other_grads.keys()
    for name, gradient in other_grads.items():
        assert (grads[name] - gradient).abs().max() <= 1e-6 * gradient.abs().max(), name


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt-neox"])
def test_values_and_gradients_are_those_of_uncompiled_layers(name, graphs, monkeypatch):
    rows = random_rows(6, 2, seed=7)
    model = build(CONFIGS[name](), torch.float64)
    found = run(model, rows)
    assert graphs and packed_plan_of(model).compiled
    monkeypatch.setattr(compiled_layers, "few_lengths", lambda: ())
    count = len(graphs)
    same(found, run(model, rows))
    assert len(graphs) == count


def packed_plan_of(model):
    with arithmetic(model, "auto", tokens_per_forward=1024, kernels="fast"):
        return packed_plan(model, random_rows(2, 2, seed=1))


def test_one_graph_for_each_length_with_and_without_gradients(graphs):
    """Two layers share it, and so do batches of any number of rows; a third length has its own."""
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    packed_plan_of(model)
    assert len(graphs) == 1  # 256 tokens, without gradients
    for count, k in ((2, 2), (5, 2), (3, 3), (1, 1)):
        run(model, random_rows(count, k, seed=count))
    assert len(graphs) == 2
    with torch.no_grad(), arithmetic(model, "auto", tokens_per_forward=1024, kernels="fast"):
        completion_logprobs(model, random_rows(4, 2, seed=3), layout="packed")
    assert len(graphs) == 2
    run(model, LONG)
    assert len(graphs) == 3


def test_adapters_on_and_off(graphs):
    """The reference of a LoRA run is the same model without its adapters."""
    model = attach(build(hf.LlamaConfig(**GROUPED)), LoraConfig(r=2, dropout=0.0), seed=0).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    rows = random_rows(4, 2, seed=2)
    adapted, _ = run(model, rows)
    with model.disable_adapter(), torch.no_grad():
        with arithmetic(model, "auto", tokens_per_forward=1024, kernels="fast"):
            plain = completion_logprobs(model, rows, layout="packed").sums
        expected = completion_logprobs(model, rows, layout="padded").sums
    torch.testing.assert_close(plain, expected, rtol=1e-5, atol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3
    count = len(graphs)
    run(model, random_rows(5, 2, seed=3))
    assert len(graphs) == count


def test_a_forward_of_another_length_is_not_compiled(graphs):
    """A row longer than a full forward, and forwards outside of the arithmetic of a run."""
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    packed_plan_of(model)
    count = len(graphs)
    with arithmetic(model, "auto", tokens_per_forward=256, kernels="fast"):
        completion_logprobs(model, LONG[:1] * 2, layout="packed")
    with arithmetic(model, "auto", kernels="fast"):
        completion_logprobs(model, random_rows(3, 2, seed=1), layout="packed")
    assert len(graphs) == count


def test_recomputed_layers_are_recomputed_by_the_same_graph(graphs, monkeypatch):
    """Each of two layers twice, after the block that compiles them has ended; bit for bit."""
    model, rows = build(hf.LlamaConfig(**GROUPED), torch.float64).train(), random_rows(5, 2, seed=1)
    expected = run(model, rows)
    count, calls, attend = len(graphs), [], shared_prefix.forward_of
    monkeypatch.setattr(shared_prefix, "forward_of", lambda *xs: calls.append(xs) or attend(*xs))
    recompute_activations(model)
    found = run(model, rows)
    assert len(calls) == 4
    assert found[1].keys() == expected[1].keys() and torch.equal(found[0], expected[0])
    assert all(torch.equal(found[1][name], gradient) for name, gradient in expected[1].items())
    assert all(layer.gradient_checkpointing for layer in model.model.layers)
    assert len(graphs) == count


def test_a_layer_that_is_not_one_graph_runs_uncompiled_with_the_reason(graphs, monkeypatch, caplog):
    """One that looks at a value, for which a graph would have to wait."""
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    kind = type(model.model.layers[0])
    before = kind.forward

    def forward(self, hidden_states, **kwargs):
        return before(self, hidden_states, **kwargs) + (1e9 if hidden_states.sum().item() > 1e9 else 0)

    monkeypatch.setattr(kind, "forward", forward)
    compiled_forward.cache_clear()
    with caplog.at_level(logging.WARNING, logger="boresight"):
        found = run(model, random_rows(3, 2, seed=1))
    compiled_forward.cache_clear()
    assert "LlamaForCausalLM are not compiled" in caplog.text
    assert not packed_plan_of(model).compiled and found[0].isfinite().all()


def test_layers_that_compute_something_else_compiled_are_not_used(monkeypatch, graphs, caplog):
    """A compiler that is wrong is found before a step is taken."""

    def wrong(kind):
        run = compiled_forward(kind, "aot_eager")
        return lambda *args, **kwargs: 1.2 * run(*args, **kwargs)

    monkeypatch.setattr(compiled_layers, "compiled_forward", wrong)
    model = build(hf.LlamaConfig(**GROUPED), torch.float64)
    with caplog.at_level(logging.WARNING, logger="boresight"):
        assert not packed_plan_of(model).compiled
    assert "return other hidden states when compiled" in caplog.text


def test_proven_kernels_compile_no_layer(graphs):
    model = build(hf.LlamaConfig(**GROUPED))
    with arithmetic(model, "bfloat16", tokens_per_forward=1024):
        completion_logprobs(model, random_rows(3, 2, seed=1), layout="packed")
    assert not graphs
