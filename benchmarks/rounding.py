"""How far rounding in bfloat16 moves the starter's log-probabilities, token by token.

    python benchmarks/rounding.py [--write tests/training/rounding.npz]

500 completions of six lengths are sampled in float32 and scored twice in bfloat16: by the processor's own
products, and by products whose sums are added in two halves, as a GPU does at another shape. Also what the
checks of a run must find: completions scored at temperature 0.9, and by a model whose weights are off by 2 %.
About two minutes on one core with bfloat16 instructions.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boresight.data.batching import micro_batches
from boresight.data.chat import encode_prompt
from boresight.data.reading.sources.generated import read_generated
from boresight.data.rows import Row
from boresight.models.eval_mode import arithmetic
from boresight.models.load import load_model, load_tokenizer
from boresight.models.packed.logprobs import completion_token_logprobs
from boresight.models.policy import Policy
from boresight.models.sampler.sample import SamplingParams, sample
from boresight.training.rollouts.sampling import completion

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.rounding import GpuRounding

LENGTHS = {4: 19, 8: 19, 16: 19, 32: 19, 64: 19, 192: 5}
"""Most new tokens, and prompts sampled with them."""
SAMPLES = 5
OFF_BY, TEMPERATURE = 0.02, 0.9
"""Share of its spread that every weight of the wrong reference is off by, and the wrong temperature."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="file for the numbers that the tests draw from")
    args = parser.parse_args()
    model = load_model("starter", device="cpu")
    rows, drawn = sampled(model)
    once = scored(model, rows)
    other = scored(model, rows, GpuRounding(parts=2))
    few = [row for row in rows if 30 <= len(row.completions[0].ids) <= 64][:15]
    places = [int(row.id) * SAMPLES + j for row in few for j in range(SAMPLES)]
    colder = scored(model, few, temperature=TEMPERATURE)
    perturb(model)
    stranger = scored(model, few)
    found = {
        "length": np.array([len(x) for x in drawn], np.int16),
        "logp": np.concatenate(drawn),
        "shape": np.concatenate(once) - np.concatenate(other),
        "precision": np.concatenate(once) - np.concatenate(drawn),
        "fault_length": np.array([len(drawn[i]) for i in places], np.int16),
        "temperature": np.concatenate(colder) - np.concatenate([drawn[i] for i in places]),
        "reference": np.concatenate(stranger) - np.concatenate([once[i] for i in places]),
    }
    show(found)
    if args.write:
        small = {name: x.astype(np.float16) if x.dtype.kind == "f" else x for name, x in found.items()}
        np.savez_compressed(args.write, **small)


def sampled(model: Policy) -> tuple[list[Row], list[np.ndarray]]:
    """Rows of five completions each, and the log-probabilities that their tokens were drawn with."""
    tokenizer = load_tokenizer("starter")
    examples = read_generated("generate:constraints-train").examples
    prompts = [encode_prompt(tokenizer, example.prompt) for example in examples[: sum(LENGTHS.values())]]
    most = [length for length, count in LENGTHS.items() for _ in range(count)]
    params = [
        SamplingParams(max_new_tokens=n, seed=0, stop_token_ids=(tokenizer.eos_token_id,)) for n in most
    ]
    groups = sample(model, prompts, params, SAMPLES)
    rows = [
        Row(str(i), prompt, tuple(map(completion, group)))
        for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
    ]
    return rows, [s.logps.astype(np.float64) for group in groups for s in group]


def scored(
    model: Policy,
    rows: list[Row],
    rounding: AbstractContextManager[Any] | None = None,
    temperature: float = 1.0,
) -> list[np.ndarray]:
    """Log-probabilities of the tokens of every completion in bfloat16, in the order of `rows`."""
    found = {}
    with rounding or nullcontext(), arithmetic(model, "bfloat16"):
        for group in micro_batches(rows, 2048):
            for row, logps in zip(
                group, completion_token_logprobs(model, group, temperature=temperature), strict=True
            ):
                found[row.id] = [x.double().numpy() for x in logps]
    return [logps for row in rows for logps in found[row.id]]


@torch.no_grad()
def perturb(model: Policy) -> None:
    """Another model of about the same quality, as a run that went on training is."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight += OFF_BY * weight.std() * torch.randn(weight.shape, generator=generator)


def show(found: dict[str, np.ndarray]) -> None:
    """A table by length: what one token, and the sum of a completion, is off by."""
    ends = np.cumsum(found["length"])
    for kind in ("shape", "precision"):
        noise = found[kind]
        sums = np.array([part.sum() for part in np.split(noise, ends[:-1])])
        print(f"\n{kind}: {len(noise):,} tokens, standard deviation {noise.std():.4f} nats, "
              f"mean {noise.mean():+.5f}, largest {abs(noise).max():.3f}")  # fmt: skip
        print("| tokens | completions | sd of a token | sd of a sum | over root of length | largest |")
        print("|---|---|---|---|---|---|")
        low = 0
        for high in LENGTHS:
            inside = (found["length"] > low) & (found["length"] <= high)
            tokens = np.repeat(inside, found["length"])
            lengths = found["length"][inside]
            if inside.any():
                root = sums[inside] / np.sqrt(lengths)
                cells = noise[tokens].std(), sums[inside].std(), root.std(), abs(root).max()
                print(f"| {low + 1}–{high} | {inside.sum()} |", *(f"{cell:.4f} |" for cell in cells))
            low = high
    for kind in ("temperature", "reference"):
        noise = found[kind]
        print(
            f"{kind}: {len(noise):,} tokens, standard deviation {noise.std():.4f}, mean {noise.mean():+.5f}"
        )


if __name__ == "__main__":
    main()
