"""Load models, configs and tokenizers with transformers' `from_pretrained` and `from_config`.

Code that comes with a model is never run, and weights are read only from safetensors. Errors of transformers
are converted into one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from boresight.core.errors import UserError, first_line, memory_error
from boresight.core.plugins import is_installed
from boresight.data.stop_tokens import refuse_foreign_id
from boresight.models.checkpoint.damaged import MODEL_FILES, TOKENIZER_FILES, refuse_damaged
from boresight.models.checkpoint.headers import Saved, file_header, read_headers, weight_files
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.models.checkpoint.quantized import dequantize, refuse_integers, refuse_quantized
from boresight.models.checkpoint.silence_hf import quiet_bars, quiet_warnings
from boresight.models.dropout import route_as_evaluated, set_dropout
from boresight.models.head import OutputHead
from boresight.models.source import ModelSource, Unreachable

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPE_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "U8": "uint8",
}
"""Names of torch dtypes that weights may have, by safetensors' names."""
VOCABULARIES = ("tokenizer*", "*.model", "*.tiktoken", "vocab*", "spiece*")
"""Patterns of tokenizer files; a tokenizer has at least one of them."""
SETTINGS_OF_TOKENIZER = ("tokenizer_config.json",)
"""Files that match `VOCABULARIES` but contain no vocabulary."""


def read_tokenizer(name: str, place: str, cached_only: bool) -> PreTrainedTokenizerBase:
    """Load the tokenizer in a folder or of a hub id, without truncation and padding.

    A tokenizer.json may contain truncation and padding settings of the program that saved it. They are
    disabled, as transformers does in each of its own calls.

    Raises:
        UserError: the tokenizer cannot be loaded or has no vocabulary. If there are no tokenizer files,
            transformers creates a tokenizer that has special tokens only.
    """
    from transformers import AutoTokenizer

    try:
        with one_sentence(name, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(
                place, local_files_only=cached_only, trust_remote_code=False
            )
    except UserError:
        _refuse_files_of_tokenizer(Path(place), name)
        raise
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
        if backend.get_vocab().keys() <= set(tokenizer.all_special_tokens):
            raise UserError(_no_tokenizer(place))
    return cast("PreTrainedTokenizerBase", tokenizer)


def _refuse_files_of_tokenizer(folder: Path, name: str) -> None:
    """Raise a `UserError` with the cause if the files in a folder explain why its tokenizer cannot be
    loaded."""
    if not folder.is_dir():
        return
    refuse_damaged(folder, TOKENIZER_FILES)
    files = {file.name for pattern in VOCABULARIES for file in folder.glob(pattern)} - {
        *SETTINGS_OF_TOKENIZER
    }
    if files and all(name.endswith(".model") for name in files) and not is_installed("sentencepiece"):
        raise UserError(
            f"model: {str(folder)!r} has its tokenizer as a SentencePiece file alone ({min(files)}), which "
            "`pip install sentencepiece protobuf` lets transformers read; or copy the tokenizer.json of the "
            "model that it was made from."
        )
    if not files:
        raise UserError(_no_tokenizer(str(folder)))
    if (folder / "config.json").is_file():
        read_config(ModelSource(str(folder), cached_only=True), name)  # transformers reads the config first


def _no_tokenizer(place: str) -> str:
    return (
        f"model: {place!r} holds no tokenizer; copy the tokenizer files of the model that it was made from."
    )


def read_config(source: ModelSource, name: str) -> PreTrainedConfig:
    """Load the config of a model.

    Raises:
        UserError: there is no config, transformers does not have the architecture, the weights are quantized,
            or the padding token is outside the vocabulary.
    """
    from transformers import AutoConfig

    refuse_damaged(Path(source.place), MODEL_FILES)
    with one_sentence(name, "config"), quiet_warnings():
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source.place, local_files_only=source.cached_only, trust_remote_code=False
        )
    refuse_quantized(config, source.place if source.adapters else name)
    if (size := getattr(config.get_text_config(), "vocab_size", None)) is not None:
        refuse_foreign_id(config, "pad_token_id", "config.json", size)  # an embedding cannot be built with it
    return config


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options for building a model.

    Attributes:
        dtype: dtype of the weights.
        attention: name of the attention implementation; None for `sdpa`, or `eager` for a model that does not
            support it.
        dropout: rate of the model's own dropout layers; None keeps the rates of its config.
        several_outputs: whether a classifier may have more than one label.
    """

    dtype: torch.dtype | Literal["auto"]
    attention: str | None = None
    dropout: float | None = None
    several_outputs: bool = False


def read_weights(
    source: ModelSource, name: str, head: OutputHead, options: BuildOptions
) -> tuple[PreTrainedModel, Leftovers]:
    """Load a model; return it with the weights in which it and its checkpoint differ.

    Raises:
        UserError: the files cannot be read, or belong to another kind of model.
    """
    config = _with_head(read_config(source, name), name, head, options.several_outputs)
    if options.dropout is not None:
        set_dropout(config, options.dropout)
    if Path(source.place).is_dir():
        for file in weight_files(Path(source.place)):
            file_header(file)  # raises an error that names a truncated file
    with (
        one_sentence(name, "model"),
        quiet_bars(source.cached_only),
        quiet_warnings(),
    ):  # a download shows its progress bar
        read: Any = _auto(head).from_pretrained(
            source.place,
            config=config,
            dtype=options.dtype,
            attn_implementation=options.attention or _attention(config),
            quantization_config=dequantize(config),
            use_safetensors=True,
            local_files_only=source.cached_only,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    model, report = read
    if options.dropout == 0:
        route_as_evaluated(model)
    here = replace(source, cached_only=True)  # downloaded by now
    with suppress(Unreachable):  # transformers may have found the weights elsewhere in its cache
        refuse_integers(read_headers(here), model, name)
    return model, _unmeant(Leftovers.of_report(report), here, name, head, model)


def read_skeleton(source: ModelSource, name: str, head: OutputHead) -> tuple[PreTrainedModel, Leftovers]:
    """Build a model on torch's `meta` device; return it with the weights in which it and its checkpoint
    differ.

    Names and shapes of the checkpoint come from the headers of its files. They are loaded through
    transformers like real weights, so names are converted in the same way.

    Raises:
        UserError: the files cannot be read, or belong to another kind of model.
        Unreachable: the files are on the hub, which cannot be reached.
    """
    import torch

    empty, headers = skeleton(source, name, head), read_headers(source)
    tensors = {
        tensor: torch.empty(saved.shape, dtype=_dtype(saved), device="meta")
        for tensor, saved in headers.items()
    }
    with one_sentence(name, "model"), quiet_bars(), quiet_warnings():
        read: Any = type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict=tensors,
            device_map="meta",
            dtype=torch.float32,
            attn_implementation=None,
            quantization_config=dequantize(empty.config),
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    model, report = read
    refuse_integers(headers, model, name)
    return model, _unmeant(Leftovers.of_report(report), source, name, head, model)


def skeleton(source: ModelSource, name: str, head: OutputHead) -> PreTrainedModel:
    """Build a model on torch's `meta` device from its config only.

    Raises:
        UserError: the config cannot be loaded or used.
    """
    import torch

    config = _with_head(read_config(source, name), name, head)
    with one_sentence(name, "model"), quiet_warnings(), torch.device("meta"):
        model = _auto(head).from_config(
            config, dtype=torch.float32, attn_implementation=None, trust_remote_code=False
        )
    return cast("PreTrainedModel", model)


def _dtype(saved: Saved) -> torch.dtype:
    """Return the torch dtype of a saved tensor; float32 for dtypes that no weights have, since only shapes
    are compared."""
    import torch

    return cast("torch.dtype", getattr(torch, DTYPE_NAMES.get(saved.dtype, "float32")))


@contextmanager
def one_sentence(name: str, what: str) -> Iterator[None]:
    """Inside the block, convert library exceptions of any type, except memory errors, into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if memory_error(error):
            raise
        raise UserError(_sentence(name, what, error)) from error


