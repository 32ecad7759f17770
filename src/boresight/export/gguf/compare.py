"""Compare a GGUF file, read back by transformers, with the model that it was written from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import progress
from boresight.core.errors import UserError, named_first_line
from boresight.core.schema import Message
from boresight.core.wording import percent
from boresight.data.rows import Row
from boresight.data.tokenizer import Tokenizer
from boresight.export.start import rounding_warning, training_sentence
from boresight.models.policy import Policy, last_logits
from boresight.stats.intervals import Interval, clustered_mean
from boresight.stats.paired import Measured
from boresight.stats.units import unit_named

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from transformers import PreTrainedModel

PROMPTS, TOKENS = 64, 48
"""Maximum numbers of evaluation prompts and of tokens per answer, on which next-token distributions are
compared."""
SAME_SETTINGS = (
    "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "vocab_size", "tie_word_embeddings", "hidden_act",
)  # fmt: skip
SHOWN_CHECKS = ("constraint_met", "good_answer")
CLOSE_SETTINGS = ("rms_norm_eps", "rope_theta")
"""Floating-point settings, compared with a tolerance because GGUF stores them in float32."""


@dataclass(frozen=True, slots=True)
class GgufFile:
    """Comparison of one GGUF file with the run's model.

    Attributes:
        quantization: name of the quantization, such as `q4_0`.
        file: name of the file.
        tokens: number of answer tokens on which the models were compared.
        kl: mean KL(model || file) in nats per token, with an interval over prompts.
        agree: share of the tokens with the same most likely next token.
        checks: share of answers that pass each check, for the answers stored in the run (before) and those of
            the file (after). The run's answers are those of the model in training, also if its base was in 4
            bits.
        model: name of the model that the file was compared with.
        trained: mean KL(model || start model) on the same tokens, nats per token; None if the start model is
            not available.
    """

    quantization: str
    file: str
    megabytes: float
    tokens: int
    kl: Interval
    agree: float
    checks: tuple[Measured, ...] = ()
    model: str = "the run's model"
    trained: float | None = None

    @property
    def check_rows(self) -> list[list[str]]:
        """Rows of the model card's table of checks.

        Each row contains the file, the check, the run's value, the file's value, their paired difference, and
        n.
        """
        share = unit_named("share")
        return [
            [
                f"`{self.file}`",
                check.label,
                share.estimate(check.before),
                share.estimate(check.after),
                share.change(check.difference),
                f"{check.after.n:,}",
            ]
            for check in self.checks
            if check.name in SHOWN_CHECKS and check.before and check.after and check.difference
        ]

    @property
    def sentence(self) -> str:
        """The comparison as sentences, for the terminal."""
        checks = "".join(
            f" {label}: {after}, of the run's model {before}."
            for _, label, before, after, *_ in self.check_rows
        )
        return (
            f"{self.file} ({self.megabytes:,.0f} MB): KL from {self.model} {self.kl.value:.2g} nats per "
            f"token [{self.kl.low:.2g}, {self.kl.high:.2g}] on {self.tokens:,} tokens of {self.kl.n:,} "
            f"answers, the same most likely token in {percent(self.agree, 1)} of places."
            f"{training_sentence(self.trained)}{checks}"
        )

    @property
    def warning(self) -> str | None:
        """A warning if the KL due to quantization exceeds the KL due to training, else None."""
        finer = {"q8_0": "choose f16", "f16": "export weights in float32, without --gguf"}
        instead = finer.get(self.quantization, "choose a finer quantization, such as q8_0 or f16")
        return rounding_warning(self.file, self.kl.value, self.trained, instead)


def answer_rows(run: Path, tokenizer: Tokenizer) -> list[Row]:
    """Return the run's evaluation prompts with the trained model's answers; a fixed pair if it has none."""
    from boresight.data.chat import encode_answer
    from boresight.reports.read_run import read_run

    answered = [(s.prompt, s.answers[-1], s.id) for s in read_run(run).samples[:PROMPTS] if s.answers[-1]]
    question: list[Message] = [{"role": "user", "content": "What is a tide?"}]
    fixed = (question, "The sea rises and falls twice a day.", "tide")
    return [encode_answer(tokenizer, prompt, str(answer), id) for prompt, answer, id in answered or [fixed]]


def divergence(
    ours: Policy, theirs: Policy, rows: Sequence[Row], console: Console | None = None
) -> tuple[list[list[float]], float]:
    """Compute the KL between the next-token distributions of two models on the answers in `rows`.

    Args:
        console: console on which progress is shown.

    Returns:
        KL(ours || theirs) in nats, as `result[row][token]`, and the share of tokens with the same argmax.
    """
    import torch

    from boresight.training.probes.kl import kl_divergence

    by_row, same = [], 0
    with progress(console, "comparing answers", len(rows)) as advance:
        for row in rows:
            a, b = (_answer_logits(model, row) for model in (ours, theirs))
            found = kl_divergence(a.log_softmax(-1), b.log_softmax(-1))
            by_row.append(found.clamp(min=0).tolist())
            same += int(torch.eq(a.argmax(-1), b.argmax(-1)).sum())
            advance(1)
    return by_row, same / sum(map(len, by_row))


def _answer_logits(model: Policy, row: Row) -> torch.Tensor:
    """Return the logits that predict the answer's tokens, float64 `(tokens, vocabulary)`."""
    import torch

    answer = row.completions[0].ids[:TOKENS]
    ids = torch.tensor([*row.prompt.tolist(), *answer.tolist()])
    with torch.inference_mode():
        return last_logits(model, ids, len(answer) + 1)[:-1].double()


