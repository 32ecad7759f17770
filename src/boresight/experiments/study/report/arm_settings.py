"""Format the settings of an arm as one line of text."""

from __future__ import annotations

from boresight.config.recipe import Recipe
from boresight.core.wording import plural


def settings_in_words(recipe: Recipe, chosen: float | None = None, trained: float | None = None) -> str:
    """Format the settings of a recipe, as `dpo, LoRA, lr 0.0002, beta 0.1, 30 steps of 4`.

    With `optim.lr: auto`, `chosen` is the learning rate that a ramp chose and `trained` the number of steps,
    as means over seeds; None if unknown.
    """
    own = {k: v for k, v in recipe.method.model_dump().items() if k in ("beta", "tau", "alpha")}
    trains = "LoRA" if recipe.model.lora else "all weights"
    steps = recipe.train.steps if trained is None else round(trained)
    length = plural(steps, "step") if steps else plural(recipe.train.epochs or 1, "epoch")
    rate = rate_in_words(recipe) if chosen is None else f"{chosen:.2g} (auto)"
    numbers = ", ".join(f"{k} {v:g}" for k, v in own.items() if isinstance(v, (int, float)))
    words = [
        recipe.method_name,
        trains,
        f"lr {rate}",
        numbers,
        f"{length} of {recipe.train.batch}",
    ]
    return ", ".join(word for word in words if word)


def rate_in_words(recipe: Recipe) -> str:
    """Format the learning rate of a recipe; `auto` if a ramp chooses it."""
    return recipe.optim.lr if isinstance(recipe.optim.lr, str) else f"{recipe.optim.lr:g}"
