"""A folder that cannot be loaded: the sentence names the cause and not a consequence in a library."""

from __future__ import annotations

import json
import re

import pytest
import torch

from boresight.core.errors import UserError
from boresight.models.load import load_model, load_tokenizer
from tests.models.checkpoints import adapter, configure, refusals, refused, rewrite

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def cut(file):
    file.write_text(file.read_text()[:50])


@pytest.mark.parametrize("content", ['{"eos', "[1]", "3", ""])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_damaged_config(saved, name, content):
    (saved / name).write_text(content)
    assert refused(saved) == (
        f"model: {saved / name} is damaged: it contains no JSON object; download or copy it again."
    )


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_a_file_with_a_byte_order_mark(saved, name):
    """As editors of Windows write them; transformers and tokenizers refuse the mark."""
    (saved / name).write_text((saved / name).read_text(), encoding="utf-8-sig")
    says = re.escape(f"model: {saved / name} begins with a byte order mark; save it as UTF-8 without one.")
    with pytest.raises(UserError, match=says):
        load_tokenizer(str(saved))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_damaged_file_of_the_tokenizer(saved, name):
    cut(saved / name)
    with pytest.raises(UserError, match=rf"{name} is damaged: it contains no JSON object"):
        load_tokenizer(str(saved))


@pytest.mark.parametrize("kept", [None, "tokenizer_config.json"])
def test_a_folder_without_a_tokenizer(saved, kept):
    """Settings of a tokenizer are no vocabulary."""
    for file in [*saved.glob("tokenizer*"), *saved.glob("*.jinja")]:
        if file.name != kept:
            file.unlink()
    with pytest.raises(UserError, match="holds no tokenizer; copy the tokenizer files"):
        load_tokenizer(str(saved))


def test_a_sentencepiece_file_alone_names_the_package_that_reads_it(saved, monkeypatch):
    """transformers asks for tiktoken in its place."""
    monkeypatch.setattr("boresight.models.checkpoint.pretrained.is_installed", lambda package: False)
    (saved / "tokenizer.json").unlink()
    (saved / "tokenizer.model").write_bytes(b"\x0a\x05junk")
    settings = json.loads((saved / "tokenizer_config.json").read_text())
    (saved / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "LlamaTokenizer"})
    )
    with pytest.raises(UserError, match=r"SentencePiece file alone \(tokenizer\.model\), which `pip install"):
        load_tokenizer(str(saved))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_size": "32"}, "Field 'hidden_size' expected int, got str"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    ],
)
def test_an_impossible_config_is_the_cause_for_the_tokenizer_too(saved, settings, said):
    """transformers reads the config for a tokenizer, and tells the reason in the second line."""
    configure(saved, **settings)
    with pytest.raises(UserError, match=f"the config of .* cannot be loaded: .*{said}"):
        load_tokenizer(str(saved))
    assert said in refused(saved)


@pytest.mark.parametrize(
    "settings", [{"hidden_act": "nope"}, {"rope_parameters": {"rope_type": "nope", "rope_theta": 1e4}}]
)
def test_a_name_that_transformers_does_not_know(saved, settings):
    configure(saved, **settings)
    assert "it names 'nope', which the installed libraries do not know" in refused(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json"])
def test_a_pointer_of_git_lfs(saved, name):
    (saved / name).write_text(POINTER)
    assert f"{name} is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`" in refused(
        saved
    )


def test_a_damaged_index(saved):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text('{"weight_map"')
    assert "index.json is damaged: it contains no map of weights" in refused(saved)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_an_index_that_leaves_the_folder(saved, name):
    (saved / "model.safetensors").rename(saved.parent / "model.safetensors")
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    assert f"index.json is damaged: it names '{name}', which is no file of this folder" in refused(saved)


def test_an_index_of_other_values_than_names(saved):
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.weight": 1}}')
    assert "index.json is damaged: it contains no map of weights" in refused(saved)


@pytest.mark.parametrize("shape", ["[-1, 2]", '["a"]', "7", "[1.5]", "[1e999]", "[true]", "null"])
def test_a_header_with_a_shape_that_is_none(saved, shape):
    header = f'{{"lm_head.weight": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 4]}}}}'.encode()
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    (saved / "model.safetensors").write_bytes(content)
    assert "model.safetensors is damaged: its safetensors header cannot be read" in refused(saved)


def test_weights_for_another_program(saved):
    (saved / "model.safetensors").rename(saved / "model-Q4_K_M.gguf")
    assert "holds its weights in a format that cannot be trained (model-Q4_K_M.gguf)" in refused(saved)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.complex64])
