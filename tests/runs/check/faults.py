"""Recipes, data and models with one fault each, and a few without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests.models.families import GPT2_SIZES
from tests.tiny import tiny_model, tiny_tokenizer

Prepare = Callable[[Path], Iterable[str]]
"""Changes a folder that holds a sound `model` and `pairs.jsonl`; returns overrides of the recipe."""


@dataclass
class Corpus:
    """Cases by name, in the order they are written."""

    cases: dict[str, Prepare] = field(default_factory=dict)

    def __call__(self, prepare: Prepare) -> Prepare:
        """Add a case under the name of its function; a decorator."""
        self.cases[prepare.__name__.replace("_", " ")] = prepare
        return prepare


stops, starts = Corpus(), Corpus()
ONLINE = ("method.name=rloo", "rollout.max_new_tokens=4", "rollout.k=2")
WORDS = "def words(prompts, completions, rows):\n    return [float(len(text)) for text in completions]\n"


def pairs(count: int = 20, **more: Any) -> list[dict[str, Any]]:
    """Sound pairs."""
    return [
        {"prompt": f"say {i}", "chosen": f"the answer {i}", "rejected": f"red green {i} blue"} | more
        for i in range(count)
    ]


def write_rows(file: Path, rows: Iterable[object]) -> None:
    """JSON Lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_reward(folder: Path) -> str:
    """A sound reward function, and the override that names it."""
    name = f"rewards_of_{folder.name}"  # modules are imported once in a process
    (folder / f"{name}.py").write_text(WORDS)
    return f"reward=[{{function: '{name}:words'}}]"


def save_sound_model(folder: Path, **shape: Any) -> None:
    """A model of two layers with its tokenizer."""
    tiny_model(**shape).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def save_learned_positions(folder: Path, positions: int = 256) -> None:
    """The same with the architecture of GPT-2, whose positions are a table."""
    sizes = GPT2_SIZES | {"n_positions": positions, "vocab_size": len(tiny_tokenizer())}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Rewrite the weights of a model."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


# Data ---------------------------------------------------------------------------------------------------


@stops
def no_such_file(folder):
    return ["data.train=nowhere.jsonl"]


@stops
def no_such_held_out_file(folder):
    return ["data.eval=nowhere.jsonl"]


@stops
def no_such_prompts(folder):
    return ["evaluate.prompts=nowhere.jsonl"]


@stops
def an_empty_file(folder):
    (folder / "pairs.jsonl").write_text("")
    return []


@stops
def torn_json(folder):
    (folder / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "reje')
    return []


@stops
def a_parquet_file_that_is_none(folder):
    (folder / "pairs.parquet").write_text("not parquet")
    return ["data.train=pairs.parquet"]


@stops
def an_unknown_file_type(folder):
    (folder / "pairs.docx").write_text("words")
    return ["data.train=pairs.docx"]


@stops
def an_unknown_layout(folder):
    write_rows(folder / "pairs.jsonl", [{"left": 1, "right": 2}] * 20)
    return []


@stops
def a_layout_of_that_name_does_not_exist(folder):
    return ["data.layout=prefs"]


@stops
def demonstrations_for_dpo(folder):
    write_rows(folder / "pairs.jsonl", [{"prompt": f"say {i}", "completion": "word"} for i in range(20)])
    return []


@stops
def one_bad_row(folder):
    write_rows(folder / "pairs.jsonl", [*pairs(19), {"prompt": "say", "chosen": 3, "rejected": "x"}])
    return []


@stops
def no_row_fits(folder):
    return ["data.max_length=4"]


@stops
def the_last_row_is_too_long_and_that_is_an_error(folder):
    write_rows(folder / "pairs.jsonl", [*pairs(300), *pairs(1, chosen="red " * 300)])
    return ["data.truncation=error", "data.max_length=200", "data.eval_rows=0"]


@stops
def chosen_and_rejected_are_the_same(folder):
    write_rows(folder / "pairs.jsonl", [row | {"rejected": row["chosen"]} for row in pairs(40)])
    return []


@stops
def no_such_generator(folder):
    return ["data.train=generate:countdown-tinny"]


# Tokenizer and template ---------------------------------------------------------------------------------


@stops
def no_template_at_all(folder):
    tiny_tokenizer("base").save_pretrained(folder / "model")
    for file in (folder / "model").glob("chat_template*"):
        file.unlink()
    return []


@stops
def a_template_that_refuses_the_system_turn_of_every_row(folder):
    tiny_tokenizer("gemma").save_pretrained(folder / "model")
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "say"}]
    write_rows(folder / "pairs.jsonl", pairs(prompt=prompt))
    return []


