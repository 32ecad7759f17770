"""Print names and fields of recipes at the end of `boresight train --help` and others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.text import Text

from boresight.config.base import BaseRecipe
from boresight.config.recipe_files import recipe_names
from boresight.config.section import fields
from boresight.core.console import Terminal, name_table


class HelpPart(NamedTuple):
    """A table of fields under a heading."""

    heading: str
    note: str
    rows: list[tuple[str, str, str, str]]
    """Rows `(dotted name, type, default, docstring)`, as `fields` returns them."""


def print_names(verb: str) -> None:
    """Print the names of the recipes in this package for a verb; those in folders are listed by folder."""
    names = recipe_names(_kind(verb))
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder:
            folders.setdefault(folder, []).append(last)
    console = Terminal()
    console.print(Text.assemble("\n", ("Recipes by name", "bold"), f" (boresight {verb} NAME)"))
    single = [(name, Text(names[name])) for name in names if "/" not in name]
    nested = [(f"{folder}/…", Text(", ".join(inner))) for folder, inner in folders.items()]
    console.print(name_table([*single, *nested], style="cyan"))


def _kind(verb: str) -> type[BaseRecipe]:
    """Return the recipe class of a verb."""
    if verb == "evaluate":
        from boresight.evaluation.recipe import EvaluationRecipe

        return EvaluationRecipe
    if verb == "sweep":
        from boresight.experiments.sweep.recipe import SweepRecipe

        return SweepRecipe
    if verb == "synthesize":
        from boresight.synthesis.recipe import SynthesisRecipe

        return SynthesisRecipe
    from boresight.config.recipe import Recipe

    return Recipe


def print_fields(verb: str) -> None:
    """Print the fields of the recipe that `verb` takes: `train`, `evaluate`, `sweep` or `synthesize`."""
    console = Terminal()
    for part in PARTS[verb]():
        console.print(Text.assemble("\n", (part.heading, "bold"), part.note))
        if part.rows:
            console.print(name_table((_line(*row) for row in part.rows), style="cyan"))


def _training() -> Iterator[HelpPart]:
    from boresight import methods
    from boresight.config.guard import GuardSection
    from boresight.config.lora import LoraConfig
    from boresight.config.recipe import Recipe
    from boresight.scorers.conventions import options_model
    from boresight.scorers.reward_function import BUILTIN, load_reward

    rows = [row for row in fields(Recipe) if row[0] != "method"]
    yield HelpPart("Recipe fields", " (set in the YAML file or as field=value)", rows)
    for name in methods.names():
        settings = fields(methods.get(name).Config, "method.")
        yield HelpPart(f"method.name: {name}", "" if settings else "  (no settings)", settings)
    yield HelpPart("model.lora", "", fields(LoraConfig, "model.lora."))
    yield HelpPart("train.guard", "", fields(GuardSection, "train.guard."))
    for name in BUILTIN:
        function = load_reward(name)
        note = f"  ({(function.__doc__ or '').partition(chr(10))[0]})"
        options = fields(options_model(function), "reward.options.")
        yield HelpPart(f"reward.function: {name}", note, options)


def _evaluation() -> Iterator[HelpPart]:
    from boresight.evaluation.recipe import (
        CountdownSection,
        EvaluationRecipe,
        HarnessSection,
        RewardRecipe,
        SystemSection,
        WinRateRecipe,
    )
    from boresight.scorers import judges

    rows = [row for row in fields(WinRateRecipe) if row[0] not in ("judge", "systems")]
    rows += fields(SystemSection, "systems.NAME.")
    yield HelpPart("Recipe fields", " (set in the YAML file or as field=value)", rows)
    rewarded = [
        row for row in fields(RewardRecipe) if row[0].split(".")[0] not in EvaluationRecipe.model_fields
    ]
    yield HelpPart("reward", " (in place of judge: how good answers are by any reward)", rewarded)
    countdown = fields(CountdownSection, "countdown.")
    yield HelpPart("countdown", " (in place of reward: Countdown problems, in short)", countdown)
    tasks = fields(HarnessSection, "lm_eval.")
    yield HelpPart("lm_eval", " (in place of judge: tasks of lm-evaluation-harness)", tasks)
    for name in judges.names():
        yield HelpPart(f"judge.name: {name}", "", fields(judges.get(name).Config, "judge."))


def _sweep() -> Iterator[HelpPart]:
    from boresight.experiments.sweep.recipe import PruneSection, SweepRecipe
    from boresight.experiments.sweep.space import Range

    rows = [row for row in fields(SweepRecipe) if row[0] != "prune"]
    rows += fields(PruneSection, "prune.") + fields(Range, "space.KEY.")
    yield HelpPart("Sweep fields", " (set in the YAML file or as field=value; others go to the recipe)", rows)


def _synthesis() -> Iterator[HelpPart]:
    from boresight.synthesis.recipe import SynthesisRecipe

    rows = fields(SynthesisRecipe)
    yield HelpPart("Recipe fields", " (set in the YAML file or as field=value)", rows)


def setting_names(verb: str) -> Iterator[str]:
    """Yield the names of the settings of the recipe that a verb takes, such as `optim.lr`.

    Settings of rewards are omitted. A verb whose recipe has no table of fields yields none.
    """
    verbs = {"check": ["train"], "sweep": ["sweep", "train"]}.get(verb, [verb])
    for part in (part for name in verbs if name in PARTS for part in PARTS[name]()):
        chosen, is_choice, _ = part.heading.partition(".name: ")
        yield from [f"{chosen}.name"] if is_choice else []
        yield from (row[0] for row in part.rows if not row[0].startswith("reward."))


PARTS = {"train": _training, "evaluate": _evaluation, "sweep": _sweep, "synthesize": _synthesis}
"""Function that yields the parts of the help, by verb."""


def _line(name: str, kind: str, default: str, doc: str) -> tuple[str, Text]:
    """Return the name of a field and its description with type and default."""
    default = "required" if default == "required" else f"default {default}"
    return name, Text.assemble(doc, " ", (f"({kind}; {default})", "dim"))
