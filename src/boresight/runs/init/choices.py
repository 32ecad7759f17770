"""Choose the settings of a first recipe, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from boresight import methods
from boresight.checks.run.method import FEW_STEPS
from boresight.config.dotted import put
from boresight.config.recipe import DataSection, Recipe, RolloutSection
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.data.reading.load import NOUNS
from boresight.methods.published import LADDERS, Ladder
from boresight.runs.doctor import room_for
from boresight.runs.init.data_facts import DataFacts
from boresight.runs.init.model_facts import ModelFacts
from boresight.training.forward import InputKind, kind_of

OWN_REWARD = "my_rewards:reward"
"""Import path of the reward function that the user has to write."""
LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
BATCHES = (32, 16, 8, 4)
MOST_EPOCHS = 8


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the recipe: its dotted key, its value, and the text of the comment beside it."""

    key: str
    value: Any
    why: str = ""


def choose_settings(data: DataFacts, model: ModelFacts, method: str, free_gb: float) -> list[Setting]:
    """Choose the settings of a first recipe, in the order of the recipe's sections.

    Args:
        free_gb: memory available for training, GB.
    """
    adapters = uses_adapters(data, model, free_gb)
    return [
        *_method(method, data),
        *_model(model, adapters, free_gb),
        *_data(data, model),
        _rate(LADDERS[data.kind, adapters]),
        *_train(data),
        *(_sampling(data, model, method) if data.kind == "prompt" else ()),
    ]


def as_recipe(settings: list[Setting]) -> dict[str, Any]:
    """Convert the settings to nested dictionaries."""
    raw: dict[str, Any] = {}
    for setting in settings:
        put(raw, setting.key, setting.value)
    return raw


def uses_adapters(data: DataFacts, model: ModelFacts, free_gb: float) -> bool:
    """Return whether to train LoRA adapters instead of all weights.

    True, except for demonstrations if full fine-tuning certainly fits into memory. Methods for other data
    compare the model with its start model, which takes no additional memory if adapters can be switched off.
    """
    return data.kind != "demonstration" or room_for(model.size.needed_gb(lora=False), free_gb) != "yes"


def _method(method: str, data: DataFacts) -> list[Setting]:
    found = [Setting("method.name", method, f"learns from {plural(data.rows, NOUNS[data.kind])}")]
    beta = methods.get(method).Config.model_fields.get("beta")
    if beta is not None and data.kind != "prompt":
        found.append(Setting("method.beta", beta.default, "a larger one stays nearer to the start model"))
    return found


def _model(model: ModelFacts, adapters: bool, free_gb: float) -> list[Setting]:
    needed = {lora: model.size.needed_gb(lora) for lora in (True, False)}
    memory = f"about {needed[adapters]:.1f} GB of {free_gb:.1f} free"
    other = "all weights" if adapters else "adapters"
    found = [
        Setting("model.name", model.size.name, f"{model.size.parameters / 1e6:,.0f}M parameters"),
        Setting("model.lora", {} if adapters else None, f"{memory}; {other}: {needed[not adapters]:.1f} GB"),
    ]
    if model.chat_template is not None:
        found.append(Setting("model.chat_template", model.chat_template, "the tokenizer has none of its own"))
    return found


def _data(data: DataFacts, model: ModelFacts) -> list[Setting]:
    found = [Setting("data.train", data.source)]
    if data.layout is not None:
        found.append(Setting("data.layout", data.layout))
    if data.columns is not None:
        found.append(Setting("data.columns", dict(data.columns)))
    if data.bad:
        first = f"{plural(data.bad, 'malformed row')}, the first is row {data.first_bad}"
        found.append(Setting("data.bad_rows", "drop", first))
    median, nearly_all, longest = data.quantiles
    room = _longest_answer(model) if data.kind == "prompt" else 0
    why = f"tokens; median {median:,}, 99 % within {nearly_all:,}, longest {longest:,}"
    return [*found, Setting("data.max_length", _max_length(nearly_all + room, model.longest), why)]


def _max_length(nearly_all: int, positions: int) -> int:
    """Return the smallest of `LENGTHS` for `nearly_all` tokens, but at most the model's `positions`."""
    return min(next((length for length in LENGTHS if length >= nearly_all), nearly_all), positions)


def _rate(ladder: Ladder) -> Setting:
    low, middle, high = ladder.lrs
    why = f"{low:g} to {high:g} ({ladder.source}); `boresight check --probe` measures it"
    return Setting("optim.lr", middle, why)


def _train(data: DataFacts) -> list[Setting]:
    held_out = min(DataSection.model_fields["eval_rows"].default, data.rows // 5)
    rows = max(1, data.rows - held_out)
    batch = next((size for size in BATCHES if rows // size >= FEW_STEPS), BATCHES[-1])
    epochs = min(MOST_EPOCHS, max(1, math.ceil(FEW_STEPS * batch / rows)))
    steps = math.ceil(rows * epochs / batch)
    what = "prompts" if data.kind == "prompt" else "rows"
    return [
        Setting("train.batch", batch, f"{what} per step"),
        Setting("train.epochs", epochs, f"{plural(steps, 'step')}; {plural(held_out, 'row')} held out"),
    ]


def _sampling(data: DataFacts, model: ModelFacts, method: str) -> list[Setting]:
    if data.verifier is None:
        reward = Setting("reward", [{"function": OWN_REWARD}], "a Python function of yours: docs/rewards.md")
    else:
        reward = Setting("reward", [{"function": data.verifier}], "every row has what it needs")
    k = RolloutSection.model_fields["k"].default
    grouped = input_kind(method).samples == "group"
    return [
        reward,
        *([Setting("rollout.k", k, "samples per prompt and step")] if grouped else ()),
        Setting("rollout.max_new_tokens", _longest_answer(model), "longest sampled answer, tokens"),
    ]


def _longest_answer(model: ModelFacts) -> int:
    return min(RolloutSection.model_fields["max_new_tokens"].default, model.longest // 2)


def input_kind(method: str) -> InputKind:
    """Return the type of a method's inputs.

    Raises:
        UserError: there is no method of this name.
    """
    if method not in methods.names():
        raise UserError(f"--method: there is no method {method!r}{nearest(method, methods.names())}.")
    return kind_of(Recipe.parse({"method": {"name": method}, "data": {"train": "-"}, "optim": {"lr": 1e-5}}))


def parsed(settings: list[Setting]) -> Recipe:
    """Validate the settings, and return them as a recipe."""
    return Recipe.parse(as_recipe(settings))