@stops
def a_template_that_refuses_every_row(folder):
    template = "{{ raise_exception('only tool calls, please') }}"
    (folder / "model" / "chat_template.jinja").write_text(template)
    return []


@stops
def a_template_with_a_syntax_error(folder):
    (folder / "mine.j2").write_text("{% for m in messages %}")
    return ["model.chat_template=mine.j2"]


@stops
def no_such_template(folder):
    return ["model.chat_template=chatlm"]


@stops
def no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / "model" / name).unlink(missing_ok=True)
    return []


# Model --------------------------------------------------------------------------------------------------


@stops
def weights_saved_as_integers(folder):
    file = folder / "model" / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].to(torch.int8)
    save_file(weights, file, {"format": "pt"})
    return []


@stops
def a_damaged_generation_config(folder):
    (folder / "model" / "generation_config.json").write_text('{"eos')
    return []


@stops
def an_adapter_that_is_its_own_base(folder):
    (folder / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "adapter"}
    (folder / "adapter/adapter_config.json").write_text(json.dumps(config))
    return ["model.name=adapter"]


@stops
def no_such_model(folder):
    return ["model.name=./nowhere"]


@stops
def a_folder_without_a_model(folder):
    (folder / "empty").mkdir()
    return ["model.name=empty"]


@stops
def a_hub_that_gives_no_answer(folder):
    return ["model.name=somebody/some-model-0.5B"]


@stops
def an_adapter_without_its_base(folder):
    (folder / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "./gone", "r": 4, "target_modules": ["q_proj"]}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    tiny_tokenizer().save_pretrained(folder / "adapter")
    return ["model.name=adapter"]


@stops
def a_missing_weight(folder):
    save_sound_model(folder / "model", tie_word_embeddings=False)
    change_weights(folder / "model", lambda weights: weights.pop("lm_head.weight"))
    return []


@stops
def weights_of_another_shape(folder):
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    return []


@stops
def a_cut_file_of_weights(folder):
    file = folder / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return []


@stops
def no_file_of_weights(folder):
    (folder / "model" / "model.safetensors").unlink()
    return []


@stops
def weights_that_are_not_numbers(folder):
    change_weights(folder / "model", lambda w: w["model.norm.weight"].fill_(float("nan")))
    return []


@stops
def weights_that_are_all_zero(folder):
    change_weights(folder / "model", lambda weights: [tensor.zero_() for tensor in weights.values()])
    return []


@stops
def an_output_layer_of_zeros_under_lora(folder):
    change_weights(folder / "model", lambda weights: weights["lm_head.weight"].zero_())
    return ["model.lora={}"]


@stops
def infinite_weights_under_lora(folder):
    change_weights(folder / "model", lambda w: w["model.embed_tokens.weight"].fill_(float("inf")))
    return ["model.lora={}"]


@stops
def weights_that_are_not_numbers_in_an_online_run(folder):
    change_weights(folder / "model", lambda w: w["model.norm.weight"].fill_(float("nan")))
    return [*ONLINE, write_reward(folder)]


@stops
def rows_longer_than_a_table_of_positions(folder):
    save_learned_positions(folder / "model")
    return ["data.max_length=257"]


@stops
def prompts_that_fill_a_table_of_positions(folder):
    save_learned_positions(folder / "model")
    return [*ONLINE, write_reward(folder), "data.max_length=256"]


@stops
def a_prompt_to_answer_beyond_a_table_of_positions(folder):
    save_learned_positions(folder / "model")
    asked = ["say 1", "say 2", "say 3", "red " * 300]
    write_rows(folder / "asked.jsonl", [{"prompt": prompt} for prompt in asked])
    return ["evaluate.prompts=asked.jsonl", "evaluate.samples=4"]


@stops
def a_config_that_is_torn(folder):
    (folder / "model" / "config.json").write_text('{"model_type": "lla')
    return []


@stops
def an_unknown_architecture(folder):
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "megalith"}))
    return []


@stops
def lora_on_layers_that_do_not_exist(folder):
    return ["model.lora={targets: [query]}"]


# Machine, rewards and settings --------------------------------------------------------------------------


@stops
def a_device_that_is_none(folder):
    return ["model.device=gpu"]


