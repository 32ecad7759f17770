"""The recipe of a sweep: the swept recipe, the settings, the metric, pruning and confirmation.

    sweep = SweepRecipe.load("sweeps/dpo", ["trials=8", "data.train=my_pairs.jsonl"])

Overrides that name no field of a sweep go to the recipe that is swept.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from boresight.config.base import BaseRecipe
from boresight.config.dotted import put, read_value, refuse_repeated, remove_excluded
from boresight.config.recipe import Recipe
from boresight.config.recipe_files import recipe_from, recipe_path
from boresight.config.refusals.unknown_key import KnownKeys, dotted_fields, hint_for
from boresight.config.refusals.without_effect import Rule, refusals_by
from boresight.config.section import Section, WrongSetting, non_default_settings, validate
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.experiments.sweep.space import (
    Range,
    SweepSetting,
    grid,
    keys_within,
    refuse_empty_or_repeated,
    setting_in_words,
    setting_of,
)
from boresight.scorers.rewards import check_rewards
from boresight.stats.paired import LABELS

SET_BY_SWEEP = {
    "train.seed": "a sweep trains every setting with its own `seeds`; give seeds=[0, 1, 2] in its place",
    "data.split_seed": "all trials of a sweep train on the same rows; set it under `set`",
    "data.eval_half": "a sweep measures on both halves of the held-out prompts, one per stage; remove it",
}
"""Keys of the swept recipe that a sweep sets in every trial, each with the reason and what to do."""
NUMBER_OF_EVALUATIONS = ("train.steps", "train.epochs", "train.eval_every", "rollout.updates")
"""Recipe keys that determine the number of evaluations of a run."""


class PruneSection(Section):
    """Rule that ends a trial early if it falls behind."""

    rule: Literal["median", "halving"] = "median"
    """`median`: its best so far is worse than the median of the others at that point. `halving`: at the
    first, second, fourth … evaluation only the better half continues."""
    after: int = Field(default=2, gt=0)
    """Minimum number of evaluations of a trial before it may be pruned."""
    trials: int = Field(default=4, gt=0)
    """Number of other trials that must have reached this point for the comparison."""


class ConfirmSection(Section):
    """Settings of the confirmation, which trains the best settings and the default again and measures them on
    unseen prompts."""

    top: int = Field(default=2, ge=0)
    """Number of best settings to confirm; 0 for none."""
    seeds: int = Field(default=3, ge=2)
    """Number of fresh seeds for each of these settings and for the default."""
    first_seed: int = Field(default=1000, ge=0, lt=2**31)
    """First fresh seed of the confirmation; the others are the integers that follow it."""


class SweepRecipe(BaseRecipe):
    """The recipe of a sweep."""

    recipe: str | dict[str, Any]
    """The swept recipe: a path relative to this file, a name, or in full. Unchanged, it is the default."""
    set: dict[str, Any] = {}
    """Changes to that recipe for all trials, including the default."""
    search: Literal["grid", "list", "optuna"] = "grid"
    """`grid`: combinations of `space`. `list`: `settings`. `optuna`: a search that learns from results."""
    space: dict[str, list[Any] | Range] = {}
    """Dotted recipe key to a list of values, or to a range `{low, high, log, integer}`."""
    settings: list[dict[str, Any]] = []
    """Settings to try, for `search: list`."""
    trials: int | None = Field(default=None, gt=0)
    """Number of settings: null for the whole grid, otherwise a random draw from it; required by `optuna`."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """Every setting is trained with each of these seeds, on the same rows."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Sampler of `optuna`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the draw from the grid and of Optuna."""
    metric: str
    """The held-out number to compare by. Not the loss, which changes with beta and tau."""
    prune: PruneSection | None = None
    """Rule that ends trials early; null for no pruning."""
    confirm: ConfirmSection = ConfirmSection()

    @classmethod
    def read(cls, path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
        """Read a sweep as nested dictionaries. Overrides of the swept recipe are added to `set`."""
        refuse_repeated(overrides or [])
        own, swept = _sorted(overrides or [])
        raw = super().read(path, own)
        raw["set"] = setting_of(raw.get("set") or {}, "set")
        for override in swept:
            key, _, value = override.partition("=")
            raw["set"][key] = read_value(value)
        if isinstance(raw.get("recipe"), str):
            raw["recipe"] = str(recipe_from(recipe_path(path).parent, raw["recipe"]))
        return raw

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "sweep") -> Self:
        """Check a sweep given as nested dictionaries, its recipe, and every planned setting."""
        space = setting_of(raw.get("space") or {}, "space")
        for key, values in space.items():
            if isinstance(values, dict):
                space[key] = validate(Range, values, source, f"space.{key}")
        listed = raw.get("settings") or []
        settings = [setting_of(one, "settings") for one in (listed if isinstance(listed, list) else [listed])]
        sweep = super().parse({**raw, "space": space, "settings": settings}, source)
        swept = Recipe.read(sweep.recipe) if isinstance(sweep.recipe, str) else sweep.recipe
        sweep = sweep.model_copy(update={"recipe": Recipe.parse(swept, source).to_dict()})
        _refuse_overwritten(sweep, source)
        sweep.base()
        _accept(sweep)
        return sweep

    @model_validator(mode="after")
    def _options_must_act(self) -> SweepRecipe:
        if self.metric not in LABELS:
            hint = nearest(self.metric, LABELS)
            raise ValueError(f"metric {self.metric!r} is not a held-out number that ranks runs{hint}")
        if self.better == "neither":
            raise ValueError(
                f"metric {self.metric!r} does not rank runs, since neither more nor less of it is better; "
                "set a bound on it (train.guard.kl) and rank by another number"
            )
        if (self.search == "list") != bool(self.settings):
            raise ValueError("`settings` and `search: list` go together")
        if (self.search == "list") == bool(self.space):
            raise ValueError("a grid and Optuna need `space`, and a list has none")
        if self.search == "optuna" and self.trials is None:
            raise ValueError("`search: optuna` needs `trials`")
        if self.search == "list" and self.trials is not None:
            raise ValueError("all settings of a list are tried; leave `trials` out")
        refuse_empty_or_repeated(self.space, self.settings)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice: the same run again gives no second observation")
        return self

    def without_effect(self) -> dict[str, str]:
        """Return the settings without effect, each with the sentence for its error.

        These are settings of the sweep itself, and of the swept recipe with `set` and the searched settings.
        """
        planned = self.planned()
        if self.search != "list":  # the first and the last value of every key
            planned = planned[:1] + planned[-1:]
        tried = [self.base(), *map(self.recipe_with, planned)]
        swept = {field: text for one in tried for field, text in one.without_effect().items()}
        return self._idle_options() | self._idle_pruning() | swept

    def _idle_options(self) -> dict[str, str]:
        """Return the options of the search and of the confirmation that have no effect, with the reason."""
        is_drawn = self.search == "optuna" or self.trials is not None
        whole = "a list" if self.search == "list" else "a grid without trials"
        rules: list[Rule] = [
            (["sampler"], self.search == "optuna", f"with search: {self.search}, since it is Optuna's"),
            (["seed"], is_drawn, f"with {whole}, which is tried whole"),
            (["confirm.seeds", "confirm.first_seed"], self.confirm.top > 0, "with confirm.top=0"),
        ]
        confirm = {f"confirm.{name}": value for name, value in non_default_settings(self.confirm).items()}
        return refusals_by(rules, non_default_settings(self) | confirm)

    def _idle_pruning(self) -> dict[str, str]:
        """Return the bound of `prune` that no trial can reach, with the reason; empty if there is none."""
        if self.prune is None:
            return {}
        others, most = self.count * len(self.seeds) - 1, self._most_evaluations()
        rule = "so nothing can be pruned; lower it, or remove prune"
        if self.prune.trials > others:
            asked = plural(self.prune.trials, "other trial")
            return {"prune.trials": f"prune.trials asks for {asked} and the sweep has {others}, {rule}"}
        if most is not None and self.prune.after > most:
            asked, has = plural(self.prune.after, "evaluation"), f"a run has at most {most:,}"
            return {"prune.after": f"prune.after asks for {asked} and {has}, {rule}"}
        return {}

    def _most_evaluations(self) -> int | None:
        """Return an upper bound on the number of evaluations of a trial after its start; None if unknown."""
        varied = {
            name for key in self.keys for name in NUMBER_OF_EVALUATIONS if f"{name}.".startswith(f"{key}.")
        }
        base = self.base()
        if varied or (base.train.steps is None and base.train.eval_every is not None):
            return None
        if base.train.steps is None:
            return 15  # of 15 steps, since every eighth of the steps is evaluated
        steps = base.train.steps * base.rollout.updates
        return min(base.train.steps, math.ceil(steps / (base.train.eval_every or max(1, steps // 8))))

    @property
    def label(self) -> str:
        """Label of the metric in reports."""
        return LABELS[self.metric][0]

    @property
    def better(self) -> str:
        """`higher` or `lower`."""
        return LABELS[self.metric][2]

    @property
    def unit(self) -> str:
        """Unit of the metric."""
        return LABELS[self.metric][1]

    @property
    def keys(self) -> list[str]:
        """Dotted keys that vary, in their order in the recipe."""
        named = [self.space] if self.space else self.settings
        return list(dict.fromkeys(key for setting in named for key in setting))

    def planned(self) -> list[SweepSetting]:
        """Return the settings of a grid or a list; empty for Optuna, which draws its settings later."""
        if self.search == "optuna":
            return []
        return list(self.settings) if self.search == "list" else grid(self.space, self.trials, self.seed)

    @property
    def count(self) -> int:
        """Number of settings."""
        return (self.trials or 0) if self.search == "optuna" else len(self.planned())

    def base(self) -> Recipe:
        """Return the default: the swept recipe with `set` applied."""
        return self.recipe_with({})

    def recipe_with(self, setting: SweepSetting) -> Recipe:
        """Return the swept recipe with `set` and then `setting` applied.

        As on the command line, a change removes the setting of the recipe that it excludes: `train.steps`
        removes `train.epochs`.

        Raises:
            UserError: the changed recipe is invalid.
        """
        assert isinstance(self.recipe, dict)
        raw, changes = Recipe.parse(self.recipe).to_dict(), {**self.set, **setting}
        remove_excluded(raw, changes, Recipe.EITHER)
        for key, value in changes.items():
            put(raw, key, value)
        recipe = Recipe.parse(raw, f"setting {setting_in_words(setting)}" if setting else "the swept recipe")
        check_rewards(recipe.reward)
        return recipe


def replaced_by_set(sweep: SweepRecipe) -> list[str]:
    """Return a line for each setting of the swept recipe that `set` excludes: `train.steps=4 replaces …`."""
    assert isinstance(sweep.recipe, dict)
    raw = Recipe.parse(sweep.recipe).to_dict()
    return [f"{line} of the swept recipe" for line in remove_excluded(raw, sweep.set, Recipe.EITHER)]


def _refuse_overwritten(sweep: SweepRecipe, source: str) -> None:
    """Raise a `WrongSetting` for a changed key that has no effect, since the sweep sets it in every trial."""
    changes = [("set", sweep.set), ("space", sweep.space), *(("settings", one) for one in sweep.settings)]
    for part, tree in changes:
        for key in keys_within(tree):
            if key not in SET_BY_SWEEP or (part, key) == ("set", "data.split_seed"):
                continue
            named = key if part == "set" else f"{part}.{key}"  # overrides of the swept recipe are in `set`
            raise WrongSetting(source, f"{named} has no effect, since {SET_BY_SWEEP[key]}.", named)


def _accept(sweep: SweepRecipe) -> None:
    """Raise a `UserError` if a setting is no valid recipe, or if search and confirmation share a seed."""
    for setting in sweep.planned():
        sweep.recipe_with(setting)
    if sweep.search == "optuna":
        sweep.recipe_with({key: _example(values) for key, values in sweep.space.items()})
    if sweep.base().train.seed in confirm_seeds(sweep) or set(sweep.seeds) & set(confirm_seeds(sweep)):
        raise UserError("confirm.first_seed: the confirmation needs seeds that the search does not use.")


def confirm_seeds(sweep: SweepRecipe) -> list[int]:
    """Return the fresh seeds of the confirmation."""
    return list(range(sweep.confirm.first_seed, sweep.confirm.first_seed + sweep.confirm.seeds))


def _example(values: list[Any] | Range) -> object:
    if isinstance(values, list):
        return values[0]
    return int(values.low) if values.integer else values.low


def _sorted(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those of the sweep and those of the swept recipe.

    Raises:
        UserError: a key belongs to neither.
    """
    own = [o for o in overrides if _section(o) in SweepRecipe.model_fields or "=" not in o]
    swept = [o for o in overrides if o not in own]
    sections = [*SweepRecipe.model_fields, *Recipe.model_fields]
    if unknown := next((_section(o) for o in swept if _section(o) not in sections), None):
        known = KnownKeys([*dotted_fields(SweepRecipe), *dotted_fields(Recipe)], {}, ["method"])
        raise UserError(f"command line: unknown key {unknown}{hint_for(unknown, sections, known)}.")
    return own, swept


def _section(override: str) -> str:
    return override.partition("=")[0].partition(".")[0]