def test_weights_that_are_not_floating_point_numbers(saved, dtype):
    """transformers casts them without a word."""
    rewrite(saved, lambda w: {k: v.to(dtype) if "mlp" in k else v for k, v in w.items()})
    assert "are not floating-point numbers (model.layers.0.mlp.down_proj.weight is" in refused(saved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_weights_of_any_floating_point_dtype(saved, dtype):
    rewrite(saved, lambda w: {k: v.to(dtype) for k, v in w.items()})
    assert refusals(saved) == [{}, {}]
    assert {p.dtype for p in load_model(str(saved)).parameters()} == {torch.float32}


@pytest.mark.parametrize("part", ["weight_scale", "weight_packed", "qweight", "weight.absmax"])
def test_quantized_weights_whose_config_does_not_say_so(saved, part):
    rewrite(saved, lambda w: w | {f"model.layers.0.mlp.up_proj.{part}": torch.ones(1)})
    assert "these weights are quantized, though the config does not say so" in refused(saved)


def test_the_older_setting_of_compressed_tensors(saved):
    configure(saved, compression_config={"quant_method": "compressed-tensors", "format": "pack-quantized"})
    assert "is quantized (compressed-tensors)" in refused(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_entry_that_is_not_finite(saved, value):
    """Of a token that a short test may never meet."""
    rewrite(
        saved, lambda w: w | {"lm_head.weight": w["lm_head.weight"].index_fill(0, torch.tensor(7), value)}
    )
    with pytest.raises(UserError, match=r"contain NaN or infinity \(lm_head.weight\); take an earlier"):
        load_model(str(saved))


# Adapters -----------------------------------------------------------------------------------------------


def test_an_adapter_that_is_not_finite(saved, tmp_path):
    adapter(saved, tmp_path / "a", lambda w: {name: weight * torch.nan for name, weight in w.items()})
    said = r"weights of '.*/a' contain NaN or infinity \(model.layers.0.self_attn.q_proj.lora_A.weight\)"
    with pytest.raises(UserError, match=said):
        load_model(str(tmp_path / "a"))


def test_the_base_of_an_adapter_is_named(saved, tmp_path):
    adapter(saved, tmp_path / "a")
    configure(saved, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert refused(tmp_path / "a").startswith(f"model: {str(saved)!r} is quantized (bitsandbytes)")


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_adapters_in_a_circle(saved, tmp_path, names):
    for name, base in zip(names, [*names[1:], names[0]], strict=True):
        adapter(tmp_path / base, tmp_path / name)
    said = f"the adapter {str(tmp_path / 'a')!r} is its own base; set base_model_name_or_path"
    with pytest.raises(UserError, match=said):
        load_model(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is damaged: it contains no JSON object"),
        (json.dumps({"peft_type": "LORA"}), "does not name its base model"),
        (json.dumps({"base_model_name_or_path": 3}), "does not name its base model"),
    ],
)
def test_a_damaged_config_of_an_adapter(saved, tmp_path, content, said):
    adapter(saved, tmp_path / "a")
    (tmp_path / "a/adapter_config.json").write_text(content)
    with pytest.raises(UserError, match=said):
        load_model(str(tmp_path / "a"))


def test_a_kind_of_adapter_that_peft_does_not_know(saved, tmp_path):
    adapter(saved, tmp_path / "a")
    configure(tmp_path / "a", "adapter_config.json", peft_type="NOPE")
    assert "it names 'NOPE', which the installed libraries do not know" in refused(tmp_path / "a")


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "llama"])
def test_an_architecture_with_a_tokenizer_of_its_own_does_not_get_an_empty_one(saved, kind):
    """transformers makes a tokenizer of special tokens alone where it has a class for the architecture."""
    configure(saved, model_type=kind)
    for file in [*saved.glob("tokenizer*"), *saved.glob("*.jinja")]:
        file.unlink()
    with pytest.raises(UserError, match="holds no tokenizer; copy the tokenizer files"):
        load_tokenizer(str(saved))


TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 40},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}


@pytest.mark.parametrize("kept", [{"truncation": TRUNCATION}, {"padding": PADDING}])
def test_truncation_and_padding_of_the_program_that_saved_a_tokenizer_are_off(saved, kept):
    """transformers has them off in its own calls; rows would end after `max_length` tokens without a word."""
    text = "the answer is a test of some words and the rest"
    whole = load_tokenizer(str(saved)).backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert 4 < len(whole) < 40
    configure(saved, "tokenizer.json", **kept)
    found = load_tokenizer(str(saved)).backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert found == whole


def test_a_padding_token_outside_of_the_vocabulary(saved):
    """Fine-tuned models whose embedding was not enlarged for it."""
    configure(saved, pad_token_id=99_999)
    assert refused(saved) == (
        "model: pad_token_id is 99999 in its config.json; give an id of its vocabulary of 320 tokens, 0 to "
        "319, or a list of them."
    )


def test_weights_that_are_a_link_to_nothing(saved):
    """A snapshot of the hub's cache that was copied without its blobs."""
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors").symlink_to("../../blobs/4d7a")
    said = f"model: {saved} holds no weights: model.safetensors is a link to ../../blobs/4d7a, where there is"
    assert refused(saved).startswith(said)
