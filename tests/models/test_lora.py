"""Adapters: what they change, what switching them off restores, and what survives a save."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from pydantic import ValidationError

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.models import lora
from boresight.models.embedded.random_llama import save_random_llama
from boresight.models.kernels.linear import can_pack, packed_linears
from boresight.models.load import load_model
from boresight.models.reward import load_reward_model
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.sample import sample, sample_plain
from tests.models.tiny_decoders import SHAPE
from tests.tiny import tiny_model, tiny_tokenizer

IDS = torch.arange(12).reshape(1, 12)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def shaken(model, seed=1):
    """The model with random adapters, as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    return model


def test_the_default_is_the_studys_setting():
    config = LoraConfig()
    assert (config.r, config.alpha, config.dropout) == (16, 32, 0.1)
    assert config.targets == ["q_proj", "k_proj", "v_proj", "o_proj"]


def test_settings_are_strict():
    with pytest.raises(ValidationError):
        LoraConfig(rank=8)
    with pytest.raises(ValidationError):
        LoraConfig(targets="all_linear")


def test_fresh_adapters_change_nothing():
    model = tiny_model()
    before = logits(model)
    assert torch.equal(logits(lora.attach(model, LoraConfig(), seed=0)), before)


def test_only_adapters_are_trained():
    """r (in + out) numbers a layer: q and o 32→32, k and v 32→16; two layers, r = 4."""
    model = lora.attach(tiny_model(), LoraConfig(r=4), seed=0)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    assert sum(trained.values()) == 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16))


def test_all_linear_leaves_the_head_out():
    model = lora.attach(tiny_model("gpt_neox"), LoraConfig(targets="all-linear"), seed=0)
    adapted = {n.split(".lora_A")[0].rsplit(".", 1)[-1] for n, _ in model.named_parameters() if "lora_A" in n}
    assert adapted == {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}


def test_an_unknown_target_names_the_nearest():
    with pytest.raises(UserError, match=r"called 'q_prj'; did you mean 'q_proj'\?"):
        lora.attach(tiny_model(), LoraConfig(targets=["v_proj", "q_prj"]), seed=0)
    with pytest.raises(UserError, match="known: dense"):
        lora.attach(tiny_model("gpt_neox"), LoraConfig(targets=["xyz"]), seed=0)


def gpt2(**settings):
    """GPT-2 keeps its weights as `Conv1D`, `(in, out)`; its config switches dropout on."""
    sizes = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    torch.manual_seed(0)
    return hf.AutoModelForCausalLM.from_config(hf.GPT2Config(**sizes, **settings)).eval()


@pytest.mark.parametrize("targets", [["c_attn", "c_proj"], "all-linear"])
def test_layers_of_gpt2_are_adapted(targets, recwarn):
    model = shaken(lora.attach(gpt2(), LoraConfig(r=4, targets=targets), seed=0))
    assert not [str(w.message) for w in recwarn if "fan_in_fan_out" in str(w.message)]
    expected = logits(model)
    with lora.adapters_off(model):
        assert torch.equal(logits(model), logits(gpt2()))
    if can_pack(model):
        with packed_linears(model):
            torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
    prompts, params = [IDS[0, :5].numpy()], SamplingParams(max_new_tokens=9, seed=0)
    ((fast,),), ((plain,),) = sample(model, prompts, params), sample_plain(model, prompts, params)
    assert fast.ids.tolist() == plain.ids.tolist()
    torch.testing.assert_close(logits(lora.merge(model)), expected, rtol=1e-4, atol=1e-5)


def test_the_default_targets_are_not_gpt2s_and_the_message_says_what_is():
    said = r"no linear layer is called 'q_proj'; known: c_attn, c_fc, c_proj"
    with pytest.raises(UserError, match=said):
        lora.attach(gpt2(), LoraConfig(), seed=0)


def test_adapters_go_on_once():
    model = lora.attach(tiny_model(), LoraConfig(), seed=0)
    with pytest.raises(UserError, match="already"):
        lora.attach(model, LoraConfig(), seed=0)


