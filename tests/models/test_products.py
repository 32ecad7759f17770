"""Gradients that are added in place are autograd's own, and only where nobody else is asked for them."""

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode

from boresight.models.kernels import fused, libraries, matmul
from boresight.models.kernels.libraries import Libraries
from boresight.models.kernels.linear import packed_linears
from boresight.models.kernels.matmul import (
    add_outer,
    filled_rows,
    gradients_in_place,
    onednn_outer,
    onednn_product,
    product,
    weight_gradient,
)
from boresight.models.packed.head import Head, token_logprobs
from boresight.models.packed.logprobs import completion_logprobs
from tests.models.tiny_decoders import CONFIGS, GROUPED, build, make_row, random_rows


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def twice(function, *inputs, allowed):
    """Gradients after two backward passes with unlike upstream gradients."""
    with gradients_in_place(allowed):
        outputs = [function(*inputs) for _ in range(2)]
    for i, out in enumerate(outputs):
        (out * torch.linspace(-1, 2 + i, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    grads = [x.grad for x in inputs if x.requires_grad]
    for x in inputs:
        x.grad = None
    return grads


def assert_same_in_place(function, *inputs):
    expected = twice(function, *inputs, allowed=False)
    got = twice(function, *inputs, allowed=True)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_every_node_in_float64():
    torch.manual_seed(0)
    x, targets = double(1, 7, 4), torch.tensor([0, 4, 2])
    assert_same_in_place(fused.Linear.apply, x, double(6, 4), double(6))
    assert_same_in_place(fused.GatedMLP.apply, x, double(6, 4), double(6, 4), double(4, 6))

    def head(hidden, weight, bias, **options):
        return token_logprobs(hidden, targets, Head(weight, bias, **options))[0]

    assert_same_in_place(head, double(3, 4), double(9, 4), double(9))
    assert_same_in_place(lambda *args: head(*args, softcap=2.0), double(3, 4), double(9, 4), double(9))


@pytest.mark.parametrize("padding", [None, 3])
def test_embedding_with_repeated_ids_and_a_padding_row(padding):
    """Id 5 is read twice; the row of the padding id gets no gradient, as in torch."""
    torch.manual_seed(0)
    ids, weight = torch.tensor([[5, 3, 5, 0]]), double(7, 2)
    expected = twice(lambda w: F.embedding(ids, w, padding), weight, allowed=False)
    got = twice(lambda w: fused.Embedding.apply(ids, w, padding), weight, allowed=True)
    torch.testing.assert_close(got, expected, rtol=1e-15, atol=0)


class OneDNNShapes(TorchDispatchMode):
    """Collects rows, columns and inputs of the products that oneDNN computes."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name == "mkldnn::_linear_pointwise":
            x, weight = args[:2]
            self.shapes.add((x.shape[:-1].numel(), *weight.shape))
        return func(*args, **(kwargs or {}))


ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")


@ONEDNN
def test_rows_of_every_length_need_kernels_for_few_shapes(monkeypatch):
    """oneDNN keeps kernels for each shape for good, so a run must not need some per number of tokens."""
    monkeypatch.setattr(libraries, "_in_force", Libraries(products="onednn"))
    wide = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_key_value_heads": 4}
    model, totals = build(hf.LlamaConfig(**GROUPED | wide)), range(40, 160, 3)
    completion_logprobs(model, [make_row([1], [2])])  # tries the layout
    with OneDNNShapes() as seen:
        for tokens in totals:
            row = make_row(range(tokens // 2), range(tokens - tokens // 2))
            completion_logprobs(model, [row], layout="packed").sums.sum().backward()
    filled = {filled_rows(n) for total in totals for n in (total, total - total // 2)}
    assert {rows for rows, *_ in seen.shapes} == filled and len(filled) < 20
    assert len(seen.shapes) <= len(filled) * len({tuple(weight) for _, *weight in seen.shapes})


@ONEDNN
@pytest.mark.parametrize(("prompt", "rows"), [(40, 1), (2, 9)], ids=["a long row", "many short rows"])
def test_a_forward_is_filled_up_once_and_not_in_every_layer(prompt, rows, monkeypatch):
    """Values and gradients are those of a forward by the other library, which is not filled up."""
    wide = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_key_value_heads": 4}
    model = build(hf.LlamaConfig(**GROUPED | wide))
    batch = [make_row([row, *range(prompt)], range(30), range(7)) for row in range(rows)]
    heads, met = {rows * 36, rows * 37}, []  # the ends of prompts predict twice

    def counted(n):
        met.append(n)
        return filled_rows(n)

    def sums_and_gradients(library):
        monkeypatch.setattr(libraries, "_in_force", Libraries(library, library))
        model.zero_grad()
        sums = completion_logprobs(model, batch, layout="packed").sums
        (torch.linspace(-1, 2, sums.numel()).view_as(sums) * sums).sum().backward()
        return [sums.detach(), *(p.grad for p in model.parameters())]

    expected = sums_and_gradients("blas")
    monkeypatch.setattr(matmul, "filled_rows", counted)
    for a, b in zip(sums_and_gradients("onednn"), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert {n for n in met if filled_rows(n) != n} <= heads  # the last layer and the output layer


@ONEDNN
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 100, 129, 1000])
@pytest.mark.parametrize("laid_out", [False, True])
def test_filled_up_products_are_the_same(rows, laid_out):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, rows, 96), torch.randn(80, 96), torch.randn(80)
    stored = torch.ops.mkldnn._reorder_linear_weight(weight) if laid_out else weight
    got = onednn_product(x, stored, len(weight), bias)
    torch.testing.assert_close(got, F.linear(x, weight, bias), rtol=1e-4, atol=1e-4)


@ONEDNN
def test_steps_of_few_rows_are_decoded_as_they_are():
    """Filled, 9 rows would be 16: copies and rows of zeros took longer than the product. 65 are filled."""
    layer = torch.nn.Linear(96, 80)
    with torch.no_grad(), packed_linears(layer), OneDNNShapes() as seen:
        for rows in (9, 64, 65):
            layer(torch.randn(rows, 1, 96))
    assert {rows for rows, *_ in seen.shapes} == {9, 64, 72}


@ONEDNN
@pytest.mark.parametrize("rows", [1, 2, 7, 100, 129, 1000])
def test_gradients_of_weights_by_onednn_are_the_same(rows, monkeypatch):
    """Kept apart, as the first of a weight, and added to what is there."""
    torch.manual_seed(0)
    grad, x, weight = torch.randn(1, rows, 80), torch.randn(1, rows, 96), torch.randn(80, 96)
    expected = grad[0].T @ x[0]
    torch.testing.assert_close(onednn_outer(grad[0], x[0]), expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(libraries, "_in_force", Libraries("blas", "onednn", "blas"))
    with OneDNNShapes() as seen:
        apart = weight_gradient(grad, x, weight, in_place=False)
        for _ in range(2):
            assert weight_gradient(grad, x, weight, in_place=True) is None
        total = torch.ones_like(weight)
        add_outer(total, grad[0], x[0])
    torch.testing.assert_close(apart, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weight.grad, 2 * expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(total, 1 + expected, rtol=1e-4, atol=1e-4)
    assert seen.shapes == {(80, 96, filled_rows(rows))}


@ONEDNN
def test_products_of_adapters_and_of_no_rows_are_left_to_blas(monkeypatch):
    """Rank 16 is narrower than `NARROW`, so its rows are not padded; of no rows the gradient is zeros."""
    monkeypatch.setattr(libraries, "_in_force", Libraries("onednn", "onednn", "onednn"))
    with OneDNNShapes() as seen:
        product(torch.randn(9, 96), torch.randn(16, 96))
        weight_gradient(torch.randn(9, 16), torch.randn(9, 96), torch.randn(16, 96), in_place=False)
        none = weight_gradient(torch.randn(0, 80), torch.randn(0, 96), torch.randn(80, 96), in_place=False)
    assert not seen.shapes and torch.equal(none, torch.zeros(80, 96))
    with OneDNNShapes() as seen:
        product(torch.randn(16, 96), torch.randn(16, 96))  # of a forward that is padded already
    assert seen.shapes == {(16, 16, 96)}


def test_filling_up_adds_a_sixteenth_at_most():
    filled = {rows: filled_rows(rows) for rows in range(5000)}
    assert all(rows <= more < rows + max(8, rows / 16 + 1) for rows, more in filled.items())
    assert len({more for rows, more in filled.items() if rows <= 4096}) == 98
    assert filled[0] == 0 and filled[1] == 1


def step_gradients(model, batches, allowed):
    for rows in batches:
        with gradients_in_place(allowed):
            sums = completion_logprobs(model, rows, layout="packed").sums
        (torch.linspace(-1, 2, sums.numel()).view_as(sums) * sums).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return grads


@pytest.mark.parametrize("name", [*CONFIGS, "llama-lora"])
def test_whole_models_over_two_forwards(name):
    model = build(CONFIGS[name.removesuffix("-lora")]())
    if name.endswith("lora"):
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    batches = [[*random_rows(2, 2, seed=1), make_row([0, 3], [4], [5])], random_rows(3, 2, seed=2)]
    expected = step_gradients(model, batches, allowed=False)
    got = step_gradients(model, batches, allowed=True)
    assert got.keys() == expected.keys() and expected
    for key, gradient in expected.items():
        assert (got[key] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), key


def test_a_weight_with_a_hook_is_left_to_autograd():
    weight, seen = double(6, 4), []
    weight.register_hook(lambda grad: seen.append("tensor"))
    weight.register_post_accumulate_grad_hook(lambda _: seen.append("accumulated"))
    with gradients_in_place():
        out = fused.Linear.apply(double(3, 4), weight, None)
    out.sum().backward()
    assert seen == ["tensor", "accumulated"] and weight.grad is not None


def test_outside_the_block_a_gradient_can_be_asked_for():
    x, weight = double(3, 4), double(6, 4)
    with gradients_in_place():
        pass
    (gradient,) = torch.autograd.grad(fused.Linear.apply(x, weight, None).sum(), [weight])
    torch.testing.assert_close(gradient, x.detach().sum(0).expand(6, 4))
    assert weight.grad is None
