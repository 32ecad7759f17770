"""What a recipe leaves open, as a run settled it before its first step: `choices.json` of its folder.

A resumed run takes over what it can, and prints what has changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from boresight.core.files import read_state, write_state
from boresight.models.kernels.libraries import Library


@dataclass(frozen=True, slots=True)
class Choices:
    """Settings of one run that its recipe need not name."""

    device: str
    """Where the model is: `cpu`, `cuda:0`."""
    processes: int
    """Processes that make the run."""
    sharded: bool
    """Whether the weights are spread over them (`train.parallel`)."""
    recompute: bool
    """Whether activations are recomputed in the backward (`train.activations`)."""
    eval_every: int
    """Steps between evaluations (`train.eval_every`)."""
    dtype: str | None = None
    """What the model computes in (`model.dtype`); None in runs of earlier versions."""
    base: str | None = None
    """Storage of the frozen weights under adapters (`model.lora.base`); None without adapters."""
    libraries: dict[str, Library] | None = None
    """Library of each kind of product on a CPU (`models.kernels.libraries`); None on other devices."""

    reuse: bool | None = None
    """Whether outputs of linear layers are reused after sampling; None in runs in which they cannot be."""

    def write(self, path: Path) -> None:
        """Keep them."""
        write_state(path, asdict(self))

    def differences(self, earlier: Choices) -> str:
        """`device was cuda:0 and is cpu`; empty where all are the same."""
        known = [f.name for f in fields(self) if getattr(earlier, f.name) is not None]
        changed = [name for name in known if getattr(self, name) != getattr(earlier, name)]
        return ", ".join(
            f"{name} was {getattr(earlier, name)} and is {getattr(self, name)}" for name in changed
        )


def read_choices(path: Path) -> Choices | None:
    """Choices of the run that has begun; None where there is none, or one of an earlier version.

    Raises:
        UserError: the file is torn or was edited.
    """
    return Choices(**read_state(path)) if path.is_file() else None
