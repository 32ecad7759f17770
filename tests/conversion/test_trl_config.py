"""Configs of TRL become recipes that mean the same, and every option of a file is in one list.

Values are worked by hand: batch = per_device_train_batch_size × gradient_accumulation_steps × processes,
steps = ⌈epochs × rows / batch⌉, warm-up as a share of the steps.
"""

from __future__ import annotations

import json
import math
import os
import pickle
from pathlib import Path

import pytest
import yaml

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.conversion.convert import Converted, convert_options
from boresight.conversion.training import warmup_share
from boresight.conversion.translation import LOSSES
from boresight.conversion.trl_file import read_trl_file
from boresight.conversion.trl_options import other_fields, renamed_options, trl_fields, trl_options
from boresight.core.errors import UserError
from boresight.runs.init.choices import as_recipe
from tests.tiny import tiny_model, tiny_tokenizer

HERE = Path(__file__).parent


def converted(options: str | dict, **how: object) -> Converted:
    raw = yaml.safe_load(options) if isinstance(options, str) else options
    return convert_options(raw, "config.yaml", **how)


def recipe(options: str | dict, **how: object) -> Recipe:
    return Recipe.parse(as_recipe(converted(options, **how).settings))


# --- the tables ---------------------------------------------------------------------------------------------


def test_every_option_of_every_trainer_has_a_place():
    named = {name for fields in trl_fields().values() for name in fields}
    assert named - trl_options().keys() == set()
    assert trl_options().keys() - named == other_fields().keys()
    assert set(renamed_options().values()) <= named
    assert not set(renamed_options()) & (named | trl_options().keys())


@pytest.mark.parametrize("trainer", trl_fields())
def test_a_config_of_defaults_says_nothing_but_the_defaults(trainer):
    """Nothing is given, so no list has an entry; what a user must name is left open."""
    loss = {"cpo": {"loss_type": "simpo", "cpo_alpha": 0.0}}.get(trainer, {})
    found = converted(loss, trainer=trainer)
    assert {name for entries in found.lists.values() for name, _ in entries} == set(loss)
    assert found.to_set.keys() - {"reward"} == {"model.name", "data.train"}
    parsed = Recipe.parse(as_recipe(found.settings))
    assert parsed.optim.lr == trl_fields()[trainer]["learning_rate"].default
    assert (parsed.optim.schedule, parsed.optim.warmup, parsed.train.seed) == ("linear", 0.0, 42)
    assert parsed.data.eval_rows == 0 and parsed.train.guard is None and parsed.model.lora is None
    sampled = trainer in ("rloo", "grpo", "online_dpo", "xpo")
    assert parsed.data.truncation == ("drop" if sampled or trainer == "reward" else "cut")


@pytest.mark.parametrize("trainer", trl_fields())
def test_saved_arguments_with_every_option_are_read(trainer):
    """`args.to_json_string()` holds every field; all of TRL's defaults are in a list and in no second one."""
    raw = {name: known.default for name, known in trl_fields()[trainer].items()}
    if trainer == "cpo":
        raw |= {"loss_type": "simpo", "cpo_alpha": 0.0}
    found = converted(json.loads(json.dumps(raw)), trainer=trainer)
    names = [name for entries in found.lists.values() for name, _ in entries]
    assert sorted(names) == sorted(raw)
    assert all(text for entries in found.lists.values() for _, text in entries)
    harmful = {"sft": {"assistant_only_loss"}, "kto": {"train_sampling_strategy"}}.get(trainer, set())
    assert {name for name, _ in found.lists["missing"]} == harmful
    differs = {"eval_strategy", "num_train_epochs", "save_total_limit", "seed"}
    if trainer in ("rloo", "grpo"):
        differs.add("disable_dropout")  # TRL leaves it on, and samples are drawn without it
    assert {name for name, _ in found.lists["differs"]} == differs


@pytest.mark.parametrize(
    ("trainer", "options"),
    [
        ("sft", "{packing: false, push_to_hub: no, load_in_4bit: false, chat_template_path: null}"),
        ("sft", "{use_peft: true, load_in_4bit: false, output_dir: null}"),
        ("dpo", "{loss_weights: null, rpo_alpha: null}"),
        ("dpo", "{fsdp: []}"),
        ("dpo", "{fsdp: ''}"),
        ("dpo", "{fsdp: false}"),
        ("grpo", "{vllm_importance_sampling_clip_max: 3.0, vllm_server_port: 8000}"),
        ("grpo", "{use_vllm: true, vllm_importance_sampling_cap: 2.0, vllm_server_host: 0.0.0.0}"),
    ],
)
def test_an_option_that_is_off_has_no_difference(trainer, options):
    found = converted(options, trainer=trainer)
    assert found.lists["missing"] == []
    assert {name for name, _ in found.lists["differs"]} <= {"use_vllm"}
    assert not {"train.parallel", "rollout.importance_cap", "rollout.base_url"} & {
        setting.key for setting in found.settings
    }


