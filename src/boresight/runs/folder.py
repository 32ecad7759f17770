"""Folders of runs, evaluations, sweeps and studies, each with the resolved recipe that it was begun with.

folder = RunFolder(Path("runs/mine"), noun="evaluation", section="systems")
folder.open(recipe.to_dict())        # begins or continues; raises UserError for any other recipe
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from boresight.config.base import BaseRecipe
from boresight.config.dotted import as_yaml, differences
from boresight.config.recipe_files import recipe_stem
from boresight.config.yaml_text import read_yaml
from boresight.core.errors import UserError
from boresight.core.files import create_text, write_json
from boresight.core.lock import FileLock

LONGEST_VALUES = 80
"""Maximum number of characters that an error spends on two differing values; longer values are omitted."""


def default_folder(recipe_path: Path) -> Path:
    """Return the path of a new folder under `runs/`, named after the recipe and the time."""
    return Path("runs") / f"{recipe_stem(recipe_path)}-{time.strftime('%Y%m%d-%H%M%S')}"


def recipe_to_resume(run: Path, other: Path | None) -> Path:
    """Return the path of the recipe in a run folder, to resume the run.

    Args:
        run: the run folder.
        other: folder that the command names by `--run`; None without the option.

    Raises:
        UserError: there is no recipe in the folder, or `other` is given.
    """
    if other is not None:
        raise UserError(f"{run}: a run is resumed in its own folder; leave --run out.")
    recipe = run / "config.yaml"
    if not recipe.is_file():
        raise UserError(f"{run}: no run to resume (it has no config.yaml); give a recipe or a run folder.")
    return recipe


class RunFolder:
    """The folder of one run, evaluation, sweep or study.

    Args:
        path: the folder, which need not exist.
        noun: name of what the folder holds, for messages.
        section: a section that only recipes of this kind have.
        recipe_name: name of the file with the resolved recipe.
    """

    def __init__(self, path: Path, noun: str, section: str, recipe_name: str = "config.yaml") -> None:
        self.path, self.noun, self._section = path, noun, section
        self.recipe_file = path / recipe_name

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Begin a run in the folder with a resolved recipe, or continue one with the same recipe.

        Raises:
            UserError: the folder holds something else, or a run with another recipe.
        """
        self.refuse_foreign()
        if self.recipe() is None:
            self.begin(recipe)
        self.refuse_other(recipe)
        self.write_environment()

    def recipe(self) -> dict[str, Any] | None:
        """Read the resolved recipe in the folder.

        Returns an empty dictionary if the file cannot be parsed, and None if there is no recipe of this kind.
        """
        if not self.recipe_file.is_file():
            return None
        try:
            found = read_yaml(self.recipe_file.read_text(encoding="utf-8"), str(self.recipe_file)) or {}
        except (UserError, UnicodeDecodeError):
            return {}
        own = isinstance(found, dict) and (not found or self._section in found)
        return found if own else None

    def refuse_foreign(self) -> None:
        """Raise a `UserError` if the folder contains something else than a `noun`, or cannot be written.

        Hidden files are ignored: another process may be writing one.
        """
        occupied = (not self.path.is_dir() and os.path.lexists(self.path)) or (
            self.path.is_dir() and any(not file.name.startswith(".") for file in self.path.iterdir())
        )
        if occupied and self.recipe() is None:
            name = self.recipe_file.name
            why = f"its {name} is of something else" if self.recipe_file.is_file() else f"it has no {name}"
            restore = "" if self.recipe_file.is_file() else "restore that file, or "
            raise UserError(
                f"{self.path}: exists but holds no {self.noun}, {why}; {restore}give another folder with "
                "--run."
            )
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):  # before anything is computed
            raise UserError(
                f"{self.path}: no permission to write to {there}; change it, or give another folder with "
                "--run."
            )

    def refuse_other(self, recipe: Mapping[str, Any]) -> None:
        """Raise a `UserError` that names the differences if the folder was begun with another recipe."""
        begun = self.recipe()
        if begun == {}:
            raise UserError(
                f"{self.recipe_file}: holds no recipe; put it back, or give another folder with --run."
            )
        self._refuse_differences("recipe", begun or {}, recipe)

    def begin(self, recipe: Mapping[str, Any]) -> None:
        """Create the folder with a resolved recipe. Raises `UserError` if another process has created it
        in the meantime."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not create_text(self.recipe_file, as_yaml(recipe)):
            raise UserError(
                f"{self.path}: another {self.noun} has begun there; give another folder with --run."
            )

    def write_environment(self, device: str | None = None) -> None:
        """Write versions, machine and commit to `environment.json`; `device` is as in `model.device`."""
        from boresight.runs.environment import environment

        write_json(self.path / "environment.json", environment(device))

    def _refuse_differences(self, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        differing = sorted(_difference(key, *values) for key, values in differences(old, new).items())
        if differing:
            raise UserError(
                f"{self.path}: cannot resume the {self.noun} there, the {what} differs in "
                f"{', '.join(differing[:4])}; put it back, or give another folder with --run."
            )


class LockedFolder(RunFolder):
    """A run folder that one process at a time can lock. As a context manager, it releases the lock on exit.

    Args:
        recipe_class: class that parses the recipe in the folder.
        work: what the process that has the lock does, such as `training`; another process names it in its
            error.
    """

    def __init__(
        self, path: Path, noun: str, section: str, recipe_class: type[BaseRecipe], work: str
    ) -> None:
        super().__init__(path, noun, section)
        self._recipe_class, self._work = recipe_class, work
        self._lock = FileLock(self.recipe_file, optional=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._lock.release()

    def recipe(self) -> dict[str, Any] | None:
        """Read the resolved recipe in the folder, with defaults for settings that its version did not have.

        Returns an empty dictionary if the file cannot be parsed, and None if there is no recipe of this kind.
        """
        found = super().recipe()
        return self._recipe_class.completed(found) if found else found

    def lock(self) -> None:
        """Lock the folder; does nothing if this object holds the lock. Raises `UserError` if another
        process has it."""
        if not self._lock.acquire():
            raise UserError(
                f"{self.path}: another process is {self._work} here; wait for it, or give another folder "
                "with --run."
            )


def _difference(key: str, old: object, new: object) -> str:
    """Describe a difference, such as `optim.lr (0.01 there, 0.02 here)`; long values are omitted."""
    values = f" ({_quoted(old)} there, {_quoted(new)} here)"
    return key + values if len(values) <= LONGEST_VALUES else key


def _quoted(value: object) -> str:
    return "null" if value is None else str(value)
