"""Determine the output head of saved weights, and the token at which the score of a reward model is read.

Reward models trained here read the score at the token that ends the assistant's turn. Other reward models
read it at the last token that their chat template renders: in ChatML, the newline after `<|im_end|>`. At the
wrong one of these two positions, a score can have the opposite sign, so models trained here record the
position in their config.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boresight.core.files import write_json
from boresight.models.checkpoint.damaged import read_object
from boresight.models.policy import Policy
from boresight.models.source import recipe_of_run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OutputHead = Literal["lm", "score"]
READS, END_OF_TURN = "boresight_reads", "end_of_turn"
"""Setting of a model's config that records the token at which its score is read, and its value for models
trained here."""
BESIDE_ADAPTER = "reward.json"
"""Name of the file that contains the same key in the folder of an adapter."""


def head_of(folder: Path) -> OutputHead:
    """Return the head of the weights in a folder: `score` for a reward model (a whole model or an adapter),
    else `lm`."""
    if _read(folder / "adapter_config.json").get("task_type") == "SEQ_CLS":
        return "score"
    architectures = _read(folder / "config.json").get("architectures")
    names = map(str, architectures) if isinstance(architectures, list) else ()
    return "score" if any(name.endswith("ForSequenceClassification") for name in names) else "lm"


def _read(file: Path) -> dict[str, object]:
    return read_object(file) if file.is_file() else {}


def mark_reading(model: Policy | PreTrainedModel) -> None:
    """Record in the model's config that its scores are read at the end of an assistant's turn."""
    setattr(model.config, READS, END_OF_TURN)


def reads_end_of_turn(model: Policy) -> bool:
    """Whether scores are read at the end of an assistant's turn and not at the last token that is
    rendered."""
    return getattr(model.config, READS, None) == END_OF_TURN


def write_reading(model: Policy, folder: Path) -> None:
    """Write the position at which scores are read to the folder of an adapter, which has no model config.

    Does nothing for a language model.
    """
    if reads_end_of_turn(model):
        write_json(folder / BESIDE_ADAPTER, {READS: END_OF_TURN})


def is_own_reward_model(folder: Path) -> bool:
    """Whether a folder contains a reward model trained by this package: an adapter, or the model of an older
    run."""
    if _read(folder / BESIDE_ADAPTER).get(READS) == END_OF_TURN:
        return True
    from boresight import methods
    from boresight.methods.inputs import PairScores  # imports torch, which `head_of` does not need

    method = recipe_of_run(folder.parent).get("method")
    name = method.get("name") if isinstance(method, dict) else None
    return name in methods.names() and methods.get(name).Input is PairScores
