"""Rates of a model's own dropout layers, which configs store under many names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


JITTER_AT_ALL_TIMES = {"phimoe"}
"""Types of models whose `router_jitter_noise` is a threshold of the routing, in evaluation too."""


def dropout_rates(config: PreTrainedConfig) -> dict[str, float]:
    """Rates above 0 by the names of the config's settings; those of other heads are not counted."""
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
        elif rate == 0 and name == "router_jitter_noise" and text.model_type not in JITTER_AT_ALL_TIMES:
            text.router_jitter_noise = 0.0


def _is_rate(name: str) -> bool:
    known = "dropout" in name or name.endswith(("pdrop", "layerdrop"))
    return known and not name.startswith(("classifier", "summary"))
