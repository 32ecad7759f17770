"""Generation stops where the chat template ends a turn, also after saving and loading."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from boresight.config.lora import LoraConfig
from boresight.core.errors import UserError
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.stop_tokens import end_of_turn, wire_stop_tokens
from boresight.models import lora
from boresight.models.load import load_model, load_tokenizer
from tests.models.families import GPT2_SIZES
from tests.tiny import VOCAB, tiny_model, tiny_tokenizer


@pytest.mark.parametrize(
    ("template", "text"),
    [("chatml", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("gemma", "<end_of_turn>"), ("qwen3", "<|im_end|>")],
)
def test_end_of_turn_is_what_follows_the_words(template, text):
    tokenizer = tiny_tokenizer(template)
    assert end_of_turn(tokenizer).text == text
    assert end_of_turn(tokenizer).id == tokenizer.convert_tokens_to_ids(text) != tokenizer.eos_token_id


@pytest.mark.real_data
def test_qwen_base_stops_at_the_end_of_turn(real_data):
    """The shipped pair 151643 (end of text) and 151645 (end of turn)."""
    tokenizer = load_tokenizer(str(real_data / "qwen25_tokenizer"))
    tokenizer.eos_token = "<|endoftext|>"  # as Qwen2.5-0.5B has it; the instruct model has <|im_end|>
    model = tiny_model("qwen2", vocab=8)
    model.config.vocab_size = 151936
    model.config.eos_token_id = model.generation_config.eos_token_id = 151643
    assert wire_stop_tokens(model, tokenizer).id == 151645
    assert tokenizer.eos_token_id == 151645
    assert model.generation_config.eos_token_id == model.config.eos_token_id == [151645, 151643]


@pytest.mark.starter
def test_the_starter_model_needs_no_change(starter):
    """Its three agree already: the list stays a single id."""
    tokenizer, model = load_tokenizer(str(starter)), tiny_model(vocab=8)
    model.config.eos_token_id = model.generation_config.eos_token_id = 2
    assert wire_stop_tokens(model, tokenizer).id == 2
    assert model.config.eos_token_id == model.generation_config.eos_token_id == 2


def test_an_end_of_ordinary_text_is_an_error():
    tokenizer = tiny_tokenizer("base")
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
    with pytest.raises(UserError, match="could never stop"):
        end_of_turn(tokenizer)


def test_pad_is_filled_in_with_the_old_end_of_text():
    tokenizer, model = tiny_tokenizer("chatml"), tiny_model()
    wire_stop_tokens(model, tokenizer)
    assert tokenizer.pad_token == "<|endoftext|>"
    assert model.config.pad_token_id == model.generation_config.pad_token_id == tokenizer.pad_token_id


def test_a_pad_token_of_the_tokenizers_own_stays():
    tokenizer, model = tiny_tokenizer("gemma"), tiny_model()
    wire_stop_tokens(model, tokenizer)
    assert tokenizer.pad_token == "<pad>"


def test_wiring_twice_changes_nothing():
    tokenizer, model = tiny_tokenizer("chatml"), tiny_model()
    wire_stop_tokens(model, tokenizer)
    before = model.config.to_dict(), model.generation_config.to_dict(), tokenizer.special_tokens_map
    wire_stop_tokens(model, tokenizer)
    assert before == (model.config.to_dict(), model.generation_config.to_dict(), tokenizer.special_tokens_map)


def test_the_embedding_of_a_pad_token_is_trained():
    """pad = end of turn: with transformers' padding_idx, its embedding would get no gradient."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.pad_token = "<|im_end|>"
    end = tokenizer.pad_token_id
    model = tiny_model("llama", pad_token_id=end)
    assert model.get_input_embeddings().padding_idx == end  # the trap is set
    wire_stop_tokens(model, tokenizer)
    model(torch.tensor([[5, end, 6]])).logits.square().sum().backward()
    assert model.get_input_embeddings().weight.grad[end].abs().sum() > 0


def biased_to(token):
    """A model that says `token` whatever it is asked: all hidden states are ones, and its row of the
    head is the only one that is not zero, so its logit is 32 and all others are 0."""
    model = tiny_model("llama", tie_word_embeddings=False)
    model.model.norm.register_forward_hook(lambda _module, _input, hidden: torch.ones_like(hidden))
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[token] = 1.0
    return model