@pytest.mark.parametrize(
    ("trainer", "options", "key"),
    [
        ("sft", {"packing": True}, "train.batch"),
        ("sft", {"fsdp": "full_shard"}, "train.parallel: fsdp"),
        ("sft", {"fsdp": True}, "train.parallel: fsdp"),
        ("sft", {"use_peft": True, "load_in_4bit": True}, "model.lora"),
        ("sft", {"push_to_hub": True}, "boresight export"),
        ("grpo", {"use_vllm": True, "vllm_mode": "server", "vllm_importance_sampling_cap": 2.0}, "cap: 2.0"),
    ],
)
def test_an_option_that_is_on_has_one(trainer, options, key):
    text = dict(converted(options, trainer=trainer).lists["differs"])[list(options)[-1]]
    assert key in text


# --- values worked by hand ----------------------------------------------------------------------------------

BASE = {"model_name_or_path": "m", "dataset_name": "a/d"}


@pytest.mark.parametrize(
    ("options", "how", "batch"),
    [
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}, {"processes": 2}, 64),
        ({"per_device_train_batch_size": "4", "gradient_accumulation_steps": 8}, {}, 32),
        ({"per_device_train_batch_size": 2, "num_processes": 8}, {}, 16),
        ({"per_device_train_batch_size": 2, "num_processes": 8}, {"processes": 3}, 6),
        ({"per_device_train_batch_size": 2, "accelerate_config": "zero2"}, {}, 16),
        ({"per_device_train_batch_size": 2, "accelerate_config": "single_gpu"}, {}, 2),
        ({}, {}, 8),
    ],
)
def test_a_batch_counts_rows_over_all_processes(options, how, batch):
    assert recipe(BASE | options, trainer="dpo", **how).train.batch == batch


def test_a_batch_of_groups_counts_prompts():
    """8 completions × 4 × 2 processes = 64, of 16 per prompt: 4 prompts."""
    options = BASE | {"gradient_accumulation_steps": 4, "num_generations": 16}
    found = recipe(options, trainer="grpo", processes=2)
    assert (found.train.batch, found.rollout.k) == (4, 16)
    with pytest.raises(UserError, match=r"num_generations is 16: samples are drawn 8 at a time .* --proc"):
        converted(BASE | {"num_generations": 16}, trainer="grpo")


@pytest.mark.parametrize(
    ("options", "batch", "text"),
    [
        # micro-batches of 8 completions, 4 of them a step: 32 completions, 4 groups of 8
        ({}, 4, ""),
        ({"steps_per_generation": 4}, 4, ""),
        ({"steps_per_generation": 2}, 4, ""),
        ({"generation_batch_size": 32}, 4, ""),
        ({"generation_batch_size": 8}, 4, ""),
        ({"steps_per_generation": 4, "num_iterations": 3}, 4, ""),
        ({"steps_per_generation": 8}, 4, "TRL draws 64 for 8 micro-batches, 4 per step"),
        ({"generation_batch_size": 64}, 4, "TRL draws 64 for 8 micro-batches, 4 per step"),
        ({"steps_per_generation": 3}, 4, "TRL draws 24 for 3 micro-batches, 4 per step"),
        # both of the two uses are in one step, so a step has 2 groups
        (
            {"steps_per_generation": 2, "num_iterations": 2},
            4,
            "TRL draws 16 for 4 micro-batches, 4 per step",
        ),
    ],
)
@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
def test_samples_are_shared_where_a_generation_is_longer_than_a_step(trainer, options, batch, text):
    """`steps_per_generation` counts micro-batches: by default those of one step."""
    base = BASE | {"gradient_accumulation_steps": 4, "num_generations": 8}
    found = converted(base | options, trainer=trainer)
    assert Recipe.parse(as_recipe(found.settings)).train.batch == batch
    named = options.keys() & {"steps_per_generation", "generation_batch_size"}
    for option in named:
        assert text in dict(found.lists["differs" if text else "same"])[option]
    assert not {"steps_per_generation", "generation_batch_size"} & dict(found.left_out).keys()


def test_a_step_without_whole_groups_is_not_listed_as_exact():
    """1 completion per step, 8 steps per group: a step here has at least the 8 of a group."""
    options = {"per_device_train_batch_size": 1, "num_generations": 8, "steps_per_generation": 8}
    found = converted(BASE | options, trainer="grpo")
    assert Recipe.parse(as_recipe(found.settings)).train.batch == 1
    text = "train.batch: 1; a step has 8 completions, which are whole groups, and in TRL 1"
    assert ("per_device_train_batch_size", text) in found.lists["differs"]
    found = converted({"per_device_train_batch_size": 12} | options | BASE, trainer="grpo", processes=12)
    assert Recipe.parse(as_recipe(found.settings)).train.batch == 2
    text = "train.batch: 2; a step has 16 completions, which are whole groups, and in TRL 12"
    assert ("per_device_train_batch_size", text) in found.lists["differs"]


