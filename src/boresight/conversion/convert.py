"""Convert a TRL config to a recipe, and assign every option of the file to one of four groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from boresight.config.recipe import Recipe
from boresight.config.section import fields, in_yaml
from boresight.conversion.batch import count_processes
from boresight.conversion.data import translate_data
from boresight.conversion.methods import METHOD_NOTES, translate_method
from boresight.conversion.model import translate_model
from boresight.conversion.sampling import translate_sampling
from boresight.conversion.training import translate_training
from boresight.conversion.translation import Remark, Translation, begin, counting_names, find_trainer
from boresight.conversion.trl_options import (
    HEADINGS,
    OptionGroup,
    other_fields,
    renamed_options,
    trl_fields,
    trl_options,
)
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.runs.init.choices import Setting, as_recipe

SECTIONS = ("method", "model", "data", "optim", "reward", "rollout", "train")
SAMPLED = ("rloo", "grpo", "online_dpo", "xpo")
GROUPED = ("rloo", "grpo")
"""Trainers that sample a group of completions per prompt, so that TRL's batches count completions."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The settings of a converted recipe, and the outcome for every option of the config.

    Attributes:
        settings: settings of the recipe, in order.
        lists: the options that the config sets, by group, each with a short explanation.
        left_out: differences from TRL that come from no option in the config: options whose default in TRL is
            not translated exactly, and differences of the method.
        to_set: settings that the user must fill in, each with a description of the value.
        trainer: name of the trainer, such as `dpo`.
        processes: number of processes of the run with TRL.
        run: output folder in the config (`output_dir`); None if it has none.
    """

    settings: list[Setting]
    lists: dict[OptionGroup, list[tuple[str, str]]]
    left_out: list[tuple[str, str]]
    to_set: dict[str, str]
    trainer: str
    processes: int
    run: str | None

    @property
    def complete(self) -> bool:
        """Whether every option of the file was translated and nothing must be filled in."""
        return not self.lists["missing"] and not self.to_set


def convert_options(
    raw: Mapping[str, Any],
    source: str,
    *,
    trainer: str | None = None,
    processes: int | None = None,
    rows: int | None = None,
) -> Converted:
    """Translate the options of a TRL config.

    Args:
        raw: options by name, as in the YAML of `trl dpo --config`.
        source: name of the config, for errors.
        trainer: name of the trainer, such as `dpo`; None infers it from the options.
        processes: number of processes of the run with TRL; None takes the number in the config, or the one
            computed from its generation batch, or 1.
        rows: number of training rows, from which numbers of steps are computed; None if unknown.

    Raises:
        UserError: a value of a wrong type, an unsupported loss, or a recipe that would be refused.
    """
    t = begin(raw, trainer or find_trainer(raw, source), source, rows)
    count_processes(t, processes)
    sampled, grouped = t.trainer in SAMPLED, t.trainer in GROUPED
    translate_method(t)
    translate_model(t, sampled)
    translate_data(t, sampled)
    if sampled:
        translate_sampling(t, grouped)
    translate_training(t, grouped)
    settings = sorted(t.settings.values(), key=_place)
    _refuse_wrong(t, settings)
    lists: dict[OptionGroup, list[tuple[str, str]]] = {group: [] for group in HEADINGS}
    for name in raw:
        found = outcome(t, name, raw)
        lists[found.group].append((name, found.text))
    return Converted(settings, lists, _left_out(t), t.to_set, t.trainer, t.processes, t["output_dir"])


@cache
def _names() -> list[str]:
    """Return the dotted keys of all settings of a recipe in order, except those of methods."""
    return [name for name, *_ in fields(Recipe)]


def _place(setting: Setting) -> tuple[int, int]:
    """Return the sort key of a setting: the index of its section, and its index in the recipe."""
    section = SECTIONS.index(setting.key.partition(".")[0])
    return section, _names().index(setting.key) if setting.key in _names() else -1


def outcome(t: Translation, name: str, raw: Mapping[str, Any]) -> Remark:
    """Return the outcome for one option of the file: its group and a short text."""
    option, names = renamed_options().get(name, name), counting_names(raw)
    if names.get(option, name) != name:
        return Remark("unneeded", f"{names[option]} is set too and takes precedence")
    if option not in trl_fields()[t.trainer] | other_fields():
        return _unknown(t.trainer, option, raw[name])
    known, remark = trl_options()[option], t.remarks.get(option)
    if remark is None and t[option] in known.harmless:
        return Remark("unneeded", "at this value, there is nothing to translate")
    group = remark.group if remark else known.group
    note = remark.text if remark else "" if group == "same" else known.note.replace("`", "")
    if group in ("unneeded", "missing"):
        return Remark(group, note)
    return Remark(group, "; ".join(part for part in (_resulting_settings(t, option), note) if part))


def _resulting_settings(t: Translation, option: str) -> str:
    """Return the settings that were derived from an option as text, with values that are not collections."""
    settings = t.became.get(option, [])
    parts = [
        setting.key if isinstance(setting.value, dict | list) else f"{setting.key}: {in_yaml(setting.value)}"
        for setting in settings
    ]
    return ", ".join(parts) or trl_options()[option].here.replace("`", "")


def _unknown(trainer: str, option: str, value: object) -> Remark:
    """Return the outcome for a name that is not an option of the trainer."""
    others = [name for name, known in trl_fields().items() if option in known]
    if not others:
        text = f"no option of TRL 1.16{nearest(option, trl_fields()[trainer])}"
        return Remark("missing", text.partition("; known:")[0])
    text = f"an option of TRL's {', '.join(others)} and not of {trainer}"
    return Remark("unneeded" if value is None else "missing", text)


def _left_out(t: Translation) -> list[tuple[str, str]]:
    """Return the differences that no option of the file causes, as `(name, text)`.

    They are defaults of TRL that are not translated exactly, and differences of the method.
    """
    found = []
    for option in [*trl_fields()[t.trainer], "num_processes"]:
        remark, known = t.remarks.get(option), trl_options()[option]
        if option in t.given:
            continue
        if remark is not None:
            if remark.group in ("differs", "missing"):
                found.append((option, remark.text))
        elif known.group == "missing" and t[option] not in known.harmless:
            found.append((option, known.note.replace("`", "")))
    if t.trainer in METHOD_NOTES:
        found.append((f"trl {t.trainer}", METHOD_NOTES[t.trainer]))
    return found


def _refuse_wrong(t: Translation, settings: list[Setting]) -> None:
    """Raise a `UserError` if the recipe refuses a setting; it names the option of TRL that it comes from."""
    try:
        Recipe.parse(as_recipe(settings), t.source)
    except UserError as error:
        sentence = str(error).removeprefix(f"{t.source}: ")
        origin = next((s.why for s in settings if s.key in sentence and s.why), None)
        raise UserError(
            f"{t.source}: {sentence.rstrip('.')}{f' (from {origin})' if origin else ''}."
        ) from None
