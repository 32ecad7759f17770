"""Two conventions for calling a reward function, chosen by its signature.

    def own(prompts, completions, rows, scale=1.0): ...       # three lists, by position
    def trl(prompts, completions, answer, **kwargs): ...      # TRL's: everything by name, columns as lists

The first convention passes conversations, texts, and the other columns of each row as a mapping. The second
passes TRL's arguments: prompts and completions are strings if the data have the prompt as text, else lists of
messages; a column that a row lacks is None.

A function is called as TRL calls it if it takes `**kwargs`, has a parameter that only TRL passes (such as
`completion_ids`), or cannot take three lists by position; but never if it has a parameter `rows`. Functions
of both conventions may be `async`, and get the `options` of the recipe as keyword arguments.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

from pydantic import BaseModel, create_model

from boresight.config.section import Section, validate
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading import names
from boresight.llm.event_loop import EventLoop

RewardCallable = Callable[..., Any]
"""A reward function of either convention."""

IDS, STATE = "completion_ids", "trainer_state"
LOGS = ("log_extra", "log_metric")
"""TRL's arguments for logging from a reward function. They are accepted, and calls to them have no effect."""
GIVEN = ("prompts", "completions", IDS, *LOGS)
ALIASES = tuple(name for name in names.COMPLETION if name != "completion")
"""Columns that are read as the answer of a row. TRL passes no column `completion` to a function."""
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class RewardBatch:
    """Completions to score: `completions[i]` answers `prompts[i]`.

    `ids[i]` are the token ids of `completions[i]`; `ids` is None if they are not known.
    """

    prompts: Sequence[Prompt]
    completions: Sequence[str]
    ids: Sequence[Sequence[int]] | None = None

    def only(self, i: int) -> RewardBatch:
        """Return a batch of the completion `i` alone."""
        return RewardBatch(
            [self.prompts[i]], [self.completions[i]], None if self.ids is None else [self.ids[i]]
        )