@pytest.mark.parametrize(
    ("options", "how", "words"),
    [
        ({"generation_batch_size": 12}, {}, "generation_batch_size is 12: no multiple of 8, .* --processes"),
        ({"generation_batch_size": 0}, {}, "generation_batch_size is 0: must be at least 1"),
        ({"steps_per_generation": 0}, {}, "steps_per_generation is 0: must be at least 1"),
        (
            {"generation_batch_size": 64, "steps_per_generation": 4},
            {"processes": 8},
            "that of 2 processes, and not of 8; give --processes 2",
        ),
        (
            {"generation_batch_size": 64, "steps_per_generation": 4, "num_processes": 4},
            {},
            "that of 2 processes, and not of 4",
        ),
        (
            {"generation_batch_size": 60, "steps_per_generation": 4},
            {},
            "generation_batch_size is 60: no multiple of 32, .* remove one of the two",
        ),
    ],
)
def test_a_generation_that_is_no_number_of_micro_batches_is_refused(options, how, words):
    with pytest.raises(UserError, match=rf"^config\.yaml: .*{words}") as error:
        converted(BASE | {"num_generations": 4} | options, trainer="grpo", **how)
    assert "\n" not in str(error.value)


def test_saved_arguments_prove_the_number_of_processes():
    """64 completions are drawn for 4 micro-batches of 2 per process: 8 processes, 8 × 2 × 4 / 8 prompts."""
    saved = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "steps_per_generation": 4,
        "generation_batch_size": 64,
        "num_generations": 8,
    }
    for how in ({}, {"processes": 8}):
        found = converted(BASE | saved, trainer="grpo", **how)
        assert (found.processes, found.lists["missing"]) == (8, [])
        assert Recipe.parse(as_recipe(found.settings)).train.batch == 8
        assert {"steps_per_generation", "generation_batch_size"} <= dict(found.lists["same"]).keys()
        assert "num_processes" not in dict(found.left_out)


def test_a_number_of_processes_that_is_assumed_is_listed():
    found = converted(BASE, trainer="dpo")
    assert (found.processes, found.complete) == (1, True)
    assert "1 process is assumed" in dict(found.left_out)["num_processes"]
    for known in ({"num_processes": 1}, {"accelerate_config": "single_gpu"}):
        assert "num_processes" not in dict(converted(BASE | known, trainer="dpo").left_out)
    assert "num_processes" not in dict(converted(BASE, trainer="dpo", processes=1).left_out)


@pytest.mark.parametrize(
    ("text", "more", "batch", "parallel"),
    [
        ("distributed_type: FSDP\nnum_processes: 8\n", {}, 16, "fsdp"),
        ("distributed_type: DEEPSPEED\nnum_processes: '4'\n", {}, 8, "fsdp"),
        ("distributed_type: MULTI_GPU\nnum_processes: 4\n", {}, 8, None),
        ("distributed_type: MULTI_GPU\nnum_processes: 4\n", {"num_processes": 2}, 4, None),
        ("distributed_type: MULTI_GPU\nnum_processes: 1\n", {"num_processes": 2}, 4, None),
        ("distributed_type: 'NO'\nnum_processes: 8\n", {"num_processes": 4}, 2, None),
        ("distributed_type: NO\n", {}, 2, None),
        ("{}", {"num_processes": 2}, 4, None),
    ],
)
def test_a_config_of_accelerate_is_read(tmp_path, text, more, batch, parallel):
    """TRL takes a path as well as a name."""
    file = tmp_path / "zero2"  # the name of one that TRL has: the file counts
    file.write_text(text)
    options = BASE | {"per_device_train_batch_size": 2, "accelerate_config": str(file)} | more
    found = converted(options, trainer="dpo")
    assert found.complete and "accelerate_config" in dict(found.lists["differs"])
    made = as_recipe(found.settings)["train"]
    assert (made["batch"], made.get("parallel")) == (batch, parallel)


def test_a_config_of_accelerate_without_a_number_of_processes_leaves_it_open(tmp_path):
    file = tmp_path / "fsdp.yaml"
    options = BASE | {"accelerate_config": str(file)}
    for text in (None, "distributed_type: FSDP\n", "distributed_type: FSDP\nnum_processes: -1\n"):
        if text is not None:
            file.write_text(text)
        found = converted(options, trainer="dpo")
        assert "--processes" in dict(found.lists["missing"])["accelerate_config"] and not found.complete
        assert converted(options, trainer="dpo", processes=4).complete
        assert converted(options | {"num_processes": 4}, trainer="dpo").processes == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 8\n", "a config of accelerate is a mapping"),
        ("num_processes: [", "not valid YAML"),
        ("num_processes: many\n", "num_processes is 'many': must be a whole number"),
        ("num_processes: 0\n", "num_processes is 0: must be at least 1"),
    ],
)
def test_a_file_that_is_no_config_of_accelerate_is_refused(tmp_path, text, words):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        converted(BASE | {"accelerate_config": str(file)}, trainer="dpo")
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "rows", "warmup"),
    [
        ({"warmup_ratio": 0.03}, None, 0.03),
        ({"warmup_steps": 0.1}, None, 0.1),
        ({"warmup_steps": 10, "max_steps": 1000}, None, 0.01),
        ({"warmup_steps": 10, "num_train_epochs": 2}, 400, 0.1),  # ⌈2 × 400 / 8⌉ = 100 steps
        ({"warmup_steps": 10, "lr_scheduler_type": "constant", "max_steps": 50}, None, 0.0),
        ({"warmup_steps": 10, "lr_scheduler_type": "constant_with_warmup", "max_steps": 50}, None, 0.2),
        ({}, None, 0.0),
    ],
)
def test_warm_up_is_a_share_of_the_steps(options, rows, warmup):
    assert recipe(BASE | options, trainer="dpo", rows=rows).optim.warmup == pytest.approx(warmup)


