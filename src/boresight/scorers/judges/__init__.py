"""Judges, one file each; the file's name is the judge's name in recipes.

A verifier is a file with one function, as `countdown` is; `Config` and `NAME` are optional:

    score(prompt, answer, config) -> float | Score | None

It works as a reward, and as the judge of win rates and of synthetic data. Any other judge exposes `Config`
and `build(config, completer, console) -> Judge`. Nothing is registered. `base` holds the interfaces;
`endpoint` sends the requests of judges that are behind an API, `heads` weighs the outputs of reward models,
`verdict_rows` reads recorded verdicts.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import cast

from pydantic import BaseModel

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.scorers.judges.base import Judge, JudgeConfig, Verifier

NOT_JUDGES = {"base", "endpoint", "heads", "verdict_rows"}


@dataclass(frozen=True, slots=True)
class JudgeFile:
    """A judge: its name, its settings class, and the function that builds it."""

    name: str
    Config: type[JudgeConfig]
    build: Callable[..., Judge]


def names() -> list[str]:
    """Names of all judges, sorted: the files of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_JUDGES)


def get(name: str) -> JudgeFile:
    """The judge called `name`.

    Raises:
        UserError: no such file; the message suggests the nearest.
    """
    if name not in names():
        raise UserError(f"judge.name: there is no judge {name!r}{nearest(name, names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    if hasattr(module, "build"):
        return JudgeFile(name, module.Config, module.build)
    return JudgeFile(name, _config_of(module), partial(_verifier, module))


def name_of(settings: BaseModel) -> str:
    """The name of the judge with these settings."""
    return type(settings).__module__.rpartition(".")[2]


def _config_of(module: ModuleType) -> type[JudgeConfig]:
    """The file's settings; a class without fields where it has none."""
    own: type[JudgeConfig] | None = getattr(module, "Config", None)
    if own is not None:
        return own
    return cast("type[JudgeConfig]", type("Config", (JudgeConfig,), {"__module__": module.__name__}))


def _verifier(module: ModuleType, config: JudgeConfig, *_: object) -> Verifier:
    """The scorer of a file that holds one function."""
    name = getattr(module, "NAME", name_of(config))
    return Verifier(name.format(**config.model_dump()), partial(module.score, config=config))