def mean_kl(by_row: Sequence[Sequence[float]]) -> Interval:
    """Return the mean KL per token, with an interval over answers whose lower limit is at least 0."""
    found = clustered_mean(by_row)
    return Interval(found.value, max(0.0, found.low), found.high, found.n)


def refuse_other_model(ours: PreTrainedModel, theirs: PreTrainedModel, error: float, file: str) -> None:
    """Raise a `UserError` if `theirs`, read back from a file, differs from `ours` by more than rounding.

    Args:
        error: maximum relative error of a tensor, in the Frobenius norm.
        file: name of the file, for the error.
    """
    for name, expected in ours.state_dict().items():
        found = theirs.state_dict().get(name)
        if found is None or found.shape != expected.shape:
            raise _other(file, f"the weight {name} is missing or has another shape")
        distance = float((found.float() - expected.float()).norm())
        if not distance <= error * float(expected.float().norm()):
            raise _other(file, f"the weight {name} differs by more than rounding does")
    for name in (*SAME_SETTINGS, *CLOSE_SETTINGS):
        a, b = _setting(ours, name), _setting(theirs, name)
        same = a == b if name in SAME_SETTINGS else abs(a - b) <= 1e-6 * abs(a)
        if not same:
            raise _other(file, f"{name} is {b} and not {a}")


def refuse_other_tokens(file: Path, tokenizer: Tokenizer, rows: Sequence[Row]) -> None:
    """Raise a `UserError` if the tokenizer in `file` has another chat template or gives other token ids.

    Token ids are compared on the texts of `rows`.
    """
    from boresight.models.checkpoint.gguf import read_gguf_tokenizer

    with _readable(file):
        found = read_gguf_tokenizer(file)
    if found.chat_template != tokenizer.get_chat_template():
        raise _other(file.name, "the chat template is another one")
    for row in rows:
        ids = [*row.prompt.tolist(), *row.completions[0].ids.tolist()]
        text = tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
        ours, theirs = (
            t.backend_tokenizer.encode(text, add_special_tokens=False).ids for t in (tokenizer, found)
        )
        if ours != theirs:
            raise _other(file.name, f"its tokenizer reads the prompt {row.id!r} as other tokens")


def read_back(file: Path) -> PreTrainedModel:
    """Return the model in `file`. Raises `UserError` if transformers cannot read it."""
    from boresight.models.checkpoint.gguf import read_gguf_model

    with _readable(file):
        return read_gguf_model(file)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of transformers, gguf and tokenizers, which have no common class
        raise _other(file.name, f"it cannot be read back ({named_first_line(error)})") from error


def _setting(model: PreTrainedModel, name: str) -> float:
    config = model.config
    value: float = config.rope_parameters[name] if name == "rope_theta" else getattr(config, name)
    return value


def _other(file: str, why: str) -> UserError:
    return UserError(f"--gguf: {file} would not be the run's model, so nothing was written: {why}.")
