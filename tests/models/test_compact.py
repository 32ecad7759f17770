"""Frozen weights in fewer bytes: bfloat16 leaves a run as it is; the reference has four bits too."""

import copy
import json

import pytest
import torch

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.models import lora
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels import compact
from boresight.models.kernels.compact import NF4Linear, compact_frozen, count_parameters, is_compact
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.policy import causal_model
from boresight.models.reference.cache import reference_fingerprint
from boresight.models.reference.frozen import LiveReference, frozen_copy
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.loop import run_steps
from tests.models import nf4
from tests.tiny import tiny_model
from tests.training.fixtures import make_task, random_rows

FAMILIES = ["llama", "qwen2", "qwen3", "gemma2", "gpt_neox"]


@pytest.fixture
def four_bits(monkeypatch):
    """bitsandbytes where it is installed, else its stand-in."""
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        monkeypatch.setattr(compact, "_functions", lambda: nf4)


def adapted(family="llama", *, saved_in_half=True, **settings):
    """A model with adapters that are not zero, as if it had been published in bfloat16 or in float32."""
    base = tiny_model(family, **settings)
    if saved_in_half:
        for parameter in base.parameters():
            parameter.data = parameter.data.bfloat16().float()
    model = lora.attach(base, LoraConfig(dropout=0, targets="all-linear"), seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02, generator=generator)
    return model


def stored(model, form, compute=torch.bfloat16):
    """A copy of `model` whose frozen weights are stored as `form`."""
    other = copy.deepcopy(model)
    base = causal_model(other)
    compact_frozen(base, form, compute, base.get_output_embeddings())
    return other


def size(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("saved_in_half", [True, False])
def test_bfloat16_changes_no_bit_of_a_bfloat16_step(family, saved_in_half):
    """Log-probabilities and gradients of the adapters; also of a base with more digits than bfloat16."""
    plain = adapted(family, saved_in_half=saved_in_half)
    half = stored(plain, "bfloat16")
    assert is_compact(half) and size(half) < size(plain)
    for model in (plain, half):
        with arithmetic(model, "bfloat16"):
            sums = completion_logprobs(model, random_rows(6, 2)).sums
        sums.sum().backward()
        model.seen = sums.detach()
    assert torch.equal(plain.seen, half.seen)
    gradients = {name: p.grad for name, p in half.named_parameters() if p.requires_grad}
    assert len(gradients) > 8
    for name, parameter in plain.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == torch.float32
            assert torch.equal(parameter.grad, gradients[name]), name


def test_what_is_stored_in_bfloat16():
    """Of a model published in bfloat16 all matrices; of another one neither embeddings nor the head."""
    widths = {}
    for saved_in_half in (True, False):
        half = causal_model(stored(adapted(saved_in_half=saved_in_half), "bfloat16"))
        widths[saved_in_half] = {
            name: p.element_size() for name, p in half.named_parameters() if not p.requires_grad
        }
    narrow = [name for name in widths[True] if "norm" not in name]
    assert {widths[True][name] for name in narrow} == {2}
    assert {widths[True][name] for name in widths[True] if "norm" in name} == {4}
    wide = {name for name in narrow if widths[False][name] == 4}
    assert wide == {"model.embed_tokens.weight", "lm_head.weight"}


def test_tied_weights_stay_one_tensor():
    base = causal_model(stored(adapted(tie_word_embeddings=True), "bfloat16"))
    assert base.lm_head.weight is base.model.embed_tokens.weight
    assert base.lm_head.weight.dtype == torch.bfloat16


def test_a_run_is_the_same_run(tmp_path):
    """Three steps on a base in float32 and in bfloat16: equal losses, equal adapters."""
    found = {}
    for form in ("float32", "bfloat16"):
        policy = stored(adapted(), form)
        task = make_task(tmp_path / form, "sft", "model.dtype=bfloat16", "train.steps=3", policy=policy)
        run_steps(task)
        lines = [json.loads(line) for line in (tmp_path / form / "metrics.jsonl").read_text().splitlines()]
        adapters = [p.detach() for p in policy.parameters() if p.requires_grad]
        found[form] = [line["loss"] for line in lines if line["split"] == "train"], adapters
    assert found["float32"][0] == found["bfloat16"][0]
    assert all(map(torch.equal, found["float32"][1], found["bfloat16"][1]))


def test_the_frozen_copy_of_an_online_method(tmp_path):
    """Half the bytes, and exactly the log-probabilities of the policy that it was copied from."""
    policy = tiny_model()
    rows = random_rows(4, 2)
    with arithmetic(policy, "bfloat16"):
        copied = frozen_copy(policy, "bfloat16")
        ours, theirs = LiveReference(policy, 1000)(rows), LiveReference(copied, 1000)(rows)
    assert torch.equal(ours, theirs)
    assert size(copied) < 0.8 * size(policy)  # this model's embeddings have more digits than bfloat16
    assert not is_compact(policy) and not is_compact(frozen_copy(policy))
    samples = sample(copied, [rows[0].prompt], SamplingParams(max_new_tokens=4, seed=0), 2)
    assert len(samples[0]) == 2


def test_it_samples_as_it_scores():
    """With the cache, outside autocast: within the rounding of bfloat16 products."""
    model = stored(adapted(), "bfloat16").eval()
    (drawn,) = sample(model, [random_rows(1, 1)[0].prompt], SamplingParams(max_new_tokens=6, seed=0), 2)
    for one in drawn:
        assert all(value <= 0 for value in one.logps)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_four_bits(four_bits, compute):
    """Weights within 15 % of their norm, values and gradients those of the weights multiplied out."""
    layer = torch.nn.Linear(64, 96).requires_grad_(False)
    before = layer.weight.clone()
    compact_frozen(layer, "nf4", compute, None)
    assert isinstance(layer, NF4Linear)
    weight = layer.unpacked()
    assert weight.dtype == compute
    assert (weight.float() - before).norm() < 0.15 * before.norm()
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, weight.float().sum(0).expand(5, -1), rtol=0.02, atol=0.02)
    assert count_parameters(layer) == 64 * 96 + 96
    assert sum(p.numel() * p.element_size() for p in layer.quantized) < 0.55 * 64 * 96


