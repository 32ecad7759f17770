"""The weights that are loaded are the weights that were saved, or one sentence says which are not.

Every fault is refused twice in the same words: by loading, and by the headers of the files alone.
"""

from __future__ import annotations

import ast
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
import transformers
from huggingface_hub.errors import NotASafetensorsRepoError
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

from boresight.core.errors import UserError
from boresight.models.checkpoint.headers import Saved, read_headers
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.models.load import load_model, load_tokenizer
from boresight.models.source import ModelSource, Unreachable
from tests.models.checkpoints import adapter, configure, refusals, refused, rewrite
from tests.tiny import tiny_model

SOURCE = Path(__file__).parents[2] / "src/boresight"
IDS = torch.arange(3, 23)[None]


# Weights that are not those of the model ----------------------------------------------------------------


def test_a_whole_model_has_no_leftovers(saved):
    assert refusals(saved) == [{}, {}]


def test_a_lost_output_layer_is_named(saved):
    rewrite(saved, lambda w: {k: v for k, v in w.items() if k != "lm_head.weight"})
    assert "LlamaForCausalLM: 1 is missing from the checkpoint (lm_head.weight); take a complete" in refused(
        saved
    )


def test_a_lost_layer_is_counted_and_three_names_are_shown(saved):
    rewrite(saved, lambda w: {k: v for k, v in w.items() if "layers.1." not in k})
    found = refused(saved)
    assert "9 are missing from the checkpoint (model.layers.1.input_layernorm.weight, " in found
    assert found.count("layers.1.") == 3
    assert ", …)" in found


def test_a_stray_prefix_is_recognized(saved):
    rewrite(saved, lambda w: {f"_orig_mod.{k}": v for k, v in w.items()})
    found = refused(saved)
    assert "21 are missing" in found
    assert "21 are unknown to the model (_orig_mod.lm_head.weight" in found
    assert "every name starts with '_orig_mod.', from a wrapped model" in found


def test_tensors_of_size_zero_come_from_zero3(saved):
    rewrite(saved, lambda w: {k: torch.empty(0) if "mlp" in k else v for k, v in w.items()})
    found = refused(saved)
    assert "6 are of another shape (model.layers.0.mlp.down_proj.weight 0 for 32x64" in found
    assert "zero_to_fp32.py" in found


def test_a_config_of_another_size(saved):
    configure(saved, intermediate_size=48)
    assert "mlp.down_proj.weight 32x64 for 32x48" in refused(saved)
    assert "the config and the weights are of different models" in refused(saved)


def test_a_reward_model_is_no_policy(saved):
    transformers.AutoModelForSequenceClassification.from_pretrained(saved, num_labels=1).save_pretrained(
        saved
    )
    assert "1 is unknown to the model (score.weight); this is a reward model" in refused(saved)


def test_an_architectures_own_exceptions_are_no_leftovers(saved):
    """Old checkpoints hold rotary frequencies, which the model computes; transformers lists such names."""
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    rewrite(saved, lambda w: w | extra)
    assert refusals(saved) == [{}, {}]


def test_tied_weights_are_not_missing(tmp_path):
    tiny_model(tie_word_embeddings=True).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert refusals(tmp_path) == [{}, {}]


def test_leftovers_may_be_allowed_by_name(saved):
    stray = {"vision.a": torch.ones(2), "vision.b": torch.ones(2)}
    rewrite(saved, lambda w: {k: v for k, v in w.items() if k != "lm_head.weight"} | stray)
    accepted = Leftovers(missing=("lm_head.weight",), unexpected=("vision.a", "vision.b"))
    assert refusals(saved, allowed=["lm_head.*", "vision.?"]) == [{str(saved): accepted}] * 2
    loading, headers = refusals(saved, allowed=["vision.*"])
    assert loading == headers
    assert "1 is missing from the checkpoint (lm_head.weight)" in loading
    assert "vision" not in loading


def test_another_shape_is_never_allowed(saved):
    configure(saved, intermediate_size=48)
    assert all("of another shape" in said for said in refusals(saved, allowed=["*"]))