def test_the_seed_alone_decides_the_initial_weights():
    def first(seed):
        model = lora.attach(tiny_model(), LoraConfig(), seed=seed)
        return next(p for n, p in model.named_parameters() if "lora_A" in n)

    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    a = first(0)
    torch.manual_seed(6)
    assert torch.equal(a, first(0))
    torch.manual_seed(5)
    first(0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(a, first(1))


def save_random(folder):
    save_random_llama(hf.LlamaConfig(**SHAPE), tiny_tokenizer(), folder)


def test_weights_are_drawn_without_the_generators_of_gpus(tmp_path, monkeypatch):
    """They are drawn on the CPU. torch warns of many GPUs, reads the state of each, and seeds all of them."""
    save_random(tmp_path / "model")
    seeded = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: seeded.append(device))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    lora.attach(load_model(str(tmp_path / "model")), LoraConfig(), seed=0)
    load_reward_model(str(tmp_path / "model"))
    save_random(tmp_path / "again")
    assert not seeded


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adapters_are_made_in_the_models_dtype(dtype):
    model = lora.attach(tiny_model(dtype=dtype), LoraConfig(), seed=0)
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_dropout_acts_in_training_and_not_in_evaluation():
    model = shaken(lora.attach(tiny_model(), LoraConfig(dropout=0.5), seed=0))
    assert torch.equal(logits(model.eval()), logits(model))
    model.train()
    assert not torch.equal(logits(model), logits(model))


def test_attaching_keeps_the_mode():
    """New layers are born in training mode: dropout would act in a model that is being evaluated."""
    assert not any(m.training for m in lora.attach(tiny_model(), LoraConfig(), seed=0).modules())
    assert all(m.training for m in lora.attach(tiny_model().train(), LoraConfig(), seed=0).modules())


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma2"])
def test_adapters_off_is_the_base_exactly_even_in_training(arch):
    """The base's own dropout (here 0.3 in attention) is off as well: the reference is deterministic."""
    base = tiny_model(arch, attention_dropout=0.3)
    expected = logits(base)
    model = shaken(lora.attach(base, LoraConfig(dropout=0.5), seed=0)).train()
    with lora.adapters_off(model):
        assert torch.equal(logits(model), expected)
    assert not torch.equal(logits(model.eval()), expected)


def test_adapters_off_restores_every_module():
    model = lora.attach(tiny_model(), LoraConfig(), seed=0).train()
    frozen = next(m for m in model.modules() if isinstance(m, torch.nn.Linear))
    frozen.eval()  # someone wanted just this one quiet
    before = [m.training for m in model.modules()]
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(RuntimeError, match="inside"), lora.adapters_off(model):
        raise RuntimeError("inside")
    assert [m.training for m in model.modules()] == before
    assert {n for n, p in model.named_parameters() if p.requires_grad} == trained


def test_adapters_off_may_be_nested():
    model = shaken(lora.attach(tiny_model(), LoraConfig(), seed=0))
    on = logits(model)
    with lora.adapters_off(model):
        off = logits(model)
        with lora.adapters_off(model):
            assert torch.equal(logits(model), off)
        assert torch.equal(logits(model), off)
    assert torch.equal(logits(model), on)


def test_adapters_off_without_adapters_only_stills_dropout():
    model = tiny_model("qwen2", attention_dropout=0.3).train()
    with lora.adapters_off(model):
        assert not model.training
    assert model.training


def test_has_adapters():
    model = tiny_model()
    assert not lora.has_adapters(model)
    assert lora.has_adapters(lora.attach(model, LoraConfig(), seed=0))


def test_merging_keeps_the_outputs():
    model = shaken(lora.attach(tiny_model(dtype=torch.float64), LoraConfig(), seed=0))
    expected = logits(model)
    merged = lora.merge(model)
    assert not lora.has_adapters(merged)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-12, atol=1e-12)
    assert lora.merge(merged) is merged


def test_saved_adapters_load_onto_their_base(tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    model = shaken(lora.attach(load_model(str(tmp_path / "base")), LoraConfig(), seed=0))
    lora.save(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert {f.suffix for f in (tmp_path / "adapter").iterdir()} == {".json", ".safetensors"}
    torch.testing.assert_close(logits(load_model(str(tmp_path / "adapter"))), logits(model))
    apart = load_model(str(tmp_path / "adapter"), merge=False)
    assert torch.equal(logits(apart), logits(model))
    with lora.adapters_off(apart):
        assert torch.equal(logits(apart), logits(load_model(str(tmp_path / "base"))))


def test_saving_replaces_the_older_folder_whole(tmp_path):
    folder = tmp_path / "model"
    lora.save(tiny_model(), folder)
    (folder / "left-over").touch()
    lora.save(tiny_model(seed=1), folder)
    assert not (folder / "left-over").exists()
    assert torch.equal(logits(load_model(str(folder))), logits(tiny_model(seed=1)))
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_older_folder(tmp_path, monkeypatch):
    folder, model = tmp_path / "model", tiny_model(seed=1)
    lora.save(tiny_model(), folder)

    def full_disk(target, **settings):
        (target / "config.json").touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space"):
        lora.save(model, folder)
    assert torch.equal(logits(load_model(str(folder))), logits(tiny_model()))
    assert [f.name for f in tmp_path.iterdir()] == ["model"]
