"""Translate the batch, steps, optimizer, evaluations and checkpoints of a TRL config."""

from __future__ import annotations

import math

from boresight.conversion.batch import batch_factors, step_rows
from boresight.conversion.translation import Translation
from boresight.conversion.trl_options import trl_options

SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
}
PLAIN_ADAMW = {
    *("adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused"),
    *("adamw_hf", "paged_adamw_32bit"),
}
"""Optimizers of TRL that are AdamW and differ only in their implementation or in where moments are stored."""
SMALL_ADAMW = {"adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit"}
BEST = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "accuracy": "accuracy",
    "rewards/margins": "margin",
    "margin": "margin",
    "reward": "reward",
}
"""Value of `train.keep_best` for each value of `metric_for_best_model`, without its prefix `eval_`."""
TRACKERS = ("wandb", "tensorboard", "trackio")


def translate_training(t: Translation, grouped: bool) -> None:
    """Set batch, steps, optimizer, evaluations and checkpoints.

    Args:
        grouped: whether the trainer samples a group of completions per prompt; batches then count prompts.
    """
    batch = step_rows(t, grouped)
    updates = t["num_iterations"] if grouped else 1
    steps, epoch = t.steps(batch, updates), None if t.rows is None else math.ceil(t.rows / batch) * updates
    t.put("optim.lr", t["learning_rate"], "learning_rate")
    _schedule(t, steps)
    t.put("optim.weight_decay", t["weight_decay"], "weight_decay")
    t.put("optim.betas", [t["adam_beta1"], t["adam_beta2"]], "adam_beta1", "adam_beta2")
    t.put("optim.eps", t["adam_epsilon"], "adam_epsilon")
    if "optim.clip" not in t.settings:  # a loss of another scale has set it
        t.put("optim.clip", t["max_grad_norm"] or None, "max_grad_norm")
    _optimizer(t)
    options = (
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "num_processes",
        "num_generations",
    )
    t.put("train.batch", batch, *options, why=batch_factors(t, grouped))
    if t["max_steps"] > 0:
        _steps(t, updates)
        t.remark("num_train_epochs", "unneeded", "max_steps is set, so TRL ignores it")
    else:
        t.put("train.epochs", t["num_train_epochs"], "num_train_epochs")
        t.remark("max_steps", "unneeded", "num_train_epochs decides")
    t.put("train.seed", t["seed"], "seed")
    _memory(t)
    _evaluations(t, steps, epoch)
    _checkpoints(t, steps, epoch)
    t.put("train.guard", None, why="TRL stops no run that moves too far")
    _trackers(t)


def _steps(t: Translation, updates: int) -> None:
    """Set `train.steps`, which counts rollouts if several steps are taken on each."""
    steps, rollouts = int(t["max_steps"]), math.ceil(t["max_steps"] / updates)
    why = f"{rollouts} rollouts of {updates} steps" if updates > 1 else ""
    t.put("train.steps", rollouts, "max_steps", why=why)
    if rollouts * updates != steps:
        t.remark("max_steps", "differs", f"{rollouts * updates} steps, the end of a rollout, for {steps}")


def _schedule(t: Translation, steps: int | None) -> None:
    name = t["lr_scheduler_type"]
    t.put("optim.schedule", SCHEDULES.get(name, "cosine"), "lr_scheduler_type")
    if name not in SCHEDULES:
        t.remark(
            "lr_scheduler_type",
            "missing",
            f"{name} is not supported; cosine is written (linear and constant are supported)",
        )
    warmup = t["warmup_steps"]
    if name == "constant" and warmup:
        t.remark("warmup_steps", "unneeded", "TRL's constant schedule ignores it")
        warmup = 0
    if warmup == 0:
        t.put("optim.warmup", 0.0, "warmup_steps")
        if not t["warmup_steps"]:
            t.exact("warmup_steps")
    elif warmup < 1:
        t.put("optim.warmup", warmup, "warmup_steps", why="a share of the steps")
    elif steps is None:
        t.put("optim.warmup", 0.1, why=f"{warmup:g} steps are a share that depends on the rows")
        text = f"{warmup:g} steps are a share of the steps, which needs --rows; 0.1 is written"
        t.remark("warmup_steps", "missing", text)
    else:
        t.put(
            "optim.warmup",
            warmup_share(int(warmup), steps),
            "warmup_steps",
            why=f"{int(warmup)} of {steps} steps",
        )