@dataclass(frozen=True)
class BoundReward(ABC):
    """A reward function with its options, ready to be called."""

    function: RewardCallable
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = "function"

    def __call__(self, batch: RewardBatch) -> list[Any]:
        """Call the function for a batch and return its result as a list.

        The function receives copies: if it changes its arguments, neither the next function nor another
        completion of the same prompt is affected.

        Raises:
            UserError: the function returned a mapping, a set or a text, which do not contain rewards in
                order.
        """
        returned = self._call(_copied(batch))
        if inspect.isawaitable(returned):
            with EventLoop() as loop:
                returned = loop.run(_result(returned))
        if isinstance(returned, Mapping | Set | str | bytes):
            kind = type(returned).__name__
            raise UserError(f"reward {self.name}: returned a {kind}; return a list with one reward for each.")
        return list(returned)

    @abstractmethod
    def _call(self, batch: RewardBatch) -> Any: ...

    def lacking(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the required columns that no row has."""
        return []


class OwnReward(BoundReward):
    """A reward function of the first convention, with the parameters `prompts`, `completions` and `rows`."""

    def _call(self, batch: RewardBatch) -> Any:
        prompts, rows = [p.prompt for p in batch.prompts], [p.meta for p in batch.prompts]
        return self.function(prompts, batch.completions, rows, **self.options)


class TrlReward(BoundReward):
    """A reward function of the second convention, which is called as TRL calls it."""

    def _call(self, batch: RewardBatch) -> Any:
        given = self._columns(batch.prompts) | _as_trl_gives(batch)
        signature = inspect.signature(self.function)
        if not _takes_any(signature):
            given = {name: value for name, value in given.items() if name in signature.parameters}
        return self.function(**{**given, **self.options})

    def _columns(self, prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
        asked = [*_column_parameters(self.function), *ALIASES, *(key for p in prompts for key in p.meta)]
        required = _column_parameters(self.function, required=True)
        columns = {name: [_cell(p, name) for p in prompts] for name in dict.fromkeys(asked)}
        return {
            name: cells
            for name, cells in columns.items()
            if name in required or any(cell is not None for cell in cells)
        }

    def lacking(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return the required parameters that are neither an option nor a column of any row."""
        required = [n for n in _column_parameters(self.function, required=True) if n not in self.options]
        return [name for name in required if all(_cell(p, name) is None for p in prompts)]


def bind_reward(function: RewardCallable, name: str, options: Mapping[str, Any]) -> BoundReward:
    """Bind options to a reward function, by the convention that its signature indicates.

    Raises:
        UserError: the function is a class, its signature fits neither convention or both, or an option is not
            one of its parameters.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions of compiled modules have no signature
        signature = inspect.Signature([inspect.Parameter("rows", inspect.Parameter.VAR_POSITIONAL)])
    if inspect.isclass(function):
        raise UserError(f"reward {name}: is a class; name a function, or an instance that can be called.")
    if _is_trl(signature):
        return TrlReward(function, _trl_options(signature, name, options), name)
    _refuse_unclear(signature, name)
    checked = validate(options_model(function), dict(options), f"reward {name}", "options")
    return OwnReward(function, {option: getattr(checked, option) for option in options}, name)


def options_model(function: RewardCallable) -> type[BaseModel]:
    """Return a settings class with the options of a function of the first convention.

    The options are its parameters after the third.
    """
    parameters = _options(inspect.signature(function))
    try:
        hints = get_type_hints(function, include_extras=True)
        return _section(parameters, hints)
    except Exception:  # a user's annotation that cannot be evaluated, or that pydantic does not support
        return _section(parameters, {})


def _section(parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default) for p in parameters
    }
    return create_model("Options", __base__=Section, **fields)


def _options(signature: inspect.Signature) -> list[inspect.Parameter]:
    parameters = list(signature.parameters.values())
    before = len([p for p in parameters if p.kind in POSITIONAL][:3])
    own = ("_", "model_config")  # `_cache={}` is not an option, and no field can have these names
    return [p for p in parameters[before:] if p.kind in NAMED and not p.name.startswith(own)]


def _is_trl(signature: inspect.Signature) -> bool:
    parameters = signature.parameters
    if "rows" in parameters:
        return False
    from_trl = any(name in parameters for name in (IDS, STATE, *LOGS))
    return from_trl or _takes_any(signature) or not _takes_three(signature)


def _takes_three(signature: inspect.Signature) -> bool:
    try:
        signature.bind((), (), (), **{p.name: None for p in _options(signature)})
    except TypeError:
        return False
    return True


def _refuse_unclear(signature: inspect.Signature, name: str) -> None:
    """Raise a `UserError` if the third parameter looks like a column that TRL would pass, not like the rows.

    Also raised if the function cannot be called with three lists.
    """
    if not _takes_three(signature):
        raise UserError(f"reward {name}: takes {signature}; write it as (prompts, completions, rows).")
    places = [p.name for p in signature.parameters.values() if p.kind in POSITIONAL][:3]
    if (
        places[:2] == ["prompts", "completions"]
        and len(places) == 3
        and places[2].strip("_") not in ("rows", "")
    ):
        raise UserError(
            f"reward {name}: its third parameter is called {places[2]}; call it rows to be given the rows, "
            f"or add **kwargs to be given the column {places[2]} as TRL gives it."
        )


def _trl_options(signature: inspect.Signature, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = signature.parameters
    state = parameters.get(STATE)
    if state is not None and state.default is state.empty and state.kind in NAMED and STATE not in options:
        raise UserError(
            f"reward {name}: asks for {STATE}, which only TRL has; give the parameter the default None."
        )
    known = [n for n, p in parameters.items() if p.kind in NAMED and n not in GIVEN]
    for option in options:
        if option not in known:
            raise UserError(
                f"reward {name}: unknown key options.{option}{nearest(option, known, 'options')}."
            )
    return dict(options)


def _column_parameters(function: RewardCallable, required: bool = False) -> list[str]:
    """Return the parameters that name a column; with `required`, only those without a default."""
    parameters = inspect.signature(function).parameters.values()
    columns = [p for p in parameters if p.kind in NAMED and p.name not in (*GIVEN, STATE)]
    return [p.name for p in columns if not required or p.default is p.empty]


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())


def _cell(prompt: Prompt, column: str) -> Any:
    """Return the value of a column in a row; None if the row lacks it.

    The readers store the reference answer as `answer`, so that column is used for a missing one of `ALIASES`.
    """
    if column not in prompt.meta and column in ALIASES:
        return prompt.meta.get(names.GOLD)
    return prompt.meta.get(column)


def _as_trl_gives(batch: RewardBatch) -> dict[str, Any]:
    given: dict[str, Any] = {
        "prompts": [p.prompt[-1]["content"] if p.as_text and p.prompt else p.prompt for p in batch.prompts],
        "completions": [
            text if prompt.as_text else [{"role": "assistant", "content": text}]
            for prompt, text in zip(batch.prompts, batch.completions, strict=True)
        ],
        **dict.fromkeys(LOGS, _dropped),
    }
    return given if batch.ids is None else given | {IDS: [list(ids) for ids in batch.ids]}


def _copied(batch: RewardBatch) -> RewardBatch:
    prompts = [
        replace(prompt, prompt=copy.deepcopy(prompt.prompt), meta=copy.deepcopy(prompt.meta))
        for prompt in batch.prompts
    ]
    return RewardBatch(prompts, list(batch.completions), batch.ids)


def _dropped(*args: object, **kwargs: object) -> None:
    """Do nothing; passed in place of TRL's logging functions."""


async def _result(returned: Any) -> Any:
    return await returned