@stops
def a_gpu_that_is_not_there(folder):
    return ["model.device=cuda:7"]


@stops
def a_tracker_that_is_not_installed(folder):
    return ["train.trackers=[trackio]"]


@stops
def no_such_reward(folder):
    return [*ONLINE, "reward=[{function: countdwn}]"]


@stops
def no_such_reward_in_a_file(folder):
    return [*ONLINE, write_reward(folder).replace(":words", ":word")]


@stops
def a_reward_file_that_does_not_import(folder):
    (folder / "without_package.py").write_text("import no_such_package_at_all\n")
    return [*ONLINE, "reward=[{function: 'without_package:words'}]"]


@stops
def a_reward_that_only_measures_and_does_not_exist(folder):
    return ["reward=[{function: countdwn}]"]


@stops
def a_method_that_samples_without_a_reward(folder):
    return list(ONLINE)


@stops
def a_server_that_does_not_answer(folder):
    server = ("rollout.backend=vllm", "rollout.base_url=http://127.0.0.1:9", "model.lora={}")
    return [*ONLINE, *server, write_reward(folder)]


@stops
def whole_weights_for_a_server(folder):
    server = ("rollout.backend=vllm", "rollout.base_url=http://127.0.0.1:9")
    return [*ONLINE, *server, write_reward(folder)]


@stops
def a_best_checkpoint_by_what_is_not_measured(folder):
    return ["train.keep_best=reward"]


@stops
def a_best_checkpoint_without_held_out_rows(folder):
    return ["train.keep_best=loss", "data.eval_rows=0"]


@stops
def an_allowed_finding_of_no_such_name(folder):
    return ["check.allow=[labels-noisi]"]


@stops
def a_stop_that_nothing_allows(folder):
    return ["data.train=nowhere.jsonl", "check.allow=[data-not-readable]"]


@stops
def pairs_like_nothing_that_was_measured(folder):
    return ["check.like=UltraFeedbak"]


@stops
def an_unknown_key(folder):
    return ["optim.learning_rate=1e-3"]


@stops
def both_epochs_and_steps(folder):
    return ["train.epochs=1", "train.steps=2"]


# Sound runs, for which both must say so -----------------------------------------------------------------


@starts
def pairs_for_dpo(folder):
    return []


@starts
def adapters(folder):
    return ["model.lora={}"]


@starts
def one_row_of_many_is_too_long(folder):
    write_rows(folder / "pairs.jsonl", [*pairs(20), *pairs(1, chosen="red " * 300)])
    return ["data.max_length=200"]


@starts
def demonstrations(folder):
    write_rows(folder / "pairs.jsonl", [{"prompt": f"say {i}", "completion": f"a {i}"} for i in range(20)])
    return ["method.name=sft"]


@starts
def a_reward_model(folder):
    return ["method.name=reward"]


@starts
def an_online_run(folder):
    return [*ONLINE, write_reward(folder)]


@starts
def answers_that_reach_the_end_of_a_table_of_positions(folder):
    save_learned_positions(folder / "model", positions=220)
    others = [setting for setting in ONLINE if "max_new_tokens" not in setting]
    return [*others, "rollout.max_new_tokens=256", "evaluate.max_new_tokens=256", write_reward(folder)]


@starts
def an_error_that_is_allowed(folder):
    write_rows(folder / "pairs.jsonl", [row | {"rejected": row["chosen"]} for row in pairs(40)])
    return ["check.allow=[identical-pairs]"]


def _labeled(folder: Path, answers: Iterable[str]) -> list[str]:
    rows = [{"prompt": f"say {i}", "completion": a, "label": i % 2 == 0} for i, a in enumerate(answers)]
    write_rows(folder / "pairs.jsonl", rows)
    return ["method.name=kto"]


@stops
def labeled_answers_that_are_all_the_same(folder: Path) -> list[str]:
    """No prompt has the answer of another row to estimate a KL from."""
    return _labeled(folder, ["yes"] * 20)


@stops
def one_labeled_answer(folder: Path) -> list[str]:
    """Nor does it here."""
    return [*_labeled(folder, ["yes"]), "data.eval_rows=0"]


@starts
def labeled_answers_sorted_by_what_they_say(folder: Path) -> list[str]:
    """The shortest rows, and the first 300, have one answer."""
    return _labeled(folder, ["yes"] * 300 + ["not at all, thank you"] * 20)
