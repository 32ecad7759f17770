"""A local reward model: any sequence classification model with one label, scoring whole conversations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from boresight.data.schema import Demonstration, Prompt
from boresight.errors import UserError
from boresight.evaluate.judges.base import JudgeConfig, Score, Scorer

if TYPE_CHECKING:
    from rich.console import Console

    from boresight.data.rows import Row


class Config(JudgeConfig):
    """Which model, and how much at a time."""

    model: str
    """A run folder of the method `reward`, a model folder, or a hub id."""
    batch: int = 16
    """Answers per forward pass."""
    max_length: int = 4096
    """Longest prompt and answer together, in tokens; a longer one is not judged, and counted."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; null takes a GPU when there is one."""


def build(config: Config, completer: object = None, console: Console | None = None) -> RewardModel:
    """Load the model.

    Raises:
        UserError: there is none of that name, or it has no reward head: a fresh one would judge at random.
    """
    from boresight.models.load import load_tokenizer
    from boresight.models.reward import load_reward_model

    _require_reward_head(config.model)
    tokenizer = load_tokenizer(config.model)
    return RewardModel(load_reward_model(config.model, device=config.device), tokenizer, config, console)


def _require_reward_head(name: str) -> None:
    from transformers import AutoConfig

    from boresight.models.load import locate

    source = locate(name)
    found = AutoConfig.from_pretrained(source.place, local_files_only=source.cached_only)
    classifies = any("SequenceClassification" in kind for kind in found.architectures or [])
    if source.adapters or not classifies or found.num_labels != 1:
        raise UserError(
            f"judge.model: {name!r} is no reward model with one score; train one with `method.name: reward`, "
            "or name a sequence classification model with one label."
        )


class RewardModel(Scorer):
    """Scores are the model's logit, on its own scale."""

    def __init__(self, model: Any, tokenizer: Any, config: Config, console: Console | None = None):
        super().__init__()
        self.console = console
        self.name = f"reward model {config.model}"
        self.model, self.tokenizer, self.config = model, tokenizer, config

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """The reward of each conversation; one too long or unencodable is a failure, never cut."""
        encoded = [self._encode(p, text) for p, text in zip(prompts, answers, strict=True)]
        scores = [Score(None, failure=row) if isinstance(row, str) else None for row in encoded]
        # Alike lengths go together, so that padding is small.
        rows = sorted(
            ((i, row) for i, row in enumerate(encoded) if not isinstance(row, str)),
            key=lambda ir: ir[1].tokens,
        )
        starts = range(0, len(rows), self.config.batch)
        for start in self._watched(starts):
            part = rows[start : start + self.config.batch]
            for (i, _), value in zip(part, self._rewards([row for _, row in part]), strict=True):
                scores[i] = Score(value)
        return [score for score in scores if score is not None]

    def _watched(self, starts: range) -> Iterable[int]:
        """The batches, with a progress bar where somebody watches."""
        if self.console is None or not self.console.is_terminal:
            return starts
        from rich.progress import track

        return track(starts, "scoring", console=self.console, transient=True)

    def _encode(self, prompt: Prompt, text: str) -> Row | str:
        from boresight.data.chat import encode_demonstration

        turns = [*prompt.prompt, {"role": "assistant", "content": text}]
        try:
            row = encode_demonstration(self.tokenizer, Demonstration(turns, prompt.id))
        except UserError as error:
            return f"cannot be encoded: {error}"
        if row.tokens > self.config.max_length:
            return f"longer than {self.config.max_length:,} tokens"
        return row

    def _rewards(self, rows: list[Row]) -> list[float]:
        import torch

        from boresight.models.reward import completion_scores

        with torch.inference_mode():
            return completion_scores(self.model, rows)[:, 0].tolist()
