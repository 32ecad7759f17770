"""Local reward model: any sequence classification model, which scores whole conversations.

    judge: {name: reward_model, model: my-attributes, weights: {helpfulness: 0.65, correctness: 0.8}}

A model with one output needs no weights. Several outputs, such as the attributes of HelpSteer, are combined
to one score by `weights`, under the labels in the model's config.

Scores are stored in the ledger as they are computed, under a key that covers the conversation and the weights
of the model: an evaluation that is started again resumes where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from boresight.core.console import progress
from boresight.core.errors import UserError
from boresight.core.schema import Message, Prompt
from boresight.data.tokenizer import Tokenizer
from boresight.llm.request import Request
from boresight.llm.transports.inprocess import IN_PROCESS
from boresight.models.head import reads_end_of_turn
from boresight.models.limits import position_table
from boresight.models.policy import Policy, causal_model
from boresight.scorers.judges.base import JudgeConfig, Score, Scorer
from boresight.scorers.judges.endpoint import STAGE
from boresight.scorers.judges.heads import Heads

if TYPE_CHECKING:
    from rich.console import Console

    from boresight.data.rows import Row
    from boresight.llm.ledger import Ledger

PROBE: list[Message] = [{"role": "user", "content": "What is two and two?"}]
PROBE_ANSWERS = ("Four.", "It is five, or maybe the colour green.")


class Config(JudgeConfig):
    """Settings of the judge: the model, and how it is run."""

    needs_ledger: ClassVar[bool] = True
    model: str
    """A run folder of the method `reward`, a model folder, or a hub id."""
    batch: int = 16
    """Answers per forward pass."""
    max_length: int = 4096
    """Maximum length of prompt and answer together, in tokens; longer ones are not judged, but counted."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; null takes a GPU when there is one."""
    weights: dict[str, float] = {}
    """Weight of each output, by its label in the model's config; required if there are several."""
    allow_weights: list[str] = []
    """Weights that may be missing or unknown to the model, by shell patterns, as `model.allow_weights`."""


def build(config: Config, completer: object = None, console: Console | None = None) -> RewardModel:
    """Load the model; its scores are stored in the ledger of `completer`, if it has one.

    Raises:
        UserError: there is no such model, it has no reward head (a newly initialized head would score at
            random), or it has several outputs and no weights are given.
    """
    from boresight.models.checkpoint.leftovers import Allowed
    from boresight.models.load import load_tokenizer
    from boresight.models.reward import load_reward_model

    heads = Heads(_labels_of(config.model), config.weights)
    tokenizer = load_tokenizer(config.model)
    allowed = Allowed(tuple(config.allow_weights))
    several = len(heads.labels) > 1
    model = load_reward_model(config.model, device=config.device, allowed=allowed, several_outputs=several)
    judge = RewardModel(model, tokenizer, config, console, getattr(completer, "ledger", None), heads)
    judge.check_reading()
    return judge


def _labels_of(name: str) -> tuple[str, ...]:
    """Return the labels of the model's outputs, in order.

    Raises:
        UserError: the model has no reward head.
    """
    from boresight.models.checkpoint.pretrained import classifies, read_config
    from boresight.models.head import head_of
    from boresight.models.source import locate

    source = locate(name)
    if source.adapters and head_of(source.adapters[-1]) == "score":
        return ("score",)
    config = None if source.adapters else read_config(source, name)
    if config is None or not classifies(config) or not config.num_labels:
        raise UserError(
            f"judge.model: {name!r} is no reward model; train one with `method.name: reward`, "
            "or name a sequence classification model."
        )
    names: Any = config.id2label or {}
    return tuple(str(names.get(n, f"LABEL_{n}")) for n in range(config.num_labels))


