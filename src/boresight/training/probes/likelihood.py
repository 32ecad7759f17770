"""Measure the likelihood of answers under the start model, a quality measure that no constraint rewards.

The answers of a policy that has learned fragments, loops or nonsense have a lower likelihood per token under
the start model. So do answers in a style that the start model would not choose, so this number should be read
together with other measures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from boresight.core.schema import Message, Prompt
from boresight.data.batching import micro_batches
from boresight.data.chat import encode_answer
from boresight.data.tokenizer import Tokenizer
from boresight.models.lora import adapters_off, has_adapters
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy, longest_sequence
from boresight.stats.paired import DuplicatePrompts, Measured, paired_metric

LABEL = "log p per token of answers under the start model"


def under_start_model(
    policy: Policy,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    before: Sequence[str],
    after: Sequence[str],
    tokens_per_forward: int,
    same: DuplicatePrompts | None = None,
) -> list[Measured]:
    """Compare the log-likelihood under the start model of answers before and after training.

    A policy with adapters contains its start model. After full fine-tuning it does not, and the list is
    empty. Call this inside the arithmetic of the run (`Task.arithmetic`).

    Args:
        same: ids of equal prompts.
    """
    if not prompts or not has_adapters(policy):
        return []
    turns = [prompt.prompt for prompt in prompts]
    with adapters_off(policy):
        old, new = (
            logps_per_token(policy, tokenizer, turns, answers, tokens_per_forward)
            for answers in (before, after)
        )

    def by_id(values: list[float | None]) -> dict[str, float]:
        return {p.id: value for p, value in zip(prompts, values, strict=True) if value is not None}

    return [paired_metric("start_logp_per_token", LABEL, "nats", "higher", by_id(old), by_id(new), same)]


@torch.no_grad()
def logps_per_token(
    model: Policy,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[str],
    tokens_per_forward: int,
) -> list[float | None]:
    """Return each answer's mean log-probability under `model`, nats per token, including its end of turn.

    For the start model of a policy with adapters, call it inside `adapters_off(policy)`. The value is None
    for an empty answer, and for one that is longer than the model's context once its end of turn is added.
    """
    rows = [
        encode_answer(tokenizer, prompt, answer, str(index))
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        if answer.strip()
    ]
    rows = [row for row in rows if row.tokens <= longest_sequence(model)]
    found: dict[int, float] = {}
    for group in micro_batches(rows, tokens_per_forward):
        scored = completion_logprobs(model, group)
        for row, logp in zip(group, (scored.sums / scored.lengths).flatten().tolist(), strict=True):
            found[int(row.id)] = logp
    return [found.get(index) for index in range(len(answers))]
