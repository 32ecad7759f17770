"""Randomness of a model in training: dropout, under the names that configs use, and random choice of
experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

RANDOM_ROUTERS = {"PhimoeTopKRouter", "DbrxRouter"}
"""Class names of routers that choose experts at random in training, whatever the top level of the config
contains."""

JITTER_AT_ALL_TIMES = {"phimoe"}
"""Types of models in which `router_jitter_noise` is a threshold of the routing and applies in evaluation
too."""


def dropout_rates(config: PreTrainedConfig) -> dict[str, float]:
    """Return the dropout rates above 0, by the names of the config's settings.

    Rates of heads for other tasks, such as classification, are ignored.
    """
    text = config.get_text_config()
    return {
        name: value
        for name, value in text.to_dict().items()
        if isinstance(value, float) and value > 0 and _is_rate(name)
    }


def set_dropout(config: PreTrainedConfig, rate: float) -> None:
    """Set all dropout rates in `config`; models that are built from it afterwards use and save them.

    A rate of 0 also disables the multiplicative noise on the inputs of experts (jitter) in training.
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
