"""The options `--quiet` and `--json` of verbs that have a result, and the first line of output of slow verbs.

A verb prints its progress and returns a `Result`.

--quiet   only warnings and errors on standard error, only the line of the result on standard output
--json    only the result as one JSON object on standard output, everything else on standard error
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from boresight.cli.streams import only_result_on_stdout
from boresight.core.errors import UserError
from boresight.core.version import VERSION

QUIET = Annotated[
    bool, typer.Option("--quiet", help="Print warnings and errors, then the result in one line.")
]
JSON = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON object; everything else goes to stderr."),
]


@dataclass(frozen=True)
class Result:
    """The result of a verb.

    `line` is printed with `--quiet`. `keys` returns the JSON object for `--json`, and is called only for it.
    `code` is the exit code.
    """

    line: str
    keys: Callable[[], Mapping[str, Any]]
    code: int = 0


def with_result(
    *, quiet: bool = True, starts_with: Sequence[str] = (), tables: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Result]], Callable[..., None]]:
    """Return a decorator that adds the options `--quiet` and `--json` to a verb.

    Args:
        quiet: whether to add `--quiet`: the verb prints something that it omits.
        starts_with: names of arguments. The first line of output, which is printed before torch is loaded,
            has the value of the first of them that is given. Without names the decorator prints no such line.
        tables: parameters with which the verb only prints a table and has no result, mapped to their options.
            `--quiet` and `--json` are errors with them.
    """

    def decorate(verb: Callable[..., Result]) -> Callable[..., None]:
        @functools.wraps(verb)
        def run(*, as_json: bool, only_result: bool = False, **given: Any) -> None:
            if as_json or only_result:
                _refuse_tables(given, tables or {}, "--json" if as_json else "--quiet")
            with ExitStack() as stack:
                if as_json:
                    stack.enter_context(only_result_on_stdout())
                if only_result:
                    stack.enter_context(_showing_only_warnings())
                if starts_with:
                    print_start(verb.__name__, next((given[name] for name in starts_with if given[name]), ""))
                result, text = verb(**given), None
                if is_first_process():
                    text = json_text(result.keys()) if as_json else result.line if only_result else None
            if text is not None:
                sys.stdout.write(f"{text}\n")
            if result.code:
                raise typer.Exit(result.code)

        options = {"only_result": QUIET, "as_json": JSON} if quiet else {"as_json": JSON}
        _add_options(run, verb, options)
        return run

    return decorate


def _add_options(run: Callable[..., None], verb: Callable[..., Result], options: Mapping[str, Any]) -> None:
    """Give `run` the signature of `verb`, from which Typer makes options, and add flags."""
    hints = typing.get_type_hints(verb, include_extras=True)
    own = inspect.signature(verb).parameters.values()
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=hint)
        for name, hint in options.items()
    ]
    parameters = [*(p.replace(annotation=hints[p.name]) for p in own), *flags]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}


def _refuse_tables(given: Mapping[str, Any], tables: Mapping[str, str], flag: str) -> None:
    for name, option in tables.items():
        if given[name]:
            raise UserError(f"{flag}: {option} prints a table and has no result; leave one of the two out.")


def _showing_only_warnings() -> AbstractContextManager[None]:
    from boresight.core.console import showing_only_warnings

    return showing_only_warnings()


def print_start(verb: str, *subjects: object) -> None:
    """Print the first line of a command, before libraries are imported, which takes seconds."""
    from boresight.core.console import Terminal

    if is_first_process():
        line = " ".join(map(str, (f"boresight {VERSION}:", verb, *subjects)))
        Terminal(soft_wrap=True).print(line, style="dim", highlight=False)
        sys.stdout.flush()


def is_first_process() -> bool:
    """Whether this is the only process, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def json_text(keys: Mapping[str, Any]) -> str:
    """Return the object as JSON on one line; a number that is not finite becomes null.

    The text is ASCII, because standard output replaces control characters and those that its encoding lacks.
    """
    return json.dumps(_plain(keys), allow_nan=False)


def _plain(value: Any) -> Any:
    """Convert a value to types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return [_plain(inner) for inner in value]
    raise TypeError(f"no JSON for {type(value).__name__}")
