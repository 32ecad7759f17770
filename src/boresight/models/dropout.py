"""Randomness of a model in training: dropout, with rates under many names, and random choice of experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

RANDOM_ROUTERS = {"PhimoeTopKRouter", "DbrxRouter"}
"""Modules that choose experts at random in training, whatever the config's top level contains."""

JITTER_AT_ALL_TIMES = {"phimoe"}
"""Types of models whose `router_jitter_noise` is a threshold of the routing, in evaluation too."""


def dropout_rates(config: PreTrainedConfig) -> dict[str, float]:
    """Dropout rates above 0 by the names of the config's settings; rates of other heads are ignored."""
    text = config.get_text_config()
    return {
        name: value
        for name, value in text.to_dict().items()
        if isinstance(value, float) and value > 0 and _is_rate(name)
    }


def set_dropout(config: PreTrainedConfig, rate: float) -> None:
    """Set every rate in `config`; models that are built from it afterwards use and save it.

    A rate of 0 also switches off the noise that mixtures of experts multiply their inputs by in training.
    """
    text = config.get_text_config()
    for name, value in text.to_dict().items():
        if isinstance(value, float | int) and not isinstance(value, bool) and _is_rate(name):
            setattr(text, name, rate)
        elif rate == 0 and name == "input_jitter_noise":
            text.input_jitter_noise = 0.0
        elif rate == 0 and name == "router_jitter_noise" and text.model_type not in JITTER_AT_ALL_TIMES:
            text.router_jitter_noise = 0.0


def route_as_evaluated(model: nn.Module) -> None:
    """Make random routers choose experts in training as in evaluation."""
    for module in model.modules():
        if type(module).__name__ in RANDOM_ROUTERS:
            module.register_forward_pre_hook(_evaluate)


def _evaluate(module: nn.Module, inputs: object) -> None:
    module.eval()


def _is_rate(name: str) -> bool:
    known = "dropout" in name or name.endswith(("pdrop", "layerdrop"))
    return known and not name.startswith(("classifier", "summary"))
