"""The settings of an arm as one line of text."""

from __future__ import annotations

from boresight.config.recipe import Recipe


def settings_in_words(recipe: Recipe) -> str:
    """Settings as text: `dpo, LoRA, lr 0.0002, beta 0.1, 30 steps of 4`."""
    own = {k: v for k, v in recipe.method.model_dump().items() if k in ("beta", "tau", "alpha")}
    trains = "LoRA" if recipe.model.lora else "all weights"
    length = f"{recipe.train.steps:,} steps" if recipe.train.steps else f"{recipe.train.epochs or 1:g} epochs"
    numbers = ", ".join(f"{k} {v:g}" for k, v in own.items() if isinstance(v, (int, float)))
    words = [
        recipe.method_name,
        trains,
        f"lr {rate_in_words(recipe)}",
        numbers,
        f"{length} of {recipe.train.batch}",
    ]
    return ", ".join(word for word in words if word)


def rate_in_words(recipe: Recipe) -> str:
    """The learning rate, or `auto` for one that a ramp chooses."""
    return recipe.optim.lr if isinstance(recipe.optim.lr, str) else f"{recipe.optim.lr:g}"
