"""Other names of recipe keys: options of TRL, axolotl and LLaMA-Factory, and keys of earlier versions."""

from __future__ import annotations

from typing import Any

from boresight.core.errors import UserError

SYNONYMS = {
    "learning_rate": "optim.lr",
    "lr_scheduler_type": "optim.schedule",
    "lr_scheduler": "optim.schedule",
    "warmup_ratio": "optim.warmup",
    "warmup_steps": "optim.warmup (a share of the steps)",
    "adam_beta1": "optim.betas",
    "adam_beta2": "optim.betas",
    "adam_epsilon": "optim.eps",
    "max_grad_norm": "optim.clip",
    "per_device_train_batch_size": "train.batch (rows of a whole step)",
    "train_batch_size": "train.batch (rows of a whole step)",
    "micro_batch_size": "train.tokens_per_forward",
    "gradient_accumulation_steps": "train.batch (rows of a whole step)",
    "gradient_checkpointing": "train.activations=recompute",
    "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "max_steps": "train.steps",
    "eval_steps": "train.eval_every",
    "save_steps": "train.save_every",
    "save_total_limit": "train.keep",
    "metric_for_best_model": "train.keep_best",
    "load_best_model_at_end": "train.keep_best",
    "report_to": "train.trackers",
    "bf16": "model.dtype=bfloat16",
    "fp16": "model.dtype=float16",
    "torch_dtype": "model.dtype",
    "base_model": "model.name",
    "model_name_or_path": "model.name",
    "use_peft": "model.lora={}",
    "peft_config": "model.lora",
    "lora_r": "model.lora.r",
    "lora_rank": "model.lora.r",
    "lora_alpha": "model.lora.alpha",
    "lora_dropout": "model.lora.dropout",
    "lora_target": "model.lora.targets",
    "lora_target_modules": "model.lora.targets",
    "target_modules": "model.lora.targets",
    "datasets": "data.train",
    "dataset": "data.train",
    "dataset_name": "data.train",
    "eval_dataset": "data.eval",
    "val_set_size": "data.eval_rows",
    "max_seq_length": "data.max_length",
    "sequence_len": "data.max_length",
    "cutoff_len": "data.max_length",
    "max_prompt_length": "data.max_length (prompt and answer together)",
    "max_samples": "data.limit",
    "template": "model.chat_template",
    "loss_type": "method.loss_type",
    "beta": "method.beta",
    "pref_beta": "method.beta",
    "simpo_gamma": "method.gamma",
    "epsilon": "method.clip",
    "epsilon_high": "method.clip_high",
    "scale_rewards": "method.standardize",
    "importance_sampling_level": "method.ratio",
    "orpo_alpha": "method.odds_weight",
    "desirable_weight": "method.desirable_weight",
    "undesirable_weight": "method.undesirable_weight",
    "kto_chosen_weight": "method.desirable_weight",
    "kto_rejected_weight": "method.undesirable_weight",
    "trainer_type": "method.name",
    "num_generations": "rollout.k",
    "num_iterations": "rollout.updates",
    "max_completion_length": "rollout.max_new_tokens",
    "reward_funcs": "reward (function of each)",
    "reward_weights": "reward (weight of each)",
}
"""Recipe key by the name of an option in another trainer, with a remark if the two differ in meaning."""

EARLIER_NAMES = {"method.centring": "method.centering"}
"""Current name by earlier name of recipe keys. Recipes, overrides and run folders may contain either."""


def with_current_names(raw: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the recipe with keys of earlier versions renamed; `raw` itself if it has none.

    Raises:
        UserError: a key is given under both names.
    """
    for earlier, current in EARLIER_NAMES.items():
        (section, old), new = earlier.split("."), current.split(".")[-1]
        settings = raw.get(section)
        if not isinstance(settings, dict) or old not in settings:
            continue
        if new in settings:
            raise UserError(f"{source}: {earlier} is the earlier name of {current}; give only the latter.")
        raw = {**raw, section: {new if key == old else key: value for key, value in settings.items()}}
    return raw
