"""Sampling parameters, samples, and the state of one completion during sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.models.kernels.to_device import to_device
from boresight.models.limits import position_table, refuse_unreadable, room_for_answers
from boresight.models.policy import Policy
from boresight.models.sampler.draw import RowSettings, draw_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Parameters for sampling the completions of one prompt.

    Attributes:
        max_new_tokens: maximum number of tokens of a completion. It is shorter if it ends with a stop token,
            or where the model's table of positions ends.
        seed: seed of the random numbers.
        temperature: divisor of the logits; 0 takes the most likely token.
        top_p: keep the smallest set of the tokens left by `top_k` that contains this share of their mass.
        top_k: keep this number of most likely tokens; 0 keeps all.
        stop_token_ids: tokens that end a completion.
        stream: number that seeds the prompt's random numbers in place of its index in the call, so that its
            samples do not depend on other prompts.

    Raises:
        UserError: a setting is out of range.
    """

    max_new_tokens: int
    seed: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop_token_ids: tuple[int, ...] = ()
    stream: int | None = None

    def __post_init__(self) -> None:
        bounds = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "seed": (self.seed >= 0, "0 or more"),
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
        }
        for name, (fine, wanted) in bounds.items():
            if not fine:
                raise UserError(
                    f"sampling.{name}: {getattr(self, name)} is out of range; it must be {wanted}."
                )


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One completion of the prompt with index `prompt_index`.

    `ids` is int32 `(length,)`, and includes the stop token if one ended the completion. `logps` is
    `(length,)`, float32 (float64 from a float64 model): the log-probability of each token in nats under
    softmax(logits / temperature), before top-k and top-p, at temperature 1 for greedy sampling. These are the
    values that `completion_logprobs` returns for the same tokens. `text` is set by `generate` and `decode`.
    """

    prompt_index: int
    ids: np.ndarray
    logps: np.ndarray
    finish: Literal["stop", "length"]
    text: str = ""

    @property
    def cut_at(self) -> int | None:
        """Number of tokens if the token limit truncated the completion; None if it ended with a stop
        token."""
        return len(self.ids) if self.finish == "length" else None


@dataclass(slots=True, eq=False)
class RunningSample:
    """A completion during sampling; `sample_index` is its index among the k samples of its prompt.

    `uniforms` contains one random number per token, which depend only on the seed, the prompt index or
    stream, and the sample index.
    """

    prompt_index: int
    sample_index: int
    prompt: np.ndarray
    params: SamplingParams
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    uniforms: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        named = self.prompt_index if self.params.stream is None else self.params.stream
        stream = np.random.SeedSequence((self.params.seed, named, self.sample_index))
        self.uniforms = np.random.Generator(np.random.PCG64(stream)).random(self.params.max_new_tokens)

    @property
    def stopped(self) -> bool:
        return bool(self.ids) and self.ids[-1] in self.params.stop_token_ids

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.ids) == self.params.max_new_tokens

    def result(self, dtype: torch.dtype) -> Sample:
        return Sample(
            prompt_index=self.prompt_index,
            ids=np.array(self.ids, np.int32),
            logps=np.array(self.logps, np.float64 if dtype == torch.float64 else np.float32),
            finish="stop" if self.stopped else "length",
        )


def requests(
    model: Policy, prompts: Sequence[np.ndarray], params: SamplingParams | Sequence[SamplingParams], k: int
) -> list[RunningSample]:
    """Return the k samples of every prompt before their first token, in order, limited to the model's
    context.

    Raises:
        UserError: a prompt is empty, the model cannot run it, or it leaves no room for an answer; the numbers
            of `params` and prompts differ; or k is below 1.
    """
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
    if len(each) != len(prompts):
        raise UserError(f"sampling: {len(each)} settings for {len(prompts)} prompts; give one, or one each.")
    if k < 1:
        raise UserError(f"sampling.k: {k} completions per prompt is out of range; it must be at least 1.")
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise UserError(f"sampling: prompt {i} is empty; a model needs at least one token.")
    refuse_unreadable(model, prompts)
    each = within_context(position_table(model), prompts, each)
    return [
        RunningSample(i, j, np.asarray(prompt), settings)
        for i, (prompt, settings) in enumerate(zip(prompts, each, strict=True))
        for j in range(k)
    ]


def within_context(
    context: int | None, prompts: Sequence[np.ndarray], params: Sequence[SamplingParams]
) -> list[SamplingParams]:
    """Return the settings of each prompt, with `max_new_tokens` limited so that completions fit into the
    context.

    Args:
        context: maximum number of tokens of a prompt with its completion; None for no limit.

    Raises:
        UserError: a prompt leaves no room for a completion.
    """
    fitting = []
    for i, room in enumerate(room_for_answers(context, list(map(len, prompts)))):
        if room == 0:
            raise UserError(
                f"sampling: prompt {i} has {len(prompts[i]):,} tokens, which fill the model's context of "
                f"{context:,} and leave an answer none; shorten it."
            )
        most = params[i].max_new_tokens
        fitting.append(replace(params[i], max_new_tokens=most if room is None else min(most, room)))
    return fitting


def settings_of(running: Sequence[RunningSample], vocabulary: int, device: torch.device) -> RowSettings:
    """Return the settings of these samples as tensors, one row per sample."""
    params = [r.params for r in running]
    return RowSettings.of(
        [p.temperature for p in params],
        [p.top_p for p in params],
        [p.top_k for p in params],
        vocabulary,
        device,
    )


def extend(running: Sequence[RunningSample], logits: Tensor, settings: RowSettings) -> None:
    """Sample the next token of every sample from its row of `logits` `(n, V)`.

    Raises:
        UserError: the log-probability of a sampled token is NaN.
    """
    uniforms = torch.tensor([r.uniforms[len(r.ids)] for r in running], dtype=torch.float64)
    tokens, logps = draw_tokens(logits, settings, to_device(uniforms, logits.device))
    record(running, *torch.stack([tokens.double(), logps.double()]).tolist())  # one synchronization, not two


def record(running: Sequence[RunningSample], tokens: Sequence[float], logps: Sequence[float]) -> None:
    """Append one token, and its log-probability in nats, to each of `running`.

    Raises:
        UserError: a log-probability is NaN.
    """
    for r, token, logp in zip(running, tokens, logps, strict=True):
        if math.isnan(logp):
            raise UserError(
                "model: the logits that answers are sampled from are NaN; look for NaN or infinite weights, "
                "or compute in model.dtype=float32."
            )
        r.ids.append(int(token))
        r.logps.append(logp)