class RewardModel(Scorer):
    """Scorer that returns the logit of the model, or the weighted sum of several outputs.

    Scores are on the model's own scale.
    """

    def __init__(
        self,
        model: Policy,
        tokenizer: Tokenizer,
        config: Config,
        console: Console | None = None,
        ledger: Ledger | None = None,
        heads: Heads | None = None,
    ) -> None:
        super().__init__()
        self.console, self.ledger, self.heads = console, ledger, heads or Heads()
        self.name = f"reward model {config.model}"
        self.model, self.tokenizer, self.config = model, tokenizer, config
        self.at_end_of_turn = reads_end_of_turn(model)

    def check_reading(self) -> None:
        """Check that the model scores a conversation by its last token.

        The scores of two conversations are compared with those of the model's own forward pass, which chooses
        the position itself.

        Raises:
            UserError: the scores differ.
        """
        import torch

        rows = [self._encode(Prompt(PROBE, "probe"), answer) for answer in PROBE_ANSWERS]
        for row in rows:
            if isinstance(row, str):  # every conversation that is judged will fail with this reason
                continue
            tokens = [*row.prompt.tolist(), *row.completions[0].ids.tolist()]
            ids = torch.tensor(tokens, device=self.model.device)
            with torch.inference_mode():
                own = self.model(input_ids=ids[None]).logits.flatten().tolist()
            (outputs,) = self._outputs([row])
            for found, by_model in zip(outputs, own[-len(outputs) :], strict=True):
                if abs(found - by_model) > 1e-3 * max(1.0, abs(by_model)):
                    raise UserError(
                        f"judge.model: {self.config.model!r} scores a conversation {by_model:.4g} by its own "
                        f"forward and {found:.4g} by its last token; take a model whose score is read there."
                    )

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str], repeat: int = 0) -> list[Score]:
        """Return the reward of each conversation.

        A conversation that is too long or cannot be rendered is a failure; it is not truncated.
        """
        asked = [self._request(p, text, repeat) for p, text in zip(prompts, answers, strict=True)]
        scores = [self._recalled(request) for request in asked]
        # Conversations of similar length are batched together, which reduces padding.
        rows = sorted(self._encoded(prompts, answers, scores), key=lambda ir: ir[1].tokens)
        with progress(self.console, "scoring", len(rows)) as advance:
            for start in range(0, len(rows), self.config.batch):
                part = rows[start : start + self.config.batch]
                outputs = self._outputs([row for _, row in part])
                for (i, _), of_row in zip(part, outputs, strict=True):
                    scores[i] = self.heads.score(of_row)
                if self.ledger is not None:
                    kept = zip(part, outputs, strict=True)
                    self.ledger.keep((asked[i], _stored(of_row)) for (i, _), of_row in kept)
                advance(len(part))
        return [score for score in scores if score is not None]

    def _encoded(
        self, prompts: Sequence[Prompt], answers: Sequence[str], scores: list[Score | None]
    ) -> Iterator[tuple[int, Row]]:
        """Yield index and row of every conversation without a score.

        A conversation that cannot be encoded gets a failure as its score instead.
        """
        for i, (prompt, text) in enumerate(zip(prompts, answers, strict=True)):
            if scores[i] is None:
                row = self._encode(prompt, text)
                if isinstance(row, str):
                    scores[i] = Score(None, failure=row)
                else:
                    yield i, row

    @cached_property
    def _weights(self) -> str:
        """Digest of the weights, so that a model folder that was trained further counts as another judge."""
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(causal_model(self.model).state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:32]

    def _request(self, prompt: Prompt, text: str, repeat: int) -> Request:
        turns: list[Message] = [*prompt.prompt, {"role": "assistant", "content": text}]
        name = f"{self.config.model}@{self._weights}"
        settings: dict[str, Any] = {"max_length": self.config.max_length}
        if not self.at_end_of_turn:
            settings["reads"] = "last token"
        return Request(IN_PROCESS, name, turns, settings, sample=repeat, stage=STAGE)

    def _recalled(self, request: Request) -> Score | None:
        body = None if self.ledger is None else self.ledger.get(request.key)
        return None if body is None else self.heads.score(body.get("outputs") or [body["score"]])

    def _encode(self, prompt: Prompt, text: str) -> Row | str:
        from boresight.data.chat import encode_last_turn

        turns: list[Message] = [*prompt.prompt, {"role": "assistant", "content": text}]
        try:
            row = encode_last_turn(self.tokenizer, turns, prompt.id)
            if not self.at_end_of_turn:
                row = self._as_rendered(turns, prompt.id)
        except UserError as error:
            return f"cannot be encoded: {error}"
        longest = min(self.config.max_length, position_table(self.model) or self.config.max_length)
        if row.tokens > longest:
            return f"longer than {longest:,} tokens"
        return row

    def _as_rendered(self, turns: Sequence[Message], id: str) -> Row:
        """Return the whole rendered conversation, up to the last token that is not padding, as a row.

        transformers reads the score at that token.
        """
        import numpy as np

        from boresight.data.chat import encode_conversation
        from boresight.data.rows import Completion, Row

        ids = encode_conversation(self.tokenizer, turns)
        end = int(np.flatnonzero(ids != self.model.config.pad_token_id)[-1]) + 1
        return Row(id, ids[: end - 1], (Completion(ids[end - 1 : end], np.ones(1, bool)),))

    def _outputs(self, rows: list[Row]) -> list[list[float]]:
        """Return the outputs of the model for each row, `result[row][output]`."""
        import torch

        from boresight.models.reward import completion_outputs

        with torch.inference_mode():
            found: list[list[float]] = completion_outputs(self.model, rows)[:, 0].tolist()
        return found


def _stored(outputs: Sequence[float]) -> dict[str, Any]:
    """Return the content of a ledger entry.

    All outputs are stored, so that other weights need no forward pass.
    """
    return {"score": outputs[0]} if len(outputs) == 1 else {"outputs": list(outputs)}