@pytest.mark.parametrize("steps", [7, 100, 1000, 2999])
def test_a_share_of_warm_up_gives_the_steps_back(steps):
    for warmup in range(steps):
        assert math.ceil(warmup_share(warmup, steps) * steps) == warmup


def test_warm_up_in_steps_without_the_rows_is_no_silent_guess():
    found = converted(BASE | {"warmup_steps": 100}, trainer="dpo")
    assert [name for name, _ in found.lists["missing"]] == ["warmup_steps"] and not found.complete


def test_steps_of_the_file_count_and_its_epochs_do_not():
    found = recipe(BASE | {"max_steps": 70, "num_train_epochs": 3}, trainer="sft")
    assert (found.train.steps, found.train.epochs) == (70, None)
    found = recipe(BASE | {"max_steps": -1, "num_train_epochs": 1.5}, trainer="sft")
    assert (found.train.steps, found.train.epochs) == (None, 1.5)


@pytest.mark.parametrize(("steps", "rollouts", "differs"), [(100, 25, False), (101, 26, True)])
def test_several_steps_on_each_rollout(steps, rollouts, differs):
    """TRL counts optimizer steps, `num_iterations` on each rollout; train.steps counts rollouts."""
    options = {"max_steps": steps, "num_iterations": 4, "reward_funcs": "accuracy_reward", "epsilon": 0.2}
    found = converted(BASE | options, trainer="grpo")
    written = as_recipe(found.settings)
    assert written["train"]["steps"] == rollouts and written["rollout"]["updates"] == 4
    assert ("max_steps" in dict(found.lists["differs"])) == differs


def test_evaluations_and_checkpoints_by_steps_shares_and_epochs():
    options = BASE | {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 25, "max_steps": 200}
    found = recipe(options, trainer="dpo")
    assert (found.train.eval_every, found.train.save_every, found.data.eval) == (20, 25, "a/d@test")
    options = BASE | {"eval_strategy": "epoch", "save_strategy": "epoch"}
    found = recipe(options, trainer="dpo", rows=81)  # ⌈81 / 8⌉
    assert (found.train.eval_every, found.train.save_every) == (11, 11)
    assert recipe(BASE | {"eval_strategy": False}, trainer="dpo").data.eval_rows == 0  # `no` in YAML


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "bfloat16"),
        ({"fp16": True}, "float16"),
        ({"bf16": False}, "float32"),
        ({"bf16": False, "torch_dtype": "bfloat16"}, "bfloat16"),
        ({"bf16": "true", "dtype": "auto"}, "bfloat16"),
    ],
)
def test_precision_is_that_of_the_arithmetic(options, dtype):
    assert recipe(BASE | options, trainer="dpo").model.dtype == dtype


def test_adapters_keep_their_scale():
    """Rank-stabilized adapters scale by alpha / √r: 16 / √64 = 2 = 128 / 64."""
    options = BASE | {"use_peft": True, "lora_r": 64, "lora_alpha": 16, "use_rslora": True}
    lora = recipe(options, trainer="dpo").model.lora
    assert (lora.r, lora.alpha, lora.targets) == (64, 128.0, ["q_proj", "v_proj"])
    options |= {"lora_target_modules": "all-linear", "load_in_4bit": True}
    lora = recipe(options, trainer="grpo").model.lora
    assert (lora.targets, lora.base) == ("all-linear", "nf4")


@pytest.mark.parametrize(
    ("trainer", "options", "dropout", "group"),
    [
        ("sft", {}, 0.2, "same"),
        ("dpo", {}, 0.0, "unneeded"),
        ("dpo", {"disable_dropout": False}, 0.2, "same"),
        ("grpo", {}, 0.0, "differs"),
        ("grpo", {"disable_dropout": True}, 0.0, "unneeded"),
    ],
)
def test_dropout_of_adapters_acts_where_it_does_in_trl(trainer, options, dropout, group):
    """`disable_dropout` finds the dropout of adapters too, which TRL adds before."""
    found = converted(BASE | {"use_peft": True, "lora_dropout": 0.2} | options, trainer=trainer)
    assert Recipe.parse(as_recipe(found.settings)).model.lora.dropout == dropout
    assert "lora_dropout" in dict(found.lists[group])