def test_finite_weights_whose_logits_overflow(saved):
    rewrite(saved, lambda w: w | {"lm_head.weight": torch.full_like(w["lm_head.weight"], 3e38)})
    with pytest.raises(UserError, match=r"returns NaN or infinity for a few tokens although its weights"):
        load_model(str(saved))


# Files --------------------------------------------------------------------------------------------------


def test_a_file_that_was_cut_short(saved):
    file = saved / "model.safetensors"
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:20_000])
    assert f"was cut short: it has 20,000 of {whole:,} bytes" in refused(saved)


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x04\0\0\0\0\0\0\0null"]
)
def test_a_file_that_is_no_safetensors(saved, content):
    (saved / "model.safetensors").write_bytes(content)
    assert "its safetensors header cannot be read" in refused(saved)


def test_a_shard_that_is_not_there(saved):
    model = tiny_model(tie_word_embeddings=False)
    (saved / "model.safetensors").unlink()
    model.save_pretrained(saved, max_shard_size="50KB")
    shards = sorted(saved.glob("model-*.safetensors"))
    assert refusals(saved) == [{}, {}]
    shards[-1].unlink()
    assert f"lacks {shards[-1].name}, one of 1 missing weight files" in refused(saved)


def test_pickled_weights_are_named_and_not_read(saved):
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    assert "as a pickle file (pytorch_model.bin), which can run code when it is read" in refused(saved)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "compressed-tensors", None])
def test_quantized_weights(saved, method):
    configure(saved, quantization_config={"quant_method": method, "bits": 4, "group_size": 128})
    assert f"is quantized ({method or 'by an unnamed method'})" in refused(saved)


@pytest.mark.skipif(
    transformers.__version__.startswith("5.16."), reason="transformers 5.16 reads no fp8 without a GPU"
)
def test_quantization_that_loading_undoes(saved):
    """Weights in fp8 with a scale per block become ordinary float32 weights."""
    exact = load_file(saved / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]

    def quantize(weights):
        out = {}
        for name, weight in weights.items():
            if weight.dim() == 2 and "layers" in name:
                scale = weight.abs().max() / 448
                out[name] = (weight / scale).to(torch.float8_e4m3fn)
                out[f"{name}_scale_inv"] = scale.reshape(1, 1)
            else:
                out[name] = weight
        return out

    rewrite(saved, quantize)
    configure(
        saved,
        quantization_config={
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "weight_block_size": [128, 128],
        },
    )
    assert refusals(saved) == [{}, {}]
    weight = load_model(str(saved)).get_parameter("model.layers.0.mlp.up_proj.weight")
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, exact, rtol=0.07, atol=1e-3)


def test_headers_of_a_folder(saved):
    headers = read_headers(ModelSource(str(saved), cached_only=True))
    assert headers["lm_head.weight"] == Saved((320, 32), "F32")
    assert headers.keys() == load_file(saved / "model.safetensors").keys()


def test_headers_of_a_hub_model_are_fetched_without_its_weights(monkeypatch):
    tensor = SimpleNamespace(shape=[3, 2], dtype="BF16")
    file = SimpleNamespace(tensors={"lm_head.weight": tensor})
    answer = SimpleNamespace(files_metadata={"model.safetensors": file})
    monkeypatch.setattr("huggingface_hub.HfApi.get_safetensors_metadata", lambda *_: answer)
    assert read_headers(ModelSource("org/model")) == {"lm_head.weight": Saved((3, 2), "BF16")}


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (ConnectionError("no route to host"), Unreachable, "hub gives no answer about the weights"),
        (NotASafetensorsRepoError(), UserError, "'org/model' holds no safetensors"),
    ],
)
def test_a_hub_without_an_answer_is_not_a_model_without_safetensors(monkeypatch, raised, kind, said):
    monkeypatch.setattr("huggingface_hub.HfApi.get_safetensors_metadata", Mock(side_effect=raised))
    with pytest.raises(UserError, match=said) as caught:
        read_headers(ModelSource("org/model"))
    assert type(caught.value) is kind


# Code that comes with a model ---------------------------------------------------------------------------


