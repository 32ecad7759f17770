"""The packed layout is tried out in the precision of the run, and in half precision exactly as well."""

import pytest
import torch

from boresight.config.lora import LoraConfig
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.compact import compact_frozen
from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.lora import attach
from boresight.models.packed import attention, packing, plan
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.policy import causal_model
from tests.models.tiny_decoders import make_row
from tests.tiny import tiny_model

ROWS = [make_row([1, 2, 3], [4, 5], [6, 7])]


def plan_in(dtype, model=None):
    model = model or tiny_model()
    with arithmetic(model, dtype):
        return packed_plan(model, ROWS)


@pytest.fixture
def failing(monkeypatch):
    """Make a kernel of the packed attention fail for one dtype, as for want of shared memory."""

    def fail(name, dtype):
        kernel = getattr(attention, name)

        def checked(*tensors, **settings):
            if tensors[0].dtype == dtype:
                raise RuntimeError("out of resource: shared memory")
            return kernel(*tensors, **settings)

        monkeypatch.setattr(attention, name, checked)

    return fail


def test_a_kernel_that_the_run_does_not_use_may_fail(failing):
    failing("_forward", torch.float32)
    assert isinstance(plan_in("bfloat16"), PackedPlan)
    assert "out of resource" in plan_in("float32")


def test_a_kernel_that_the_run_uses_is_tried_out(failing):
    failing("_forward", torch.bfloat16)
    assert "out of resource" in plan_in("bfloat16")
    assert isinstance(plan_in("float32"), PackedPlan)


def test_one_model_has_a_plan_for_each_precision(failing):
    """Float32 packed, bfloat16 padded, in either order."""
    failing("_forward", torch.bfloat16)
    model = tiny_model()
    assert isinstance(plan_in("float32", model), PackedPlan)
    assert "out of resource" in plan_in("bfloat16", model)
    assert isinstance(plan_in("float32", model), PackedPlan)


def test_a_wrong_layout_is_seen_where_bfloat16_alone_would_hide_it(monkeypatch):
    """Completions one position late: the states of a small random model move by less than five per cent."""
    right = packing._positions

    def late(span):
        positions = right(span)
        positions[packing.length(span.prompt) :] += 1
        return positions

    monkeypatch.setattr(packing, "_positions", late)
    model = tiny_model()
    with torch.no_grad(), arithmetic(model, "bfloat16"):
        attention.install(model)
        rough = plan._run_probe(model, model.config, plain=False)
    assert isinstance(rough, PackedPlan)
    assert "returns other hidden states for packed rows than for plain ones" in plan_in("bfloat16")


def test_what_a_model_makes_of_rounding_is_no_other_layout(monkeypatch):
    """With a band of 0 the tiny model's states differ by rounding alone, which the nudge measures."""
    hidden = tiny_model().config.hidden_size
    close = plan._close
    monkeypatch.setattr(plan, "_close", lambda a, b, dtype: a.shape[-1] != hidden and close(a, b, dtype))
    assert isinstance(plan_in("float32"), PackedPlan)
    right = packing._positions
    monkeypatch.setattr(packing, "_positions", lambda span: right(span) + (right(span) > 4))
    assert "returns other hidden states for packed rows than for plain ones" in plan_in("float32")


def test_a_nudge_moves_states_by_units_in_the_last_place_and_is_taken_back():
    model = tiny_model()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        before = model.base_model(input_ids=ids).last_hidden_state
        allowed = plan._rounding(model, [ids])
        assert torch.equal(model.base_model(input_ids=ids).last_hidden_state, before)
    assert 0 < allowed < 1e-3 * before.abs().max()


@pytest.fixture
def on_gpu(monkeypatch):
    """Plans are made as on a GPU, where the backward has a kernel of its own, compiled at its first call."""
    monkeypatch.setattr(plan, "_compiles_kernels", lambda device: True)


def lora_model():
    return attach(tiny_model(), LoraConfig(dropout=0), seed=0)


@pytest.mark.parametrize("build", [tiny_model, lora_model])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_is_trained_on_a_gpu_runs_packed(on_gpu, build, dtype):
    found = plan_in(dtype, build())
    assert isinstance(found, PackedPlan), found


@pytest.mark.parametrize("build", [tiny_model, lora_model])
def test_the_trial_of_the_backward_leaves_no_gradient(on_gpu, build):
    """The first packed forward of a run is inside the block where gradients are added in place."""
    model = build()
    with gradients_in_place():
        assert isinstance(plan_in("float32", model), PackedPlan)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("build", [tiny_model, lora_model])
def test_the_backward_is_tried_out_where_something_is_trained(on_gpu, failing, build):
    """And there alone: what is only evaluated stays packed, in either order."""
    failing("_backward", torch.float32)
    model = build()
    assert "out of resource" in plan_in("float32", model)
    with torch.no_grad():
        assert isinstance(plan_in("float32", model), PackedPlan)
    assert "out of resource" in plan_in("float32", model)
    assert isinstance(plan_in("float32", model.requires_grad_(False)), PackedPlan)


def test_the_backward_is_not_tried_out_on_a_cpu(failing):
    failing("_backward", torch.float32)
    assert isinstance(plan_in("float32"), PackedPlan)


@pytest.mark.parametrize("kernel", ["_forward", "_backward"])
def test_want_of_memory_is_no_obstacle_of_the_model(on_gpu, monkeypatch, kernel):
    """The next forward may have memory; read as an obstacle, it would slow down the whole run."""

    def exhausted(*tensors, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = tiny_model()
    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(attention, kernel, exhausted)
        plan_in("float32", model)
    assert isinstance(plan_in("float32", model), PackedPlan)


def test_attention_in_float32_has_a_plan_of_its_own_beside_weights_in_bfloat16(failing):
    """Outside autocast compact layers return float32, so other kernels attend than inside it."""
    failing("_forward", torch.float32)
    model = lora_model()
    base = causal_model(model)
    compact_frozen(base, "bfloat16", torch.bfloat16, base.get_output_embeddings())
    assert isinstance(plan_in("bfloat16", model), PackedPlan)
    assert "out of resource" in plan_in("float32", model)
