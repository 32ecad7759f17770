"""Finding models by name, and one clear sentence when there is none."""

from __future__ import annotations

import json

import pytest
import torch

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.models import lora
from boresight.models.load import load_model, load_tokenizer
from boresight.models.source import HUB_TIMEOUT, ModelSource, embedded_in, locate
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def saved(tmp_path):
    """A tiny model with its tokenizer on disk."""
    tiny_model("qwen2").save_pretrained(tmp_path / "tiny")
    tiny_tokenizer().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def unreachable(*_args, **_kwargs):
    raise ConnectionError("no route to host")


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A machine without network and with an empty hub cache."""
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_folder_loads_in_float32_evaluation_and_sdpa(saved):
    model = load_model(str(saved), device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    ids = torch.arange(5)[None]
    assert torch.equal(model(ids).logits, tiny_model("qwen2")(ids).logits)


def test_float32_even_if_saved_in_bfloat16(tmp_path):
    """Master weights: what the file says of its own dtype is not followed."""
    tiny_model(dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).dtype == torch.float32
    assert load_model(str(tmp_path), dtype="bfloat16").dtype == torch.bfloat16


def test_dropout_stays_as_configured(tmp_path):
    tiny_model("qwen2", attention_dropout=0.25).save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).config.attention_dropout == 0.25
    assert load_model(str(tmp_path), dropout=0.0).config.attention_dropout == 0.0


def test_the_tokenizer_of_a_folder(saved):
    assert load_tokenizer(str(saved)).get_vocab() == tiny_tokenizer().get_vocab()


def test_a_folder_may_hold_a_tokenizer_alone(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).is_fast


def test_a_template_may_be_given(saved):
    assert "Be kind" in load_tokenizer(str(saved)).chat_template
    assert "Be kind" not in load_tokenizer(str(saved), chat_template="chatml").chat_template


def test_a_run_folder_stands_for_its_model(saved):
    run = saved.parent / "run"
    run.mkdir()
    saved.rename(run / "model")
    assert locate(str(run)).place == str(run / "model")
    load_model(str(run))
    load_tokenizer(str(run))


def test_an_adapter_without_a_tokenizer_takes_its_bases(saved, tmp_path):
    lora.save(lora.attach(load_model(str(saved)), LoraConfig(), seed=0), tmp_path / "adapter")
    assert load_tokenizer(str(tmp_path / "adapter")).is_fast


def test_an_adapter_on_an_adapter_keeps_both(saved, tmp_path):
    """A run that starts from another LoRA run's folder saves its own adapter alone; loading it needs both."""
    ids = torch.arange(9).reshape(1, 9)
    for name, base in (("first", saved), ("second", tmp_path / "first")):
        model = lora.attach(load_model(str(base)), LoraConfig(r=2, dropout=0), seed=len(name))
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.data.normal_(std=0.3)
        lora.save(model, tmp_path / name / "model")
    with torch.no_grad():
        expected = model(ids).logits
        assert torch.allclose(load_model(str(tmp_path / "second"))(ids).logits, expected, atol=1e-5)
        apart = load_model(str(tmp_path / "second"), merge=False)
        with lora.adapters_off(apart):
            first = load_model(str(tmp_path / "first"))(ids).logits
            assert torch.allclose(apart(ids).logits, first, atol=1e-5)
    assert not torch.allclose(expected, first, atol=1e-3)


def test_a_model_with_adapters_folded_in_can_be_trained_whole(saved, tmp_path):
    """PEFT freezes the base when it loads an adapter; after merging, nothing would be left to train."""
    lora.save(lora.attach(load_model(str(saved)), LoraConfig(r=2), seed=0), tmp_path / "adapter")
    assert all(p.requires_grad for p in load_model(str(tmp_path / "adapter")).parameters())


def test_an_adapter_of_the_starter_model_travels(tmp_path, monkeypatch):
    """Its base was another machine's cache folder; the folder's name says which model that was."""
    monkeypatch.setattr("boresight.models.embedded.starter.starter_path", lambda: tmp_path / "here")
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "/home/else/.cache/boresight/starter-c7b80d5b"})
    )
    source = locate(str(tmp_path))
    assert (source.place, source.adapters) == (str(tmp_path / "here"), (tmp_path,))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "there is no folder './nowhere'"),
        ("a/b/c", "there is no folder 'a/b/c'"),
        ("nobody/nothing", "'nobody/nothing' is neither .* the Hugging Face hub cannot be reached"),
    ],
)
@pytest.mark.parametrize("loader", [load_model, load_tokenizer])
def test_an_unknown_name_is_one_sentence_at_once(loader, name, said, no_hub):
    """Said by the one request with a time limit: transformers alone retries for 46 s."""
    with pytest.raises(UserError, match=said) as caught:
        loader(name)
    assert "\n" not in str(caught.value)


def test_the_hub_is_asked_with_a_time_limit(monkeypatch, no_hub):
    asked = {}

    def slow(_self, name, timeout):
        asked[name] = timeout
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", slow)
    with pytest.raises(UserError, match="cannot be reached"):
        load_model("nobody/nothing")
    assert asked == {"nobody/nothing": HUB_TIMEOUT}


def test_offline_by_wish_asks_nobody(monkeypatch, no_hub):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *a, **k: pytest.fail("asked"))
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        load_model("nobody/nothing")


def test_without_the_hub_its_cache_serves(monkeypatch, no_hub):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: f"/cache/{file}")
    assert locate("org/cached") == ModelSource("org/cached", cached_only=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [("GatedRepoError", "hf auth login"), ("RepositoryNotFoundError", "nor a model on the Hugging Face hub")],
)
def test_what_the_hub_says_is_passed_on(monkeypatch, answer, said):
    from huggingface_hub import errors

    error = getattr(errors, answer)
    monkeypatch.setattr(error, "__init__", lambda self: None)

    def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(UserError, match=said):
        load_model("org/model")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=r"holds neither config\.json nor adapter_config\.json"):
        load_model(str(tmp_path))


def test_pickled_weights_are_not_read(saved):
    (saved / "model.safetensors").unlink()
    torch.save(tiny_model("qwen2").state_dict(), saved / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds its weights as a pickle file \(pytorch_model.bin\)"):
        load_model(str(saved))


def test_an_unknown_architecture(saved):
    config = json.loads((saved / "config.json").read_text()) | {"model_type": "quux"}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_model(str(saved))
    assert "\n" not in str(caught.value)


def test_an_unknown_dtype_names_the_nearest(saved):
    with pytest.raises(UserError, match="did you mean 'float32'"):
        load_model(str(saved), dtype="flaot32")


def test_an_unknown_device(saved):
    with pytest.raises(UserError, match="'gpu' is not a device"):
        load_model(str(saved), device="gpu")


def test_capped_attention_is_never_left_to_sdpa(tmp_path):
    """transformers before 5.21 offers SDPA for Gemma 2 and computes it without the cap."""
    tiny_model("gemma2", attn_logit_softcapping=1.5).save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("base", "embedded"),
    [
        ("/home/else/.cache/boresight/starter-c7b80d5b", "starter"),
        ("starter-c7b80d5b", "starter"),
        ("/cache/countdown-tiny-2-seed0", "countdown-tiny"),
        ("me/starter-sft", None),
        ("starter-dpo", None),
        ("/runs/countdown-tiny-rloo", None),
        ("me/countdown-tiny-2-seed0-dpo", None),
    ],
)
def test_only_cache_folders_are_embedded_models(base, embedded):
    """A fine-tuned starter is another model, whatever its name begins with."""
    assert embedded_in(base) == embedded
