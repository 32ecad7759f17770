"""Useful tokens per second while sampling: boresight against transformers' `generate`.

    python benchmarks/rollout.py [--quick] [--device cuda] [--dtype bfloat16] [--json FILE]

Both sides sample from the same model, prompts and settings in the same process, in turns, so that a
machine that slows down slows both. A useful token is one that a completion keeps: up to and with its
stop token, no padding. Neither side keeps anything between repeats. On a device whose bandwidth is known
(`throughput.py`) the share of it is printed that a decoding step of ours needs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table
from throughput import decode_bytes, peak_bandwidth, share

from boresight.data.rows import Completion, Row
from boresight.models.load import load_model, load_tokenizer
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.sampler.sample import Sample, SamplingParams, sample

PROMPTS = (
    "Write a short poem about the sea.",
    "Explain how a bicycle stays upright, in simple words, for a ten-year-old who likes science.",
    "List three breakfasts that are quick and healthy, with one sentence about each.",
    "What is the capital of Australia, and why was it chosen over Sydney and Melbourne?",
    "Give me a recipe for lentil soup with the ingredients and the steps, and say how long it takes.",
    "Who was Marie Curie, and what is she known for?",
    "Rewrite this sentence so that it is more polite: give me the report now.",
    "Using the numbers 19, 36, 55 and 7, write an equation that equals 65. Use every number once.",
)

Side = Callable[[int], int]
"""Samples everything with a seed; returns the number of useful tokens."""


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    console = Console()
    model = load_model(args.model, args.dtype, args.device)
    tokenizer = load_tokenizer(args.tokenizer or args.model)
    prompts = encoded(tokenizer, args.prompts)
    stop = tokenizer.eos_token_id
    console.print(
        f"{args.model}, {args.dtype} on {name_of(model.device)}: {args.prompts} prompts of "
        f"{min(map(len, prompts))}-{max(map(len, prompts))} tokens, k={args.k}, "
        f"up to {args.max_new_tokens} new tokens, {args.threads} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )

    def ours(seed: int) -> int:
        params = SamplingParams(max_new_tokens=args.max_new_tokens, seed=seed, stop_token_ids=(stop,))
        samples = sample(model, prompts, params, args.k)
        return sum(len(s.ids) for group in samples for s in group)

    def theirs(seed: int) -> int:
        return generate(model, prompts, args.k, args.max_new_tokens, stop, seed)

    runs = alternate({"boresight": ours, "generate": theirs}, args.repeats, console)
    result = {
        "setting": vars(args) | {"json": None},
        "machine": {"processor": name_of(model.device), "torch": torch.__version__},
        "runs": runs,
        "useful_tokens_per_second": {name: median_rate(run) for name, run in runs.items()},
        "logprob_gap_nats_per_token": gate(model, prompts, args.max_new_tokens, stop),
    }
    rates = result["useful_tokens_per_second"]
    result["ratio"] = rates["boresight"] / rates["generate"]
    result["bandwidth_share"] = bandwidth_share(model, prompts, args, runs["boresight"])
    show(result, console)
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter")
    parser.add_argument("--tokenizer", help="where it is not the model's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the weights")
    parser.add_argument("--prompts", type=int, default=8, choices=range(1, len(PROMPTS) + 1), metavar="N")
    parser.add_argument("--k", type=int, default=8, help="completions per prompt")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="4 prompts, k=4, 24 tokens, two repeats")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there")
    args = parser.parse_args()
    if args.quick:
        args.prompts, args.k, args.max_new_tokens, args.repeats = 4, 4, 24, 2
    return args


def name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def encoded(tokenizer: Any, count: int) -> list[np.ndarray]:
    """The first `count` prompts in the model's chat template."""
    return [
        np.array(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            ),
            np.int32,
        )
        for text in PROMPTS[:count]
    ]


