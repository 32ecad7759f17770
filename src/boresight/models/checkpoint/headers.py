"""Read names, shapes and dtypes of saved tensors from safetensors headers, without reading the tensors.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header itself, JSON
that contains every tensor's dtype, shape and position in the file (https://huggingface.co/docs/safetensors).
So the first kilobytes of a file describe all of its content, on a disk or on the hub, and a truncated file is
recognized by its size.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import read_json
from boresight.models.checkpoint.damaged import damage
from boresight.models.source import ModelSource, Unreachable

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin", "consolidated.*.pth")
OTHER_FORMATS = ("*.gguf", "*.h5", "*.msgpack", "*.onnx")
"""Patterns of weight files for llama.cpp, Keras, Flax and ONNX."""
LONGEST_HEADER = 100_000_000
"""Maximum size of a header, in bytes; it is the limit of the safetensors library itself."""


@dataclass(frozen=True, slots=True)
class Saved:
    """One saved tensor: its shape, and its dtype under safetensors' name, such as `BF16`."""

    shape: tuple[int, ...]
    dtype: str


def read_headers(source: ModelSource) -> dict[str, Saved]:
    """Return every saved tensor of a model by name; the weights are not read.

    Raises:
        UserError: there are no safetensors, a file named in the index is missing, or a file is truncated.
        Unreachable: the files are on the hub, which cannot be reached.
    """
    folder = Path(source.place)
    if folder.is_dir():
        return {name: saved for file in weight_files(folder) for name, saved in file_header(file).items()}
    if source.cached_only:
        return _of_cache(source.place)
    return _of_hub(source.place)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that contain a model's weights.

    Raises:
        UserError: there are none, or a file named in the index is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        raise UserError(no_safetensors(folder))
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        outside = next((name for name in names if Path(name).name != name), None)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(damage(index, "it contains no map of weights")) from None
    if outside is not None:
        raise UserError(damage(index, f"it names {outside[:80]!r}, which is no file of this folder"))
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        raise UserError(
            f"model: {folder} lacks {lacking[0]}, one of {len(lacking)} missing weight files that its index "
            "names; download it again."
        )
    return [folder / name for name in names]


def file_header(file: Path) -> dict[str, Saved]:
    """Return the tensors of one safetensors file by name.

    Raises:
        UserError: the file is damaged, or shorter than its header declares.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = stream.read(length) if length <= min(size, LONGEST_HEADER) else b""
    try:
        header = {name: saved for name, saved in json.loads(text).items() if name != "__metadata__"}
        tensors = {name: Saved(_shape(saved["shape"]), str(saved["dtype"])) for name, saved in header.items()}
        whole = 8 + length + max((int(saved["data_offsets"][1]) for saved in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise UserError(damage(file, "its safetensors header cannot be read")) from None
    if size < whole:
        raise UserError(
            f"model: {file} was cut short: it has {size:,} of {whole:,} bytes; download or copy it again."
        )
    return tensors


def _shape(value: object) -> tuple[int, ...]:
    """Return a tensor's shape from the header as a tuple.

    Raises:
        ValueError: the value is not a list of sizes.
    """
    if not isinstance(value, list) or not all(type(size) is int and 0 <= size < 2**48 for size in value):
        raise ValueError
    return tuple(value)


def no_safetensors(folder: Path, wanted: str = WEIGHTS) -> str:
    """Return an error message for a folder without safetensors; weights in other formats are named as the
    cause."""
    pickled, other = _first_of(PICKLES, folder), _first_of(OTHER_FORMATS, folder)
    if pickled is None and other is None:
        if (folder / wanted).is_symlink():
            to = (folder / wanted).readlink()
            return f"model: {folder} holds no weights: {wanted} is a link to {to}, where there is no file."
        return f"model: {folder} holds no weights: there is no {wanted}."
    if pickled is None:
        return (
            f"model: {folder} holds its weights in a format that cannot be trained ({other}); take the "
            "safetensors that it was made from."
        )
    return (
        f"model: {folder} holds its weights as a pickle file ({pickled}), which can run code when it is "
        "read; load it with transformers where you trust it, and save it again with save_pretrained, which "
        "writes safetensors."
    )


def _first_of(patterns: Sequence[str], folder: Path) -> str | None:
    """Return the name of the first file in `folder` that matches one of the shell patterns, or None."""
    return next((file.name for pattern in patterns for file in sorted(folder.glob(pattern))), None)


def _of_cache(name: str) -> dict[str, Saved]:
    from huggingface_hub import try_to_load_from_cache

    for file in (WEIGHTS, INDEX):
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return read_headers(ModelSource(str(Path(found).parent)))
    raise Unreachable(
        f"model: the local cache holds the config of {name!r} and not its weights; download it."
    )


def _of_hub(name: str) -> dict[str, Saved]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        files = HfApi().get_safetensors_metadata(name).files_metadata.values()
    except NotASafetensorsRepoError:
        raise UserError(
            f"model: {name!r} holds no safetensors; other formats can run code when they are read. Choose a "
            "model that ships them."
        ) from None
    except Exception as error:  # the hub client's HTTP library, and so its errors, differ between versions
        raise Unreachable(
            f"model: the Hugging Face hub gives no answer about the weights of {name!r}."
        ) from error
    return {
        tensor: Saved(tuple(info.shape), info.dtype)
        for file in files
        for tensor, info in file.tensors.items()
    }