def warmup_share(warmup: int, steps: int) -> float:
    """Return a share below 1 whose product with `steps`, rounded up, is `warmup` steps.

    The warmup is limited to `steps` - 1.
    """
    warmup = min(warmup, max(steps - 1, 0))
    share = warmup / steps
    return share if math.ceil(share * steps) == warmup else (warmup - 0.5) / steps


def _optimizer(t: Translation) -> None:
    name = t["optim"]
    if name in PLAIN_ADAMW:
        t.exact("optim")
    elif name in SMALL_ADAMW:
        t.put("optim.states", "8bit", "optim")
    else:
        t.remark(
            "optim",
            "missing",
            f"{name} is not supported; AdamW is used (optim.states: 8bit saves memory)",
        )


def _memory(t: Translation) -> None:
    if t.has("gradient_checkpointing") and t["gradient_checkpointing"] is not None:
        kept = "recompute" if t["gradient_checkpointing"] else "keep"
        t.put("train.activations", kept, "gradient_checkpointing")
    if t["fsdp"] not in trl_options()["fsdp"].harmless:
        t.put("train.parallel", "fsdp", "fsdp")


def _evaluations(t: Translation, steps: int | None, epoch: int | None) -> None:
    strategy = t["eval_strategy"]
    if strategy == "steps":
        every = t["eval_steps"] or t["logging_steps"]  # 0 is unset
        count = _every(t, "eval_steps", every, steps)
        t.put("train.eval_every", count, "eval_steps", "eval_strategy")
        t.exact("eval_strategy")
    elif strategy == "epoch":
        t.put(
            "train.eval_every", epoch, "eval_strategy", why="an epoch" if epoch else "about eight evaluations"
        )
        if epoch is None:
            t.remark("eval_strategy", "differs", "about eight evaluations; the steps of an epoch need --rows")
    elif strategy not in ("no", None):
        raise t.refuse("eval_strategy", "must be no, steps or epoch")


def _checkpoints(t: Translation, steps: int | None, epoch: int | None) -> None:
    strategy = t["save_strategy"]
    if strategy == "steps":
        t.put(
            "train.save_every", _every(t, "save_steps", t["save_steps"], steps), "save_steps", "save_strategy"
        )
        t.exact("save_strategy")
    elif strategy == "epoch":
        t.put("train.save_every", epoch, "save_strategy", why="an epoch" if epoch else "every five minutes")
        if epoch is None:
            t.remark("save_strategy", "differs", "every five minutes; the steps of an epoch need --rows")
    elif strategy not in ("no", "best", None):
        raise t.refuse("save_strategy", "must be no, steps, epoch or best")
    if strategy != "steps":
        t.remark("save_steps", "unneeded", f"save_strategy is {strategy}, so TRL ignores it")
    if t["save_total_limit"]:
        t.put("train.keep", t["save_total_limit"], "save_total_limit")
    elif strategy in ("steps", "epoch"):
        t.remark(
            "save_total_limit", "differs", "TRL keeps all checkpoints, a run here the newest two (train.keep)"
        )
    _best(t, strategy)


def _best(t: Translation, strategy: str | None) -> None:
    if not (t["load_best_model_at_end"] or strategy == "best"):
        for option in ("load_best_model_at_end", "metric_for_best_model"):
            t.remark(option, "unneeded", "the last model is the run's, as in TRL")
        return
    metric = (t["metric_for_best_model"] or "loss").removeprefix("eval_")
    if metric in BEST:
        t.put(
            "train.keep_best",
            BEST[metric],
            "metric_for_best_model",
            "load_best_model_at_end",
            "save_strategy",
        )
    else:
        known = ", ".join(dict.fromkeys(BEST.values()))
        t.remark("metric_for_best_model", "missing", f"{metric} is not measured; train.keep_best has {known}")


def _every(t: Translation, option: str, value: float, steps: int | None) -> int | None:
    """Return an interval in steps from the value of `option`; a value below 1 is a share of all steps.

    The result is None, with a remark, for a share of an unknown number of steps.
    """
    if value >= 1:
        return int(value)
    if steps is None:
        t.remark(option, "missing", "a share of the steps needs max_steps or --rows; left to the default")
        return None
    return max(1, math.ceil(value * steps))


def _trackers(t: Translation) -> None:
    wanted = [str(name) for name in t["report_to"] or [] if name not in ("none", "no")]
    known = list(TRACKERS) if "all" in wanted else [name for name in wanted if name in TRACKERS]
    t.put("train.trackers", known, "report_to")
    others = [name for name in wanted if name not in (*TRACKERS, "all")]
    if others:
        t.remark("report_to", "missing", f"{', '.join(others)}: not supported; {', '.join(TRACKERS)} are")
    else:
        t.exact("report_to")
