"""Read and write `generation_config.json` of a model folder, which contains stop tokens and sampling
defaults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.models.checkpoint.damaged import MODEL_FILES, refuse_damaged
from boresight.models.source import ModelSource

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


def read_generation_config(source: ModelSource) -> GenerationConfig | None:
    """Return the generation config of a model, with its stop tokens and sampling defaults; None if it has
    none.

    Raises:
        UserError: the file is damaged.
    """
    from transformers import GenerationConfig

    refuse_damaged(Path(source.place), MODEL_FILES)
    try:
        return GenerationConfig.from_pretrained(source.place, local_files_only=source.cached_only)
    except OSError:
        return None


def save_pretrained(model: PreTrainedModel, folder: str | Path, **options: Any) -> None:
    """Call `model.save_pretrained`, but write the generation config unchanged.

    transformers refuses to save `temperature` without `do_sample`, which published models contain: up to
    version 5.17 always, in later versions if the config was changed after loading, as happens with stop
    tokens.
    """
    from transformers import GenerationConfig

    config = getattr(model, "generation_config", None)
    if config is None:  # a reward model
        model.save_pretrained(folder, **options)
        return
    model.generation_config = GenerationConfig()
    try:
        model.save_pretrained(folder, **options)
    finally:
        model.generation_config = config
    write_generation_config(model, folder)


def write_generation_config(model: PreTrainedModel, folder: str | Path) -> None:
    """Write the stop tokens and sampling defaults of a model to `folder`; does nothing for a reward model."""
    config = getattr(model, "generation_config", None)
    if config is not None:
        config.to_json_file(Path(folder) / "generation_config.json", keys_to_pop=["compile_config"])