def test_generation_stops_at_the_end_of_turn_and_only_once_wired():
    tokenizer = tiny_tokenizer("chatml")
    end = end_of_turn(tokenizer).id
    model = biased_to(end)
    prompt = torch.tensor([[5, 6, 7]])
    ask = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    assert model.generate(prompt, **ask)[0, 3:].tolist() == [end] * 6  # the known defect
    wire_stop_tokens(model, tokenizer)
    assert model.generate(prompt, **ask)[0, 3:].tolist() == [end]


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "adapter"])
def test_everything_agrees_after_saving_and_loading(tmp_path, adapters):
    tokenizer, base = tiny_tokenizer("chatml"), tiny_model("qwen2")
    base.save_pretrained(tmp_path / "base")
    model = load_model(str(tmp_path / "base"))
    end = wire_stop_tokens(model, tokenizer)
    stops = [end.id, 0]
    if adapters:
        model = lora.attach(model, LoraConfig(), seed=0)
    lora.save(model, tmp_path / "run" / "model", tokenizer)
    again, its_tokenizer = load_model(str(tmp_path / "run")), load_tokenizer(str(tmp_path / "run"))
    assert again.config.eos_token_id == again.generation_config.eos_token_id == stops
    assert its_tokenizer.eos_token_id == end.id
    assert its_tokenizer.chat_template == tokenizer.chat_template
    assert (
        again.config.pad_token_id == again.generation_config.pad_token_id == its_tokenizer.pad_token_id == 0
    )


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "adapter"])
def test_a_published_temperature_without_sampling_is_saved_as_it_is(tmp_path, adapters):
    """Vicuna has it so. transformers refuses to save it once the stop tokens were changed."""
    tiny_model("qwen2").save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "temperature": 0.9, "top_p": 0.6}))
    tokenizer, model = tiny_tokenizer("chatml"), load_model(str(tmp_path / "base"))
    wire_stop_tokens(model, tokenizer)
    if adapters:
        model = lora.attach(model, LoraConfig(), seed=0)
    lora.save(model, tmp_path / "run", tokenizer)
    saved = json.loads((tmp_path / "run" / "generation_config.json").read_text())
    assert (saved["temperature"], saved["top_p"]) == (0.9, 0.6)
    assert saved["eos_token_id"] == [end_of_turn(tokenizer).id, 0]


@pytest.mark.parametrize("value", ["2", [[2]], True, 2.0, [2, None], -1, 9999, [2, VOCAB], [-1]])
def test_a_stop_token_that_is_no_id_of_the_vocabulary_is_refused(value):
    """The field, the file and the size of the vocabulary are named; the largest id is one less."""
    tokenizer, model = tiny_tokenizer("chatml"), tiny_model()
    object.__setattr__(model.generation_config, "eos_token_id", value)
    says = (
        r"^model: eos_token_id is .+ in its generation_config\.json; give an id of its vocabulary of "
        rf"{VOCAB} tokens, 0 to {VOCAB - 1}, or a list of them\.$"
    )
    with pytest.raises(UserError, match=says):
        wire_stop_tokens(model, tokenizer)


@pytest.mark.parametrize("field", ["eos_token_id", "pad_token_id", "bos_token_id"])
@pytest.mark.parametrize("holder", ["config", "generation_config"])
def test_every_special_token_of_every_file_is_checked(field, holder):
    tokenizer, model = tiny_tokenizer("chatml"), tiny_model()
    object.__setattr__(getattr(model, holder), field, 9999)
    with pytest.raises(UserError, match=rf"^model: {field} is 9999 in its {holder}\.json"):
        wire_stop_tokens(model, tokenizer)


def test_an_id_that_means_no_token_is_taken():
    """Early LLaMA configs have the padding token -1."""
    tokenizer, model = tiny_tokenizer("chatml"), tiny_model()
    model.config.pad_token_id = model.generation_config.bos_token_id = -1
    end = wire_stop_tokens(model, tokenizer)
    assert model.config.eos_token_id == [end.id, 0] and model.config.pad_token_id == tokenizer.pad_token_id


def test_an_id_that_the_library_fills_in_is_no_fault(tmp_path):
    """A GPT-2 config without the field has 50256, whatever its vocabulary; the template's end remains."""
    GPT2LMHeadModel(GPT2Config(**GPT2_SIZES | {"vocab_size": VOCAB})).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    content = json.loads((tmp_path / "config.json").read_text())
    for field in ("bos_token_id", "eos_token_id"):
        content.pop(field, None)
    (tmp_path / "config.json").write_text(json.dumps(content))
    tokenizer, model = tiny_tokenizer("chatml"), load_model(str(tmp_path))
    assert model.config.eos_token_id == 50256 >= VOCAB
    end = wire_stop_tokens(model, tokenizer)
    assert model.config.eos_token_id == model.generation_config.eos_token_id == [end.id, 0]
    assert model.config.bos_token_id is model.generation_config.bos_token_id is None


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("field", ["eos_token_id", "pad_token_id"])
def test_a_model_on_disk_is_refused_by_its_file(tmp_path, file, field):
    tiny_model("llama").save_pretrained(tmp_path)
    content = json.loads((tmp_path / file).read_text()) | {field: 9999}
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"{field} is 9999 in its {file};"):
        wire_stop_tokens(load_model(str(tmp_path)), tiny_tokenizer("chatml"))


def test_a_template_given_by_the_user_is_saved_with_the_tokenizer(tmp_path):
    tokenizer = tiny_tokenizer("base")
    ensure_chat_template(tokenizer, "plain")
    tokenizer.save_pretrained(tmp_path)
    assert end_of_turn(load_tokenizer(str(tmp_path))).text == "<|endoftext|>"