def _sentence(name: str, what: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"model: the {what} of {name!r} needs Python code that comes with it, which is never run; take a "
            "model whose architecture transformers has itself."
        )
    if isinstance(error, KeyError):
        return (
            f"model: the {what} of {name!r} cannot be loaded: it names {error}, which the installed "
            "libraries do not know; correct the name or upgrade them."
        )
    if "Unrecognized configuration class" in str(error):
        return (
            f"model: {name!r} is of an architecture that transformers offers neither as a causal language "
            "model nor as a reward model; take a decoder."
        )
    return f"model: the {what} of {name!r} cannot be loaded: {first_line(error)}."


def _auto(head: OutputHead) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForCausalLM if head == "lm" else AutoModelForSequenceClassification


def _with_head(
    config: PreTrainedConfig, name: str, head: OutputHead, several_outputs: bool = False
) -> PreTrainedConfig:
    """Return the config, set to one label if `head` is `score`; a classifier keeps its labels with
    `several_outputs`.

    Raises:
        UserError: the model is a classifier with several labels, and one is required.
    """
    if head == "lm" or (several_outputs and classifies(config)):
        return config
    if classifies(config) and config.num_labels != 1:
        raise UserError(
            f"model: {name!r} is a classifier with {config.num_labels} labels; a reward model has one."
        )
    config.num_labels = 1
    return config


def classifies(config: PreTrainedConfig) -> bool:
    """Whether the saved model has a classification head and not a language-model head."""
    return any("ForSequenceClassification" in kind for kind in config.architectures or [])


def _unmeant(
    leftovers: Leftovers, source: ModelSource, name: str, head: OutputHead, model: PreTrainedModel
) -> Leftovers:
    """Return the leftovers without the differences that always occur if a language model is loaded as a
    reward model.

    These are the new score head, which the checkpoint does not contain, and the language model's output head.
    """
    if head == "lm" or classifies(model.config):
        return leftovers
    fresh = {key for key in model.state_dict() if not key.startswith(f"{model.base_model_prefix}.")}
    of_language_model = read_skeleton(source, name, "lm")[1]
    return leftovers.without(fresh, set(leftovers.unexpected) - set(of_language_model.unexpected))


def _attention(config: PreTrainedConfig) -> str | None:
    """Return `eager` for a model that caps its attention scores: before 5.21, transformers' SDPA ignores the
    cap.

    None leaves the choice to transformers, which takes SDPA if the model supports it.
    """
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) else None
