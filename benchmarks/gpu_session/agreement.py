"""How far rounding moves log-probabilities between two computations, and whether a run's checks allow it.

    python -m gpu_session.agreement MODEL [--json FILE]

The model samples completions of three lengths in float32, as it does in a run; then the same completions are
scored in forwards of other lengths, in another order and in the padded layout. Weights are random, so the
norm before the output layer is scaled until tokens are as likely as a trained model's. What the limits of a
run (`boresight.models.precision`) do not explain would stop a run, and fails here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from boresight.data.batching import micro_batches
from boresight.data.rows import Row
from boresight.models.eval_mode import arithmetic
from boresight.models.load import load_model
from boresight.models.packed.logprobs import Layout, completion_logprobs
from boresight.models.policy import Policy
from boresight.models.precision import Disagreement, token_noise
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.rollouts.sampling import completion
from gpu_session import options

KINDS = ((30, 12), (60, 300), (240, 100))
"""Tokens of prompts and of completions."""
PROMPTS, K, FULL = 16, 4, 16384
SPREAD = 5.0
"""Factor on the last norm: logits then spread by about 3."""


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("model", type=Path)
    args = parser.parse_args()
    model = load_model(str(args.model), device=args.device)
    model.base_model.norm.weight.data.mul_(SPREAD)
    rows = sampled(model, *((2, 2) if args.tiny else (PROMPTS, K)))
    found: dict[str, Any] = {}
    for name, dtype, gap, lengths in comparisons(model, rows, 1024 if args.tiny else FULL):
        found[name] = numbers = differences(gap, lengths, token_noise(dtype))
        print(sentence(name, numbers))
        options.write(args.json, found)
    sys.exit(any(numbers["unexplained"] for numbers in found.values()))


def sampled(model: Policy, prompts: int, k: int) -> list[Row]:
    """Rows of `k` completions each, with the log-probabilities that they were sampled with."""
    rng = np.random.default_rng(0)
    asked, params = [], []
    for prompt, answer in KINDS:
        for _ in range(prompts):
            asked.append(rng.integers(10, model.config.vocab_size, prompt).astype(np.int32))
            params.append(SamplingParams(max_new_tokens=answer, seed=0))
    groups = sample(model, asked, params, k)
    return [
        Row(str(i), prompt, tuple(map(completion, group)))
        for i, (prompt, group) in enumerate(zip(asked, groups, strict=True))
    ]


def comparisons(model: Policy, rows: Sequence[Row], full: int) -> Any:
    """Name, precision, differences of summed log-probabilities in nats `(n,)`, and tokens `(n,)`."""
    lengths = torch.tensor([[len(c.ids) for c in row.completions] for row in rows]).flatten()
    drawn = torch.tensor([[c.sampled_logp for c in row.completions] for row in rows]).double().flatten()
    for dtype in ("bfloat16", "float32"):
        once = scored(model, rows, dtype, full)
        others = {
            "the same again": lambda dtype=dtype: scored(model, rows, dtype, full),
            "rows in another order": lambda dtype=dtype: scored(model, rows[::-1], dtype, full).flip(0),
            f"forwards of {full // 4:,} tokens": lambda dtype=dtype: scored(model, rows, dtype, full // 4),
            "the padded layout": lambda dtype=dtype: scored(model, rows, dtype, full // 4, "padded"),
            "the sampler in float32": lambda: drawn.view(len(rows), -1),
        }
        for name, other in others.items():
            yield f"{dtype}, {name}", dtype, (once - other()).flatten(), lengths


def scored(model: Policy, rows: Sequence[Row], dtype: str, limit: int, layout: Layout = "auto") -> Tensor:
    """Summed log-probabilities `(rows, k)` in forwards of at most `limit` tokens."""
    sums = {}
    with torch.no_grad(), arithmetic(model, dtype, limit):
        for group in micro_batches(rows, limit):
            found = completion_logprobs(model, group, layout=layout).sums.double().cpu()
            sums |= {id(row): line for row, line in zip(group, found, strict=True)}
    return torch.stack([sums[id(row)] for row in rows])


def differences(gap: Tensor, lengths: Tensor, noise: float) -> dict[str, Any]:
    """Statistics of differences, and what a run's check would say of them in half precision.

    `token_sd` is the spread of a token's rounding if tokens round independently.
    """
    disagreement = Disagreement.of(gap, lengths)
    return {
        "completions": len(gap),
        "equal": int((gap == 0).sum()),
        "largest_nats": float(gap.abs().max()),
        "mean_per_token": disagreement.mean,
        "token_sd": math.sqrt(float((gap**2 / lengths).mean())),
        "largest_per_root_token": disagreement.largest,
        "unexplained": disagreement.beyond_rounding(noise) if noise else None,
    }


def sentence(name: str, numbers: dict[str, Any]) -> str:
    text = (
        f"{name}: {numbers['equal']} of {numbers['completions']} equal, "
        f"largest {numbers['largest_nats']:.2g} nats, sd of a token {numbers['token_sd']:.2g}, "
        f"mean {numbers['mean_per_token']:+.1g}"
    )
    return text + (f". NOT EXPLAINED: {numbers['unexplained']}" if numbers["unexplained"] else "")


if __name__ == "__main__":
    main()
