"""Send metrics to W&B, TensorBoard or trackio, under the names used by trainers built on transformers.

    train: {trackers: [tensorboard]}

No tracker is on by default, and the run folder contains all metrics in any case. If a tracker fails during
the run, it is switched off and a warning is printed; the run continues.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from boresight.core.errors import UserError, named_first_line
from boresight.core.plugins import is_installed

if TYPE_CHECKING:
    from boresight.config.recipe import Recipe
    from boresight.methods.base import MethodConfig
    from boresight.training.logging.logger import Tracker

PROJECT = "boresight"
"""Project name if WANDB_PROJECT or TRACKIO_PROJECT is not set."""

USUAL_NAMES = {
    "lr": "learning_rate",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "chosen_logratio": "rewards/chosen",
    "rejected_logratio": "rewards/rejected",
    "chosen_logps": "logps/chosen",
    "rejected_logps": "logps/rejected",
    "kl": "kl",
    "reference_point": "kl",
    "zero_variance": "frac_reward_zero_std",
    "sampled_len": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
}
"""Names of metrics in TRL 1.16, by their names here; other metrics keep their name."""

IN_REWARD = ("margin", "chosen_logratio", "rejected_logratio")
"""Metrics that are logged in nats here. In other programs they are rewards, which are beta times as large
(`MethodConfig.reward_scale`)."""


class Service(Protocol):
    """Interface of one experiment tracker."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send the numbers of one step."""
        ...

    def close(self) -> None:
        """Send the remaining data."""
        ...


def usual(split: str, numbers: Mapping[str, float], method: MethodConfig) -> dict[str, float]:
    """Return the numbers under the names of other trainers, prefixed by `train/` or `eval/`.

    Values that are not finite are skipped. Without a `reward_scale`, as for a reward model, margins and
    accuracies keep their own names.

    Args:
        method: the method's settings at this step; their `reward_scale` converts nats into rewards.
    """
    reward_scale = method.reward_scale
    named = {}
    for name, value in numbers.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if reward_scale is None and name in (*IN_REWARD, "accuracy"):
            named[f"{split}/{name}"] = value
            continue
        scale = reward_scale if reward_scale is not None and name in IN_REWARD else 1.0
        named[f"{split}/{USUAL_NAMES.get(name, name)}"] = scale * value
    return named


def refuse_missing_trackers(names: Sequence[str]) -> None:
    """Raise a `UserError` for a tracker whose package is not installed."""
    for name in names:
        if not is_installed(name):
            raise UserError(
                f"train.trackers: {name} is not installed; pip install 'boresight[{name}]', or leave it out."
            )


def connect(tracker: Tracker, recipe: Recipe, folder: Path, steps: int) -> None:
    """Send every line that `tracker` logs to the recipe's trackers as well, until it is closed.

    Raises:
        UserError: a tracker's package is not installed, or a tracker cannot start.
    """
    refuse_missing_trackers(recipe.train.trackers)
    for name in recipe.train.trackers:
        forward = _Forward(name, _started(name, folder, recipe), tracker, recipe, steps)
        tracker.listeners.append(forward)
        tracker.closing.callback(forward.close)


def _started(name: str, folder: Path, recipe: Recipe) -> Service:
    try:
        return SERVICES[name](folder, recipe)
    except Exception as error:  # whatever a third-party client raises
        raise UserError(
            f"train.trackers: {name} cannot start ({named_first_line(error)}); set it up, or leave it out."
        ) from error


class _Forward:
    """Listener that passes lines of metrics to one service, until that fails."""

    def __init__(self, name: str, service: Service, tracker: Tracker, recipe: Recipe, steps: int) -> None:
        self._name, self._service, self._tracker = name, service, tracker
        self._method, self._steps = recipe.method, steps
        self._works = True

    def __call__(self, step: int, split: str, numbers: Mapping[str, float]) -> None:
        """Send one line of metrics, with the arguments of `Tracker.log`."""
        if not self._works:
            return
        try:
            # A step is taken with the settings of its beginning, held-out rows with those of now.
            done = step - 1 if split == "train" else step
            self._service.log(step, usual(split, numbers, self._method.at(done / self._steps)))
        except Exception as error:  # whatever a third-party client raises
            self._fail(error)

    def close(self) -> None:
        """End the service's run."""
        if not self._works:
            with suppress(Exception):
                self._service.close()
            return
        try:
            self._service.close()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._works = False
        self._tracker.say(
            f"{self._name} failed ({named_first_line(error)}) and gets nothing from now on; "
            "the run folder has every number.",
            style="yellow",
        )


class Wandb:
    """Weights & Biases; with `WANDB_MODE=offline` it only writes into the run folder."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=sendable(folder.resolve().name),
            id=_identity(folder),
            resume="allow",
            dir=folder,
            config=sendable(recipe.to_dict()),
            settings=wandb.Settings(silent=True),
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send the numbers of a step; W&B merges the lines of one step."""
        self._run.log(numbers | {"train/global_step": step}, step=step)

    def close(self) -> None:
        """Flush the data and end the W&B run."""
        self._run.finish()


class TensorBoard:
    """TensorBoard event files in `RUN/tensorboard`."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir=str(folder / "tensorboard"))
        self._writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}```")

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Write one scalar per number."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event files."""
        self._writer.close()


class Trackio:
    """trackio, which has W&B's interface and a local database."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=sendable(folder.resolve().name),
            config=sendable(recipe.to_dict()),
            resume="allow",
        )

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Send the numbers of a step."""
        self._trackio.log(numbers | {"train/global_step": step}, step=step)

    def close(self) -> None:
        """Flush the data and end the trackio run."""
        self._trackio.finish()


SERVICES: dict[str, Callable[[Path, Recipe], Service]] = {
    "wandb": Wandb,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
}


def sendable(value: Any) -> Any:
    """Return the value with lone surrogates escaped, since clients encode text as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {sendable(name): sendable(part) for name, part in value.items()}
    return [sendable(part) for part in value] if isinstance(value, list) else value


def _identity(folder: Path) -> str:
    """Return an id that stays the same when the run is resumed.

    A new run in a folder of the same name gets another id.
    """
    made = (folder / "environment.json").read_bytes() if (folder / "environment.json").is_file() else b""
    return hashlib.sha256(os.fsencode(folder.resolve()) + made).hexdigest()[:16]