def with_code(folder):
    """A model folder that asks for a class of its own; running it leaves a file."""
    configure(
        folder,
        model_type="mynewarch",
        auto_map={"AutoConfig": "own.MyConfig", "AutoModelForCausalLM": "own.My"},
    )
    (folder / "own.py").write_text(f"open({str(folder / 'RAN')!r}, 'w').close()\n")


def test_code_of_a_model_never_runs(saved, monkeypatch):
    """Not even where somebody would say yes: transformers asks on the terminal unless told otherwise."""
    with_code(saved)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    assert "needs Python code that comes with it, which is never run" in refused(saved)
    assert "needs Python code" in refused(saved, "score")
    assert not (saved / "RAN").exists()


def test_code_of_a_tokenizer_never_runs(saved, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    own = {"AutoTokenizer": [None, "own.MyTokenizer"]}
    configure(saved, "tokenizer_config.json", tokenizer_class="MyTokenizer", auto_map=own)
    (saved / "own.py").write_text(f"open({str(saved / 'RAN')!r}, 'w').close()\n")
    with pytest.raises(UserError, match=r"the tokenizer of .* needs Python code"):
        load_tokenizer(str(saved))
    assert not (saved / "RAN").exists()


def calls(tree):
    """Names and keywords of every call of a method that reads or builds a model."""
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in ("from_pretrained", "from_config"):
            yield called.value, {keyword.arg for keyword in node.keywords}


def test_one_module_calls_transformers_and_never_trusts_code():
    """`GenerationConfig` and `PeftConfig` are JSON; the reader of GGUF files takes no code from them."""
    elsewhere = {
        "models/checkpoint/adapter.py": {"PeftConfig"},
        "models/checkpoint/generation_config.py": {"GenerationConfig"},
        "models/checkpoint/gguf.py": None,
    }
    seen = 0
    for file in SOURCE.rglob("*.py"):
        place = file.relative_to(SOURCE).as_posix()
        for owner, keywords in calls(ast.parse(file.read_text(encoding="utf-8"))):
            if place == "models/checkpoint/pretrained.py":
                seen += 1
                assert "trust_remote_code" in keywords, f"{place}:{owner.lineno}"
            else:
                named = elsewhere.get(place, set())
                assert named is None or owner.id in named, f"{place}:{owner.lineno}: use models/checkpoint"
    assert seen >= 5
    text = (SOURCE / "models/checkpoint/pretrained.py").read_text(encoding="utf-8")
    assert text.count("trust_remote_code=") == text.count("trust_remote_code=False")


# Adapters -----------------------------------------------------------------------------------------------


VARIANTS = {
    "plain": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "head saved whole": {"modules_to_save": ["lm_head"]},
    "on embeddings": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "some layers": {"layers_to_transform": [1]},
    "two new tokens": {"new_tokens": 2, "modules_to_save": ["embed_tokens", "lm_head"]},
}


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_is_loaded_whole(variant, merge, saved, tmp_path):
    expected = adapter(saved, tmp_path / "a", **VARIANTS[variant])
    assert refusals(tmp_path / "a") == [{}, {}]
    model = load_model(str(tmp_path / "a"), merge=merge)
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, expected(IDS).logits, rtol=1e-4, atol=1e-4)
        if variant == "two new tokens":
            new = torch.tensor([[5, 321, 6]])
            torch.testing.assert_close(model(new).logits, expected(new).logits, rtol=1e-4, atol=1e-4)
    assert isinstance(model, PeftModel) is not merge


def test_an_adapter_whose_tensors_match_nothing(saved, tmp_path):
    def elsewhere(weights):
        return {k.replace("model.layers", "model.language_model.layers"): v for k, v in weights.items()}

    adapter(saved, tmp_path / "a", elsewhere)
    found = refused(tmp_path / "a")
    assert "8 are missing from the checkpoint (model.layers.0.self_attn.q_proj.lora_A.weight" in found
    assert "8 are unknown to the model (model.language_model.layers.0" in found
    assert "the adapter is incomplete or of another base" in found


