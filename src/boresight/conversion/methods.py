"""Translate a trainer of TRL and its `loss_type` to a method with the settings of its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from boresight.conversion.translation import Translation

METHOD_NOTES = {
    "sft": "rows never see each other, and the mean runs over all learned tokens of a batch, as in TRL",
    "kto": "the mismatched answer of a row is fixed for the run; TRL takes it from the batch",
    "orpo": "each chosen answer counts once; TRL averages over tokens and adds the likelihood of the prompt",
    "rloo": "the mean runs over the completions that have an advantage; TRL divides by all",
    "online_dpo": "samples with equal rewards make no pair; in TRL the first wins",
    "xpo": "samples with equal rewards make no pair; in TRL the first wins",
}
"""Differences between a method and that of TRL that do not depend on options."""
DPO_LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "hinge": {"method.loss_type": "hinge"},
    "sigmoid_norm": {"method.length_normalised": True},
}
"""Settings of a recipe for each `loss_type` of DPO."""
AVERAGES = {"grpo": "answer", "dapo": "token", "bnpo": "token", "dr_grpo": "sum"}
"""Value of `method.average` for each `loss_type` of GRPO."""


def translate_method(t: Translation) -> None:
    """Set the method and its loss. Raises `UserError` for a loss that is not supported."""
    METHODS[t.trainer](t)


def _sft(t: Translation) -> None:
    if t["loss_type"] not in ("nll", "chunked_nll"):
        raise t.refuse("loss_type", "sft has the likelihood alone (nll)")
    t.put("method.name", "sft", "loss_type")
    t.exact("loss_type")


def _dpo(t: Translation) -> None:
    losses = [str(loss) for loss in t["loss_type"]]
    if losses == ["ipo"]:
        t.put("method.name", "ipo", "loss_type")
        t.put("method.tau", t["beta"], "beta")
        t.put("method.reduction", "mean", "loss_type", why="log-ratios per token")
        t.exact("loss_type")
        t.exact("beta")
        return
    preference = [loss for loss in losses if loss in DPO_LOSSES]
    if len(preference) != 1 or set(losses) - {*preference, "sft"} or len(set(losses)) < len(losses):
        raise t.refuse("loss_type", f"dpo supports one of {', '.join(DPO_LOSSES)} and ipo, and sft beside it")
    t.put("method.name", "dpo", "loss_type")
    t.put("method.beta", t["beta"], "beta")
    t.exact("beta")
    for key, value in DPO_LOSSES[preference[0]].items():
        t.put(key, value, "loss_type")
    t.exact("loss_type")
    _sft_term(t, losses, preference[0])
    if t["label_smoothing"]:
        text = f"{preference[0]} ignores it in TRL 1.16; in earlier versions it was method.label_smoothing"
        t.remark("label_smoothing", "unneeded", text)


def _sft_term(t: Translation, losses: list[str], preference: str) -> None:
    """Set the weight of an SFT term that is added to DPO's loss.

    It is given by `loss_type: [sigmoid, sft]` and `loss_weights`, or by `rpo_alpha` of earlier versions.
    """
    weights = t.numbers("loss_weights") if t["loss_weights"] is not None else [1.0] * len(losses)
    if len(weights) != len(losses):
        raise t.refuse("loss_weights", f"loss_type has {len(losses)}")
    by_loss = dict(zip(losses, weights, strict=True))
    if by_loss[preference] <= 0:
        raise t.refuse("loss_weights", "the weight of the preference must be above 0")
    weight = by_loss.get("sft", t["rpo_alpha"] or 0.0) / by_loss[preference]
    if weight:
        t.put("method.sft_weight", weight, "loss_type", "loss_weights", "rpo_alpha")
        t.remark(
            "loss_type", "differs", "averaged over each answer; TRL averages over the tokens of the batch"
        )
    if by_loss[preference] != 1 and t["max_grad_norm"] > 0:
        _scale_clip(t, 1 / by_loss[preference], "loss_weights")


def _scale_clip(t: Translation, factor: float, option: str) -> None:
    """Set the maximum gradient norm for a loss that is `factor` times as large as TRL's.

    Args:
        option: option of TRL that the factor results from.
    """
    t.put(
        "optim.clip",
        t["max_grad_norm"] * factor,
        "max_grad_norm",
        option,
        why=f"× {factor:g}, as the loss is",
    )


def _kto(t: Translation) -> None:
    if t["loss_type"] != "kto":
        raise t.refuse("loss_type", "kto is the only loss for single answers here")
    t.put("method.name", "kto", "loss_type")
    for option in ("beta", "desirable_weight", "undesirable_weight"):
        t.put(f"method.{option}", t[option], option)
        t.exact(option)
    t.exact("loss_type")


def _reward(t: Translation) -> None:
    t.put("method.name", "reward")
    t.put("method.centering", t["center_rewards_coefficient"] or 0.0, "center_rewards_coefficient")


def _orpo(t: Translation) -> None:
    t.put("method.name", "orpo")
    t.put("method.odds_weight", t["beta"], "beta")
    t.exact("beta")


def _cpo(t: Translation) -> None:
    if t["loss_type"] != "simpo" or t["cpo_alpha"] != 0 or t["alpha"]:
        raise t.refuse(
            "loss_type", "of CPO's losses only simpo is supported, with cpo_alpha: 0 (and alpha: 0)"
        )
    t.put("method.name", "simpo", "loss_type", "cpo_alpha")
    t.put("method.beta", t["beta"], "beta")
    t.put("method.gamma", t["simpo_gamma"], "simpo_gamma")
    t.exact("loss_type")
    t.exact("beta")
    if t["alpha"] == 0:
        t.remark("alpha", "unneeded", "0 is SimPO itself")


def _rloo(t: Translation) -> None:
    t.put("method.name", "rloo")
    _grouped(t)
    if t["num_iterations"] > 1:
        t.put("method.clip", t["epsilon"], "epsilon")
        if t["epsilon_high"] not in (None, t["epsilon"]):
            t.remark(
                "epsilon_high", "missing", "rloo has one bound for both sides; grpo has method.clip_high"
            )


def _grpo(t: Translation) -> None:
    if t["loss_type"] not in AVERAGES:
        raise t.refuse("loss_type", f"grpo supports {', '.join(AVERAGES)}")
    t.put("method.name", "grpo")
    _grouped(t)
    t.put("method.average", AVERAGES[t["loss_type"]], "loss_type")
    t.exact("loss_type")
    if t["loss_type"] == "bnpo":
        t.remark("loss_type", "differs", "over the tokens of the whole batch, not of a micro-batch")
    if t["loss_type"] == "dr_grpo":
        length = t["max_completion_length"]
        t.remark("loss_type", "differs", f"a sum that TRL divides by {length}; optim.clip follows")
        if t["max_grad_norm"] > 0:
            _scale_clip(t, length, "loss_type")
    _standardize(t)
    if t["importance_sampling_level"] not in ("token", "sequence"):
        raise t.refuse("importance_sampling_level", "must be token or sequence")
    t.put("method.ratio", t["importance_sampling_level"], "importance_sampling_level")
    if t["num_iterations"] > 1:
        t.put("method.clip", t["epsilon"], "epsilon")
        t.put("method.clip_high", t["epsilon_high"], "epsilon_high")
    if t["beta"] == 0:
        t.remark("use_bias_correction_kl", "unneeded", "there is no KL at beta 0")
    elif t["use_bias_correction_kl"]:
        t.remark(
            "use_bias_correction_kl", "differs", "TRL multiplies the KL by the ratio; here it is the paper's"
        )
    else:
        t.exact("use_bias_correction_kl")


def _standardize(t: Translation) -> None:
    value = str(t["scale_rewards"]).lower()
    t.put("method.standardize", value not in ("none", "no", "false"), "scale_rewards")
    if value == "batch":
        t.remark("scale_rewards", "missing", "advantages are standardized per group and not over the batch")
    elif value in ("group", "yes", "true", "none", "no", "false"):
        t.exact("scale_rewards")
    else:
        raise t.refuse("scale_rewards", "must be group, batch or none")


def _grouped(t: Translation) -> None:
    """Set the settings that RLOO and GRPO have in common."""
    t.put("method.beta", t["beta"], "beta")
    t.put("method.mask_truncated", t["mask_truncated_completions"], "mask_truncated_completions")
    t.exact("beta")
    if not t["mask_truncated_completions"]:
        t.exact("mask_truncated_completions")
    if t["num_iterations"] == 1:
        for option in ("epsilon", "epsilon_high"):
            t.remark(option, "unneeded", "has no effect with num_iterations 1, as each step has its samples")


def _online(t: Translation) -> None:
    if t["loss_type"] != "sigmoid":
        raise t.refuse("loss_type", f"{t.trainer} supports only sigmoid")
    t.put("method.name", t.trainer)
    options = ("beta", "alpha") if t.trainer == "xpo" else ("beta",)
    for option in options:
        values = t.numbers(option)
        if not values:
            raise t.refuse(option, "must be a number")
        t.put(f"method.{option}", values[0], option)
        t.exact(option)
        if len(set(values)) > 1:
            t.remark(
                option,
                "missing",
                f"one value per epoch: the first is taken; method.{option} can be a schedule in xpo",
            )
    t.exact("loss_type")


METHODS: dict[str, Callable[[Translation], None]] = {
    "sft": _sft,
    "reward": _reward,
    "dpo": _dpo,
    "kto": _kto,
    "orpo": _orpo,
    "cpo": _cpo,
    "rloo": _rloo,
    "grpo": _grpo,
    "online_dpo": _online,
    "xpo": _online,
}
