"""Judges, one per file; the name of the file is the name of the judge in recipes.

A verifier is a file with one function, as in `countdown`; `Config` and `NAME` are optional:

    score(prompt, answer, config) -> float | Score | None

A verifier can be used as a reward, and as the judge of win rates and of synthetic data. The file of any other
judge defines `Config` and `build(config, completer, console) -> Judge`. There is no registry: every file in
this folder is a judge, except `base` (the interfaces), `endpoint` (requests of judges behind an API), `heads`
(weights for the outputs of reward models) and `verdict_rows` (recorded verdicts).
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
    """Return the names of all judges, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in NOT_JUDGES)


def get(name: str) -> JudgeFile:
    """Return the judge called `name`.

    Raises:
        UserError: there is no such judge; the message suggests the most similar name.
    """
    if name not in names():
        raise UserError(f"judge.name: there is no judge {name!r}{nearest(name, names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    if hasattr(module, "build"):
        return JudgeFile(name, module.Config, module.build)
    return JudgeFile(name, _config_of(module), partial(_verifier, module))


def name_of(settings: BaseModel) -> str:
    """Return the name of the judge that these settings are for."""
    return type(settings).__module__.rpartition(".")[2]


def _config_of(module: ModuleType) -> type[JudgeConfig]:
    """Return the settings class of a judge's file; a class without fields if it defines none."""
    own: type[JudgeConfig] | None = getattr(module, "Config", None)
    if own is not None:
        return own
    return cast("type[JudgeConfig]", type("Config", (JudgeConfig,), {"__module__": module.__name__}))


def _verifier(module: ModuleType, config: JudgeConfig, *_: object) -> Verifier:
    """Build a scorer from the function `score` of a verifier's file."""
    name = getattr(module, "NAME", name_of(config))
    return Verifier(name.format(**config.model_dump()), partial(module.score, config=config))