@pytest.mark.parametrize(
    ("trainer", "options", "method"),
    [
        ("dpo", {"beta": 0.5}, {"name": "dpo", "beta": 0.5}),
        ("dpo", {"loss_type": "hinge"}, {"name": "dpo", "loss_type": "hinge"}),
        ("dpo", {"loss_type": ["sigmoid_norm"], "beta": 2}, {"name": "dpo", "length_normalised": True}),
        ("dpo", {"loss_type": ["ipo"], "beta": 0.01}, {"name": "ipo", "tau": 0.01, "reduction": "mean"}),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1, "0.5"]}, {"sft_weight": 0.5}),
        ("dpo", {"rpo_alpha": 1.0}, {"name": "dpo", "sft_weight": 1.0}),
        ("kto", {"desirable_weight": 1.5}, {"name": "kto", "beta": 0.1, "desirable_weight": 1.5}),
        ("reward", {"center_rewards_coefficient": 0.01}, {"name": "reward", "centering": 0.01}),
        ("orpo", {"beta": 0.2}, {"name": "orpo", "odds_weight": 0.2}),
        ("cpo", {"loss_type": "simpo", "cpo_alpha": 0, "simpo_gamma": 1}, {"name": "simpo", "gamma": 1.0}),
        ("rloo", {"num_iterations": 2, "epsilon": 0.3}, {"name": "rloo", "beta": 0.05, "clip": 0.3}),
        ("grpo", {}, {"name": "grpo", "beta": 0.0, "average": "token", "standardize": True}),
        ("grpo", {"loss_type": "grpo", "scale_rewards": False}, {"average": "answer", "standardize": False}),
        ("grpo", {"importance_sampling_level": "sequence"}, {"ratio": "sequence"}),
        ("online_dpo", {"beta": [0.2]}, {"name": "online_dpo", "beta": 0.2}),
        ("xpo", {"alpha": "1e-6"}, {"name": "xpo", "alpha": 1e-6, "beta": 0.1}),
    ],
)
def test_losses(trainer, options, method):
    found = recipe(BASE | options, trainer=trainer).to_dict()["method"]
    assert {key: found.get(key) for key in method} == method


def test_a_loss_of_another_scale_meets_a_bound_of_that_scale():
    """Dr. GRPO's sum is divided by 512 in TRL, so the same gradient is 512 times as long here."""
    found = recipe(BASE | {"loss_type": "dr_grpo", "max_grad_norm": 0.1}, trainer="grpo")
    assert found.optim.clip == pytest.approx(51.2)
    found = recipe(BASE | {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.5, 1]}, trainer="dpo")
    assert (found.method.sft_weight, found.optim.clip) == (2.0, 2.0)
    assert recipe(BASE | {"max_grad_norm": 0}, trainer="dpo").optim.clip is None


def test_rewards_in_the_order_of_their_weights():
    options = BASE | {
        "reward_model_name_or_path": "runs/rm",
        "reward_funcs": ["think_format_reward", "mine.rewards.exact"],
        "reward_weights": [1.0, 0.1, 2],
    }
    model, form, own = recipe(options, trainer="grpo").reward
    assert (model.judge, model.weight) == ({"name": "reward_model", "model": "runs/rm"}, 1.0)
    assert (form.function, form.options, form.weight) == ("format", {"tags": ["think"], "alone": False}, 0.1)
    assert (own.function, own.weight) == ("mine.rewards:exact", 2.0)
    with pytest.raises(UserError, match="there are 3 rewards"):
        converted(options | {"reward_weights": [1.0]}, trainer="grpo")


def test_sources():
    def train(options: dict) -> object:
        return recipe({"model_name_or_path": "m"} | options, trainer="dpo").data.train

    assert train({"dataset_name": "a/b", "dataset_config": "c", "dataset_train_split": "d"}) == "a/b:c@d"
    files = {"path": "json", "data_files": "mine.jsonl"}
    assert train({"datasets": [files]}) == "mine.jsonl"
    assert train({"datasets": [files | {"fraction": 0.25}, {"path": "a/b", "fraction": 0.75}]}) == {
        "mine.jsonl": 0.25,
        "a/b": 0.75,
    }
    joined = converted(BASE | {"datasets": [files, {"path": "a/b"}]}, trainer="dpo")
    assert [name for name, _ in joined.lists["missing"]] == ["datasets"]
    assert ("dataset_name", "datasets is set, so TRL ignores it") in joined.lists["unneeded"]


def test_a_file_has_no_test_split():
    """`load_dataset` takes none by its name, but options of the command line may name one."""
    options = {
        "model_name_or_path": "m",
        "dataset_name": "d.jsonl.gz",
        "eval_strategy": "steps",
        "eval_steps": 5,
    }
    found = recipe(options | {"dataset_train_split": "train_prefs"}, trainer="dpo")
    assert (found.data.train, found.data.eval, found.data.eval_rows) == ("d.jsonl.gz", None, 200)
    settings = converted(options, trainer="dpo").settings
    (rows,) = (setting for setting in settings if setting.key == "data.eval_rows")
    assert rows.why == "eval_strategy: held out of the training rows, where TRL requires a test split"


MIXTURE = {"model_name_or_path": "m", "datasets": [{"path": "a/d"}]}


@pytest.mark.parametrize(
    ("options", "rows", "data"),
    [
        (BASE | {"eval_strategy": "steps"}, None, ("a/d@test", 1_000_000)),
        (BASE | {"eval_strategy": "steps", "test_split_size": 0.1}, None, ("a/d@test", 1_000_000)),
        (BASE | {"test_split_size": 0.1}, 100, (None, 0)),
        (MIXTURE, None, (None, 0)),
        (MIXTURE | {"eval_strategy": "steps"}, None, (None, 200)),
        (MIXTURE | {"test_split_size": 50}, None, (None, 50)),
        (MIXTURE | {"test_split_size": 0.101}, 1000, (None, 101)),
        (MIXTURE | {"test_split_size": 0.1015, "eval_strategy": "epoch"}, 1000, (None, 102)),
        (BASE | {"dataset_name": "d.csv", "eval_strategy": "epoch", "test_split_size": 20}, None, (None, 20)),
    ],
)
def test_rows_are_held_out_as_in_trl(options, rows, data):
    """A named data set is never split, and `datasets` also if nothing is evaluated."""
    found = recipe(options, trainer="dpo", rows=rows)
    assert (found.data.eval, found.data.eval_rows) == data


