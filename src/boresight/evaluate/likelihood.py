"""How likely a model finds answers: a quality measure that no constraint rewards.

Scored under the start model, the answers of a policy that took to fragments, loops or nonsense lose
likelihood per token. So do answers in a style that the start model would not choose, hence the
number stands beside other measures and not alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from boresight.data.batching import micro_batches
from boresight.data.chat import encode_preference
from boresight.data.rows import Row
from boresight.data.schema import Message, Preference
from boresight.models.logprobs import completion_logprobs


@torch.no_grad()
def logps_per_token(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[Message]],
    answers: Sequence[str],
    tokens_per_forward: int = 4096,
) -> list[float | None]:
    """Mean log-probability of every answer's tokens and its end of turn under `model`, nats per token.

    For a policy with adapters, call it inside `adapters_off(policy)`: then the start model judges.
    An empty answer has no tokens to judge and is missing, None.
    """
    rows = [
        _row(tokenizer, str(index), prompt, answer)
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        if answer.strip()
    ]
    found: dict[int, float] = {}
    for group in micro_batches(rows, tokens_per_forward):
        scored = completion_logprobs(model, group)
        for row, logp in zip(group, (scored.sums / scored.lengths).flatten().tolist(), strict=True):
            found[int(row.id)] = logp
    return [found.get(index) for index in range(len(answers))]


def _row(tokenizer: Any, id: str, prompt: Sequence[Message], answer: str) -> Row:
    """The answer as the one completion of its prompt, tokenised as training tokenises answers."""
    turn: list[Message] = [{"role": "assistant", "content": answer}]
    pair = encode_preference(tokenizer, Preference(list(prompt), turn, turn, id))
    return replace(pair, completions=pair.completions[:1])
