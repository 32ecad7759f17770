"""Report usage errors in one sentence: an unknown option, a wrong value, a missing argument or verb.

Typer itself prints a usage line, a hint and a box of several lines.
"""

from __future__ import annotations

import difflib
import inspect
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from typer.core import TyperGroup

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted

WRONG_VALUES = {
    "greater_than_equal": "{value} is not at least {ge:g}",
    "less_than_equal": "{value} is not at most {le:g}",
    "int_parsing": "{value!r} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "float_parsing": "{value!r} is not a number",
}
"""Formats of sentences by pydantic's type of error."""
MISSPELLED = 0.75
"""Minimum similarity to a known option at which an unknown option counts as a misspelling of it."""
SHOWN = 3
"""Maximum number of settings of the same name that a sentence lists."""


class VerbGroup(TyperGroup):
    """A group of verbs whose errors are one sentence each, and whose help has whole paragraphs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for verb in self.commands.values():
            verb.help = in_paragraphs(verb.help)

    def main(self, *given: Any, **settings: Any) -> Any:
        """Run a command line, with the arguments of `TyperGroup.main`.

        Raises:
            UserError: a usage error.
            SystemExit: at the end, unless `standalone_mode` is False.
        """
        args, *others = given or (settings.pop("args", None),)
        arguments = list(sys.argv[1:] if args is None else args)
        standalone = settings.get("standalone_mode", True)
        settings["standalone_mode"] = False
        try:
            code = super().main(arguments, *others, **settings)
        except Exception as error:
            # A usage error of Typer, or in its older versions of click, has a message and an exit code.
            if not hasattr(error, "format_message"):
                raise
            raise UserError(usage_sentence(error, _called(self, arguments), arguments)) from None
        if not standalone:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Raises `Interrupted` for a `KeyboardInterrupt`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted.") from None


def in_paragraphs(text: str | None) -> str | None:
    """Return a docstring with each paragraph on one line.

    Typer itself keeps the line breaks of all paragraphs but the first.
    """
    if text is None:
        return None
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


class Called(NamedTuple):
    """The verb that a command line names, or the group of verbs at which its words end.

    `words` are the words up to there; `unknown` is the next word if it is no verb of the group.
    """

    command: Any
    words: tuple[str, ...]
    unknown: str | None = None

    @property
    def is_group(self) -> bool:
        """Whether the words end at a group, so that a verb is missing."""
        return hasattr(self.command, "commands")

    @property
    def path(self) -> str:
        """The words as a command, such as `boresight data check`."""
        return " ".join(("boresight", *self.words))

    @property
    def options(self) -> list[str]:
        """Names of all options of the verb or group."""
        return [name for p in self.command.params if p.param_type_name == "option" for name in p.opts]


def _called(group: Any, arguments: Sequence[str]) -> Called:
    """Return the verb that the first words of a command line name."""
    found = Called(group, ())
    for word in arguments:
        if not found.is_group:
            break
        if word.startswith("-"):
            continue
        if word not in found.command.commands:
            return found._replace(unknown=word)
        found = Called(found.command.commands[word], (*found.words, word))
    return found


def usage_sentence(error: Any, called: Called, arguments: Sequence[str]) -> str:
    """Return a sentence on what is wrong with a command line, and which command prints the correct usage."""
    see = f"see `{called.path} --help`"
    option: str | None = getattr(error, "option_name", None)
    if option is not None and "such option" in str(error.message):
        return _no_such_option(option, called, arguments)
    if called.unknown is not None:
        return f"{called.unknown}: there is no such verb{nearest(called.unknown, called.command.commands)}."
    if called.is_group and option is None:
        return f"a verb is missing; `{called.path} --help` lists them."
    if option is not None:
        what = str(error.message).removeprefix(f"Option {option!r} ").rstrip(".")
        return f"{option}: {what}; {see}."
    parameter = getattr(error, "param", None)
    if parameter is None:
        if (instead := _setting_as_option(called, arguments)) is not None:
            return instead
        words = str(error.message).rstrip(".")
        return f"{' '.join(called.words)}: {words[:1].lower()}{words[1:]}; {see}."
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing; {see}."
    return f"{name}: {_wrong_value(error)}; {see}."


def _wrong_value(error: Any) -> str:
    """Return what is wrong with the value of an option or argument."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        first = cause.errors()[0]
        if (sentence := WRONG_VALUES.get(first["type"])) is not None:
            return sentence.format(value=first["input"], **first.get("ctx", {}))
    return " ".join(str(error.message).removeprefix("Value error, ").split()).rstrip(".")


def _no_such_option(option: str, called: Called, arguments: Sequence[str]) -> str:
    """Return the sentence for an unknown option.

    If a setting of the recipe has this name, as options of other trainers often do, the sentence has the
    argument to write instead; else a similar option.
    """
    misspelled = difflib.get_close_matches(option, called.options, n=1, cutoff=MISSPELLED)
    if not misspelled and (settings := list(_settings_called(option.removeprefix("--"), called))):
        value = _value_of(option, arguments)
        shown = " or ".join(f"{setting}={value}" for setting in settings[:SHOWN])
        return f"{option}: settings are written without dashes, as in {shown}."
    known = nearest(option, called.options) if called.options else f"; see `{called.path} --help`"
    return f"{option}: `{called.path}` has no such option{known}."


def _setting_as_option(called: Called, arguments: Sequence[str]) -> str | None:
    """Return the sentence for a setting of a recipe, such as `data.layout=…`, that the verb has as an option.

    None if no argument is one.
    """
    for argument in arguments:
        setting, equals, value = argument.partition("=")
        option = f"--{setting.removeprefix('data.').replace('_', '-')}"
        if equals and setting.startswith("data.") and option in called.options:
            return f"{setting}: `{called.path}` takes this as an option: {option} {shlex.quote(value)}."
    return None


def _value_of(option: str, arguments: Sequence[str]) -> str:
    """Return the value that follows an option on the command line; `…` if there is none."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            after = [a for a in arguments[place + 1 : place + 2] if not a.startswith("--")]
            return value if equals else " ".join(after) or "…"
    return "…"


def _settings_called(name: str, called: Called) -> Iterator[str]:
    """Yield the settings of this name in the recipe of a verb, such as `optim.lr` for `lr`.

    A name with a section is returned as it is. A verb that takes no changes to a recipe has no settings.
    """
    if not any(parameter.name == "overrides" for parameter in called.command.params):
        return
    if "." in name:
        yield name
        return
    from boresight.cli.recipe_help import setting_names

    wanted = name.replace("-", "_")
    yield from _matching(wanted, setting_names(called.words[-1]))


def _matching(wanted: str, settings: Iterable[str]) -> list[str]:
    """Return the settings whose last part is the wanted name.

    If there are none, return those whose full name is `wanted` with underscores for dots (`optim_lr`), and
    the setting `name` of the section `wanted` (`model.name` for `model`).
    """
    known = list(dict.fromkeys(settings))
    last = [setting for setting in known if setting.rpartition(".")[2] == wanted]
    return last or [s for s in known if s.replace(".", "_") == wanted or s == f"{wanted}.name"]
