"""The `vllm serve` command for the model of a run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from boresight.core.errors import UserError
from boresight.models.checkpoint.damaged import read_object
from boresight.models.head import head_of
from boresight.models.source import embedded_in

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM's option `--max-lora-rank` accepts, besides 1."""

PORTS = 2**16
"""Number of TCP ports; valid ports are 0 to `PORTS` - 1."""


def vllm_command(run: Path, port: int | None = None) -> str:
    """Return the command that serves the run's model with vLLM, under the name of the run's folder.

    Args:
        port: port of vLLM's server; None for vLLM's default.

    Raises:
        UserError: there is no such port or no trained model, or it is a reward model or an adapter that vLLM
            cannot apply to its base model.
    """
    if port is not None and not 0 <= port < PORTS:
        raise UserError(f"--port: {port} is not a port; give one from 0 to {PORTS - 1}.")
    at = [] if port is None else ["--port", str(port)]
    folder = run / "model" if (run / "model").is_dir() else run
    if head_of(folder) == "score":
        raise UserError(f"{run}: a reward model gives scores and no answers; there is nothing to serve.")
    if (folder / "adapter_config.json").is_file():
        return shlex.join([*_adapter_command(run, folder), *at])
    if not (folder / "config.json").is_file():
        raise UserError(f"{run}: there is no model; give a finished run, or a folder of `boresight export`.")
    return shlex.join(["vllm", "serve", str(folder), "--served-model-name", _name(run), *at])


def _adapter_command(run: Path, folder: Path) -> Iterator[str]:
    settings = read_object(folder / "adapter_config.json")
    base = str(settings.get("base_model_name_or_path"))
    reason = _unservable(settings, base)
    if reason is not None:
        raise UserError(
            f"{run}: {reason}; run `boresight export {shlex.quote(str(run))} --to FOLDER` and then "
            "`vllm serve FOLDER`."
        )
    rank = next(rank for rank in RANKS if rank >= _rank(settings))
    yield from ("vllm", "serve", base, "--enable-lora", "--lora-modules", f"{_name(run)}={folder}")
    yield from ("--max-lora-rank", str(rank), "--generation-config", str(folder))
    if (folder / "chat_template.jinja").is_file():
        yield from ("--chat-template", str(folder / "chat_template.jinja"))


def _unservable(settings: Mapping[str, object], base: str) -> str | None:
    """Return the reason why vLLM cannot apply the adapter to its base model, or None if it can."""
    if embedded_in(base):
        return "the adapter's base comes with boresight, and vLLM cannot find it"
    if any((Path(base) / part / "adapter_config.json").is_file() for part in ("", "model")):
        return "the adapter's base has adapters too, and vLLM applies only one"
    if settings.get("use_dora") or settings.get("bias", "none") != "none" or settings.get("modules_to_save"):
        return "vLLM does not support adapters with DoRA, biases or whole layers"
    if _rank(settings) > RANKS[-1]:
        return f"vLLM supports adapters up to rank {RANKS[-1]}"
    return None


def _rank(settings: Mapping[str, object]) -> int:
    """Return the adapter's rank, or a number above every limit for adapters other than LoRA."""
    rank = settings.get("r")
    return rank if isinstance(rank, int) else sys.maxsize


def _name(run: Path) -> str:
    return run.resolve().name
