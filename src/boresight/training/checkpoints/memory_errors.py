"""Convert "out of memory" into a `UserError` that names settings which need less memory, and how to
resume."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError, memory_error
from boresight.models.load import device_called
from boresight.training.checkpoints.checkpoint import latest_sound
from boresight.training.checkpoints.resume_command import resume_command
from boresight.training.footprint.forward_tokens import forward_tokens


@contextlib.contextmanager
def explain_memory_errors(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Context manager that converts a lack of memory into a `UserError`, in a run that trains into `folder`.

    Other exceptions are not changed.
    """
    try:
        yield
    except Exception as error:
        reason = memory_error(error)
        if reason is None:
            raise
        raise UserError(f"{folder}: {reason}; {_what_next(folder, recipe)}") from error


def _what_next(folder: Path, recipe: Recipe) -> str:
    settings = list(_settings(recipe))
    if not settings:
        return "take a smaller model, or a device with more memory."
    smaller = f"set {' and '.join(settings)}"
    adapters = "" if recipe.model.lora else ", or train adapters in a new run (model.lora={})"
    if not (folder / "config.yaml").is_file():
        return f"{smaller}{adapters}."
    command, sound = resume_command(folder, *settings), latest_sound(folder)
    where = f"{sound} is complete" if sound else "there is no checkpoint yet"
    return f"{smaller}, as in `{command}`, which resumes the run ({where}){adapters}."


def _settings(recipe: Recipe) -> Iterator[str]:
    """Iterate over settings that need less memory than those of the recipe and do not change the results."""
    if recipe.train.activations != "recompute":
        yield "train.activations=recompute"
    tokens = forward_tokens(recipe.train, device_called(recipe.model.device))
    if tokens > 1:
        yield f"train.tokens_per_forward={tokens // 2}"
