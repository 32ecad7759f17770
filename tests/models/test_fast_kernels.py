"""`model.kernels`: its default changes nothing, and `fast` is refused with the reason where it cannot act."""

import pytest
import torch

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels import fast
from boresight.models.kernels.fast import device_obstacle, fast_kernels, refuse_missing_kernels
from boresight.training.forward import kind_of
from boresight.training.policy import load_policy
from tests.tiny import tiny_model, tiny_tokenizer

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def card(monkeypatch, *capability):
    monkeypatch.setattr(fast.torch.cuda, "get_device_capability", lambda device: capability)


def test_a_recipe_of_an_earlier_version_has_the_proven_kernels():
    """Stored recipes and results lack the key; completed with its default they equal what is written now."""
    now = Recipe.load("dpo").to_dict()
    earlier = {**now, "model": {key: value for key, value in now["model"].items() if key != "kernels"}}
    assert now["model"]["kernels"] == "proven"
    assert Recipe.completed(earlier) == now


def test_a_name_that_is_no_kind_of_kernels_is_refused():
    with pytest.raises(UserError, match=r"model\.kernels is 'quick'"):
        Recipe.load("dpo", ["model.kernels=quick"])


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "reason"),
    [
        (CPU, "bfloat16", (9, 0), "the device is cpu"),
        (torch.device("mps"), "bfloat16", (9, 0), "the device is mps"),
        (CUDA, "float32", (9, 0), "computes in float32"),
        (CUDA, "float16", (7, 5), "has compute capability 7.5, and they need 8.0"),
    ],
)
def test_what_a_device_lacks_is_named(device, dtype, capability, reason, monkeypatch):
    """float16 on a T4 is the precision that `auto` takes there."""
    card(monkeypatch, *capability)
    with pytest.raises(UserError, match=reason) as error:
        refuse_missing_kernels("fast", device, dtype)
    assert str(error.value).endswith("; set model.kernels=proven.")
    refuse_missing_kernels("proven", device, dtype)


@pytest.mark.parametrize(("dtype", "capability"), [("bfloat16", (9, 0)), ("float16", (8, 0))])
def test_cards_from_ampere_on_have_them_in_half_precision(dtype, capability, monkeypatch):
    card(monkeypatch, *capability)
    monkeypatch.setattr(fast.torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert device_obstacle(CUDA, dtype) is None
    monkeypatch.undo()
    card(monkeypatch, *capability)
    if not torch.backends.cuda.is_flash_attention_available():  # a torch for CPUs
        assert "built without flash attention" in str(device_obstacle(CUDA, dtype))


def test_the_arithmetic_of_a_run_includes_its_kernels(monkeypatch):
    monkeypatch.setattr(fast, "device_obstacle", lambda device, dtype: None)
    with arithmetic(tiny_model(), "auto", kernels="fast"):
        assert fast_kernels()
        with arithmetic(tiny_model(), "auto"):
            assert not fast_kernels()
    assert not fast_kernels()


def test_a_run_on_a_cpu_is_refused_before_its_model_is_loaded():
    recipe = Recipe.load("dpo", ["model.kernels=fast", "model.device=cpu", "model.name=nowhere"])
    with pytest.raises(UserError, match=r"^model\.kernels: fast kernels cannot be used: the device is cpu"):
        load_policy(recipe, kind_of(recipe), tiny_tokenizer())