def test_half_an_adapter(saved, tmp_path):
    adapter(saved, tmp_path / "a", lambda w: {k: v for k, v in w.items() if "layers.1." not in k})
    assert "4 are missing from the checkpoint (model.layers.1.self_attn.q_proj.lora_A.weight" in refused(
        tmp_path / "a"
    )


def test_an_adapter_without_the_module_that_it_replaces(saved, tmp_path):
    def lose(weights):
        return {k: v for k, v in weights.items() if "lm_head" not in k}

    adapter(saved, tmp_path / "a", lose, modules_to_save=["lm_head"])
    assert "1 is missing from the checkpoint (lm_head.weight)" in refused(tmp_path / "a")


def test_an_adapter_of_another_rank(saved, tmp_path):
    adapter(saved, tmp_path / "a")
    configure(tmp_path / "a", "adapter_config.json", r=2)
    assert "8 are of another shape (model.layers.0.self_attn.q_proj.lora_A.weight 4x32 for 2x32" in refused(
        tmp_path / "a"
    )


def test_new_tokens_in_one_table_only(saved, tmp_path):
    """The rows of the other would be drawn at random."""

    def lose(weights):
        return {k: v for k, v in weights.items() if "lm_head" not in k}

    adapter(saved, tmp_path / "a", lose, new_tokens=2, modules_to_save=["embed_tokens"])
    assert "is for 322 tokens and has no weights for the new ones in lm_head" in refused(tmp_path / "a")


def test_a_pickled_adapter_is_not_read(saved, tmp_path):
    adapter(saved, tmp_path / "a")
    weights = tmp_path / "a/adapter_model.safetensors"
    torch.save(load_file(weights), tmp_path / "a/adapter_model.bin")
    weights.unlink()
    assert "as a pickle file (adapter_model.bin)" in refused(tmp_path / "a")


def test_an_adapter_that_is_a_prompt(saved, tmp_path):
    """The sampler asks the model inside the wrapper, so even apart it would answer without the prompt."""
    from peft import PromptTuningConfig

    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    get_peft_model(tiny_model(tie_word_embeddings=False), settings).save_pretrained(tmp_path / "a")
    configure(tmp_path / "a", "adapter_config.json", base_model_name_or_path=str(saved))
    assert "is a prompt, which changes no weights" in refused(tmp_path / "a")
    with pytest.raises(UserError, match="is a prompt, which changes no weights"):
        load_model(str(tmp_path / "a"), merge=False)


def test_a_run_lends_its_adapter_what_it_allowed(saved, tmp_path):
    """An adapter trained on a base with accepted leftovers can be loaded again."""
    rewrite(saved, lambda w: w | {"vision.a": torch.ones(2)})
    adapter(saved, tmp_path / "run/model")
    assert "unknown to the model (vision.a)" in refused(tmp_path / "run")
    (tmp_path / "run/config.yaml").write_text("model: {name: x, allow_weights: ['vision.*']}\n")
    assert [list(found) for found in refusals(tmp_path / "run")] == [[str(tmp_path / "run")]] * 2


# Reward models ------------------------------------------------------------------------------------------


@pytest.fixture
def scorer(saved, tmp_path):
    """A saved reward model."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(saved, num_labels=1)
    model.save_pretrained(tmp_path / "scorer")
    shutil.copy(saved / "tokenizer.json", tmp_path / "scorer")
    return tmp_path / "scorer"


def test_a_fresh_head_is_meant_and_a_lost_one_is_not(saved, scorer):
    assert refusals(saved, "score") == [{}, {}]
    assert refusals(scorer, "score") == [{}, {}]
    rewrite(scorer, lambda w: {k: v for k, v in w.items() if k != "score.weight"})
    assert "1 is missing from the checkpoint (score.weight)" in refused(scorer, "score")


def test_a_lost_layer_under_a_fresh_head(saved):
    rewrite(saved, lambda w: {k: v for k, v in w.items() if "layers.1." not in k})
    assert "LlamaForSequenceClassification: 9 are missing" in refused(saved, "score")


def test_a_classifier_of_several_labels(saved, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(saved, num_labels=3)
    model.save_pretrained(tmp_path / "three")
    assert "is a classifier with 3 labels; a reward model has one" in refused(tmp_path / "three", "score")