@pytest.mark.parametrize(
    ("options", "rows", "group", "text"),
    [
        (BASE | {"test_split_size": 0.1}, None, "unneeded", "acts with datasets only"),
        (BASE | {"test_split_size": None}, None, "unneeded", "nothing to translate"),
        (MIXTURE | {"test_split_size": 0.1}, None, "missing", "needs --rows"),
        (MIXTURE | {"test_split_size": 0.1}, 1000, "same", "data.eval_rows: 100"),
        (MIXTURE | {"test_split_size": 0.5}, 1000, "differs", "at most a fifth of the rows: 200 of 1000"),
        (MIXTURE | {"test_split_size": 300}, 1000, "differs", "at most a fifth of the rows: 200 of 1000"),
    ],
)
def test_the_outcome_of_a_split_size_depends_on_the_source(options, rows, group, text):
    found = converted(options, trainer="dpo", rows=rows)
    assert text in dict(found.lists[group])["test_split_size"]


def test_rows_that_are_split_off_are_not_trained_on():
    """⌈3 × 900 / 8⌉ = 338 steps: 10 of them are the warm-up."""
    options = MIXTURE | {"test_split_size": 0.1, "warmup_steps": 10, "eval_strategy": "no"}
    found = converted(options, trainer="dpo", rows=1000)
    assert as_recipe(found.settings)["optim"]["warmup"] == warmup_share(10, 338)
    assert "measured, which TRL does not" in dict(found.lists["differs"])["eval_strategy"]


def test_what_a_source_of_a_mixture_loses_is_listed():
    first, second = {"path": "a/b", "fraction": 0.5}, {"path": "c/d", "fraction": 0.5}
    columns = {"columns": ["chosen", "rejected"]}
    found = converted({"datasets": [first | columns, second]}, trainer="dpo")
    assert "columns are not selected" in dict(found.lists["differs"])["datasets"]
    found = converted({"datasets": [first | {"data_dir": "x"}, second | columns]}, trainer="dpo")
    assert "data_dir is not read" in dict(found.lists["missing"])["datasets"]
    files = {"path": "json", "data_files": ["x.jsonl", "y.jsonl"], "fraction": 0.5}
    found = converted({"datasets": [files, second]}, trainer="dpo")
    assert "each have a share of their own" in dict(found.lists["missing"])["datasets"]
    options = BASE | {"datasets": [first | {"fraction": 0}, second]}
    assert recipe(options, trainer="dpo").data.train == "c/d"


def test_names_of_earlier_versions_count_where_the_present_ones_do_not():
    """Arguments that they saved have both names; the present one counts once it is set."""
    both = BASE | {"warmup_ratio": 0.05, "warmup_steps": 0}
    found = converted(both, trainer="dpo")
    assert as_recipe(found.settings)["optim"]["warmup"] == 0.05
    assert ("warmup_steps", "warmup_ratio is set too and takes precedence") in found.lists["unneeded"]
    both |= {"warmup_steps": 5, "max_steps": 50, "evaluation_strategy": None, "eval_strategy": "no"}
    found = converted(both, trainer="dpo")
    assert as_recipe(found.settings)["optim"]["warmup"] == 0.1
    assert ("warmup_ratio", "warmup_steps is set too and takes precedence") in found.lists["unneeded"]
    assert ("evaluation_strategy", "eval_strategy is set too and takes precedence") in found.lists["unneeded"]
    found = recipe(BASE | {"kl_coef": 0.1, "rloo_k": 4, "response_length": 9}, trainer="rloo")
    assert (found.method.beta, found.rollout.k, found.rollout.max_new_tokens) == (0.1, 4, 9)


def test_a_limit_on_sampled_prompts_leaves_the_longer_ones_out():
    found = converted(BASE | {"max_prompt_length": 512}, trainer="grpo")
    assert as_recipe(found.settings)["data"]["max_length"] == 513, "512 tokens and one of an answer"
    assert [name for name, _ in found.lists["differs"]] == ["max_prompt_length"]


