"""State of the translation of a TRL config: its values, the settings so far, and the outcome for options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from boresight.config.section import shortened
from boresight.conversion.trl_options import OptionGroup, TrlField, other_fields, renamed_options, trl_fields
from boresight.conversion.trl_values import read_numbers, read_typed
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.runs.init.choices import Setting


@dataclass(frozen=True, slots=True)
class Remark:
    """The outcome for an option at its value: a group, and a text for the user."""

    group: OptionGroup
    text: str


@dataclass
class Translation:
    """State of the translation of one config. Options are identified by their names in TRL 1.16.

    Attributes:
        source: name of the config, for errors.
        trainer: name of the trainer, such as `dpo`.
        values: values of all options of the trainer; TRL's defaults for options that the file does not set.
        given: for every option that the file sets, its name in the file, which may be an earlier one.
        rows: number of training rows; None if unknown.
        processes: number of processes of the run with TRL.
        settings: settings of the recipe so far, by dotted key.
        remarks: outcomes that replace those of the table in `trl_options.yaml`, by option.
    """

    source: str
    trainer: str
    values: dict[str, Any]
    given: dict[str, str]
    rows: int | None = None
    processes: int = 1
    settings: dict[str, Setting] = field(default_factory=dict)
    remarks: dict[str, Remark] = field(default_factory=dict)
    became: dict[str, list[Setting]] = field(default_factory=dict)
    """Settings that were derived from each option."""
    to_set: dict[str, str] = field(default_factory=dict)
    """Settings that the config lacks and the user must fill in, each with a description of the value."""

    def __getitem__(self, option: str) -> Any:
        """Return the value of an option; None if the trainer does not have it."""
        return self.values.get(option)

    def has(self, *options: str) -> bool:
        """Whether the file sets at least one of the options."""
        return any(option in self.given for option in options)

    def put(self, key: str, value: Any, *options: str, why: str = "") -> None:
        """Set a value of the recipe.

        Args:
            key: dotted key of the setting.
            options: options of TRL that the value was derived from; the comment in the recipe names them.
            why: further text of the comment.
        """
        named = [self.given[option] for option in options if option in self.given]
        origin = ", ".join(named) or ("TRL's default" if options else "")
        setting = Setting(key, value, f"{origin}: {why}" if origin and why else origin or why)
        self.settings[key] = setting
        for option in options:
            self.became.setdefault(option, []).append(setting)

    def leave_open(self, key: str, value: Any, what: str) -> None:
        """Set a placeholder that the user must replace; `what` describes the required value."""
        self.settings[key] = Setting(key, value, f"not in the config: {what}")
        self.to_set[key] = what

    def remark(self, option: str, group: OptionGroup, text: str) -> None:
        """Set the outcome for an option at its value in this file; it replaces that in `trl_options.yaml`."""
        self.remarks[option] = Remark(group, text)

    def exact(self, *options: str) -> None:
        """Mark options as translated exactly at their values in this file, whatever the table's outcome."""
        for option in options:
            self.remark(option, "same", "")

    def refuse(self, option: str, problem: str) -> UserError:
        """Return the error for a value that has no equivalent in a recipe; the caller raises it."""
        name = self.given.get(option, option)
        return UserError(f"{self.source}: {name} is {shortened(self[option])}: {problem}.")

    def numbers(self, option: str) -> list[float]:
        """Return the numbers of an option that takes one or several. Raises `UserError` for other values."""
        try:
            return read_numbers(self[option])
        except (TypeError, ValueError, OverflowError):
            raise self.refuse(option, "numbers are wanted") from None

    @property
    def batch(self) -> int:
        """Number of rows per optimizer step, over all processes: pairs, demonstrations, or completions."""
        return int(self["per_device_train_batch_size"] * self["gradient_accumulation_steps"] * self.processes)

    def steps(self, batch: int, updates: int = 1) -> int | None:
        """Return the number of optimizer steps of the run; None if it depends on an unknown number of rows.

        Args:
            batch: number of rows or prompts per step.
            updates: number of steps for each batch.
        """
        if self["max_steps"] > 0:
            return int(self["max_steps"])
        if self.rows is None:
            return None
        return math.ceil(self["num_train_epochs"] * self.rows / batch) * updates


COUNTS = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_processes",
    "num_generations",
    "num_iterations",
    "generation_batch_size",
    "steps_per_generation",
)
"""Options that are counts and must be at least 1."""


