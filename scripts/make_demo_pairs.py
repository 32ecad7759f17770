"""Make the data of `make demo`: sample answers from the start model, check them, write pairs.

    python scripts/make_demo_pairs.py [--raw FOLDER] [--samples 8]

Samples are kept in the raw folder, a file per chunk of prompts, and a chunk that is there is not
sampled again: an interrupted run continues. The same seed gives the same files on one machine; another
processor or number of threads rounds differently and may change a sample.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from boresight.data import demo
from boresight.data.chat import encode_prompt
from boresight.data.constraints import words
from boresight.data.demo.prompts import HELDOUT_TOPICS, TRAIN_TOPICS, prompts
from boresight.data.demo.ranking import Answer, length_auc, pairs_of
from boresight.data.rows import Completion, Row
from boresight.data.schema import Preference, Prompt
from boresight.data.write import write
from boresight.models.load import load_model, load_tokenizer
from boresight.models.logprobs import completion_logprobs
from boresight.models.sample import Sample, SamplingParams, sample
from boresight.models.stop_tokens import stop_token_ids, wire_stop_tokens

CHUNK = 8
"""Prompts sampled at a time."""
MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 64, 0.9, 0.9

Answers = dict[str, list[Answer]]
"""Sampled answers by prompt id."""


def main() -> None:
    arguments = parse()
    console = Console(stderr=True)
    arguments.raw.mkdir(parents=True, exist_ok=True)
    train, held = prompts(TRAIN_TOPICS), prompts(HELDOUT_TOPICS)
    answers = sample_all(train + held, arguments.samples, arguments.raw, console)
    write(held, demo.HELDOUT_PROMPTS)
    for name, asked, path in (("train", train, demo.PAIRS), ("held out", held, demo.HELDOUT_PAIRS)):
        pairs = [pair for prompt in asked for pair in pairs_of(prompt, answers[prompt.id])]
        write(pairs, path)
        report(name, asked, pairs, answers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--raw", type=Path, default=Path("runs/demo-samples"), help="folder for raw samples")
    parser.add_argument("--samples", type=int, default=8, help="answers per prompt")
    return parser.parse_args()


def sample_all(asked: Sequence[Prompt], k: int, raw: Path, console: Console) -> Answers:
    """Answers to all prompts, from the raw folder where they are there already."""
    chunks = [asked[i : i + CHUNK] for i in range(0, len(asked), CHUNK)]
    missing = [n for n in range(len(chunks)) if not chunk_file(raw, n).exists()]
    if missing:
        sample_chunks(chunks, missing, k, raw, console)
    answers: Answers = {}
    for n in range(len(chunks)):
        for id, found in json.loads(chunk_file(raw, n).read_text(encoding="utf-8")).items():
            answers[id] = [Answer(**answer) for answer in found]
    return answers


def sample_chunks(
    chunks: Sequence[Sequence[Prompt]], numbers: Sequence[int], k: int, raw: Path, console: Console
) -> None:
    """Sample the chunks of these numbers and write each to its file."""
    model, tokenizer = load_model("starter"), load_tokenizer("starter")
    wire_stop_tokens(model, tokenizer)
    for done, n in enumerate(numbers, 1):
        answers = sample_chunk(model, tokenizer, chunks[n], k, seed=n)
        part = chunk_file(raw, n).with_suffix(".part")
        part.write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        os.replace(part, chunk_file(raw, n))
        console.print(f"sampled {done} of {len(numbers)} chunks")


def chunk_file(raw: Path, number: int) -> Path:
    """Where the samples of a chunk lie."""
    return raw / f"chunk-{number:03d}.json"


def sample_chunk(model: Any, tokenizer: Any, chunk: Sequence[Prompt], k: int, seed: int) -> dict[str, Any]:
    """k answers to each prompt, with their likelihood per token at temperature 1."""
    ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in chunk]
    params = SamplingParams(
        max_new_tokens=MAX_NEW_TOKENS,
        seed=seed,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        stop_token_ids=stop_token_ids(model),
    )
    sampled = sample(model, ids, params, k)
    likelihoods = logps_per_token(model, chunk, ids, sampled)
    return {
        prompt.id: [
            asdict(
                Answer(tokenizer.decode(s.ids, skip_special_tokens=True), s.finish == "stop", round(logp, 4))
            )
            for s, logp in zip(samples, logps, strict=True)
        ]
        for prompt, samples, logps in zip(chunk, sampled, likelihoods, strict=True)
    }


def logps_per_token(
    model: Any, chunk: Sequence[Prompt], ids: Sequence[np.ndarray], sampled: Sequence[Sequence[Sample]]
) -> list[list[float]]:
    """Nats per token of every sample, the end-of-turn token included."""
    rows = [
        Row(prompt.id, tokens, tuple(Completion(s.ids, np.ones(len(s.ids), bool)) for s in samples))
        for prompt, tokens, samples in zip(chunk, ids, sampled, strict=True)
    ]
    with torch.inference_mode():
        scored = completion_logprobs(model, rows)
    return (scored.sums / scored.lengths).tolist()


def report(name: str, asked: Sequence[Prompt], pairs: Sequence[Preference], answers: Answers) -> None:
    """Print what `docs/demo-data.md` states."""
    kinds = Counter((p.meta["constraint"]["kind"], p.meta["reason"]) for p in pairs)
    longer = np.mean([np.sign(length(p.chosen) - length(p.rejected)) / 2 + 0.5 for p in pairs])
    with_pair = {p.prompt[0]["content"] for p in pairs}
    print(f"{name}: {len(pairs)} pairs from {len(with_pair)} of {len(asked)} prompts", dict(kinds))
    print(
        f"  words: chosen {np.mean([length(p.chosen) for p in pairs]):.1f}, "
        f"rejected {np.mean([length(p.rejected) for p in pairs]):.1f}; "
        f"length AUC {length_auc(pairs):.2f}; chosen is the longer of its pair in {longer:.2f}"
    )
    print(
        f"  nats per token: chosen {np.mean([p.meta['chosen_logp'] for p in pairs]):.2f}, "
        f"rejected {np.mean([p.meta['rejected_logp'] for p in pairs]):.2f}; "
        f"all samples {np.mean([a.logp for p in asked for a in answers[p.id]]):.2f}"
    )


def length(answer: Sequence[Any]) -> int:
    """Words of an answer."""
    return len(words(answer[0]["content"]))


if __name__ == "__main__":
    main()