# --- which trainer, and what is wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "trainer"),
    [
        ({"packing": True}, "sft"),
        ({"precompute_ref_log_probs": True, "loss_type": "sigmoid"}, "dpo"),
        ({"loss_type": ["apo_zero"]}, "dpo"),
        ({"desirable_weight": 1.0}, "kto"),
        ({"normalize_advantages": False}, "rloo"),
        ({"num_generations": 8, "loss_type": "dapo"}, "grpo"),
        ({"center_rewards_coefficient": 0.01}, "reward"),
        ({"cpo_alpha": 0}, "cpo"),
        ({"alpha": 1e-5, "reward_model_path": "rm"}, "xpo"),
    ],
)
def test_the_trainer_that_has_all_options(options, trainer):
    if trainer in ("dpo", "cpo") and "apo_zero" in str(options):
        with pytest.raises(UserError, match="apo_zero"):
            converted(options)
        return
    if trainer == "cpo":
        options = options | {"loss_type": "simpo"}
    assert converted(options).trainer == trainer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 0.1}, "its options fit .* --method"),
        (
            {"packing": True, "desirable_weight": 1},
            "no trainer of TRL 1.16 has all of its options.* --method",
        ),
    ],
)
def test_a_trainer_that_is_not_clear_is_asked_for(options, words):
    with pytest.raises(UserError, match=words):
        converted(options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("learning_rate: fast", "learning_rate is 'fast': must be a number"),
        ("learning_rate: .inf", "learning_rate is inf: must be a number"),
        ("learning_rate: -1", r"optim\.lr is -1\.0: .* \(from learning_rate\)"),
        ("per_device_train_batch_size: 0", "per_device_train_batch_size is 0: must be at least 1"),
        ("gradient_accumulation_steps: -2", "gradient_accumulation_steps is -2: must be at least 1"),
        ("num_processes: 0", "num_processes is 0: must be at least 1"),
        ("max_steps: 1.5", "max_steps is 1.5: must be a whole number"),
        ("use_peft: maybe", "use_peft is 'maybe': must be true or false"),
        ("lr_scheduler_type: [cosine]", "lr_scheduler_type is .*: must be a text"),
        ("loss_type: [sigmoid, hinge]", "loss_type is .*: dpo supports one of"),
        ("loss_type: exo_pair", "dpo supports one of sigmoid, hinge"),
        ("loss_weights: [1, 2]", "loss_weights is .*: loss_type has 1"),
        ("{fp16: true, bf16: true}", "bf16 is true as well"),
        ("datasets: [mine.jsonl]", "must be a list of mappings"),
        ("datasets: [{path: json, data_file: x}]", "did you mean 'data_files'"),
        (
            "{datasets: [{path: a, fraction: 1}, {path: b}]}",
            "fraction must be set for all sources or for none",
        ),
        ("{datasets: [{path: a, fraction: -1}]}", "fraction must be a number of at least 0"),
        ("{datasets: [{path: a, fraction: 0}]}", "a fraction must be above 0"),
        ("{datasets: [{path: a}, {path: a}]}", "a source is named twice"),
        ("{datasets: [{path: a}], test_split_size: 0}", "test_split_size is 0.0: must be a share below 1"),
        ("{datasets: [{path: a}], test_split_size: 1.5}", "test_split_size is 1.5: must be a share below 1"),
        ("eval_strategy: often", "must be no, steps or epoch"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_name(options, words):
    with pytest.raises(UserError, match=rf"^config\.yaml: .*{words}") as error:
        converted(options, trainer="dpo")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"base_model": "x/y", "rl": "dpo", "sequence_len": 2048, "micro_batch_size": 2, "lora_r": 8},
        {"model_name_or_path": "x/y", "stage": "dpo", "pref_beta": 0.1, "template": "qwen", "do_train": True},
        {"training_args": {"beta": 0.1}, "model_args": {"model_name_or_path": "x/y"}},
    ],
)
def test_a_config_of_another_program_is_no_config_of_trl(options):
    """axolotl, LLaMA-Factory, a script of one's own."""
    with pytest.raises(UserError, match=r"is no config of TRL 1\.16, which has no option \w+, \w+"):
        converted(options)


def test_saved_arguments_of_transformers_4_and_their_defaults_leave_nothing_over():
    accelerator = {
        "split_batches": False,
        "dispatch_batches": None,
        "even_batches": True,
        "use_seedable_sampler": True,
        "non_blocking": False,
        "gradient_accumulation_kwargs": None,
    }
    raw = {"beta": 0.1, "fsdp": [], "debug": [], "accelerator_config": accelerator}
    found = converted(raw, trainer="dpo")
    assert found.lists["missing"] == []
    assert {name for name, _ in found.lists["unneeded"]} >= {"debug", "accelerator_config"}


def test_unknown_options_and_those_of_other_trainers_are_named():
    found = converted({"leaning_rate": 1e-6, "desirable_weight": 2.0, "zzz": 1}, trainer="dpo")
    assert dict(found.lists["missing"]) == {
        "leaning_rate": "no option of TRL 1.16; did you mean 'learning_rate'?",
        "desirable_weight": "an option of TRL's kto and not of dpo",
        "zzz": "no option of TRL 1.16",
    }


@pytest.mark.parametrize("value", [-1, [[1]], {"a": 1}, "\x1b[31m\n", "n" * 300], ids=str)
def test_no_value_of_any_option_is_more_than_a_sentence(value):
    """It is translated, with the option in one list, or refused."""
    for option in trl_fields()["grpo"] | other_fields():
        try:
            found = converted({option: value}, trainer="grpo")
        except UserError as error:
            assert str(error).isprintable(), option
        else:
            assert [name for entries in found.lists.values() for name, _ in entries] == [option]


@pytest.mark.parametrize("trainer", LOSSES)
def test_every_loss_is_translated_or_refused_in_a_sentence(trainer):
    for loss in LOSSES[trainer]:
        try:
            converted({"loss_type": loss} | ({"cpo_alpha": 0} if trainer == "cpo" else {}), trainer=trainer)
        except UserError as error:
            assert loss in str(error)


