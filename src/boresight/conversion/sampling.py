"""Translate the rewards and sampling options of a TRL config, for methods that train on their own samples."""

from __future__ import annotations

from typing import Any

from boresight.config.section import shortened
from boresight.conversion.translation import Translation
from boresight.runs.init.choices import OWN_REWARD

BUILT_IN: dict[str, tuple[dict[str, Any], str]] = {
    "accuracy_reward": (
        {"function": "math", "options": {"column": "solution"}},
        "accuracy_reward is `math` here, which reads the final answer of a completion (docs/rewards.md)",
    ),
    "reasoning_accuracy_reward": (
        {"function": "math", "options": {"column": "solution"}},
        "reasoning_accuracy_reward is `math` here, which reads nothing inside of a thought",
    ),
    "think_format_reward": (
        {"function": "format", "options": {"tags": ["think"], "alone": False}},
        "think_format_reward is `format` here, which also requires that the thought is not empty",
    ),
}
"""For each reward function that TRL has by name: the corresponding reward of a recipe, and the difference."""
SERVER = ("vllm_server_base_url", "vllm_server_host", "vllm_server_port")
CAPS = ("vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max")


def translate_sampling(t: Translation, grouped: bool) -> None:
    """Set rewards and sampling parameters.

    Args:
        grouped: whether the trainer samples a group of completions per prompt (RLOO, GRPO).
    """
    _rewards(t)
    if grouped:
        t.put("rollout.k", t["num_generations"], "num_generations")
        t.put("rollout.max_new_tokens", t["max_completion_length"], "max_completion_length")
        t.put("rollout.updates", t["num_iterations"], "num_iterations")
    else:
        t.put("rollout.max_new_tokens", t["max_new_tokens"], "max_new_tokens")
    t.put("rollout.temperature", t["temperature"], "temperature")
    if t["use_vllm"]:
        _vllm(t)
    else:
        for option in ("vllm_mode", *SERVER, *CAPS):
            t.remark(option, "unneeded", "use_vllm is off, so TRL ignores it")
        t.exact("use_vllm")


def _rewards(t: Translation) -> None:
    """Set the rewards: reward models first, then functions, which is the order of TRL's weights."""
    models = [t[option] for option in ("reward_model_name_or_path", "reward_model_path") if t[option]]
    found: list[dict[str, Any]] = [{"judge": {"name": "reward_model", "model": model}} for model in models]
    found += [_function(t, str(name)) for name in t["reward_funcs"] or []]
    if not found:
        t.leave_open("reward", [{"function": OWN_REWARD}], "a reward function (docs/rewards.md)")
        return
    weights = [1.0] * len(found) if t["reward_weights"] is None else t.numbers("reward_weights")
    if len(weights) != len(found):
        raise t.refuse("reward_weights", f"there are {len(found)} rewards")
    rewards = [reward | {"weight": weight} for reward, weight in zip(found, weights, strict=True)]
    options = ("reward_model_name_or_path", "reward_model_path", "reward_funcs", "reward_weights")
    t.put("reward", rewards, *options)


def _function(t: Translation, name: str) -> dict[str, Any]:
    if name in BUILT_IN:
        reward, difference = BUILT_IN[name]
        t.remark("reward_funcs", "differs", difference)
        return dict(reward)
    module, dot, function = name.rpartition(".")
    if not dot or not all(part.isidentifier() for part in name.split(".")):
        raise t.refuse(
            "reward_funcs",
            f"no reward of TRL with a counterpart is called {shortened(name)}; name package.module.function",
        )
    return {"function": f"{module}:{function}"}


def _vllm(t: Translation) -> None:
    if t["vllm_mode"] != "server":
        text = "vllm inside the training process is not supported: the built-in sampler is used"
        t.remark("use_vllm", "differs", text)
        t.remark("vllm_mode", "differs", text)
        for option in SERVER:
            t.remark(option, "unneeded", f"vllm_mode is {t['vllm_mode']}, so TRL ignores it")
        for option in CAPS:
            t.remark(option, "unneeded", "the built-in sampler computes with the policy itself")
        return
    host = {"0.0.0.0": "127.0.0.1"}.get(t["vllm_server_host"], t["vllm_server_host"])
    url = t["vllm_server_base_url"] or f"http://{host}:{t['vllm_server_port']}"
    options = ("use_vllm", "vllm_mode")
    t.put("rollout.backend", "vllm", *options, why="boresight serve prints the command")
    t.put("rollout.base_url", url, *SERVER)
    cap = t["vllm_importance_sampling_cap"] or t["vllm_importance_sampling_clip_max"]
    if cap is not None:
        t.put("rollout.importance_cap", max(1.0, cap), *CAPS)
