"""Store the settings that a recipe leaves open, as chosen before the first step (`choices.json`).

A resumed run keeps them where possible and prints those that change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.models.kernels.libraries import Library


@dataclass(frozen=True, slots=True)
class Choices:
    """Settings of one run that its recipe leaves open."""

    device: str
    """Device of the model: `cpu`, `cuda:0`."""
    processes: int
    """Number of processes of the run."""
    sharded: bool
    """Whether the weights are sharded over the processes (`train.parallel`)."""
    recompute: bool
    """Whether activations are recomputed in the backward (`train.activations`)."""
    eval_every: int
    """Number of steps between evaluations (`train.eval_every`)."""
    dtype: str | None = None
    """Precision of the computation (`model.dtype`); None in runs of earlier versions."""
    base: str | None = None
    """Storage of the frozen weights under adapters (`model.lora.base`); None without adapters."""
    libraries: dict[str, Library] | None = None
    """Library of each kind of matrix product on a CPU (`models.kernels.libraries`); None on other devices."""

    reuse: bool | None = None
    """Whether outputs of linear layers are reused after sampling; None in runs where they cannot be."""

    def write(self, path: Path) -> None:
        """Write the choices to a file."""
        write_state(path, asdict(self))

    def differences(self, earlier: Choices) -> str:
        """Return the changed choices as text, such as `device was cuda:0 and is cpu`; '' if all are equal."""
        known = [f.name for f in fields(self) if getattr(earlier, f.name) is not None]
        changed = [name for name in known if getattr(self, name) != getattr(earlier, name)]
        return ", ".join(
            f"{name} was {getattr(earlier, name)} and is {getattr(self, name)}" for name in changed
        )


def read_choices(path: Path) -> Choices | None:
    """Return the choices in a file; None if there is no file, as in runs of earlier versions.

    Choices that this version does not have are ignored.

    Raises:
        UserError: the file is incomplete or was edited, or lacks choices.
    """
    if not path.is_file():
        return None
    known = {field.name for field in fields(Choices)}
    found = {name: value for name, value in read_state(path).items() if name in known}
    try:
        return Choices(**found)
    except TypeError:
        raise UserError(
            f"{path}: this file lacks settings; restore it, or give another folder with --run."
        ) from None