# --- the command --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_model(max_position_embeddings=2048).save_pretrained(folder)
    tiny_tokenizer("chatml").save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to work in, with rows of every kind."""
    monkeypatch.chdir(tmp_path)
    asked = [f"Say {color} {n} times." for n in range(1, 21) for color in ("red", "green", "blue")]
    rows = {
        "pairs": [{"prompt": q, "chosen": f"{q[4:-1]}!", "rejected": f"No, not {q[4:-1]}."} for q in asked],
        "talks": [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": q}]} for q in asked
        ],
        "labels": [{"prompt": q, "completion": q, "label": n % 2 == 0} for n, q in enumerate(asked)],
        "prompts": [{"prompt": q, "answer": q} for q in asked],
    }
    for name, lines in rows.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("mine.py").write_text("def exact(completions, answer, **_):\n    return [1.0] * len(completions)\n")
    return tmp_path


def boresight(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main.main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.mark.parametrize("trainer", ["sft", "dpo", "kto", "rloo", "grpo"])
def test_a_config_becomes_a_recipe_that_check_accepts(trainer, place, model, capsys):
    words = ("convert", "trl-config", HERE / f"{trainer}.yaml", f"model_name_or_path={model}")
    code = boresight(*words, "--out", "made.yaml")
    said = capsys.readouterr().out
    text = Path("made.yaml").read_text()
    options = yaml.safe_load((HERE / f"{trainer}.yaml").read_text())
    for name in options:
        assert text.count(f"\n# - {name}: ") == said.count(f"\n{name} ") == 1, name
    assert code == ("\n# Not supported:" in text)
    assert Recipe.load("made.yaml").method_name == trainer
    assert boresight("check", "made.yaml") == 0, capsys.readouterr()


def test_nothing_is_replaced_without_being_told(place, capsys):
    Path("recipe.yaml").write_text("mine")
    Path("c.yaml").write_text("packing: true\nmodel_name_or_path: m\ndataset_name: talks.jsonl\n")
    assert boresight("convert", "trl-config", "c.yaml") == 2
    assert Path("recipe.yaml").read_text() == "mine" and "--out" in capsys.readouterr().err
    assert boresight("convert", "trl-config", "c.yaml", "--force") == 0
    assert Recipe.load("recipe.yaml").train.epochs == 3.0
    assert boresight("convert", "trl-config", "c.yaml", "--out", "./c.yaml", "--force") == 2
    assert "is the config that is read" in capsys.readouterr().err and "packing" in Path("c.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", b"- beta", "a config of TRL is a mapping"),
        ("a.yaml", b"", "the file holds nothing"),
        ("a.yaml", b"beta: [", "not valid YAML"),
        ("a.yaml", b"beta: 1\nbeta: 2", "beta stands in line 1 and again in line 2"),
        ("a.yaml", b"!!python/object/apply:os.system [touch x]", "not valid YAML"),
        ("a.yaml", b"1: 2", "1 is no name of an option"),
        ("a.yaml", b"\xff", "not UTF-8"),
        ("a.json", b"{", "not valid JSON at line 1"),
        ("a.json", b'{"beta": 1, "beta": 2}', "beta occurs twice"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'{"log_history": []}', "boresight explain"),
        ("training_args.bin", b"anything", "a pickle can run code"),
        ("train.py", b"trainer.train()\n", "a script is not run"),
        ("a.yaml", pickle.dumps({"beta": 0.1}), "a pickle can run code"),
        ("a.yaml", b"PK\x03\x04", "a pickle can run code"),
    ],
)
def test_a_file_that_is_no_config_is_refused(name, content, words, place, capsys):
    Path(name).write_bytes(content)
    before = sorted(place.iterdir())
    assert boresight("convert", "trl-config", name, "--method", "dpo") == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.yaml"], "there is no such file"),
        (["."], "cannot be read"),
        (["n" * 300], "cannot be read"),
        (["pipe"], "a config is a regular file"),
        (["c.yaml", "--method", "dop"], "did you mean 'dpo'?"),
        (["c.yaml", "beta"], "options of TRL are written name=value"),
        (["c.yaml", "--out", "no/such/place.yaml"], "there is no folder"),
        (["c.yaml", "--out", "."], "is a folder"),
    ],
)
def test_a_wrong_command_is_one_sentence(words, said, place, capsys):
    Path("c.yaml").write_text("packing: true\n")
    os.mkfifo("pipe")
    assert boresight("convert", "trl-config", *words) == 2
    found = capsys.readouterr().err.strip()
    assert said in found and "\n" not in found


def test_secrets_of_a_config_are_written_nowhere(place, capsys):
    Path("c.yaml").write_text("packing: true\nhub_token: hf_secret\nenv: {KEY: hf_secret}\n")
    assert boresight("convert", "trl-config", "c.yaml") == 1
    said = capsys.readouterr()
    assert "hf_secret" not in said.out + said.err + Path("recipe.yaml").read_text()


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_a_config_may_begin_with_a_byte_order_mark(tmp_path, name):
    """As Windows editors and PowerShell write it."""
    (tmp_path / name).write_bytes(b'\xef\xbb\xbf{"beta": 0.1,\r\n "learning_rate": 1e-6}\r\n')
    assert read_trl_file(tmp_path / name)["beta"] == 0.1