def begin(raw: Mapping[str, Any], trainer: str, source: str, rows: int | None) -> Translation:
    """Start the translation of a file: convert its options to the types that TRL declares.

    Raises:
        UserError: a value of a wrong type, or a count below 1.
    """
    fields = other_fields() | trl_fields()[trainer]
    values = {name: _default(known) for name, known in fields.items()}
    given = {option: name for option, name in counting_names(raw).items() if option in fields}
    for option, name in given.items():
        values[option] = _typed(raw[name], fields[option], name, source)
    translation = Translation(source, trainer, values, given, rows)
    for option in COUNTS:
        if values.get(option) is not None and values[option] < 1:
            raise translation.refuse(option, "must be at least 1")
    return translation


def counting_names(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the current names of the options in a file, each with the name in the file whose value is used.

    A file may contain an option under both its current and its earlier name. The value under the earlier name
    is used if that under the current name is null or a default of TRL. Arguments saved by earlier versions,
    for example, contain both `warmup_ratio` and `warmup_steps`.
    """
    old = {new: name for name, new in renamed_options().items() if raw.get(name) is not None}
    names = {name: name for name in raw if name not in renamed_options()}
    for option, name in old.items():
        if option not in names or raw[option] in (None, *_defaults(option)):
            names[option] = name
    return names


def _defaults(option: str) -> list[Any]:
    """Return TRL's defaults of an option in all trainers."""
    return [fields[option].default for fields in trl_fields().values() if option in fields]


def _default(known: TrlField) -> Any:
    """Return TRL's default of an option, converted to its type as the values of a file are."""
    return None if known.default is None else read_typed(known.default, known.types)


def _typed(value: object, known: TrlField, name: str, source: str) -> Any:
    if value == [] and not known.types & {"list", "dict"}:  # as transformers 4 writes `fsdp` and `debug`
        return _default(known)
    try:
        return read_typed(value, known.types)
    except ValueError as error:
        raise UserError(f"{source}: {name} is {shortened(value)}: {error}.") from None


SHOWN = 5
"""Maximum number of names that an error lists."""


def find_trainer(raw: Mapping[str, Any], source: str) -> str:
    """Return the name of the trainer whose config has all options of the file and its `loss_type`.

    Raises:
        UserError: no trainer or several trainers have them, or most names are not options of TRL.
    """
    trainers = trl_fields()
    known = {name for fields in trainers.values() for name in fields}
    other = [name for name in raw if name not in known | other_fields().keys() | renamed_options().keys()]
    if 2 * len(other) > len(raw):
        raise UserError(
            f"{source}: is no config of TRL 1.16, which has no option {', '.join(other[:SHOWN])}"
            f"{', …' if len(other) > SHOWN else ''}; configs of other programs are not read."
        )
    options = counting_names(raw).keys() & known
    fitting = [name for name, fields in trainers.items() if options <= fields.keys() and _has_loss(name, raw)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UserError(
            f"{source}: no trainer of TRL 1.16 has all of its options; name the one that it is for with "
            f"--method, such as --method dpo."
        )
    raise UserError(
        f"{source}: its options fit {', '.join(fitting[:-1])} and {fitting[-1]}; name the trainer with "
        f"--method, such as --method {fitting[0]}."
    )


def refuse_unknown_trainer(name: str) -> None:
    """Raise a `UserError` if `name` is not a trainer of TRL that can be translated."""
    if name not in trl_fields():
        raise UserError(
            f"--method: TRL has no trainer {name!r} that has a counterpart{nearest(name, trl_fields())}."
        )


LOSSES = {
    "sft": ("nll", "dft", "chunked_nll"),
    "dpo": ("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
            "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
    "kto": ("kto", "apo_zero_unpaired"),
    "cpo": ("sigmoid", "hinge", "ipo", "simpo", "alphapo"),
    "grpo": ("grpo", "dapo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo"),
    "online_dpo": ("sigmoid", "ipo"),
    "xpo": ("sigmoid", "ipo"),
}  # fmt: skip
"""Possible values of `loss_type`, by trainer."""


def _has_loss(trainer: str, raw: Mapping[str, Any]) -> bool:
    if "loss_type" not in raw:
        return True
    losses = raw["loss_type"] if isinstance(raw["loss_type"], list) else [raw["loss_type"]]
    return all(loss in LOSSES.get(trainer, ()) for loss in losses)
