"""Peak memory of DPO with adapters on a model of Llama-3.1-8B's shape, beside boresight's own estimate.

    python -m gpu_session.peak_memory [--json FILE]

Weights are random and never leave the device: 16 GB in bfloat16. The peak is that of torch's allocator; on a
CPU, in a rehearsal, it is that of the process and means nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from gpu_step.boresight_side import recipe_of, train
from gpu_step.cases import CASES, Case, rows_of
from gpu_step.clock import peak_gb
from preference.cases import LORA

from boresight.config.recipe import Recipe
from boresight.models.kernels.compact import compact_frozen
from boresight.models.lora import attach
from boresight.models.policy import Policy, causal_model
from boresight.training.activations import footprint_of, recompute_activations
from gpu_session import options
from gpu_session.shapes import config_of, random_model

STEPS = 2


def main() -> None:
    args = options.parser(__doc__).parse_args()
    config = config_of("llama-3.1-8b", tiny=args.tiny)
    case = next(case for case in CASES if case.method == "dpo")
    case = case.smaller() if args.tiny else case
    job = job_of(case, config.vocab_size, args.device)
    torch.manual_seed(0)
    policy = adapted(random_model(config, args.device, torch.bfloat16), job)
    numbers: dict[str, Any] = {"trained": sum(p.numel() for p in policy.parameters() if p.requires_grad)}
    for recompute in (True, False):
        recompute_activations(causal_model(policy), recompute)
        name = "recomputed" if recompute else "kept"
        numbers[name] = found = peak(job, policy, recompute)
        print(f"activations {name}: {found['peak_gb']:.1f} GB, estimated {found['estimated_gb']:.1f} GB, "
              f"for forwards of {found['tokens']:,} tokens")  # fmt: skip
        options.write(args.json, numbers)


def job_of(case: Case, vocabulary: int, device: str) -> dict[str, Any]:
    """Steps of eight pairs in one forward each."""
    batch = min(case.batch, 8)
    return {
        "method": "dpo",
        "model": "random",
        "rows": rows_of(case, STEPS, vocabulary)[: batch * STEPS],
        "lora": LORA,
        "batch": batch,
        "steps": STEPS,
        "lr": 1e-4,
        "dtype": "bfloat16",
        "device": device,
        "tokens_per_forward": 4096,
    }


def adapted(model: Any, job: dict[str, Any]) -> Policy:
    """With adapters on weights in bfloat16, as `boresight train` stores them."""
    policy = attach(model, Recipe.parse(recipe_of(job)).model.lora, seed=0)
    compact_frozen(causal_model(policy), "bfloat16", torch.bfloat16, model.get_output_embeddings())
    return policy


def peak(job: dict[str, Any], policy: Policy, recompute: bool) -> dict[str, Any]:
    """Peak of the steps of a job, and its estimate from the tokens of a forward."""
    if job["device"] == "cuda":
        torch.cuda.reset_peak_memory_stats()
    losses = train(job, policy, lambda step: None)
    rows = job["rows"][: job["batch"]]
    answers = sum(len(answer) for row in rows for answer in row["answers"])
    tokens = answers + sum(len(row["prompt"]) for row in rows)
    estimate = footprint_of(Recipe.parse(recipe_of(job)), policy)
    return {
        "tokens": tokens,
        "peak_gb": peak_gb(job["device"]),
        "estimated_gb": estimate.peak_gb(tokens, recompute=recompute, scored=answers / tokens),
        "losses": losses,
    }


if __name__ == "__main__":
    main()
