"""Compute the number of processes of a run with TRL, and the number of rows per optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boresight.config.section import shortened
from boresight.conversion.translation import Translation
from boresight.conversion.trl_file import read_accelerate_file
from boresight.conversion.trl_values import read_typed
from boresight.core.errors import UserError
from boresight.core.wording import plural


@dataclass(frozen=True, slots=True)
class Launch:
    """The processes that a config of accelerate starts.

    Attributes:
        kind: `distributed_type` of the config.
        processes: number of processes; None if the config does not contain it.
    """

    kind: str
    processes: int | None

    @property
    def alone(self) -> bool:
        """Whether accelerate starts a single process, whatever `num_processes` is."""
        return self.kind == "NO"

    @property
    def sharded(self) -> bool:
        """Whether training is sharded over the processes, by FSDP or DeepSpeed."""
        return self.kind in ("FSDP", "DEEPSPEED")


SHIPPED = {
    "single_gpu": Launch("NO", 1),
    "multi_gpu": Launch("MULTI_GPU", 8),
    **dict.fromkeys(("fsdp1", "fsdp2"), Launch("FSDP", 8)),
    **dict.fromkeys(("zero1", "zero2", "zero3"), Launch("DEEPSPEED", 8)),
}
"""Configs of accelerate that come with TRL, by name."""


def read_launch(path: Path) -> Launch:
    """Read from a config file of accelerate which processes it starts.

    Raises:
        UserError: the file cannot be read, or `num_processes` is not a positive whole number.
    """
    config = read_accelerate_file(path)
    kind, count = str(config.get("distributed_type")), config.get("num_processes")
    if kind in ("NO", "False"):  # YAML takes an unquoted NO for false
        return Launch("NO", 1)
    if count in (None, -1):  # accelerate requires it on its command line then
        return Launch(kind, None)
    try:
        processes = read_typed(count, frozenset({"int"}))
    except ValueError as error:
        raise UserError(f"{path}: num_processes is {shortened(count)}: {error}.") from None
    if processes < 1:
        raise UserError(f"{path}: num_processes is {processes}: must be at least 1.")
    return Launch(kind, processes)


def count_processes(t: Translation, given: int | None) -> None:
    """Set the number of processes of the run with TRL.

    It is `given` if that is not None, or else the number in the config. If both are missing, it is computed
    from the config's generation batch, and 1 is assumed if that is not possible either.

    Raises:
        UserError: the config of accelerate cannot be read, or two numbers contradict each other.
    """
    launch = _launch(t["accelerate_config"])
    if given is not None:
        t.remark("num_processes", "unneeded", "--processes takes precedence")
    found, proven = given or _configured(t, launch), _proven(t)
    if proven is not None and found not in (None, proven):
        problem = (
            f"with {_factors(t)} it is that of {plural(proven, 'process')}, and not of {found}; "
            f"give --processes {proven}, or remove generation_batch_size"
        )
        raise t.refuse("generation_batch_size", problem)
    known = found or proven
    t.processes = known or 1
    if t["accelerate_config"] is not None:
        _describe(t, launch, known)
    elif known is None:
        text = "1 process is assumed, where TRL starts one per GPU: give the number with --processes"
        t.remark("num_processes", "differs", text)


def _launch(config: str | None) -> Launch | None:
    """Return which processes `accelerate_config` starts: the path of a file, or the name of a config of TRL.

    The result is None if there is no such file or name.
    """
    try:
        if config is not None and Path(config).is_file():
            return read_launch(Path(config))
    except OSError:  # a name that no file can have
        pass
    return SHIPPED.get(config or "")


def _configured(t: Translation, launch: Launch | None) -> int | None:
    """Return the number of processes that the options and `accelerate_config` set; None if none does."""
    if launch is None:
        named = t["num_processes"]
    elif launch.alone:
        t.remark("num_processes", "unneeded", "accelerate_config starts one process, whatever this is")
        named = 1
    else:
        named = t["num_processes"] or launch.processes
    return None if named is None else int(named)


def _proven(t: Translation) -> int | None:
    """Compute the number of processes from the rows and the steps of a generation batch.

    Training arguments that TRL has saved contain both. The result is None if one is missing.
    """
    rows, steps = t["generation_batch_size"], t["steps_per_generation"]
    if rows is None or steps is None:
        return None
    own = t["per_device_train_batch_size"] * steps
    if rows % own:
        problem = f"no multiple of {own}, with {_factors(t)}; remove one of the two"
        raise t.refuse("generation_batch_size", problem)
    return int(rows // own)


def _factors(t: Translation) -> str:
    names = ("per_device_train_batch_size", "steps_per_generation")
    return " and ".join(f"{name} {t[name]}" for name in names)


def _describe(t: Translation, launch: Launch | None, known: int | None) -> None:
    """Set the outcome for `accelerate_config`."""
    if launch is not None and launch.sharded:
        t.put("train.parallel", "fsdp", "accelerate_config")
    problem = "no file here has this path" if launch is None else "it has no number of processes"
    if known is None:
        t.remark("accelerate_config", "missing", f"{problem}: give the number of processes with --processes")
    elif launch is None:
        t.remark("accelerate_config", "differs", f"not read: {problem}; train.parallel is left out")
    else:
        t.remark("accelerate_config", "differs", f"{plural(known, 'process')}, a factor of train.batch")


def step_rows(t: Translation, grouped: bool) -> int:
    """Return the batch size of a recipe: the number of rows or, if `grouped`, of prompts per optimizer step.

    TRL counts every completion of a prompt instead.

    Raises:
        UserError: TRL would refuse the batch.
    """
    if not grouped:
        return t.batch
    k = t["num_generations"]
    if not k or k < 2:
        raise t.refuse("num_generations", "must be at least 2")
    _generation(t, k)
    prompts = max(1, round(t.batch / k))
    if prompts * k != t.batch:
        text = f"a step has {prompts * k} completions, which are whole groups, and in TRL {t.batch}"
        for option in ("per_device_train_batch_size", "gradient_accumulation_steps"):
            if t.has(option) or option == "per_device_train_batch_size":
                t.remark(option, "differs", text)
    return prompts


def _generation(t: Translation, k: int) -> None:
    """Set the outcome for the options of TRL's generation batch: whether it is one optimizer step.

    TRL samples a generation batch of per-device batch × processes × `steps_per_generation` completions. It
    splits the batch into micro-batches, of which `gradient_accumulation_steps` make an optimizer step. In a
    recipe, every optimizer step samples its own completions.

    Raises:
        UserError: the generation batch is not a multiple of its micro-batches or of `k`.
    """
    micro, accumulated = t["per_device_train_batch_size"] * t.processes, t["gradient_accumulation_steps"]
    rows = t["generation_batch_size"] or micro * (t["steps_per_generation"] or accumulated)
    if rows % micro:
        problem = f"no multiple of {micro}, which are the rows of all processes; give --processes"
        raise t.refuse("generation_batch_size", problem)
    if rows % k:
        problem = (
            f"samples are drawn {rows} at a time ({micro // t.processes} × {rows // micro} × "
            f"{plural(t.processes, 'process')}), which is no multiple of it; give the number of processes "
            "with --processes"
        )
        raise t.refuse("num_generations", problem)
    steps = rows // micro
    uses = steps * t["num_iterations"]
    if steps == accumulated or (accumulated % steps == 0 and uses == steps):
        t.exact("generation_batch_size", "steps_per_generation")
        return
    text = (
        f"each batch draws its own {t.batch} completions; TRL draws {rows} for "
        f"{plural(uses, 'micro-batch')}, {accumulated} per step"
    )
    for option in ("generation_batch_size", "steps_per_generation"):
        if t.has(option):
            t.remark(option, "differs", text)


def batch_factors(t: Translation, grouped: bool) -> str:
    """Return the factors of the batch size as text, such as `8 × 4 × 2 processes / 8 completions`."""
    processes = plural(t.processes, "process")
    text = f"{t['per_device_train_batch_size']} × {t['gradient_accumulation_steps']} × {processes}"
    return f"{text} / {t['num_generations']} completions" if grouped else text
