"""What is measured: rows of fixed lengths for three kinds of step, and how much arithmetic a step needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from preference.cases import QWEN
from throughput import row_operations

TINY = QWEN | {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
"""For a look at the program itself, in seconds and on any device; its numbers mean nothing."""
TokenRow = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """`batch` rows a step, each of `prompt` tokens and `k` answers of `answer` tokens.

    `rloo` is the update alone: answers and rewards are given, the reference is computed.
    """

    method: str
    prompt: int
    answer: int
    k: int
    batch: int

    @property
    def tokens(self) -> int:
        """Tokens of a step, every prompt once: what both sides' tokens a second count."""
        return self.batch * (self.prompt + self.k * self.answer)

    def operations(self, config: Any, lora: bool) -> float:
        """Floating-point operations that a step needs: nothing recomputed, no padding, prompts once.

        RLOO's forward of the reference belongs to the step. DPO's does not, as it is done once before.
        """
        answers = [self.answer] * self.k
        row = row_operations(config, self.prompt, answers, 2 if lora else 3)
        if self.method == "rloo":
            row += row_operations(config, self.prompt, answers, 1, 1)
        return self.batch * row

    def smaller(self) -> Case:
        """The same kind of step, for `TINY`."""
        return replace(self, prompt=12, answer=6, k=min(self.k, 4), batch=4)


CASES = (
    Case("sft", prompt=256, answer=256, k=1, batch=32),
    Case("dpo", prompt=240, answer=105, k=2, batch=32),
    Case("rloo", prompt=240, answer=105, k=8, batch=16),
)


def rows_of(case: Case, steps: int, vocabulary: int) -> list[TokenRow]:
    """Random tokens; a row's rewards depend on its answers alone, so that both sides give the same."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(case.batch * steps):
        prompt, *answers = (
            rng.integers(10, vocabulary, n).tolist() for n in (case.prompt, *[case.answer] * case.k)
        )
        rows.append({"prompt": prompt, "answers": answers})
    return rows


def reward(answer: list[int]) -> float:
    """0, 1/4, ..., 1 by the first token."""
    return answer[0] % 5 / 4