def generate(model: Any, prompts: list[np.ndarray], k: int, max_new_tokens: int, stop: int, seed: int) -> int:
    """transformers' own sampling as its documentation has it: padded on the left, k sequences a prompt."""
    longest = max(map(len, prompts))
    ids = np.full((len(prompts), longest), stop, np.int64)
    attended = np.zeros_like(ids)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :], attended[i, longest - len(prompt) :] = prompt, 1
    torch.manual_seed(seed)
    out = model.generate(
        input_ids=torch.from_numpy(ids).to(model.device),
        attention_mask=torch.from_numpy(attended).to(model.device),
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        num_return_sequences=k,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop,
        pad_token_id=stop,
    )[:, longest:]
    ends = (out == stop).int().cumsum(1)
    return int(((ends == 0) | ((ends == 1) & (out == stop))).sum())


def alternate(sides: dict[str, Side], repeats: int, console: Console) -> dict[str, list[dict[str, float]]]:
    """Run the sides in turns, the order reversed every time; an unmeasured turn comes first."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for repeat in range(-1, repeats):
        for name in list(sides)[:: 1 if repeat % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            tokens = sides[name](repeat + 1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if repeat >= 0:
                runs[name].append({"tokens": tokens, "seconds": wall, "cpu_seconds": cpu})
                console.print(f"{name:>10}: {tokens} useful tokens in {wall:.2f} s ({tokens / wall:.0f}/s)")
    return runs


def median_rate(runs: list[dict[str, float]], clock: str = "seconds") -> float:
    return statistics.median(run["tokens"] / run[clock] for run in runs)


def bandwidth_share(
    model: Any, prompts: list[np.ndarray], args: argparse.Namespace, runs: list[dict[str, float]]
) -> float | None:
    """Bytes that our decoding steps need to read, as a share of what the memory gives in the time they took.

    As if every completion had the mean length: a median over runs; None where the bandwidth is not known.
    """
    peak = peak_bandwidth(name_of(model.device))
    lengths, width = [len(prompt) for prompt in prompts], model.dtype.itemsize
    shares = []
    for run in runs:
        steps = run["tokens"] / (args.k * len(prompts))
        needed = steps * decode_bytes(model.config, lengths, args.k, steps / 2, width)
        shares.append(share(needed, run["seconds"], peak))
    return None if peak is None else statistics.median(shares)


def gate(model: Any, prompts: list[np.ndarray], max_new_tokens: int, stop: int) -> float:
    """Largest gap, per token, between the sampler's log-probs and a training forward's."""
    params = SamplingParams(max_new_tokens=max_new_tokens, seed=0, stop_token_ids=(stop,))
    samples: list[Sample] = [group[0] for group in sample(model, prompts, params)]
    rows = [
        Row(str(i), prompt, (Completion(s.ids, np.ones(len(s.ids), bool)),))
        for i, (prompt, s) in enumerate(zip(prompts, samples, strict=True))
    ]
    with torch.no_grad():
        sums = completion_logprobs(model, rows).sums[:, 0].tolist()
    return max(abs(total - float(s.logps.sum())) / len(s.ids) for total, s in zip(sums, samples, strict=True))


def show(result: dict[str, Any], console: Console) -> None:
    table = Table("side", "useful tokens/s (median)", "range", "per CPU second")
    for name, runs in result["runs"].items():
        rates = [run["tokens"] / run["seconds"] for run in runs]
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        table.add_row(
            name, f"{statistics.median(rates):.0f}", spread, f"{median_rate(runs, 'cpu_seconds'):.0f}"
        )
    console.print(table)
    console.print(f"boresight / generate: {result['ratio']:.2f}x")
    if result["bandwidth_share"] is not None:
        console.print(f"boresight reads at {result['bandwidth_share']:.1%} of the bandwidth of the memory")
    console.print(
        f"log-probs against a training forward: {result['logprob_gap_nats_per_token']:.1e} nats per token"
    )


if __name__ == "__main__":
    main()