def test_what_four_bits_are_read_with_moves_with_the_layer(four_bits):
    """And is neither saved nor counted as weights."""
    layer = torch.nn.Linear(64, 96, bias=False).requires_grad_(False)
    compact_frozen(layer, "nf4", torch.bfloat16, None)
    expected = layer.unpacked()
    assert torch.equal(copy.deepcopy(layer).unpacked(), expected)
    assert "scale_values" not in layer.state_dict()
    moved = layer.to("meta")
    assert {t.device.type for t in (*moved.quantized, moved.scale_values)} == {"meta"}


def test_four_bits_are_the_reference_s_too(four_bits, tmp_path):
    """Adapters at zero: the first loss is log 2, as the reference is the same four-bit model."""
    model = lora.attach(tiny_model(hidden_size=64, intermediate_size=128), LoraConfig(dropout=0), seed=0)
    plain = copy.deepcopy(model)
    policy = stored(model, "nf4", torch.float32)
    task = make_task(tmp_path, "dpo", "train.steps=2", policy=policy)
    run_steps(task)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["split"] == "train")
    assert first["loss"] == pytest.approx(0.693147, abs=1e-6)
    rows = random_rows(2, 1)
    assert isinstance(packed_plan(policy, rows), PackedPlan)
    assert (completion_logprobs(plain, rows).sums - completion_logprobs(policy, rows).sums).abs().max() > 1e-3


def test_the_reference_cache_tells_forms_apart(four_bits):
    """Also four-bit weights with equal codes and other scales."""
    model = lora.attach(tiny_model(hidden_size=64, intermediate_size=128), LoraConfig(), seed=0)
    twice = copy.deepcopy(model)
    for name, parameter in twice.named_parameters():
        if "base_layer" in name:
            parameter.data *= 2
    quantized, doubled = stored(model, "nf4"), stored(twice, "nf4")
    packed = [m for m in quantized.modules() if isinstance(m, NF4Linear)]
    assert all(
        torch.equal(a.weight, b.weight)
        for a, b in zip(packed, (m for m in doubled.modules() if isinstance(m, NF4Linear)), strict=True)
    )
    kinds = (model, quantized, doubled, stored(model, "bfloat16"))
    assert len(set(map(reference_fingerprint, kinds))) == 4


def test_four_bits_without_bitsandbytes(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(UserError, match="pip install 'boresight\\[bitsandbytes\\]'"):
        compact_frozen(torch.nn.Linear(64, 64).requires_grad_(False), "nf4", torch.float32, None)
