"""Parameters in two halves: what they are together, what they are not, and who may see which."""

import copy

import pytest
import torch
from torch import nn

from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.fused import fused_layers
from boresight.models.kernels.matmul import gradient_dtype, gradients_in_place
from boresight.models.kernels.split_weights import (
    ALIGNED,
    by_bucket,
    is_split,
    joined_bucket,
    low_bits,
    master_weights,
    place_of,
    split_obstacle,
    split_weights,
)
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.reference.frozen import frozen_copy
from tests.tiny import tiny_model
from tests.versions import NEEDS_GRAD_DTYPE

pytestmark = NEEDS_GRAD_DTYPE


def bits(weight):
    return weight.detach().view(torch.int32)


def test_together_they_are_what_they_were():
    model = tiny_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    split_weights(model)
    assert is_split(model)
    for name, p in model.named_parameters():
        assert p.dtype == torch.bfloat16
        assert (p.float() - before[name]).abs().max() <= 2**-8 * before[name].abs().max()
    with master_weights(model):
        for name, p in model.named_parameters():
            assert torch.equal(bits(p), bits(before[name])), name
    assert model.dtype == torch.bfloat16


def test_what_is_written_to_the_master_is_kept_where_it_is_asked_for():
    model = tiny_model()
    split_weights(model)
    weight = model.get_input_embeddings().weight
    for write in (False, True):
        with master_weights(model, write=write):
            weight.data.add_(1e-6)  # less than a bfloat16 shows
            wanted = weight.detach().clone()
        with master_weights(model):
            assert torch.equal(bits(weight), bits(wanted)) == write


def test_an_error_leaves_the_weights_as_they_were():
    model = tiny_model()
    split_weights(model)
    before = [low.clone() for low in low_bits(model.parameters())]
    with pytest.raises(RuntimeError, match="within"), master_weights(model, write=True):
        model.get_input_embeddings().weight.data.zero_()
        raise RuntimeError("within")
    assert all(map(torch.equal, before, low_bits(model.parameters())))
    assert model.get_input_embeddings().weight.any()


def test_buckets_hold_so_many_entries_and_begin_at_aligned_ones():
    """Linear layers of 20 weights and 4 biases fill 2 * 128 entries; three of 512 share a bucket of 1,100."""
    model = nn.Sequential(nn.Embedding(100, 20), *(nn.Linear(5, 4) for _ in range(3)), nn.Linear(5, 4))
    split_weights(model, bucket=3 * 2 * ALIGNED)
    assert [len(bucket) for bucket in by_bucket(model.parameters())] == [1, 6, 2]
    assert all(place_of(p).start % ALIGNED == 0 for p in model.parameters())
    assert [len(low) for low in low_bits(model.parameters())] == [2048, 768, 256]


def test_gradients_are_summed_in_float32():
    """1 + 2^-8 + ... of 2^-8 each would stay 1 in bfloat16."""
    layer = nn.Linear(1, 1, bias=False)
    split_weights(layer)
    for x in (1.0, *[2.0**-9] * 4):
        layer(torch.tensor([[x]], dtype=torch.bfloat16)).sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    assert float(layer.weight.grad) == 1 + 4 * 2**-9


def test_the_gradient_of_an_embedding_is_added_in_place():
    """1 + 4 * 2^-9 to the row of a token that is read five times; bfloat16 would sum to 1. The gradient of an
    earlier forward, 1 everywhere, stays the same tensor."""
    model = tiny_model()
    split_weights(model)
    table = model.get_input_embeddings()
    table.weight.grad = before = torch.ones(table.weight.shape)
    with gradients_in_place(), fused_layers(model.model):
        rows = table(torch.full((1, 5), 7))
    assert rows.dtype == torch.bfloat16
    upstream = torch.tensor([1.0, *[2.0**-9] * 4]).bfloat16()
    rows.backward(upstream[None, :, None].expand_as(rows))
    assert table.weight.grad is before
    assert (before[7] == 2 + 4 * 2**-9).all()
    assert (before[:7] == 1).all() and (before[8:] == 1).all()


def test_precision_of_gradients():
    """A wider one only where it was set; a weight that was computed has its own."""
    layer = nn.Linear(3, 3)
    computed = layer.weight * 1
    assert gradient_dtype(layer.weight.double()) == torch.float64
    split_weights(layer)
    half = layer.weight.detach().clone()
    dtypes = [gradient_dtype(weight) for weight in (layer.weight, half, computed)]
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32]


def test_a_copy_is_bfloat16_and_nothing_more():
    policy = tiny_model()
    split_weights(policy)
    frozen = frozen_copy(policy, "bfloat16")
    assert not is_split(frozen)
    ids = torch.arange(5, 15)[None]
    with arithmetic(policy, "bfloat16"), torch.no_grad():
        assert not torch.is_autocast_enabled("cpu")
        assert torch.equal(policy(input_ids=ids).logits, frozen(input_ids=ids).logits)
    again = copy.deepcopy(policy).get_input_embeddings().weight
    assert place_of(again) is None


def test_logits_are_float32_where_the_output_layer_is_called():
    policy = tiny_model()
    split_weights(policy)
    ids = torch.arange(5, 15)[None]
    with wide_logits(policy):
        logits = policy(input_ids=ids).logits
    logits.sum().backward()
    hidden, weight = policy.model(input_ids=ids).last_hidden_state, policy.get_output_embeddings().weight
    assert torch.equal(logits, hidden.float() @ weight.float().T)
    assert weight.grad.dtype == torch.float32


def test_moving_the_model_afterwards_is_an_error():
    layer = nn.Linear(3, 3)
    split_weights(layer)
    layer.weight.data = layer.weight.data.clone()
    with pytest.raises(RuntimeError, match="moved after split_weights"):
        by_bucket(layer.parameters())


class Decay(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize(
    ("model", "obstacle"),
    [
        (nn.Sequential(nn.Linear(2, 2), Decay()), "a Decay may need weights in float32"),
        (nn.Linear(2, 2).requires_grad_(False), "not all of its weights are trained in float32"),
        (nn.Linear(2, 2).bfloat16(), "not all of its weights are trained in float32"),
    ],
)
def test_what_is_not_split(model, obstacle):
    assert split_obstacle(model) == obstacle
    with pytest.raises(UserError, match=obstacle):
        split_weights(model)
    assert not is_split(model)


def test_only_the_bucket_is_joined():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    split_weights(model, bucket=2 * ALIGNED)
    first = by_bucket(model.parameters())[0]
    with joined_bucket(first):
        assert [p.dtype for p in model.parameters()] == [torch.float32] * 2 + [torch.bfloat16] * 2
