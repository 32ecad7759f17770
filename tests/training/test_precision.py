"""The precision of a run: chosen by the device, written down, and float16 with a scaled loss."""

import json
from dataclasses import replace

import pytest
import torch

from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels import compact
from boresight.models.kernels.compact import NF4Linear, is_compact
from boresight.models.precision import resolve_dtype
from boresight.training import loss_scale
from boresight.training.choices import Choices, read_choices
from boresight.training.loop import run_steps
from boresight.training.loss_scale import LossScale
from boresight.training.policy import base_form, load_policy
from tests.models import nf4
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((9, 0), "bfloat16"),
        ((8, 0), "bfloat16"),
        ((7, 5), "float16"),
        ((7, 0), "float16"),
        ((6, 1), "float32"),
    ],
)
def test_auto_is_what_the_card_has(capability, dtype, monkeypatch):
    """H100, A100, T4, V100, P40."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_dtype("auto", torch.device("cuda:1")) == dtype
    assert resolve_dtype("float32", torch.device("cuda:1")) == "float32"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_auto_is_float32_elsewhere(device):
    assert resolve_dtype("auto", torch.device(device)) == "float32"
    assert resolve_dtype("bfloat16", torch.device(device)) == "bfloat16"


def test_auto_runs_a_cpu_in_float32():
    with arithmetic(tiny_model(), "auto"):
        assert not torch.is_autocast_enabled("cpu")
    with arithmetic(tiny_model(), "float16"):
        assert torch.get_autocast_dtype("cpu") == torch.float16


def logged(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"]


def weights(task):
    return {name: p.detach().clone() for name, p in task.policy.named_parameters()}


def test_a_float16_run_learns_what_a_float32_run_learns(tmp_path):
    """Ten steps at one rate: losses agree to the eleven bits of float16, and the scale is in the log."""
    losses = {}
    for dtype in ("float32", "float16"):
        task = make_task(tmp_path / dtype, "dpo", f"model.dtype={dtype}", "train.steps=10", "optim.lr=0.001")
        run_steps(task)
        losses[dtype] = [line["loss"] for line in logged(tmp_path / dtype)]
    assert losses["float16"] == pytest.approx(losses["float32"], abs=2e-3)
    assert losses["float32"][-1] < 0.68
    assert {line["loss_scale"] for line in logged(tmp_path / "float16")} == {2.0**16}


def test_an_overflow_drops_its_step_and_halves_the_scale(tmp_path, monkeypatch):
    """A token's gradient is about the scale, and 65,504 the largest float16: 2^24 is halved 8 times."""
    monkeypatch.setattr(loss_scale, "START", 2.0**24)
    task = make_task(tmp_path, "sft", "model.dtype=float16", "train.steps=16")
    run_steps(task)
    lines = logged(tmp_path)
    dropped = [line for line in lines if line.get("overflowed")]
    assert 6 <= len(dropped) <= 12
    assert lines[len(dropped) - 1]["loss_scale"] == 2.0 ** (24 - len(dropped))
    assert all(torch.isfinite(p).all() for p in task.policy.parameters())
    assert lines[0]["loss"] == pytest.approx(lines[1]["loss"])
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_what_no_scale_mends_ends_the_run(tmp_path):
    """Weights beyond float16: the loss itself is not finite, and no scale is tried."""
    policy = tiny_model()
    policy.lm_head.weight.data *= 1e7
    task = make_task(tmp_path, "sft", "model.dtype=float16", "train.steps=2", policy=policy)
    with pytest.raises(Exception, match="not finite"):
        run_steps(task)
    assert task.loss_scale.value == 2.0**16


def test_scales_halve_and_double_by_hand():
    scale = LossScale.of("float16")
    assert scale.lower() and scale.value == 2.0**15
    for _ in range(loss_scale.GROW_AFTER):
        scale.took_step()
    assert scale.value == 2.0**16
    scale.value = 1.0
    assert not scale.lower()
    for dtype in ("float32", "bfloat16"):
        other = LossScale.of(dtype)
        assert not other.lower() and other.value == 1 and not other.acts


def test_a_resumed_run_has_the_scale_of_its_checkpoint(tmp_path):
    task = make_task(tmp_path, "sft", "model.dtype=float16", "train.steps=4", "train.save_every=2")
    task.loss_scale.value = 2.0**9
    run_steps(task)
    again = make_task(tmp_path, "sft", "model.dtype=float16", "train.steps=4", "train.save_every=2")
    run_steps(again, tmp_path / "checkpoints" / "step-2")
    assert again.loss_scale.value == 2.0**9
    one, other = weights(task), weights(again)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_precision_is_kept_and_compared(tmp_path):
    now = Choices("cuda:0", 1, False, False, 10, "bfloat16")
    now.write(tmp_path / "choices.json")
    assert read_choices(tmp_path / "choices.json") == now
    there = Choices("cuda:0", 1, False, False, 10, "float16")
    assert there.differences(now) == "dtype was bfloat16 and is float16"
    assert there.differences(Choices("cuda:0", 1, False, False, 10)) == ""  # a run of an earlier version


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        (["model.lora={}"], "bfloat16"),
        (["model.lora={}", "model.dtype=float32"], "float32"),
        (["model.lora={}", "model.dtype=float16"], "float32"),
        (["model.lora.base=float32"], "float32"),
        (["model.lora.base=nf4", "model.dtype=float32"], "nf4"),
        ([], "float32"),
    ],
)
def test_how_the_base_is_stored(settings, form, tmp_path):
    task = make_task(tmp_path, "dpo", "model.dtype=bfloat16", *settings)
    assert base_form(task.recipe, task.kind, task.recipe.model.dtype) == form


def test_bases_that_cannot_have_four_bits(tmp_path, monkeypatch):
    """Adapters of a reward model are merged into its base, and parts of a weight have no scales."""
    task = make_task(tmp_path, "dpo", "model.lora.base=nf4")
    reward = make_task(tmp_path, "sft", "model.lora.base=nf4").recipe
    with pytest.raises(UserError, match=r"model\.lora\.base: nf4 cannot be used for a reward model"):
        base_form(reward, replace(task.kind, head="score"), "float32")
    mac = make_task(tmp_path, "dpo", "model.lora.base=nf4", "model.device=mps").recipe
    with pytest.raises(UserError, match="not available on mps"):
        base_form(mac, task.kind, "float32")
    monkeypatch.setattr("boresight.training.footprint.base.collectives.world", lambda: 2)
    with pytest.raises(UserError, match=r"train\.parallel=ddp"):
        base_form(task.recipe, task.kind, "float32")


@pytest.mark.parametrize("base", ["auto", "nf4"])
def test_a_loaded_base_has_the_form_of_the_recipe(base, tmp_path, monkeypatch):
    """A model published in bfloat16: adapters, norms in float32, every matrix narrower."""
    monkeypatch.setattr(compact, "_functions", lambda: nf4)
    tokenizer = tiny_tokenizer()
    model = tiny_model(vocab=len(tokenizer), hidden_size=64, intermediate_size=128)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "model")
    settings = [f"model.name={tmp_path / 'model'}", "model.dtype=bfloat16", f"model.lora.base={base}"]
    task = make_task(tmp_path / "run", "dpo", *settings)
    policy, _ = load_policy(task.recipe, task.kind, tokenizer)
    assert is_compact(policy) and any(isinstance(m, NF4Linear) for m in policy.modules()) == (base == "nf4")
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad or "norm" in name:
            assert parameter.dtype == torch.float32, name
        elif parameter.ndim > 1:
            assert parameter.dtype in (torch.bfloat16, torch.uint8), name
