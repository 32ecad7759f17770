"""transformers' `from_pretrained` and `from_config`, called in this file and nowhere else.

Every call keeps two rules: code that comes with a model is never run, and weights are read from safetensors
alone. Errors of transformers are converted into one sentence.
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
"""Dtypes that hold weights, by the names that safetensors gives them."""
VOCABULARIES = ("tokenizer*", "*.model", "*.tiktoken", "vocab*", "spiece*")
"""Patterns of the files of a tokenizer, of which it has at least one."""
SETTINGS_OF_TOKENIZER = ("tokenizer_config.json",)
"""Files of these patterns that contain no vocabulary."""


def read_tokenizer(name: str, place: str, cached_only: bool) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or of a hub id.

    A tokenizer.json may keep the truncation and the padding of the program that saved it. They are switched
    off, as transformers does at each of its own calls.

    Raises:
        UserError: it cannot be loaded, or has no vocabulary: transformers makes one of special tokens alone
            where there is no file of a tokenizer.
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
    """Raise a `UserError` with the cause where a folder's files explain why its tokenizer does not load."""
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
        read_config(ModelSource(str(folder), cached_only=True), name)  # which transformers reads first


def _no_tokenizer(place: str) -> str:
    return (
        f"model: {place!r} holds no tokenizer; copy the tokenizer files of the model that it was made from."
    )


def read_config(source: ModelSource, name: str) -> PreTrainedConfig:
    """The config of a model.

    Raises:
        UserError: no config, an architecture that transformers does not have, quantized weights, or a padding
            token outside of the vocabulary.
    """
    from transformers import AutoConfig

    refuse_damaged(Path(source.place), MODEL_FILES)
    with one_sentence(name, "config"), quiet_warnings():
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source.place, local_files_only=source.cached_only, trust_remote_code=False
        )
    refuse_quantized(config, source.place if source.adapters else name)
    if (size := getattr(config.get_text_config(), "vocab_size", None)) is not None:
        refuse_foreign_id(config, "pad_token_id", "config.json", size)  # with which no embedding can be built
    return config


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a model is built: dtype of its weights, name of its attention, rate of its own dropout layers.

    Attention None is `sdpa` where the model offers it, else `eager`; dropout None keeps that of the config.
    `several_outputs` takes a classifier with more than one label as it is.
    """

    dtype: torch.dtype | Literal["auto"]
    attention: str | None = None
    dropout: float | None = None
    several_outputs: bool = False


def read_weights(
    source: ModelSource, name: str, head: OutputHead, options: BuildOptions
) -> tuple[PreTrainedModel, Leftovers]:
    """A model, and the weights that differ between it and its checkpoint.

    Raises:
        UserError: the files cannot be read, or are of another kind of model.
    """
    config = _with_head(read_config(source, name), name, head, options.several_outputs)
    if options.dropout is not None:
        set_dropout(config, options.dropout)
    if Path(source.place).is_dir():
        for file in weight_files(Path(source.place)):
            file_header(file)  # a file that was cut short is named
    with (
        one_sentence(name, "model"),
        quiet_bars(source.cached_only),
        quiet_warnings(),
    ):  # a download has its bar
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
    here = replace(source, cached_only=True)  # by now
    with suppress(Unreachable):  # transformers may have found the weights elsewhere in its cache
        refuse_integers(read_headers(here), model, name)
    return model, _unmeant(Leftovers.of_report(report), here, name, head, model)


def read_skeleton(source: ModelSource, name: str, head: OutputHead) -> tuple[PreTrainedModel, Leftovers]:
    """As `read_weights`, but on torch's `meta` device: names and shapes come from the files' headers.

    It is loaded through transformers like real weights, so names are translated in the same way.

    Raises:
        UserError: as `read_weights`.
        Unreachable: the headers lie on a hub that gives no answer.
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
    """A model on torch's `meta` device, from its config alone. Raises `UserError`."""
    import torch

    config = _with_head(read_config(source, name), name, head)
    with one_sentence(name, "model"), quiet_warnings(), torch.device("meta"):
        model = _auto(head).from_config(
            config, dtype=torch.float32, attn_implementation=None, trust_remote_code=False
        )
    return cast("PreTrainedModel", model)


def _dtype(saved: Saved) -> torch.dtype:
    """The dtype of a saved tensor; of those that hold no weights, any: only the shape is compared."""
    import torch

    return cast("torch.dtype", getattr(torch, DTYPE_NAMES.get(saved.dtype, "float32")))


@contextmanager
def one_sentence(name: str, what: str) -> Iterator[None]:
    """Convert any exception of the libraries inside the block into one sentence; they raise many types."""
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
    """The config with one label where a score is wanted; with its own where it may have several."""
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
    """Less what cannot be otherwise: a language model gets a fresh score head and loses its own."""
    if head == "lm" or classifies(model.config):
        return leftovers
    fresh = {key for key in model.state_dict() if not key.startswith(f"{model.base_model_prefix}.")}
    of_language_model = read_skeleton(source, name, "lm")[1]
    return leftovers.without(fresh, set(leftovers.unexpected) - set(of_language_model.unexpected))


def _attention(config: PreTrainedConfig) -> str | None:
    """`eager` for a model that caps its attention scores, since transformers before 5.21 lets SDPA ignore it.

    None leaves the choice to transformers: SDPA where the model offers it.
    """
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) else None
